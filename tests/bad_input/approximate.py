"""Approximate engines and options where there are none, and values that no engine works with."""

from __future__ import annotations

from pathlib import Path

from bad_input import Content, Row, made
from splade_bridge.engines.impact_index_options import ImpactIndexOptions
from splade_bridge.engines.registry import engine

FILES: dict[str, Content] = {"q.tsv": made.TOPICS, "docs.jsonl": made.JSON_LINES}
SEISMIC, IMPACT = ("seismic",), ("impact_index",)


def seismic(path: Path) -> None:
    """An index of Seismic."""
    engine("seismic").build(made.source(), path)


def bmp(path: Path) -> None:
    """An index of impact-index with Block-Max Pruning."""
    engine("impact-index", ImpactIndexOptions(bmp=True)).build(made.source(), path)


def refused(
    title: str, command: str, *words: str, imports: tuple[str, ...] = (), **made_by: Content
) -> Row:
    """A row that ends with status 2."""
    return Row(title, command, 2, words, {**FILES, **made_by}, imports=imports)


ROWS = [
    refused("an exact index, asked otherwise", "search i -q q.tsv -o r --approximate",
        "answers exactly", "leave --approximate", i=made.exact),
    refused("an exact index, timed otherwise", "bench i -q q.tsv --approximate",
        "answers exactly", i=made.exact),
    refused("two exact indexes, timed otherwise", "bench i j -q q.tsv --approximate",
        "answers exactly", i=made.exact, j=made.exact),
    refused("another engine's approximation",
        "search i -q q.tsv -o r --approximate --seismic-query-cut 3",
        "--seismic-query-cut is for an index of engine seismic", i=made.exact),
    refused("an approximate engine, let and told nothing", "search i -q q.tsv -o r --approximate",
        "answers approximately by itself", "--seismic-query-cut", i=seismic, imports=SEISMIC),
    refused("Block-Max Pruning that was not built", "search i -q q.tsv -o r --approximate",
        "--impact-index-bmp", i=made.impact_index, imports=IMPACT),
    refused("a cut of no terms",
        "search i -q q.tsv -o r --approximate --seismic-query-cut 0", "--seismic-query-cut",
        i=seismic, imports=SEISMIC),
    refused("a factor above 1",
        "search i -q q.tsv -o r --approximate --seismic-heap-factor 1.5", "--seismic-heap-factor",
        i=seismic, imports=SEISMIC),
    refused("alpha of 0", "search i -q q.tsv -o r --approximate --impact-index-alpha 0",
        "--impact-index-alpha", i=bmp, imports=IMPACT),
    refused("lists of no postings", "index docs.jsonl -o o -e seismic --seismic-n-postings 0",
        "n_postings", imports=SEISMIC),
    refused("summaries of nothing", "index docs.jsonl -o o -e seismic --seismic-summary-energy 0",
        "summary_energy", imports=SEISMIC),
    refused("blocks of no documents",
        "index docs.jsonl -o o -e impact-index --impact-index-bmp --impact-index-bmp-block-size 0",
        "bmp_block_size", imports=IMPACT),
    refused("Seismic's options for PISA", "index docs.jsonl -o o -e pisa --seismic-n-postings 9",
        "--seismic-n-postings is for --engine seismic"),
    refused("an approximate index as the one that others must equal", "verify i j -q q.tsv",
        "answers approximately", "name an exact one first", i=seismic, j=made.exact,
        imports=SEISMIC),
    refused("a frontier of an exact index", "bench i -q q.tsv --frontier f.svg",
        "no options of approximation", i=made.exact),
    refused("a frontier for two depths", "bench i -q q.tsv --frontier f.svg -k 1 -k 2",
        "one -k", i=made.exact),
    refused("a frontier that is no SVG", "bench i -q q.tsv --frontier f.png", ".svg",
        i=made.exact),
    refused("a first step of fewer candidates than results",
        "bench i -q q.tsv -k 10 --two-step f --candidates 5", "--candidates 5 cannot give 10",
        i=made.exact, f=made.forward),
    Row("no documents for a forward store", "export none.jsonl -o o -f forward", 4,
        ("holds no documents",), {"none.jsonl": ""}),
]  # fmt: skip
