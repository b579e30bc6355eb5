"""Kind 1: scale and rounding are for float weights, a clip clips and nothing else, none is twice.

What a flag needs beside it is held by ``tests/test_needs.py`` for every flag of every command.
"""

from __future__ import annotations

from pathlib import Path

from bad_input import Row, made
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.formats.base import StoreSource
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.prune import prune

FLOATS = """\
{"id": "d1", "vector": {"alpha": 1, "gamma": 0.25}}
{"id": "d2", "vector": {"beta": 0.75}}
"""
QUERIES = '{"id": "q1", "vector": {"alpha": 3, "gamma": 2}}\n'
STORE = {"v": made.vectors}
DOCS = {"docs.jsonl": made.JSON_LINES}
TWICE = "was scaled by 50 already, as its manifest says; --scale 100 would scale it a second time"
INTEGERS = "holds integers, which are impacts already; --scale 100"


def exported(path: Path) -> None:
    """An export of weights, x 50."""
    made.vectors(path.with_name("weights"))
    store = path.with_name("weights")
    formats = ("jsonvector", "ciff", "forward", "topics")
    export(lambda: StoreSource(store, QuantizeOptions(50.0)), path, ExportOptions(formats))


def pruned(path: Path) -> None:
    """The same, pruned as impacts."""
    exported(path.with_name("exported"))
    prune(path.with_name("exported"), path, [policy("top-k", 1)])


def foreign(path: Path) -> None:
    """A pruned export of integers whose scale nobody knows."""
    docs = path.with_name("docs.jsonl")
    docs.write_text(made.JSON_LINES)
    export(lambda: open_source(docs), path, ExportOptions())


ROWS = [
    Row(
        "a scale that is no number",
        "index docs.jsonl -o out -e exact --scale nan",
        4,
        ("a scale must be greater than 0",),
        DOCS,
    ),
    Row(
        "a scale for a file of integers",
        "index docs.jsonl -o out -e exact --scale 2",
        2,
        ("docs.jsonl: holds integers only", "--scale 2 is for float weights: leave it out"),
        DOCS,
    ),
    Row(
        "a scale of 1 for a file of integers",
        "export docs.jsonl -o out --scale 1",
        2,
        ("docs.jsonl: holds integers only", "--scale 1 is for float weights"),
        DOCS,
    ),
    Row(
        "a rounding for a file of integers",
        "index docs.jsonl -o out -e exact --rounding down",
        2,
        ("--rounding down is for float weights", "leave --rounding out"),
        DOCS,
    ),
    Row(
        "the usual rounding for a file of integers",
        "index docs.jsonl -o out -e exact --rounding nearest",
        2,
        ("--rounding nearest is for float weights",),
        DOCS,
    ),
    Row(
        "floats and a clip, but no scale",
        "index floats.jsonl -o out -e exact --clip 255",
        4,
        ("floats.jsonl:1", "not an integer; give --scale"),
        {"floats.jsonl": FLOATS},
    ),
    Row(
        "a scale for CIFF",
        "index docs.ciff -o out -e exact --scale 100",
        2,
        ("docs.ciff: " + INTEGERS,),
        {"docs.ciff": made.ciff},
    ),
    Row(
        "a rounding for CIFF",
        "export docs.ciff -o out --rounding down",
        2,
        ("docs.ciff: holds integers", "--rounding down is for float weights"),
        {"docs.ciff": made.ciff},
    ),
    Row(
        "an export of ours scaled again",
        "index e -o out -e exact --scale 100",
        2,
        (TWICE,),
        {"e": exported},
    ),
    Row(
        "the JSON lines of an export of ours scaled again",
        "index e/jsonvector -o out -e exact --scale 100",
        2,
        (TWICE,),
        {"e": exported},
    ),
    Row(
        "the CIFF of an export of ours scaled again",
        "export e/index.ciff -o out --scale 100",
        2,
        (TWICE,),
        {"e": exported},
    ),
    Row(
        "a forward store of ours scaled again",
        "export e/forward -o out --scale 100",
        2,
        (TWICE,),
        {"e": exported},
    ),
    Row(
        "pruned impacts scaled again",
        "index p -o out -e exact --scale 100",
        2,
        (TWICE,),
        {"p": pruned},
    ),
    Row(
        "an export of ours scaled again while it is pruned",
        "prune e -o out --method top-k --value 1 --scale 100",
        2,
        (TWICE,),
        {"e": exported},
    ),
    Row(
        "an export of integers that nobody has scaled",
        "index e -o out -e exact --scale 100",
        2,
        (INTEGERS,),
        {"e": foreign},
    ),
    Row(
        "an index as a source, with a scale",
        "index i -o out -e exact --scale 100",
        2,
        ("i: holds integers", "leave it out"),
        {"i": made.exact},
    ),
    Row(
        "topics with a scale",
        "search i -q topics.tsv -o out --scale 100",
        2,
        ("topics.tsv: " + INTEGERS,),
        {"i": made.exact, "topics.tsv": made.TOPICS},
    ),
    Row(
        "topics with a rounding",
        "search i -q topics.tsv -o out --rounding down",
        2,
        ("topics.tsv: holds integers", "--rounding down"),
        {"i": made.exact, "topics.tsv": made.TOPICS},
    ),
    Row(
        "topics of an export of ours scaled again",
        "search i -q e/topics.tsv -o out --scale 100",
        2,
        (TWICE,),
        {"i": made.exact, "e": exported},
    ),
    Row(
        "queries of integers in JSON lines with a scale",
        "search i -q queries.jsonl -o out --scale 10",
        2,
        ("queries.jsonl: holds integers only",),
        {"i": made.exact, "queries.jsonl": QUERIES},
    ),
    Row(
        "queries of integers in JSON lines with a rounding",
        "explain i q1 d1 -q queries.jsonl --rounding down",
        2,
        ("queries.jsonl: --rounding down is for float weights",),
        {"i": made.exact, "queries.jsonl": QUERIES},
    ),
    Row(
        "topics pruned with a scale",
        "prune topics.tsv -o out --method top-k --value 1 --scale 100",
        2,
        ("topics.tsv: " + INTEGERS,),
        {"topics.tsv": made.TOPICS},
    ),
    Row(
        "a store that --from calls CIFF",
        "export v -o out --from ciff",
        2,
        ("v: is vectors, as its manifest says, and not --from ciff",),
        STORE,
    ),
    Row(
        "a store that is pruned and that --from calls CIFF",
        "prune v -o out --method top-k --value 1 --from ciff",
        2,
        ("v: is vectors, as its manifest says, and not --from ciff",),
        STORE,
    ),
    Row(
        "queries that are pruned, and --from",
        "prune topics.tsv -o out --method top-k --value 1 --from ciff",
        2,
        ("topics.tsv: --from is for documents",),
        {"topics.tsv": made.TOPICS},
    ),
    Row(
        "a store that is pruned into gzip",
        "prune v -o out --method top-k --value 1 --gzip",
        2,
        ("v: --gzip is for files", "leave it out"),
        STORE,
    ),
    Row(
        "a store that is pruned with a scale, and none that counts bytes",
        "prune v -o out --method top-k --value 1 --scale 50",
        2,
        ("--scale is for --method bytes",),
        STORE,
    ),
    Row(
        "a comparison that scales topics",
        "compare spec.toml -o out",
        2,
        ("variant 'a'", "topics.tsv: " + INTEGERS),
        {
            "spec.toml": '[data]\nqrels = "qrels"\n[engines]\nexact = []\n[[variant]]\n'
            'name = "a"\ndocuments = "docs.jsonl"\nqueries = "topics.tsv"\nquery_scale = 100\n',
            "qrels": made.QRELS,
            "topics.tsv": made.TOPICS,
            **DOCS,
        },
    ),
]
