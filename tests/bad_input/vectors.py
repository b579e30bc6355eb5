"""Vector stores, exports, forward stores and indexes that are damaged or of the wrong kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bad_input import Content, Row, made
from small import MemorySource
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.registry import engine


def exported(*formats: str) -> Callable[[Path], None]:
    """An export of the documents."""
    return lambda path: void(export(made.source, path, ExportOptions(formats=formats)))


def void(_: object) -> None:
    """For what makes something and returns it, too."""


def without(make: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    """An artefact that lacks a file."""

    def write(path: Path) -> None:
        make(path)
        (path / name).unlink()

    return write


def short(make: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    """An artefact with a file that lost its second half."""

    def write(path: Path) -> None:
        make(path)
        (path / name).write_bytes(made.cut((path / name).read_bytes()))

    return write


def index(title: str, content: Content, *words: str, name: str = "vectors", code: int = 4) -> Row:
    """A source that ``index`` refuses."""
    return Row(title, f"index {name} -o out -e exact", code, words, {name: content})


def search(title: str, content: Content, *words: str) -> Row:
    """An index that ``search`` refuses."""
    files: dict[str, Content] = {"index": content, "topics.tsv": made.TOPICS}
    return Row(title, "search index -q topics.tsv -o run.txt", 4, words, files)


def others() -> MemorySource:
    """Two documents of other terms."""
    return MemorySource(np.array([[5, 0], [0, 6]]), ["x1", "x2"], ["alpha", "omega"])


def other_forward(path: Path) -> None:
    """A forward store of them."""
    export(others, path, ExportOptions(formats=("forward",)))


def other_index(path: Path) -> None:
    """An index of them."""
    engine("exact").build(others(), path)


PART = "part-00000.parquet"
FORWARD = exported("forward")

ROWS = [
    index(
        "a store whose making did not finish",
        without(made.vectors, "_manifest.json"),
        "vectors: no _manifest.json beside its parts",
        "did not finish",
    ),
    index("a store that lacks a part", without(made.vectors, PART), f"vectors: {PART} is missing"),
    index(
        "a store that lacks its vocabulary",
        without(made.vectors, "_vocabulary.json"),
        "vectors: _vocabulary.json is missing",
    ),
    index(
        "a store with half a part",
        short(made.vectors, PART),
        f"vectors: {PART} has",
        "instead of 613",
    ),
    index(
        "a manifest cut in the middle",
        short(made.vectors, "_manifest.json"),
        "vectors/_manifest.json: damaged",
    ),
    index(
        "an index that lacks its documents", without(made.exact, "docs.bin"), "docs.bin is missing"
    ),
    index("an export of queries alone", exported("topics"), "holds no document vectors"),
    index(
        "an export that lacks its folder of JSON",
        without(exported("jsonvector"), "jsonvector/part-00000.jsonl"),
        "jsonvector/part-00000.jsonl is missing",
    ),
    index(
        "an export with half a CIFF file", short(exported("ciff"), "index.ciff"), "index.ciff has"
    ),
    index(
        "a forward store that lacks its terms",
        without(FORWARD, "forward/terms.npy"),
        "forward/terms.npy is missing",
    ),
    index(
        "a forward store with half of its impacts",
        short(FORWARD, "forward/impacts.npy"),
        "forward/impacts.npy has",
    ),
    Row(
        "a format that an export does not hold",
        "index vectors -o out -e exact --from ciff",
        4,
        ("holds no document vectors in that format",),
        {"vectors": exported("jsonvector")},
    ),
    Row(
        "forward vectors that are told to be a store",
        "export forward -o out --from vectors",
        4,
        ("forward",),
        {"forward": made.folder},
    ),
    Row(
        "a scale for a forward store",
        "index vectors -o out -e exact --scale 2",
        2,
        ("vectors", "integers"),
        {"vectors": FORWARD},
    ),
    Row(
        "an output that is there",
        "index docs.jsonl -o out -e exact",
        2,
        ("out: exists already", "--overwrite"),
        {"docs.jsonl": made.JSON_LINES, "out": made.exact},
    ),
    Row(
        "an output that is a file of somebody's",
        "index docs.jsonl -o out -e exact --overwrite",
        2,
        ("out: is a file",),
        {"docs.jsonl": made.JSON_LINES, "out": "precious"},
    ),
    Row(
        "an output that is a folder of somebody's",
        "index docs.jsonl -o out -e exact --overwrite",
        2,
        ("out: was not made by splade-bridge",),
        {"docs.jsonl": made.JSON_LINES, "out/thesis.tex": "precious"},
    ),
    Row(
        "an output over the source",
        "index docs.jsonl -o docs.jsonl -e exact --overwrite",
        2,
        ("docs.jsonl: is read, too",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    search(
        "an index that lacks a file", without(made.exact, "docs.bin"), "index: docs.bin is missing"
    ),
    search(
        "an index with half a file",
        short(made.exact, "impacts.bin"),
        "index: impacts.bin has",
        "make it again",
    ),
    search(
        "an index whose making did not finish",
        without(made.exact, "manifest.json"),
        "index: no manifest.json",
    ),
    search(
        "an index with half a manifest",
        short(made.exact, "manifest.json"),
        "index/manifest.json: damaged",
    ),
    search("an export for an index", exported("ciff"), "holds export, not an index"),
    Row(
        "a file that is inspected and is nothing that is known",
        "inspect docs.txt",
        4,
        ("docs.txt: cannot tell what this is",),
        {"docs.txt": "x"},
    ),
    Row("nothing to inspect", "inspect nowhere", 4, ("nowhere: no such f",)),
    Row(
        "a CIFF file that is none",
        "inspect docs.ciff",
        4,
        ("docs.ciff: header",),
        {"docs.ciff": made.GARBAGE},
    ),
    Row(
        "inspected as what it is not",
        "inspect index --from ciff",
        4,
        ("index: is index, as its manifest says",),
        {"index": made.exact},
    ),
    Row(
        "a format for queries",
        "prune vectors -o out --method top-k --value 2 --side query --from ciff",
        2,
        ("vectors: --from is for documents",),
        {"vectors": made.folder},
    ),
    Row(
        "a forward store of other documents",
        "search index -q topics.tsv -o run.txt --two-step forward",
        5,
        ("forward",),
        {"index": made.exact, "topics.tsv": made.TOPICS, "forward": other_forward},
    ),
    Row(
        "shards that are whole stores",
        "merge a b -o out",
        4,
        ("a",),
        {"a": made.vectors, "b": made.vectors},
    ),
    Row("no shards", "merge a b -o out", 4, ("a: no such folder",)),
    Row(
        "indexes of different documents are told apart",
        "verify one two -q topics.tsv",
        7,
        ("q1",),
        {"one": made.exact, "two": other_index, "topics.tsv": made.TOPICS},
    ),
]
