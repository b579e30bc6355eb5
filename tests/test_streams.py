"""Commands as processes: closed and full streams, readers that go, signals at any moment."""

from __future__ import annotations

import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bad_input.made import JSON_LINES, QRELS, TOPICS

ROOT = Path(__file__).parents[1]
PROGRAM = f"{shlex.quote(sys.executable)} -m splade_bridge"

PRINTING = {
    "--help": "--help",
    "help of a command": "search --help",
    "--version": "--version",
    "evaluate": "evaluate qrels run --per-query",
    "evaluate --json": "evaluate qrels run --json",
    "search": "search index -q topics.tsv -o -",
    "verify": "verify index index -q topics.tsv --json",
    "explain": "explain index q1 d1 -q topics.tsv",
    "inspect": "inspect index",
    "bench": "bench index -q topics.tsv --repeat 1 -k 1",
}
"""Commands that print on stdout."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index, and what it is searched with."""
    folder = tmp_path_factory.mktemp("work")
    for name, content in (("docs.jsonl", JSON_LINES), ("topics.tsv", TOPICS), ("qrels", QRELS)):
        (folder / name).write_text(content)
    assert shell(folder, "index docs.jsonl -e exact -o index")[0] == 0
    assert shell(folder, "search index -q topics.tsv -o run")[0] == 0
    return folder


def shell(folder: Path, line: str, end: str = "") -> tuple[int, str, str]:
    """Status, stdout and stderr of a command with what the shell does to its streams."""
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {PROGRAM} {line} {end}"],
        capture_output=True, text=True, cwd=folder, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.sample(2)
@pytest.mark.parametrize("line", PRINTING.values(), ids=PRINTING)
def test_a_reader_that_goes_ends_a_command_quietly_as_it_ends_any_program(
    work: Path, line: str
) -> None:
    status, _, err = shell(work, line, "| exec true")
    assert status in (0, 141), err  # 0 where all was in the pipe before its reader had gone
    assert "error" not in err
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "splade_bridge", *shlex.split(line)],
        stdout=write, stderr=subprocess.PIPE, text=True, cwd=work,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    os.close(write)
    assert done.returncode == 141
    assert "error" not in done.stderr and "Traceback" not in done.stderr


@pytest.mark.sample(3)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("end", ["> /dev/full", ">&-"])
@pytest.mark.parametrize("line", PRINTING.values(), ids=PRINTING)
def test_a_stdout_that_takes_nothing_is_exit_code_6(work: Path, line: str, end: str) -> None:
    status, _, err = shell(work, line, end)
    assert status == 6
    assert "stdout: cannot be written" in err
    if "--json" in line:
        assert json.loads(err.splitlines()[-1])["error"]["exit_code"] == 6


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full", "<&-"])
@pytest.mark.parametrize("line", ["search index -q topics.tsv -o -", "evaluate qrels run -M R@9"])
@pytest.mark.sample(2)
def test_a_stream_that_a_command_can_do_without_may_be_closed(
    work: Path, line: str, end: str
) -> None:
    usual, out, _ = shell(work, line)
    assert (usual, out) == shell(work, line, end)[:2]
    assert out


@pytest.mark.parametrize(
    "line",
    [
        "evaluate qrels - ", "search index -q - -o -", "index - -e exact -o new",
        "bm25 - -o new", "quantize-study - -q topics.tsv --scale 1",
    ],
)  # fmt: skip
@pytest.mark.sample(2)
def test_a_closed_stdin_is_an_error_with_a_place(work: Path, line: str) -> None:
    status, _, err = shell(work, line, "<&-")
    assert status in (2, 4), err
    assert "-: " in err or "stdin" in err
    assert not (work / "new").exists()


def test_a_closed_stream_does_not_become_the_number_of_a_file(work: Path) -> None:
    """Else a warning would be written into the first file that is opened."""
    assert shell(work, "search index -q topics.tsv -o closed", "<&- >&- 2>&-")[0] == 0
    assert (work / "closed").read_bytes() == (work / "run").read_bytes()


# ---------------------------------------------------------------- signals

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def stopped(folder: Path, line: str, number: int, after: float) -> tuple[int, str]:
    """Status and stderr of a command that gets a signal after some seconds."""
    process = subprocess.Popen(
        [sys.executable, "-m", "splade_bridge", *shlex.split(line)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    time.sleep(after)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.sample(2)
@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize(
    "line",
    [
        "index many.jsonl -e exact -o new", "index many.jsonl -e lucene -o new",
        "search index -q many.tsv -o new", "prune big -o new --method top-k --value 3",
        "bench index -q many.tsv", "compare spec.toml -o new", "inspect index",
    ],
)  # fmt: skip
def test_a_signal_at_any_moment_ends_cleanly_and_says_what_is_left(
    work: Path, tmp_path: Path, line: str, number: signal.Signals
) -> None:
    lay_out_many(work, tmp_path)
    before = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")}
    rng = random.Random(f"{line}{number}")
    for after in (0.15, 0.3 + rng.random() / 2, 0.8 + rng.random(), 2.5):
        status, err = stopped(tmp_path, line, number, after)
        assert "Exception ignored" not in err, err
        if status in (0, 2, 4, 5):  # it was done before, or had nothing to do
            break
        # Until our first line runs, and once all is done, the signal is Python's own.
        assert status == CODES[number] or status == -number, (after, err)
        if after >= 0.3:
            assert "Traceback" not in err, err
        left = {p.relative_to(tmp_path) for p in tmp_path.rglob("*")} - before
        if "compare" in line and left:
            ended = status == -number and "error: many.tsv" in err  # by its own end, and then this
            assert ended or "the same command goes on" in err
        elif f"nothing was written to {'new'}" in err:
            assert left == set()
        elif left:
            assert "new is whole" in err or (status == -number and "read back" in err)
            break


def lay_out_many(work: Path, folder: Path) -> None:
    """Input that keeps a command busy for a second or two."""
    line = '{{"id": "d{}", "vector": {{{}}}}}\n'
    vector = ", ".join(f'"t{i}": {i + 1}' for i in range(60))
    (folder / "many.jsonl").write_text("".join(line.format(i, vector) for i in range(20_000)))
    (folder / "many.tsv").write_text("".join(f"q{i}\talpha beta\n" for i in range(30_000)))
    (folder / "index").symlink_to(work / "index")
    (folder / "big").symlink_to(folder / "many.jsonl")
    (folder / "qrels").write_text(QRELS)
    (folder / "spec.toml").write_text(
        '[data]\nqrels = "qrels"\ndocuments = "many.jsonl"\nqueries = "many.tsv"\n'
        '[engines]\nexact = []\n[[variant]]\nname = "full"\n'
    )
