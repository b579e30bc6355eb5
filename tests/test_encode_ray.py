"""The Ray Data job on a local Ray of two CPU workers; workers are killed in the middle."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from checkpoints import one_thread, save_checkpoint, write_corpus  # noqa: F401
from soaking import SEED, often
from splade_bridge.cli.encode import command
from splade_bridge.data.parts import part_files
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.parts import CorpusChangedError
from splade_bridge.encoding.ray_job import RayRunner
from splade_bridge.encoding.runner import encode_to_store, fill_store
from splade_bridge.encoding.worker import EncoderSpec
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.text.corpora import Corpus
from test_encode_resume import content, unfinished

PARTS, PART_ROWS = 20, 8
TEXTS = PARTS * PART_ROWS
ROUNDS = often(1, 5)
"""Ray takes up to two minutes to bring a worker back on a busy machine."""
OPTIONS = EncodeOptions(max_length=32, threads=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A local Ray with room for two workers."""
    os.environ["RAY_BACKEND_LOG_LEVEL"] = "fatal"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    # A path of its own, not below TMPDIR: a socket's has at most 107 bytes, Ray's part takes 66.
    with tempfile.TemporaryDirectory(
        prefix="ray-", dir="/tmp", ignore_cleanup_errors=True
    ) as short:
        os.environ["RAY_TMPDIR"] = short
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR",
            object_store_memory=200_000_000,
        )  # fmt: skip
        yield
        ray.shutdown()
        del os.environ["RAY_TMPDIR"]


def descendants(name: str) -> list[int]:
    """Processes below this one whose command line begins with ``name``."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(") ")[2].split()
            said = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
        if said.startswith(name) and "__init__" not in said:
            found.append(int(folder.name))

    def ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and ours(parents[pid]))

    return [pid for pid in found if ours(pid)]


def killer_at(moment: int, store: Path) -> tuple[Callable[..., None], list[int]]:
    """What ends one worker when ``store`` has ``moment`` parts, and whom it has ended."""
    killed: list[int] = []

    def kill_one(*_: object) -> None:
        if not killed and len(part_files(store)) >= moment:
            for pid in descendants("ray::MapWorker")[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    return kill_one, killed


@pytest.mark.long
@pytest.mark.soak
def test_a_store_of_workers_that_are_killed(cluster: None, tmp_path: Path) -> None:
    model = save_checkpoint(tmp_path / "model")
    corpus = write_corpus(tmp_path / "corpus.jsonl", TEXTS)
    whole, out = tmp_path / "whole", tmp_path / "v"
    usual: dict[str, Any] = {"corpus": "corpus", "part_rows": PART_ROWS}
    encoder = load_encoder(str(model), "document", OPTIONS)
    encode_to_store(Corpus(str(corpus)), encoder, whole, **usual)
    random_moment = random.Random(SEED)
    for _ in range(ROUNDS):
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(whole, out)
        unfinished(out, *(n for n in range(PARTS) if n % 4))  # every fourth part was made here
        moment = random_moment.randrange(PARTS // 4 + 2, PARTS - 5)  # parts that are there
        kill_one, killed = killer_at(moment, out)
        with RayRunner(EncoderSpec(str(model), "document", OPTIONS), workers=1) as runner:
            fill_store(runner, Corpus(str(corpus)), out, progress=kill_one, **usual)
            assert killed, f"there was a worker when {moment} parts were there"
            assert runner.stats.texts == sum(n % 4 > 0 for n in range(PARTS)) * PART_ROWS
            assert content(out) == content(whole)

    with RayRunner(EncoderSpec(str(model), "document", OPTIONS), workers=2) as runner:
        # Refused: the error comes from the process that reads the corpus.
        unfinished(out, 3)
        before = content(out)
        lines = corpus.read_text().splitlines()
        changed = TEXTS // 2
        lines[changed] = lines[changed].replace(f"d{changed}", f"d_{changed}")
        corpus.write_text("\n".join(lines))
        with pytest.raises(
            CorpusChangedError, match=rf"part {PARTS // 2 + 1} was made from other texts"
        ):
            fill_store(runner, Corpus(str(corpus)), out, **usual)
        assert content(out) == before


@pytest.mark.long
def test_workers_that_are_too_large(cluster: None) -> None:
    options = EncodeOptions(max_length=32, threads=3)
    with pytest.raises(ExternalProgramError, match="has 2 CPUs, a worker needs 3"):
        RayRunner(EncoderSpec("m", "document", options))


@pytest.mark.long
def test_a_model_that_cannot_be_loaded(cluster: None) -> None:
    with pytest.raises(BadInputError, match="neither a folder nor"):
        RayRunner(EncoderSpec("./nowhere", "document", OPTIONS))


@pytest.mark.long
def test_a_path_too_long_for_a_socket_is_told_with_its_remedy(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    (deep := tmp_path / ("x" * 60)).mkdir()
    said = "from test_encode_ray import *; RayRunner(EncoderSpec('m', 'document', OPTIONS))"
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, timeout=120,
        env=environment | {
            "PYTHONPATH": f"{here.parents[1]}:{here.parent}", "RAY_TMPDIR": str(deep),
        },
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "ExternalProgramError" in last and last.endswith("set RAY_TMPDIR to a shorter path"), (
        last
    )


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://localhost:1", "nowhere"])
def test_no_cluster_there(address: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(ExternalProgramError, match=f"no Ray cluster at {address}"):
        RayRunner(EncoderSpec("m", "document", OPTIONS), address=address)


@pytest.mark.parametrize(
    ("corpus", "options", "named"),
    [
        ("-", {"cluster": "ray"}, "name a file"),
        ("c", {"cluster": "spark"}, "--cluster is one of ray"),
        ("c", {"workers": 2}, "are for --cluster ray"),
        ("c", {"cluster": "ray", "devices": "cpu:2"}, "see --workers"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, corpus: str, options: dict[str, Any], named: str
) -> None:
    (tmp_path / "c").touch()
    source = corpus if corpus == "-" else str(tmp_path / corpus)
    with pytest.raises(UsageError, match=named):
        command(source, tmp_path / "v", model="m", **options)


def ours() -> list[int]:
    """This process and all below it."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = (folder / "stat").read_text().rpartition(") ")[2].split()[1]
            below.setdefault(int(parent), []).append(int(folder.name))
    found, left = [], [os.getpid()]
    while left:
        found.append(left.pop())
        left += below.get(found[-1], [])
    return found


def listening() -> dict[str, str]:
    """Address of each socket that listens, by its inode."""
    found = {}
    for family in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                raw = bytes.fromhex(words[1].partition(":")[0])
                turned = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                address = ipaddress.ip_address(turned)
                mapped = getattr(address, "ipv4_mapped", None)
                found[words[9]] = str(mapped or address)
    return found


def addresses() -> set[str]:
    """Where processes of ours listen."""
    there, found = listening(), set()
    for pid in ours():
        with contextlib.suppress(OSError):
            for handle in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = re.fullmatch(r"socket:\[(\d+)\]", str(handle.readlink()))
                    if inode and inode[1] in there:
                        found.add(there[inode[1]])
    return found


ALONE = """
import os, sys
sys.path.insert(0, sys.argv[1])
import test_encode_ray as here
from splade_bridge.encoding import ray_job
ray_job._describe = here.path_of_worker
runner = ray_job.RayRunner(here.EncoderSpec("m", "document", here.OPTIONS))
print(*here.addresses())
print(*runner.provenance)
runner.close()
"""


def path_of_worker(spec: object) -> list[str]:
    """What a worker has on its path."""
    return sys.path


@pytest.mark.long
@pytest.mark.usefixtures("cluster")  # another job's, which is not to be joined
def test_a_local_cluster_listens_on_loopback_and_knows_no_working_directory(tmp_path: Path) -> None:
    started = tmp_path / "scripts"
    started.mkdir()
    (started / "alone.py").write_text(ALONE)
    here = Path(__file__)
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment |= {
        "PYTHONPATH": f"{here.parents[1]}:{here.parent}",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }
    done = subprocess.run(
        [sys.executable, str(started / "alone.py"), str(here.parent)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, bound, path = done.stdout.splitlines()
    assert bound.split() == ["127.0.0.1"]
    folders = {Path(folder) for folder in path.split()}
    assert not {tmp_path, started} & folders and here.parents[1] in folders
