"""A disk that is full while a command writes: exit code 6, nothing half-written, then it works.

Two ways: a small tmpfs, where mounting is allowed, and a limit of the size of files.
"""

from __future__ import annotations

import contextlib
import gc
import random
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from soak.commands import OUT, Command, ShopSubject, choose, listing
from soak.frame import Finding
from soak.processes import Ended

PAGE = 4096
ROOM = 256 << 20


class FullDisk(ShopSubject):
    """One command with too little room, then the same one with enough."""

    name: ClassVar[str] = "full disk"
    share: ClassVar[float] = 10

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            self.mounts = _mount(Path(place), PAGE)
            if self.mounts:
                _unmount(Path(place))

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        command = choose(rng, self.shop.commands)
        overwrite = command.old is not None and rng.random() < 0.4
        size = _size(self.shop.reference(command).out)
        room = int(size * rng.uniform(0, 1.2))
        if self.mounts and rng.random() < 0.7:
            with _small_disk(folder / "disk") as disk:
                self._try(command, folder, disk, overwrite=overwrite, room=room)
            return {"full disks": 1}
        self._try(command, folder, None, overwrite=overwrite, room=room)
        return {"limits of file sizes": 1}

    def _try(
        self, command: Command, folder: Path, disk: Path | None, *, overwrite: bool, room: int
    ) -> None:
        work = (disk or folder) / "work"
        work.mkdir()
        words = self.shop.begin(command, work, overwrite=overwrite)
        before = listing(work)
        limit = None if disk else room
        if disk:
            _resize(disk, _size(disk) + room + 2 * PAGE)
        what = f"{' '.join(words)}\n{room:,} bytes {'of disk' if disk else 'a file'}"
        ended = self.shop.start(words, work, limit=limit, beside=folder).finish(what)
        if disk:
            _resize(disk, ROOM)
        if ended.code == 0:
            self.shop.check_whole(command, work, what)
            return
        _check_told(ended, what, limit)
        if _is_cut(ended, limit):
            return  # what failed may have been a line for people, after all was done
        state = self.shop.state(command, work / OUT, overwrite=overwrite)
        if not command.grows:
            if state != ("old" if overwrite else "nothing"):
                raise Finding(f"{what}: failed, and the output is {state}\n{ended.err}")
            more = listing(work) - before
            if command.work:  # what the same command goes on from
                more = frozenset(name for name in more if not name.startswith(OUT))
            if more:
                raise Finding(f"{what}: left {sorted(more)}\n{ended.err}")
        self.shop.finish(command, work, words, f"{what}\n{ended.last}\nthen enough")


def _check_told(ended: Ended, what: str, limit: int | None) -> None:
    is_told = ended.last.startswith("error: ") or _is_cut(ended, limit)
    if ended.code != 6 or "Traceback" in ended.err or not is_told:
        raise Finding(f"{what}: exit code {ended.code}\n{ended.err}")


def _is_cut(ended: Ended, limit: int | None) -> bool:
    """Whether the file that stderr goes to, which has the limit too, was full before the end."""
    return limit is not None and len(ended.err.encode()) >= limit


def _size(path: Path) -> int:
    """Bytes of whole pages below ``path``, as tmpfs counts them; each folder is one, too."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(-(-p.stat().st_size // PAGE) * PAGE if p.is_file() else PAGE for p in paths)


@contextlib.contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    place.mkdir()
    if not _mount(place, ROOM):
        raise RuntimeError(f"{place}: a tmpfs cannot be mounted any more")
    try:
        yield place
    finally:
        gc.collect()  # what an error holds on to
        _unmount(place)


def _mount(place: Path, size: int) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    return subprocess.run(command, capture_output=True).returncode == 0


def _resize(place: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def _unmount(place: Path) -> None:
    if subprocess.run(["umount", str(place)], capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
