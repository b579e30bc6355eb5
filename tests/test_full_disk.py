"""A disk that is really full: a small tmpfs."""

from __future__ import annotations

import gc
import json
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import command_line
from small import MemorySource, random_matrix
from splade_bridge.conversion.export import FORMATS, ExportOptions, export
from splade_bridge.data.invert import Transposer
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import ExternalProgramError
from splade_bridge.files.lines import open_reader
from splade_bridge.files.writing import atomic_writers


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder of 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a tmpfs here")
    yield disk
    gc.collect()  # what an error of the test holds on to, and with it files that are mapped
    subprocess.run(["umount", str(disk)], check=True)


def source() -> MemorySource:
    documents = random_matrix(0, 2000, 300, 0.5, 300)
    return MemorySource(
        documents.astype(np.int64), [f"d{i}" for i in range(2000)], [f"t{i}" for i in range(300)]
    )


@pytest.mark.parametrize("memory", [10_000, 10**9], ids=["while sorting", "while writing"])
@pytest.mark.sample(2)
def test_an_index_that_does_not_fit_leaves_nothing(
    small_disk: Path, engine_name: str, memory: int
) -> None:
    with pytest.raises(ExternalProgramError, match=r"(?i)space left|PISA ended"):
        engine(engine_name).build(source(), small_disk / "i", BuildOptions(memory=memory))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.sample(3)
def test_an_export_that_does_not_fit_leaves_nothing(small_disk: Path, name: str) -> None:
    with pytest.raises(ExternalProgramError, match="space left"):
        export(source, small_disk / "x", ExportOptions(formats=(name,), memory=10_000))
    assert list(small_disk.iterdir()) == []


def test_room_for_sorting_is_asked_for_before_it_starts(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ExternalProgramError, match=r"sorting takes 8\.00 GB .* make room"):
        Transposer(1000, small_disk, expected=10**9)
    with caplog.at_level("INFO"), Transposer(1000, small_disk, expected=1000):
        assert f"0.00 GB in {small_disk}" in caplog.text
    with Transposer(10**9, small_disk, expected=1000):
        assert len(caplog.messages) == 1, "what fits into memory needs no disk"


@pytest.mark.parametrize("library", ["torch", "safetensors"])
def test_what_libraries_raise_of_a_full_disk_is_an_error_of_ours(
    small_disk: Path, library: str
) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    from splade_bridge.training.checkpoints import saving

    weights = {"w": torch.zeros(100_000)}
    told = r"out: cannot be written .* run the same"
    with pytest.raises(ExternalProgramError, match=told), saving(Path("out")):
        if library == "torch":
            torch.save(weights, small_disk / "w")
        else:
            save_file(weights, small_disk / "w")
    with pytest.raises(RuntimeError, match="of another kind"), saving(Path("out")):
        raise RuntimeError("of another kind")


def test_an_older_index_survives(small_disk: Path) -> None:
    tiny = MemorySource(np.ones((3, 2)), ["a", "b", "c"], ["x", "y"])
    engine("exact").build(tiny, small_disk / "i")
    with pytest.raises(ExternalProgramError):
        engine("exact").build(source(), small_disk / "i", BuildOptions(), overwrite=True)
    with open_index(small_disk / "i") as searcher:
        assert searcher.manifest is not None and searcher.manifest.counts.documents == 3


@pytest.mark.sample(1)
@pytest.mark.parametrize("to", ["opensearch", "elasticsearch", "onnx"])
def test_a_model_that_does_not_fit_is_an_error_wherever_the_disk_is_full(
    to: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Torch's own writer of TorchScript ends the process near the end of the file."""
    checkpoints = pytest.importorskip("checkpoints")
    with checkpoints.single_thread():
        checkpoints.save_checkpoint(tmp_path / "model")
        file = tmp_path / "model" / "tokenizer.json"  # as Elasticsearch takes it
        parts = json.loads(file.read_text())
        parts["normalizer"]["strip_accents"] = None
        file.write_text(json.dumps(parts))
        line = ("export-model", tmp_path / "model", "--to", to, "-o")
        assert command_line.run(capfd, *line, tmp_path / "whole")[0] == 0
        files = [p for p in (tmp_path / "whole").rglob("*") if p.is_file()]
        largest = max(p.stat().st_size for p in files)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        # TorchScript counts the classes that a process has traced, in their names: the file is some
        # hundred bytes longer or shorter the next time.
        for room in (largest // 2, largest - 8000, largest - 4000, largest - 2000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
            try:
                status, _, err = command_line.run(capfd, *line, tmp_path / "out")
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
            assert (status, (tmp_path / "out").exists()) == (6, False), err


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("large", [0, 1], ids=["the first", "the second"])
@pytest.mark.parametrize("size", [50_000, 150_000, 300_000], ids=["at the end", "late", "early"])
def test_of_files_that_belong_together_all_appear_or_none(
    small_disk: Path, suffix: str, large: int, size: int
) -> None:
    paths = [small_disk / f"{name}{suffix}" for name in "ab"]
    (small_disk / "there").write_bytes(bytes(170_000))
    noise = np.random.default_rng(0).bytes(size)
    with (
        pytest.raises(ExternalProgramError, match="space left") as raised,
        atomic_writers(paths) as streams,
    ):
        streams[1 - large].write(b"a line\n")
        streams[large].write(noise)
    assert paths[large].name in str(raised.value)
    assert [path.name for path in small_disk.iterdir()] == ["there"]
    (small_disk / "there").unlink()
    with atomic_writers(paths) as streams:
        for stream in streams:
            stream.write(b"a line\n")
        assert not any(path.exists() for path in paths)
    for path in paths:
        with open_reader(path) as lines:
            assert lines.read() == b"a line\n"
