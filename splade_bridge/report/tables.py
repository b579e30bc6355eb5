"""The tables of the report: what each column says of a row, as data.

How a table is written is ``parts.html.jinja``'s business; here stands what it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from splade_bridge.evaluation.significance import Comparison
from splade_bridge.report import text
from splade_bridge.report.published import Published
from splade_bridge.report.results import Results, TimedSearch, VariantResult

Row = TypeVar("Row")
Found = TypeVar("Found")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column of a table.

    Attributes:
        head: what stands above it.
        cell: what it says of a row.
        words: whether it holds words, which stand left; figures stand right.
        tone: ``up`` or ``down`` where the colour of a cell says something, else nothing.
        link: the address that a cell leads to.
        share: the length of a bar that stands in a cell instead, from 0 to 1; ``tone`` is its kind.
    """

    head: str
    cell: Callable[[Row], str]
    words: bool = False
    tone: Callable[[Row], str] | None = None
    link: Callable[[Row], str] | None = None
    share: Callable[[Row], float] | None = None


@dataclass(frozen=True)
class Table(Generic[Row]):
    """A table; the first column names its row.

    Attributes:
        marked: name of the row that stands out.
    """

    caption: str
    columns: Sequence[Column[Row]]
    rows: Sequence[Row]
    marked: str = ""


class Of(NamedTuple, Generic[Found]):
    """A row of something that was found out about a variant."""

    variant: VariantResult
    found: Found


class Cost(NamedTuple):
    """What one engine's index took, or (engine ``all``) what is not one engine's."""

    engine: str
    seconds: dict[str, float]
    bytes: int


def variants(results: Results) -> Table[VariantResult]:
    """Quality and size, a row a variant."""
    postings = results.base.postings
    columns = [
        Column[VariantResult]("variant", lambda v: v.name),
        *map(_mean, results.measures),
        Column("postings", lambda v: f"{v.postings:,}"),
        Column("share", lambda v: text.share(v.postings / postings)),
        Column("terms a document", lambda v: f"{v.postings / max(1, v.documents):.1f}"),
        Column("terms a query", lambda v: f"{v.query_terms:.1f}"),
        Column("QD-FLOPS", lambda v: "not told" if v.qd_flops is None else f"{v.qd_flops:.2f}"),
        *map(_size, results.engines),
    ]
    if any(v.encoding_ms is not None for v in results.variants):
        columns.append(Column("ms to encode a query", _encoding))
    if any(v.reranking_ms is not None for v in results.variants):
        columns.append(Column("ms to rerank a query", _reranking))
    columns.append(Column("made by", lambda v: "; ".join(v.steps) or "as it is", words=True))
    return Table("Quality and size of every variant", columns, results.variants, results.baseline)


def _mean(measure: str) -> Column[VariantResult]:
    return Column(measure, lambda v: text.measured(v.means[measure]))


def _size(engine: str) -> Column[VariantResult]:
    return Column(f"{engine} size", lambda v: text.size(v.index(engine).bytes))


def _encoding(variant: VariantResult) -> str:
    return text.milliseconds(variant.encoding_ms) if variant.encoding_ms else ""


def _reranking(variant: VariantResult) -> str:
    return text.milliseconds(variant.reranking_ms) if variant.reranking_ms else ""


def latencies(results: Results) -> Table[Of[TimedSearch]]:
    """Milliseconds a query, a row a variant, engine, algorithm and k."""
    columns = [
        Column[Of[TimedSearch]]("variant", lambda row: row.variant.name),
        Column("engine", lambda row: row.found.engine, words=True),
        Column("algorithm", lambda row: row.found.algorithm, words=True),
        Column("k", lambda row: str(row.found.k)),
        Column("mean", lambda row: text.milliseconds(row.found.mean)),
        Column("p50", lambda row: _percentile(row.found.p50)),
        Column("p95", lambda row: _percentile(row.found.p95)),
        Column("p99", lambda row: _percentile(row.found.p99)),
        Column("spread", lambda row: text.share(row.found.spread)),
    ]
    return Table(
        "Milliseconds a query; spread: how far the medians of the repeats lie apart",
        columns,
        [Of(v, t) for v in results.variants for t in v.latencies],
        results.baseline,
    )


def _percentile(value: float | None) -> str:
    return "not told" if value is None else text.milliseconds(value)


def tests(results: Results, measure: str) -> Table[Of[Comparison]]:
    """The paired tests of ``measure`` against the baseline, a row a variant."""
    columns = [
        Column[Of[Comparison]]("variant", lambda row: row.variant.name),
        Column(measure, lambda row: text.measured(row.found.mean_second)),
        Column("difference", lambda row: text.change(row.found.difference), tone=_tone),
        Column(f"{results.confidence:.0%} interval", _interval),
        Column("p", lambda row: text.p_value(row.found.corrected)),
        Column(
            "won / lost / equal",
            lambda row: f"{row.found.wins} / {row.found.losses} / {row.found.ties}",
        ),
    ]
    return Table(
        f"{measure} against {results.baseline}",
        columns,
        [Of(v, v.tests[measure]) for v in results.others()],
        results.baseline,
    )


def _tone(row: Of[Comparison]) -> str:
    if not row.found.significant:
        return ""
    return "up" if row.found.difference > 0 else "down"


def _interval(row: Of[Comparison]) -> str:
    if not row.found.interval:
        return ""
    low, high = row.found.interval
    return f"{text.change(low)} to {text.change(high)}"


def agreement(results: Results) -> Table[VariantResult]:
    """How far the rankings agree with the baseline's, a row a variant."""
    overlaps = sorted({k for v in results.others() for k in v.overlap})
    kept = sorted({k for v in results.variants for k in v.kept_exact})
    columns = [
        Column[VariantResult]("variant", lambda v: v.name),
        *map(_overlap, overlaps),
        Column(f"RBO ({results.persistence:g})", lambda v: text.measured(v.rbo or 0.0)),
        *map(_kept, kept),
    ]
    return Table(
        f"Agreement with {results.baseline}", columns, list(results.others()), results.baseline
    )


def _overlap(k: int) -> Column[VariantResult]:
    return Column(f"overlap@{k}", lambda v: text.measured(v.overlap[k]))


def _kept(k: int) -> Column[VariantResult]:
    return Column(
        f"exact top {k} kept",
        lambda v: text.measured(v.kept_exact[k]) if k in v.kept_exact else "",
    )


def published(results: Results) -> Table[Of[Published]]:
    """Others' figures of the same models beside ours."""
    columns = [
        Column[Of[Published]]("variant", lambda row: row.variant.name),
        Column("measure", lambda row: row.found.measure, words=True),
        Column("here", lambda row: text.measured(row.variant.means[row.found.measure])),
        Column("published", lambda row: text.measured(row.found.value)),
        Column(
            "difference",
            lambda row: text.change(row.variant.means[row.found.measure] - row.found.value),
        ),
        Column("source", lambda row: row.found.source, words=True, link=lambda row: row.found.link),
    ]
    return Table(
        f"Published figures of the same model on {results.collection}",
        columns,
        [Of(v, f) for v in results.variants for f in v.published],
        results.baseline,
    )


def costs(results: Results) -> Table[Of[Cost]]:
    """Seconds of each step and bytes, a row a variant and engine."""
    columns = [
        Column[Of[Cost]]("variant", lambda row: row.variant.name),
        Column("engine", lambda row: row.found.engine, words=True),
        Column("steps in seconds", _steps, words=True),
        Column("seconds", lambda row: text.seconds(sum(row.found.seconds.values()))),
        Column("bytes", lambda row: text.size(row.found.bytes)),
    ]
    return Table(
        "Time and space of each variant; index: reading, quantizing, pruning and building",
        columns,
        [Of(v, cost) for v in results.variants for cost in _costs_of(v)],
        results.baseline,
    )


def _costs_of(variant: VariantResult) -> list[Cost]:
    shared = Cost("all", variant.seconds, sum(variant.bytes.values()))
    return [
        *([shared] if variant.seconds or variant.bytes else []),
        *(Cost(i.engine, i.seconds, i.bytes) for i in variant.indexes),
    ]


def _steps(row: Of[Cost]) -> str:
    return ", ".join(f"{what} {text.seconds(s)}" for what, s in row.found.seconds.items())


def pairs(caption: str, told: dict[str, str]) -> Table[tuple[str, str]]:
    """Names and what is said of each, without heads."""
    columns = [
        Column[tuple[str, str]]("", lambda pair: pair[0]),
        Column("", lambda pair: pair[1], words=True),
    ]
    return Table(caption, columns, list(told.items()))
