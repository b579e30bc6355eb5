"""Kinds 8 and 9: paths out of the folder, and wrong types inside files of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bad_input import Row, made
from damage import MISSING, damaged, deep, list_again, rewritten, set_value

MANIFEST, VOCABULARY = "manifest.json", "vocabulary.json"
STORE, PLAN = "_manifest.json", "_plan.json"
SEARCH = "search x --queries t.tsv -o r"


def row(
    title: str, command: str, words: tuple[str, ...], x: Callable[[Path], object], code: int = 4
) -> Row:
    """A row over one artefact, ``x``, with queries and somebody's file beside it."""
    files: dict[str, Any] = {"x": x, "t.tsv": made.TOPICS, "home/victim.txt": "mine"}
    return Row(title, command, code, words, files)


def shards(*edits: tuple[str, tuple[Any, ...], Any]) -> Callable[[Path], None]:
    """Two shards, with values changed in files of theirs."""

    def content(path: Path) -> None:
        made.shards(path)
        for file, keys, value in edits:
            set_value(path / file, keys, value)
            list_again(path / file)

    return content


def linked(path: Path) -> None:
    """A store with a part that is a link to a file outside of it."""
    made.vectors(path)
    part = path / "part-00000.parquet"
    outside = path.parent / "home" / "part"
    outside.parent.mkdir(exist_ok=True)
    part.rename(outside)
    part.symlink_to(outside)


PATHS = {
    "that leads out": "../home/victim.txt",
    "that is absolute": "/etc/passwd",
    "that comes back": "sub/../../home/victim.txt",
    "that is empty": "",
    "with a NUL": "part\0",
    "of the manifest itself": STORE,
    "that begins here": "./part-00001.parquet",
}
MERGE = "merge x/0 x/1 -o out"
FIRST = f"1/{STORE}"

ROWS = [
    *(
        row(
            f"a shard's manifest with a path {what}",
            MERGE,
            ("x/1/_manifest.json: damaged (files[0].path: ", "make it again"),
            shards((FIRST, ("files", 0, "path"), path)),
        )
        for what, path in PATHS.items()
    ),
    row(
        "a shard that lists a file that is no part",
        MERGE,
        ("_plan.json was changed or damaged after it was written",),
        shards((FIRST, ("files", 0, "path"), PLAN), (FIRST, ("files", 0, "bytes"), 52)),
    ),
    row(
        "a shard that is one of a thousand million",
        MERGE,
        ("shards are missing: 2/999999999, 3/999999999",),
        shards((f"0/{PLAN}", ("shard",), "0/999999999"), (f"1/{PLAN}", ("shard",), "1/999999999")),
        5,
    ),
    row(
        "a shard of a number with 5,000 digits",
        MERGE,
        ("plan.json: damaged (", "must be i/n"),
        shards((f"0/{PLAN}", ("shard",), "0/" + "9" * 5000)),
    ),
    row("a part that is a link out of its store", "inspect x", ("leads out",), linked),
    row(
        "a path that is listed twice",
        "inspect x",
        ("part-00000.parquet' stands twice in the list",),
        damaged(made.vectors, STORE, ("files", 0, "path"), "part-00000.parquet"),
    ),
    row(
        "a file that is missing and has -1 bytes",
        "inspect x",
        ("files[0].bytes: is below 0",),
        damaged(made.vectors, STORE, ("files", 0), {"path": "gone", "bytes": -1, "sha256": "0"}),
    ),
    row(
        "counts below 0",
        "export x -o out",
        ("counts.documents: is -3, which is no count",),
        damaged(made.vectors, STORE, ("counts", "documents"), -3),
    ),
    row(
        "a manifest nested 5,000 deep",
        "inspect x",
        ("manifest.json: damaged (not JSON",),
        rewritten(made.vectors, STORE, lambda _: deep(5000)),
    ),
    row(
        "a manifest with a key twice",
        "inspect x",
        ("manifest.json: damaged (key 'kind' stands twice",),
        rewritten(made.vectors, STORE, lambda c: c.replace(b"{", b'{"kind": "index",', 1)),
    ),
    row(
        "a manifest that is not UTF-8",
        "inspect x",
        ("manifest.json: damaged (not JSON",),
        rewritten(made.vectors, STORE, lambda c: c.replace(b"vectors", b"vector\xff")),
    ),
    row(
        "a manifest with a number of 30 digits",
        "inspect x",
        ("manifest.json: damaged (counts.postings: ",),
        damaged(made.vectors, STORE, ("counts", "postings"), 10**30),
    ),
    row(
        "a vocabulary whose terms are one text",
        SEARCH,
        ("vocabulary.json: not a vocabulary file (terms: must be a list, not 'abcd')",),
        damaged(made.exact, VOCABULARY, ("terms",), "abcd"),
    ),
    row(
        "a vocabulary with a number among its terms",
        SEARCH,
        ("vocabulary.json: not a vocabulary file (terms[1]: must be a string, not 7)",),
        damaged(made.exact, VOCABULARY, ("terms", 1), 7),
    ),
    row(
        "a vocabulary that does not say whether it is a model's",
        SEARCH,
        ("observed: is missing",),
        damaged(made.exact, VOCABULARY, ("observed",), MISSING),
    ),
    row(
        "a vocabulary of more terms than the index has lists",
        SEARCH,
        ("damaged (4 posting lists of 5 terms): build it again",),
        damaged(made.exact, VOCABULARY, ("terms",), [*made.TERMS, "epsilon"]),
    ),
    row(
        "an array that holds a pickle",
        SEARCH,
        ("indptr.npy: missing or damaged (",),
        rewritten(made.exact, "indptr.npy", lambda _: b"\x80\x04K\x01."),
    ),
    row(
        "an array of two dimensions",
        SEARCH,
        ("doc_offsets.npy: missing or damaged (", "of shape"),
        rewritten(made.exact, "doc_offsets.npy", lambda c: c.replace(b"(4,), ", b"(2, 2)")),
    ),
    row(
        "offsets that fall",
        SEARCH,
        ("doc_offsets.npy: missing or damaged (its numbers do not rise",),
        rewritten(made.exact, "doc_offsets.npy", lambda c: c[:-16] + c[-8:] + c[-16:-8]),
    ),
    row(
        "a posting of a document that is not there",
        SEARCH,
        ("x: damaged (", "build it again"),
        rewritten(made.exact, "docs.bin", lambda c: b"\xff\xff\xff\x7f" + c[4:]),
    ),
    row(
        "an engine that is a list",
        SEARCH,
        ("manifest.json: damaged (engine: must be a string, not []",),
        damaged(made.exact, MANIFEST, ("engine",), []),
    ),
    row(
        "an export whose formats are a number",
        "prune x -o out --method top-k --value 2",
        ("manifest.json: damaged (options.formats: must be a list, not 3)",),
        damaged(made.forward, MANIFEST, ("options", "formats"), 3),
    ),
]
