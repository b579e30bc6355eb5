"""Writes docs/scale.md from benchmarks/constants.json: what large collections need.

Prose is in ``scale_page.md.jinja``, what is computed here.

    .venv/bin/python scripts/scale_page.py > docs/scale.md

Every figure is a constant with the row of benchmarks/RESULTS.md that it was measured in, or follows
from constants in proportion; the page says which. After a new measurement the constant and its row
are changed, and the page is written anew (``scripts/docs`` does).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jinja2 import StrictUndefined, Template

from splade_bridge.data.invert import BYTES_KEPT
from splade_bridge.formats.ciff_messages import MAX_MESSAGE

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = ROOT / "benchmarks" / "constants.json"
TEMPLATE = Path(__file__).with_suffix(".md.jinja")

MSMARCO, MSMARCO_V2, GIGA = 8_841_823, 138_364_198, 10**9
SIZES = {"138 M": MSMARCO_V2, "1 G": GIGA}
COLUMNS = " | ".join(SIZES)
TOKENS = 75
"""Of a passage, on average, in the rows on cards."""
HIDDEN, TERMS = 768, 30_522
ID_BYTES = 12
"""At most, of an id where ids that come twice must be noticed (data/ids.py)."""
MOST_LUCENE = 2_147_483_519
"""Documents of a Lucene index (IndexWriter.MAX_DOCS)."""


@dataclass(frozen=True)
class Machine:
    """The one machine that a step must fit on.

    Attributes:
        cores, memory: of it; ``memory`` in bytes.
        hours: that a step may take.
        milliseconds: that a query may take on average.
    """

    cores: int = 16
    memory: int = 128 * 10**9
    hours: float = 24
    milliseconds: float = 100


ONE = Machine()


class Constants:
    """The measured values by their names."""

    def __init__(self, path: Path = CONSTANTS) -> None:
        self.all = json.loads(path.read_text(encoding="utf-8"))

    def __getattr__(self, name: str) -> float:
        return float(self.all[name]["value"])


def layers_ratio(more: int, fewer: int) -> float:
    """How many times the products of one network are those of another, for each token."""

    def products(layers: int) -> int:  # as benchmarks/encode.py counts them
        return layers * 24 * HIDDEN**2 + 2 * HIDDEN * (HIDDEN + TERMS)

    return products(more) / products(fewer)


@dataclass(frozen=True)
class Encoder:
    """A way to encode: passages a second, and whether that was measured."""

    name: str
    rate: float
    measured: bool

    def hours(self, documents: int) -> float:
        return documents / self.rate / 3600


def encoders(c: Constants) -> list[Encoder]:
    """Cards and processors, the fastest card first."""
    found = [
        Encoder("one H200, 6 layers", c.h200_passages_6, True),
        Encoder("one H200, 12 layers", c.h200_passages_12, True),
        Encoder("one H100, 6 layers", c.h100_passages_6, True),
        Encoder("one H100, 12 layers", c.h100_passages_12, True),
    ]
    for name, sheet in (("A100", c.a100_sheet), ("L4", c.l4_sheet)):
        network = c.h200_tokens_12 * sheet / c.h200_sheet / TOKENS
        found.append(Encoder(f"one {name}, 12 layers", min(network, c.h200_passages_12), False))
    for cores in (2, 16, 64, 128):
        for kind, rate in (("bfloat16", c.cpu_bfloat16_6), ("float32", c.cpu_float32_6)):
            measured = cores == 2
            found.append(Encoder(f"{cores} cores, 6 layers, {kind}", rate * cores / 2, measured))
    deeper = c.cpu_bfloat16_6 * ONE.cores / 2 / layers_ratio(12, 6)
    return [*found, Encoder(f"{ONE.cores} cores, 12 layers, bfloat16", deeper, False)]


def postings(c: Constants, documents: int) -> float:
    return documents * c.postings / c.documents


def artefacts(c: Constants) -> dict[str, float]:
    """Bytes a posting of what lies on disk."""
    large = {name: c.all[f"{name}_gigabytes"]["value"] * 1e9 / c.postings for name in ENGINES}
    return {
        "vector store": c.store_bytes,
        "JsonVectorCollection": c.jsonl_bytes,
        "JsonVectorCollection, gzip": c.jsonl_gzip_bytes,
        "CIFF": c.ciff_bytes,
        "CIFF, gzip": c.ciff_gzip_bytes,
        "forward store": c.forward_bytes,
        "Lucene index": large["lucene"],
        "PISA index": large["pisa"],
        "temporary files of sorting": BYTES_KEPT,
    }


ENGINES = ("lucene", "pisa")


def builds(c: Constants) -> list[tuple[str, float, str]]:
    """Step, postings a second, and what it was measured on."""
    return [
        ("CIFF from vectors", c.ciff_rate * 1e6, "10 M postings"),
        ("Lucene from vectors", c.lucene_rate * 1e6, "10 M postings"),
        ("Lucene from CIFF", c.postings / c.lucene_seconds, "1.4 G postings"),
        ("PISA from CIFF", c.postings / c.pisa_seconds, "1.4 G postings"),
    ]


def search_ms(c: Constants, engine: str, k: int, documents: float) -> float:
    """Mean of a query by one thread, in proportion to the documents."""
    measured = c.all[f"{engine}_ms_{k}"]["value"]
    return float(measured) * documents / c.documents


def cores_to_search(c: Constants, documents: int) -> int:
    """Shards, each on a core of its own, that bring the mean to what is wanted (Lucene, k = 10)."""
    return math.ceil(search_ms(c, "lucene", 10, documents) / ONE.milliseconds)


def index_size(c: Constants, documents: int) -> float:
    """Bytes of a Lucene index."""
    return postings(c, documents) * artefacts(c)["Lucene index"]


def ciff_lists(c: Constants, documents: int) -> str:
    """Which terms a CIFF can hold: a list is a message of at most 2 GiB."""
    share = MAX_MESSAGE / c.ciff_bytes / documents
    return "all terms" if share >= 1 else f"terms of up to {share:.0%} of the passages"


def first_cluster(c: Constants, documents: int, encoder: Encoder) -> str:
    """The first step that one machine cannot do, and what does it then."""
    hours = encoder.hours(documents)
    if hours > ONE.hours:
        return (
            f"**encoding** ({told(hours)} h): several machines, by `--cluster ray` or "
            "`--shard i/n` and `merge`"
        )
    build = postings(c, documents) / builds(c)[1][1] / 3600
    if build > ONE.hours:
        return f"**building** ({told(build)} h): shards, or loading Elasticsearch or OpenSearch"
    cores = cores_to_search(c, documents)
    size = index_size(c, documents)
    if cores > ONE.cores or size > ONE.memory:
        return (
            f"**searching** ({cores} cores and {gigabytes(size)} of index): shards in "
            "Elasticsearch or OpenSearch, or two-step search over pruned shards"
        )
    one = search_ms(c, "lucene", 10, documents)
    return (
        f"none, where {cores} of its cores share a query, as with {cores} shards "
        f"({gigabytes(size)}) in one node of OpenSearch; one thread takes {told(one)} ms"
    )


def told(value: float) -> str:
    """Three digits, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gigabytes(size: float) -> str:
    return f"{size / 1e12:.2f} TB" if size >= 1e12 else f"{told(size / 1e9)} GB"


def tables(c: Constants) -> dict[str, str]:
    """The tables of the page, by their names in its template."""
    sizes = list(SIZES.values())
    known = encoders(c)
    card = next(e for e in known if e.name == "one H200, 12 layers")

    def row(*cells: str, each: Callable[[int], str]) -> str:
        return " | ".join([*cells, *map(each, sizes)])

    return {
        "first": table(
            "passages | encoded by | the first step that does not fit",
            [
                f"{name} | {e.name} | {first_cluster(c, n, e)}"
                for name, n in SIZES.items()
                for e in (card, known[-1])
            ],
        ),
        "encoding": table(
            "by | passages/s | | " + COLUMNS,
            [
                row(
                    e.name,
                    told(e.rate),
                    "measured" if e.measured else "extrapolated",
                    each=lambda n, e=e: told(e.hours(n)),  # type: ignore[misc]
                )
                for e in known
            ],
        ),
        "disk": table(
            "artefact | bytes a posting | 8.84 M (MS MARCO) | " + COLUMNS,
            [
                f"{name} | {size:.2f} | "
                + " | ".join(gigabytes(size * postings(c, n)) for n in (MSMARCO, *sizes))
                for name, size in artefacts(c).items()
            ],
        ),
        "building": table(
            "step | M postings/s, measured | on | " + COLUMNS,
            [
                row(
                    name,
                    f"{rate / 1e6:.2f}",
                    on,
                    each=lambda n, rate=rate: told(postings(c, n) / rate / 3600),  # type: ignore[misc]
                )
                for name, rate, on in builds(c)
            ],
        ),
        "searching": table(
            "engine | k | 8.39 M, measured | " + COLUMNS,
            [
                f"{engine} | {k} | "
                + " | ".join(f"{search_ms(c, engine, k, n):,.0f}" for n in (c.documents, *sizes))
                for engine in ENGINES
                for k in (10, 1000)
            ],
        ),
        "shards": table(
            "why | " + COLUMNS,
            [
                row(
                    f"a query in {ONE.milliseconds:.0f} ms, a core a shard (Lucene, k = 10)",
                    each=lambda n: str(cores_to_search(c, n)),
                ),
                row(
                    f"an index in {gigabytes(ONE.memory)} of memory (Lucene)",
                    each=lambda n: str(math.ceil(index_size(c, n) / ONE.memory)),
                ),
                row(
                    f"at most {MOST_LUCENE:,} documents in a Lucene index",
                    each=lambda n: str(math.ceil(n / MOST_LUCENE)),
                ),
                row("at most 2 GiB a list of a CIFF", each=lambda n: ciff_lists(c, n)),
            ],
        ),
        "constants": table(
            "constant | value | of | from",
            [
                f"{name} | {each['value']:,} {each['unit']} | {each['what']} | {where(each)}"
                for name, each in c.all.items()
            ],
        ),
    }


def table(head: str, rows: Iterable[str]) -> str:
    rule = "|---" * (head.count("|") + 1) + "|"
    return "\n".join([f"| {head} |", rule, *(f"| {row} |" for row in rows)])


def where(constant: dict[str, str]) -> str:
    """Where a constant is from."""
    if "source" in constant:
        return f"[data sheet]({constant['source']})"
    return f"`{constant['row'].strip('| ').replace('|', '/')}`"


def page(c: Constants) -> str:
    """The whole page."""
    template = Template(TEMPLATE.read_text(encoding="utf-8"), undefined=StrictUndefined)
    return template.render(
        c=c,
        one=ONE,
        v2=f"{MSMARCO_V2:,}",
        terms=f"{c.postings / c.documents:.1f}",
        tokens=TOKENS,
        large=f"{c.documents:,.0f} synthetic documents with {c.postings / 1e9:.2f} G postings",
        memory=gigabytes(ONE.memory),
        id_bytes=ID_BYTES,
        ids=[gigabytes(ID_BYTES * n) for n in SIZES.values()],
        **tables(c),
    )


if __name__ == "__main__":
    print(page(Constants()))
