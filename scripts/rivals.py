"""What Anserini's indexer and PISA do with a collection, as their users call them."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bad_input import Row
from splade_bridge.engines.jars import anserini_jar
from splade_bridge.engines.java import environment, java_command

PATIENCE = 120
COLLECTIONS = (".jsonl", ".json", ".gz", ".zst", ".ciff")
FLAGS = {"-o", "-e", "--from", "--skip-others"}
"""Of a row's command that say nothing of its input."""


def collection_of(row: Row) -> str | None:
    """The JsonVectorCollection or CIFF file that a row is about; None for other rows."""
    words = row.arguments
    flags = {word for word in words if word.startswith("-") and word != "-"}
    if words[0] != "index" or row.code == 2 or not flags <= FLAGS:
        return None
    name = words[1]
    files = [file for file in row.files if Path(file).parts[0] == name]
    if not files or any(file.endswith("manifest.json") for file in files):
        return None
    if name in row.files and not name.endswith(COLLECTIONS):
        return None
    return name


def answers(folder: Path, name: str, ciff2pisa: str | None) -> dict[str, str]:
    """What the two say of a collection in ``folder``, by their names."""
    path = folder / name
    if ".ciff" in name:
        return {"pisa": _ciff2pisa(path, folder, ciff2pisa)} if ciff2pisa else {}
    given = path
    if not path.is_dir():  # Anserini takes folders
        given = folder / "collection"
        given.mkdir()
        path.rename(given / name)
    found = {"anserini": _anserini(given, folder / "anserini")}
    lines = list(given.rglob("*.jsonl"))
    if len(lines) == 1 and lines[0].is_file():
        found["pisa"] = _pisa(lines[0], folder / "pisa")
    return found


def _anserini(collection: Path, index: Path) -> str:
    command = java_command(
        "io.anserini.index.IndexCollection",
        "-collection", "JsonVectorCollection", "-input", collection, "-index", index,
        "-generator", "DefaultLuceneDocumentGenerator", "-threads", "1",
        "-impact", "-pretokenized", "-optimize",
        class_path=[anserini_jar()], heap_megabytes=512,
    )  # fmt: skip
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            env=environment(),
            timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"hangs: ended after {PATIENCE} s"
    log = (done.stdout + done.stderr).decode(errors="replace")
    total = re.search(r"Total ([\d,]+) documents indexed", log)
    really = re.search(r"indexed documents \([\d,]+\) and index maxDoc \(([\d,]+)\)", log)
    told = f"says {total[1]} documents" if total else "no count"
    told += f", the index holds {really[1]}" if really else ""
    trouble = [
        re.sub(r"^(ERROR|WARN) \w+: [\w-]+: ", "", line)
        for line in log.splitlines()
        if line.startswith(("ERROR", "Exception", "Caused by"))
    ]
    last = trouble[-1] if trouble else ""
    return f"{done.returncode}: {told}" + (f"; {_shown(last, collection.parent)}" if last else "")


PISA = """
import json, sys
from pyterrier_pisa.indexers import PisaToksIndexer

def documents():
    for line in open(sys.argv[1], encoding="utf-8"):
        record = json.loads(line)
        yield {"docno": record["id"], "toks": record["vector"]}

index = PisaToksIndexer(sys.argv[2], scale=1).index(documents())
print("documents:", len(open(sys.argv[2] + "/fwd.documents").read().splitlines()))
"""
"""The wheel's own indexer of weighted terms. It reads no files, so each line is parsed for it."""


def _pisa(lines: Path, index: Path) -> str:
    return _ended([sys.executable, "-c", PISA, str(lines), str(index)], lines.parent.parent)


def _ciff2pisa(path: Path, folder: Path, program: str) -> str:
    out = folder / "pisa"
    out.mkdir()
    told = _ended([program, "--ciff-file", str(path), "--output", str(out / "index")], folder)
    documents = out / "index.documents"
    if told.startswith("0: ") and documents.is_file():
        return f"0: documents: {len(documents.read_bytes().splitlines())}"
    return told


def _ended(command: list[str], folder: Path) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"hangs: ended after {PATIENCE} s"
    said = (done.stdout if done.returncode == 0 else done.stderr).decode(errors="replace")
    lines = [line for line in said.splitlines() if line.strip()]
    panics = [number for number, line in enumerate(lines) if "panicked at" in line]
    if panics:  # Rust tells the reason in the next line, then how to see more
        lines = lines[: panics[-1] + 2]
    return f"{done.returncode}: {_shown(lines[-1], folder) if lines else 'nothing'}"


def _shown(line: str, folder: Path) -> str:
    """A line without the place that this was run in, and without colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", line).replace(f"{folder}/", "")
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/\w+/", "", plain)[:200]
