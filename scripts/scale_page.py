"""Writes docs/scale.md from benchmarks/constants.json: what large collections need.

    .venv/bin/python scripts/scale_page.py > docs/scale.md

Every figure is a constant with the row of benchmarks/RESULTS.md that it was measured in, or follows
from constants in proportion; the page says which. After a new measurement the constant and its row
are changed, and the page is written anew (``scripts/docs`` does).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.data.invert import BYTES_KEPT
from splade_bridge.formats.ciff_messages import MAX_MESSAGE

ROOT = Path(__file__).resolve().parents[1]
CONSTANTS = ROOT / "benchmarks" / "constants.json"

MSMARCO_V2, GIGA = 138_364_198, 10**9
SIZES = {"138 M": MSMARCO_V2, "1 G": GIGA}
TOKENS = 75
"""Of a passage, on average, in the rows on cards."""
HIDDEN, TERMS = 768, 30_522
ID_BYTES = 8
"""What is kept of an id where ids that come twice must be noticed (ARCHITECTURE.md)."""
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
    ]
    for name, sheet in (("H100 (SXM)", c.h200_sheet), ("A100", c.a100_sheet), ("L4", c.l4_sheet)):
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
        "Lucene index": large["lucene"],
        "PISA index": large["pisa"],
        "temporary files of sorting": BYTES_KEPT,
    }


ENGINES = ("lucene", "pisa")


def builds(c: Constants) -> list[tuple[str, float, str]]:
    """Step, postings a second, and what it was measured on."""
    lucene = c.lucene_documents_rate * c.postings / c.documents
    return [
        ("CIFF from vectors", c.ciff_rate * 1e6, "10 M postings, quiet"),
        ("Lucene from vectors", lucene, "10 M postings, quiet"),
        ("Lucene, before lists were merged", c.postings / c.lucene_seconds, "1.4 G postings, busy"),
        ("PISA", c.postings / c.pisa_seconds, "1.4 G postings, busy"),
    ]


def search_ms(c: Constants, engine: str, k: int, documents: int) -> float:
    """Mean of a query by one thread, in proportion to the documents."""
    measured = c.all[f"{engine}_ms_{k}"]["value"]
    return float(measured) * documents / c.documents


def cores_to_search(c: Constants, documents: int) -> int:
    """Shards, each on a core of its own, that bring the mean to what is wanted (Lucene, k = 10)."""
    return math.ceil(search_ms(c, "lucene", 10, documents) / ONE.milliseconds)


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
        return f"**building** ({told(build)} h): shards, or `index` into Elasticsearch or OpenSearch"
    cores = cores_to_search(c, documents)
    size = postings(c, documents) * artefacts(c)["Lucene index"]
    if cores > ONE.cores or size > ONE.memory:
        return (
            f"**searching** ({cores} cores and {gigabytes(size)} of index): shards in "
            "Elasticsearch or OpenSearch, or two-step search over pruned shards"
        )
    return f"none: {cores} of its cores search, each a shard of the {gigabytes(size)}"


def told(value: float) -> str:
    """Three digits, or whole."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gigabytes(size: float) -> str:
    return f"{size / 1e12:.2f} TB" if size >= 1e12 else f"{told(size / 1e9)} GB"


def table(head: str, rows: Iterator[str]) -> Iterator[str]:
    yield f"| {head} |"
    yield "|---" * (head.count("|") + 1) + "|"
    yield from (f"| {row} |" for row in rows)
    yield ""


def page(c: Constants) -> str:
    """The whole page."""
    known = encoders(c)
    card = next(e for e in known if e.name == "one H200, 12 layers")
    processors = known[-1]
    mean = c.postings / c.documents
    sizes = list(SIZES.values())
    lines = [
        "# How far it goes: 138 million passages, and a thousand million",
        "",
        "Written by `scripts/scale_page.py` from `benchmarks/constants.json`, each of whose values stands in",
        "the row of [RESULTS.md](../benchmarks/RESULTS.md) that it names. **Measured** is what was run, on the",
        f"size that stands beside it: at most {c.documents:,.0f} synthetic documents with {c.postings / 1e9:.2f} G postings.",
        "**Extrapolated** is everything for larger collections and for other machines: in proportion to",
        "documents, postings, cores, or the matrix products of a card's data sheet. Nothing of 138 M passages",
        "or more was run.",
        "",
        f"138 M is MS MARCO v2 ({MSMARCO_V2:,} passages), 1 G is {GIGA:,}. Assumed of both: {mean:.1f} terms a",
        f"passage, as SPLADE-v3 gives those of MS MARCO v1, and {TOKENS} tokens.",
        "",
        "## Which step is the first to need a cluster",
        "",
        f"One machine is {ONE.cores} cores and {gigabytes(ONE.memory)} of memory; a step may take {ONE.hours:.0f} hours, a query",
        f"{ONE.milliseconds:.0f} ms on average (Lucene, k = 10). Extrapolated:",
        "",
    ]
    lines += table(
        "passages | encoded by | the first step that does not fit",
        (
            f"{name} | {e.name} | {first_cluster(c, n, e)}"
            for name, n in SIZES.items() for e in (card, processors)
        ),
    )  # fmt: skip
    lines += ["## Encoding", "", "Hours, text to Parquet. A card other than the H200 is taken to reach the same share of its data sheet, and"]
    lines += ["is held to what one H200 with 16 cores did end to end, since these cores tokenize and write for it."]
    lines += ["Processors are taken to scale with their cores.", ""]
    lines += table(
        "by | passages/s | | " + " | ".join(SIZES),
        (
            f"{e.name} | {told(e.rate)} | {'measured' if e.measured else 'extrapolated'} | "
            + " | ".join(told(e.hours(n)) for n in sizes)
            for e in known
        ),
    )
    lines += ["Several cards or machines divide the hours by their number: parts depend on their own texts alone,", "so nothing is exchanged before `merge`.", ""]
    lines += ["## Disk", "", "Bytes a posting are measured (engines on the large run, the others on 60,000 synthetic documents, temporary", "files by the code), the sizes extrapolated.", ""]
    lines += table(
        "artefact | bytes a posting | MS MARCO v1 (8.84 M) | " + " | ".join(SIZES),
        (
            f"{name} | {each:.2f} | "
            + " | ".join(gigabytes(each * postings(c, n)) for n in (8_841_823, *sizes))
            for name, each in artefacts(c).items()
        ),
    )
    lines += ["## Building", "", "Hours on two cores, extrapolated from the rate that was measured. Lucene has not been built at this size since", "its lists are merged, nor PISA read back with more than one thread: theirs are upper bounds.", ""]
    lines += table(
        "step | M postings/s, measured | on | " + " | ".join(SIZES),
        (
            f"{name} | {rate / 1e6:.2f} | {on} | "
            + " | ".join(told(postings(c, n) / rate / 3600) for n in sizes)
            for name, rate, on in builds(c)
        ),
    )
    full = MAX_MESSAGE / c.ciff_bytes
    lines += [
        "## Memory",
        "",
        "A build takes its budget (`--memory`), whatever the size, and beside it what is measured here for a budget",
        f"of 2 GB and {c.postings / 1e9:.2f} G postings: {c.lucene_memory:.2f} GB in all for Lucene, {c.pisa_memory:.2f} GB for PISA. {ID_BYTES} bytes an id are",
        f"held where ids that come twice must be noticed: extrapolated, {gigabytes(ID_BYTES * MSMARCO_V2)} for 138 M and {gigabytes(ID_BYTES * GIGA)} for 1 G.",
        "Searching maps the index; it is as fast as here while the index fits into memory.",
        "",
        "## Searching",
        "",
        "Milliseconds a query, mean of one thread, measured at 8.39 M documents and extrapolated in proportion. Synthetic",
        "documents draw their terms independently, which leaves less to skip than text does.",
        "",
    ]
    lines += table(
        "engine | k | measured | " + " | ".join(SIZES),
        (
            f"{engine} | {k} | {c.all[f'{engine}_ms_{k}']['value']:.1f} | "
            + " | ".join(f"{search_ms(c, engine, k, n):,.0f}" for n in sizes)
            for engine in ENGINES for k in (10, 1000)
        ),
    )  # fmt: skip
    lines += ["## Shards", "", "A shard is an index of some of the documents; results of shards are merged by score and id. The number that is", f"needed, extrapolated, is the largest of: cores that bring a query to {ONE.milliseconds:.0f} ms (a shard each), machines that hold", f"the index in {gigabytes(ONE.memory)}, and what formats hold.", ""]
    lines += table(
        "why | " + " | ".join(SIZES),
        iter([
            f"{ONE.milliseconds:.0f} ms, Lucene, k = 10 | " + " | ".join(f"{cores_to_search(c, n)} shards" for n in sizes),
            "the index in memory | " + " | ".join(f"{math.ceil(postings(c, n) * artefacts(c)['Lucene index'] / ONE.memory)} machines" for n in sizes),
            f"documents of a Lucene index, {MOST_LUCENE:,} | " + " | ".join(str(math.ceil(n / MOST_LUCENE)) for n in sizes),
            f"a list of a CIFF, 2 GiB: {full / 1e6:,.0f} M postings | " + " | ".join("any term" if n <= full else f"terms of up to {full / n:.0%} of the passages" for n in sizes),
        ]),
    )  # fmt: skip
    lines += ["## What is taken from where", ""]
    lines += table(
        "constant | value | of | from",
        (
            f"{name} | {each['value']:,} {each['unit']} | {each['what']} | {where(each)}"
            for name, each in c.all.items()
        ),
    )
    return "\n".join(lines).rstrip() + "\n"


def where(constant: dict[str, str]) -> str:
    """Where a constant is from."""
    if "source" in constant:
        return f"[data sheet]({constant['source']})"
    return f"`{constant['row'].strip('| ').replace('|', '/')}`"


if __name__ == "__main__":
    print(page(Constants()), end="")
