"""A progress bar on stderr: texts, rates, padding, memory, time to go."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from splade_bridge.encoding.encoder import EncodeStats
from splade_bridge.encoding.encoder import Progress as Callback
from splade_bridge.errors import SpladeBridgeError
from splade_bridge.files.lines import numbered_lines, plain_suffix
from splade_bridge.text.corpora import Role, corpus_files
from splade_bridge.text.splits import judged_queries


def known_count(
    source: str, role: Role, *, skip_others: bool = False, split: str | None = None
) -> int | None:
    """Texts of ``source``: lines of its files, rows of Parquet, or what ir_datasets tells of it.

    None for stdin, for files whose texts are not counted by lines, for a source that cannot be read
    (which says so later), and where no bar would be shown.
    """
    if not sys.stderr.isatty():
        return None
    try:
        if split is not None:
            return len(judged_queries(Path(source), split))
        files = corpus_files(source, role, skip_others=skip_others)
        counts = [_texts_of(file) for file in files]
        known = [n for n in counts if n is not None]
        if files:
            return sum(known) if len(known) == len(files) else None
        return _texts_of_data_set(source, role)
    except (SpladeBridgeError, OSError, ValueError):
        return None


def _texts_of(file: Path) -> int | None:
    if plain_suffix(file) in (".arrow", ".csv", ".json"):  # where a line need not be a text
        return None
    if plain_suffix(file) != ".parquet":
        return sum(1 for _, line in numbered_lines(file) if line.strip())
    import pyarrow.parquet as pq

    return int(pq.read_metadata(file).num_rows)


def _texts_of_data_set(name: str, role: Role) -> int | None:
    try:
        import ir_datasets

        known = ir_datasets.load(name).metadata()
        return int(known["docs" if role == "documents" else "queries"]["count"])
    except (ImportError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def progress_bar(
    total: int | None = None,
    stats: Callable[[], EncodeStats] | None = None,
    *,
    shown: bool | None = None,
) -> Iterator[Callback]:
    """A callback for an encoder's progress.

    Args:
        total: texts to come, where that is known.
        stats: of the encoder, for the share of padding.
        shown: None for "if stderr is a terminal".
    """
    if not (sys.stderr.isatty() if shown is None else shown):
        yield lambda texts, tokens: None
        return
    bar = Progress(
        TextColumn("encoding"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rates]}"),
        _MemoryColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("encoding", total=total, rates="")
        began, done, tokens_done = time.perf_counter(), 0, 0

        def advance(texts: int, tokens: int) -> None:
            nonlocal done, tokens_done
            if tokens or done:  # texts of a resumed run come first, without tokens
                done, tokens_done = done + texts, tokens_done + tokens
            seconds = max(time.perf_counter() - began, 1e-9)
            rates = f"{done / seconds:,.1f} texts/s {tokens_done / seconds:,.0f} tokens/s"
            if stats is not None:
                rates += f" {stats().padding_share:.1%} padding"
            bar.update(task, advance=texts, rates=rates)

        yield advance


class _MemoryColumn(ProgressColumn):
    """Memory of this process, and what torch holds on the GPU."""

    max_refresh = 1.0

    def render(self, task: Task) -> Text:
        said = []
        with contextlib.suppress(OSError):  # there is no such file on macOS
            status = Path("/proc/self/status").read_text()
            said.append(f"{int(status.partition('VmRSS:')[2].split()[0]) / 2**20:.1f} GiB")
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            held = sum(map(torch.cuda.memory_reserved, range(torch.cuda.device_count())))
            said.append(f"GPU {held / 2**30:.1f} GiB")
        return Text(" ".join(said))
