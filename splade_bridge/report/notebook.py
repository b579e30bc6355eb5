"""Results as HTML for the cell of a notebook: what ``_repr_html_`` of each gives back.

A piece brings its own style, and all of it below one class: it is read on a light and on a dark
page, and changes nothing of the page. Ids, terms and texts are data and are escaped, here as in
the report. What is long is cut, and the piece says so.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from splade_bridge.evaluation.evaluate import Evaluation
from splade_bridge.evaluation.verify import Difference, Verification
from splade_bridge.report import sentences, tables, text
from splade_bridge.report.beir_table import BeirTable
from splade_bridge.report.charts import Chart, latency_charts, size_charts
from splade_bridge.report.page import environment
from splade_bridge.report.results import Results
from splade_bridge.report.style import NOTEBOOK
from splade_bridge.report.tables import Column, Table
from splade_bridge.retrieval.explain import Contribution
from splade_bridge.retrieval.terms import Term

MOST_ROWS = 25
"""Terms, hits or differences that are shown."""
MOST_QUERIES, MOST_HITS = 4, 5
"""Queries of a run that are shown, and documents of each."""
LONGEST = 240
"""Characters of a text that are shown."""
ORIGIN = {True: "in the text", False: "added", None: ""}
TONE = {True: "typed", False: "expansion", None: ""}
"""The kind of a bar: of a term of the text it is full, of one that a model has added hollow."""


class Hit(NamedTuple):
    """A document of a ranking; ``share`` is of the best score of its query."""

    query_id: str
    rank: int
    doc_id: str
    score: float
    share: float


class Mean(NamedTuple):
    """A measure and its mean."""

    measure: str
    value: float


class Line(NamedTuple):
    """A row of a table of BEIR."""

    data_set: str
    values: Mapping[str, float]


def bag(terms: Sequence[Term]) -> str:
    """The terms of a text with their weights as bars, those that it holds and those added."""
    most = max((term.weight for term in terms), default=1.0)
    columns = [
        Column[Term]("term", lambda term: term.word),
        Column("weight", lambda term: _number(term.weight)),
        _bar(lambda term: term.weight / most, lambda term: TONE[term.original]),
    ]
    notes = [f"{len(terms):,} terms"]
    if any(term.original is not None for term in terms):
        held = sum(term.original is True for term in terms)
        columns.append(Column("", lambda term: ORIGIN[term.original], words=True))
        notes = [f"{len(terms):,} terms: {held:,} in the text, {len(terms) - held:,} added"]
    return _piece([Table("Terms of a text", columns, terms[:MOST_ROWS])], _cut(notes, len(terms)))


def contributions(found: Sequence[Contribution], held: Collection[str] | None = None) -> str:
    """What each term of a query adds to a document's score.

    Args:
        held: the terms that the query's text holds; None where only its vector is known.
    """
    rows = [each for each in found if each.score]
    most = max((each.score for each in rows), default=1.0)

    def origin(each: Contribution) -> bool | None:
        return None if held is None else each.term in held

    columns = [
        Column[Contribution]("term", lambda each: each.term),
        Column("in the query", lambda each: _number(each.weight)),
        Column("in the document", lambda each: _number(each.impact or 0)),
        Column("adds", lambda each: _number(each.score)),
        _bar(lambda each: each.score / most, lambda each: TONE[origin(each)]),
    ]
    if held is not None:
        columns.append(Column("in the query's text", lambda each: ORIGIN[origin(each)], words=True))
    caption = f"What each term adds: {found[0].doc_id}" if found else "What each term adds"
    notes = [f"{_number(sum(each.score for each in rows))} in sum"]
    if silent := len(found) - len(rows):
        notes[0] += f"; {silent:,} more terms of the query add nothing"
    return _piece([Table(caption, columns, rows[:MOST_ROWS])], _cut(notes, len(rows)))


def ranking(hits: Sequence[tuple[str, float]], texts: Mapping[str, str] | None = None) -> str:
    """The documents that one query has found, best first.

    Args:
        texts: by document id, where they are known.
    """
    columns = _of_hits()
    if texts is not None:
        columns.append(Column("", lambda hit: _excerpt(texts.get(hit.doc_id, "")), words=True))
    rows = _hits("", hits[:MOST_ROWS])
    return _piece(
        [Table("Documents, the best first", columns, rows)],
        _cut([f"{len(hits):,} documents"], len(hits)),
    )


def run(found: Mapping[str, Mapping[str, float]]) -> str:
    """The best documents of the first queries of a run."""
    first = list(found)[:MOST_QUERIES]
    rows = [
        hit for query_id in first for hit in _hits(query_id, list(found[query_id].items()))
        if hit.rank <= MOST_HITS
    ]  # fmt: skip
    results = sum(map(len, found.values()))
    notes = [f"{len(found):,} queries, {results:,} results"]
    if len(rows) < results:
        notes[0] += f"; the best {MOST_HITS} of the first {len(first)} are shown"
    if nothing := sum(not documents for documents in found.values()):
        notes.append(f"{nothing:,} queries have found nothing")
    columns = [Column[Hit]("query", lambda hit: hit.query_id), *_of_hits()]
    return _piece([Table("A run", columns, rows)], notes)


def _of_hits() -> list[Column[Hit]]:
    return [
        Column("rank", lambda hit: str(hit.rank)),
        Column("document", lambda hit: hit.doc_id, words=True),
        Column("score", lambda hit: _number(hit.score)),
        _bar(lambda hit: hit.share),
    ]


def _hits(query_id: str, hits: Sequence[tuple[str, float]]) -> list[Hit]:
    most = max((score for _, score in hits), default=0)
    return [
        Hit(query_id, rank, doc_id, score, score / most if most > 0 else 0)
        for rank, (doc_id, score) in enumerate(hits, start=1)
    ]


def measures(evaluation: Evaluation) -> str:
    """The means, and what counts in them."""
    columns = [
        Column[Mean]("measure", lambda mean: mean.measure),
        Column("mean", lambda mean: text.measured(mean.value)),
        _bar(lambda mean: mean.value if mean.value <= 1 else 0),
    ]
    notes = [f"{len(evaluation.per_query):,} judged queries count"]
    for what, names in (
        ("have found nothing", evaluation.missing), ("are not judged", evaluation.unjudged)
    ):  # fmt: skip
        notes += [f"{len(names):,} queries {what}: {_listed(names)}"] if names else []
    if evaluation.beyond:
        notes.append(
            f"the run holds at most {evaluation.depth} documents a query: "
            f"{_listed(evaluation.beyond)} look deeper"
        )
    rows = [Mean(*pair) for pair in evaluation.means.items()]
    return _piece([Table("Measures", columns, rows)], notes)


def verification(found: Verification) -> str:
    """Whether several indexes have said the same, and where not."""
    told = f"{found.queries:,} queries, {found.results:,} results"
    if found.equal:
        return _piece([], [f"{told}: equal in {1 + len(found.differing)} indexes"], title="Equal")
    columns = [
        Column[Difference]("query", lambda each: each.query_id),
        Column("rank", lambda each: str(each.rank)),
        Column("the first index", lambda each: _found(each.expected), words=True),
        Column("the other", lambda each: _found(each.found), words=True),
    ]
    if len(found.differing) > 1:
        columns.append(Column("which is", lambda each: each.index, words=True))
    rows = found.differences
    notes = [told, *(f"{index}: {n:,} queries differ" for index, n in found.differing.items() if n)]
    if len(rows) < sum(found.differing.values()):
        notes.append(f"the first {len(rows)} are shown")
    return _piece([Table("Where they differ first", columns, rows)], notes, title="Not equal")


def _found(hit: tuple[str, float] | None) -> str:
    return "nothing" if hit is None else f"{hit[0]} ({_number(hit[1])})"


def comparison(results: Results) -> str:
    """Quality against cost with the Pareto front drawn, what to take home, and all variants."""
    return _piece(
        [tables.variants(results)],
        [],
        title=results.title,
        warnings=sentences.warnings(results),
        findings=sentences.findings(results),
        charts=[*latency_charts(results), *size_charts(results)],
    )


def beir(found: Sequence[BeirTable]) -> str:
    """A table a measure, as papers print it."""
    shown = [
        Table(
            table.measure,
            [
                Column[Line]("data set", lambda line: line.data_set),
                *(_value(model) for model in (*table.models, *table.published)),
            ],
            [Line(*row) for row in table.values.items()],
        )
        for table in found
    ]
    return _piece(shown, list(dict.fromkeys(told for table in found for told in table.sources)))


def _value(model: str) -> Column[Line]:
    return Column(
        model, lambda line: text.measured(line.values[model]) if model in line.values else ""
    )


def _piece(
    shown: Sequence[Table[Any]],
    notes: Sequence[str],
    *,
    title: str = "",
    warnings: Sequence[str] = (),
    findings: Sequence[str] = (),
    charts: Sequence[Chart] = (),
) -> str:
    template = environment().get_template("notebook.html.jinja")
    return template.render(
        style=NOTEBOOK,
        title=title,
        warnings=warnings,
        findings=findings,
        charts=charts,
        tables=shown,
        notes=notes,
    )


def _bar(share: Any, tone: Any = None) -> Column[Any]:
    """A column of bars, of ``share`` of its width."""
    return Column("", lambda _: "", share=lambda row: min(1.0, max(0.0, share(row))), tone=tone)


def _cut(notes: list[str], rows: int) -> list[str]:
    """The notes, and what of so many rows is not shown."""
    return notes if rows <= MOST_ROWS else [*notes, f"{rows - MOST_ROWS:,} more are not shown"]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:.4f}"


def _excerpt(whole: str) -> str:
    """The beginning of a text, on one line."""
    words = " ".join(whole[: 4 * LONGEST].split())
    if len(words) <= LONGEST and len(whole) <= 4 * LONGEST:
        return words
    return f"{words[:LONGEST].rsplit(' ', 1)[0]} …"


def _listed(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
