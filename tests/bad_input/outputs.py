"""Kinds 2, 12 and 13: outputs that would replace what they must not, or have no place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bad_input import Content, Row, made

SEARCH = "search i -q q.tsv"
INDEX = "index docs.jsonl -e exact"
TO_SEARCH: dict[str, Content] = {"i": made.exact, "q.tsv": made.TOPICS}
TO_INDEX: dict[str, Content] = {"docs.jsonl": made.JSON_LINES}
LONG = "n" * 240
COMPARISON = """\
title = "t"
baseline = "a"
[data]
documents = "docs.jsonl"
queries = "q.tsv"
qrels = "qrels"
measures = ["nDCG@10"]
[engines]
exact = []
[[variant]]
name = "a"
"""
TO_COMPARE: dict[str, Content] = {
    "spec.toml": COMPARISON,
    "docs.jsonl": made.JSON_LINES,
    "q.tsv": made.TOPICS,
    "qrels": made.QRELS,
}


def link(to: str) -> Callable[[Path], object]:
    """A symbolic link."""
    return lambda path: path.symlink_to(to)


def hard_link(to: str) -> Callable[[Path], object]:
    """A second name of a file beside it."""
    return lambda path: path.hardlink_to(path.with_name(to))


def refused(title: str, command: str, word: str, files: dict[str, Content], **more: Content) -> Row:
    """A row that ends with status 2."""
    return Row(title, command, 2, (word,), {**files, **more})


COMPARED = (
    "results.csv", "results.json", "report.html", "table.tex", "charts/x.svg", "charts",
)  # fmt: skip
"""What compare writes."""

ROWS = [
    refused("two outputs, one file", f"{SEARCH} -o a --latencies a", "one place", TO_SEARCH),
    refused("two outputs, ./", f"{SEARCH} -o a --latencies ./a", "one place", TO_SEARCH),
    refused("two outputs, a detour", f"{SEARCH} -o a --latencies i/../a", "one place", TO_SEARCH),
    refused("two outputs, other case", f"{SEARCH} -o a --latencies A", "one place", TO_SEARCH),
    refused(
        "two outputs, a link", f"{SEARCH} -o a --latencies b", "one place", TO_SEARCH, b=link("a")
    ),
    refused(
        "two outputs, a hard link",
        f"{SEARCH} -o a --latencies b --overwrite",
        "one place",
        {**TO_SEARCH, "a": "x"},
        b=hard_link("a"),
    ),
    refused("an output below another", f"{SEARCH} -o a --latencies a/b", "lies in", TO_SEARCH),
    refused(
        "two outputs, stdout", f"{SEARCH} -o - --latencies /dev/stdout", "to stdout", TO_SEARCH
    ),
    refused("stdout twice with --json", f"{SEARCH} -o /dev/stdout --json", "stdout", TO_SEARCH),
    refused(
        "an output that is a link to an input",
        f"{SEARCH} -o b --overwrite",
        "is read, too",
        TO_SEARCH,
        b=link("q.tsv"),
    ),
    refused(
        "an output that is a hard link of an input",
        f"{SEARCH} -o b --overwrite",
        "is read, too",
        TO_SEARCH,
        b=hard_link("q.tsv"),
    ),
    refused("an empty output", f"{INDEX} -o ''", "an empty name", TO_INDEX),
    refused("an empty second output", f"{SEARCH} -o r --latencies ''", "empty name", TO_SEARCH),
    refused("an empty input", "index '' -e exact -o x", "an empty name", {}),
    refused("the root as output", "demo -o /", "the root of the file system", {}),
    refused("an output below a file", f"{INDEX} -o docs.jsonl/x", "is a file", TO_INDEX),
    refused("a name too long", f"{INDEX} -o {LONG}", "a name of over 229 bytes", TO_INDEX),
    refused("a run with a name too long", f"{SEARCH} -o {LONG}", "over 229 bytes", TO_SEARCH),
    refused("a folder with a name too long", f"{INDEX} -o {LONG}/x", "over 229 bytes", TO_INDEX),
    refused(
        "a circle of links", f"{INDEX} -o loop", "symbolic links", TO_INDEX, loop=link("loop")
    ),
    refused("a folder where a file goes", f"{SEARCH} -o i", "is read, too", TO_SEARCH),
    refused(
        "a file where a folder goes",
        f"{INDEX} -o file",
        "only a folder is replaced",
        TO_INDEX,
        file="mine",
    ),
    Row(
        "a lock that is a link", f"{INDEX} -o x", 2, (".x.lock", "move it away"),
        {**TO_INDEX, "victim": "mine", ".x.lock": link("victim")},
    ),
    Row(
        "a lock that is a user's file", f"{INDEX} -o x", 2, (".x.lock", "move it away"),
        {**TO_INDEX, ".x.lock": "mine"},
    ),
    Row(
        "a working folder that is a user's", f"{INDEX} -o x", 2, (".x.partial", "move it away"),
        {**TO_INDEX, ".x.partial/mine": "mine"},
    ),
    Row(
        "a manifest beside the output that is a user's",
        "train score --pairs p --teacher run --run r -o s.jsonl",
        2, ("s.jsonl.manifest.json", "was not made by splade-bridge"),
        {"p": "{}", "r": made.RUN, "s.jsonl.manifest.json": "{}"},
    ),
    Row(
        "scores into a device",
        "train score --pairs p --teacher run --run r -o /dev/null", 2, ("name a file",),
        {"p": "{}", "r": made.RUN},
    ),
    Row(
        "a device that is full", f"{SEARCH} -o /dev/full", 6, ("/dev/full", "No space left"),
        TO_SEARCH,
    ),
    *(
        Row(
            f"a comparison over a user's {name}", "compare spec.toml -o out", 2,
            (f"out/{name}", "move it away"), {**TO_COMPARE, f"out/{name}": "mine"},
            made=("out/work",),
        )
        for name in COMPARED
    ),
    Row(
        "a comparison that would work in a user's folder", "compare spec.toml -o out", 2,
        ("out/work", "was not made by splade-bridge compare"),
        {**TO_COMPARE, "out/work/index/a/index": "mine"},
    ),
]  # fmt: skip
