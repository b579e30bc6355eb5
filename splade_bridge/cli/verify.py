"""``splade-bridge verify``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from splade_bridge.cli.groups import ModelFlags, OpenFlags, QueryFlags
from splade_bridge.cli.marks import READS
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import QUERIES, Hits, Json, NoCheck
from splade_bridge.cli.telling import note, print_json
from splade_bridge.data.choices import Side
from splade_bridge.errors import CheckFailedError, UsageError
from splade_bridge.files.address import Address, Place

NAME = "verify"
OF_PROBE = (
    "indexes", "model", "max_length", "probe", "probe_query", "revision", "trust_remote_code",
    "json", "verbose",
)  # fmt: skip
"""What --probe heeds."""


@dataclass(frozen=True, kw_only=True)
class AskedFlags(QueryFlags):
    """The same, queries not needed where a model is probed."""

    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            "-q",
            metavar=QUERIES,
            help="Queries: pre-encoded (TSV of repeated tokens, JSON lines with vectors, a vector "
            "store), or text with --model.",
            show_default=False,
        ),
        READS,
    ] = None  # type: ignore[assignment]


def command(
    context: typer.Context,
    indexes: Annotated[
        list[Place], typer.Argument(help="Two or more indexes; one address with --probe.")
    ],
    asked: AskedFlags = AskedFlags(),
    probe: Annotated[
        str | None,
        typer.Option(
            "--probe",
            metavar="ID",
            help="Compare the model that the engine runs under this id with --model, by a short "
            "and a long text on both sides.",
            show_default=False,
        ),
        needs("--model"),
    ] = None,
    probe_query: Annotated[
        str | None,
        typer.Option(
            "--probe-query",
            metavar="ID",
            help="The engine's model of queries, where that is another.",
            show_default="--probe",
        ),
        needs("--probe"),
    ] = None,
    k: Hits = 1000,
    opening: OpenFlags = OpenFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Compare what several indexes find. All are asked the same queries; the first is what
    others must equal.

    On a difference it names query, rank, document and the terms that differ, and exits with 7.
    """
    if probe is not None:
        _only_for_probe(context)
        models: dict[Side, str] = {"document": probe, "query": probe_query or probe}
        _probe(indexes, asked, models, checkpoint, json=json)
        return
    from splade_bridge.engines.base import limit_memory
    from splade_bridge.engines.registry import open_indexes
    from splade_bridge.evaluation.verify import check_count, verify

    if asked.queries is None:
        raise UsageError("no queries: pass --queries, or --probe for a model inside an engine")
    check_count(indexes)
    limit, loaded = opening.limit, asked.load(opening, checkpoint)
    with contextlib.ExitStack() as stack:
        searchers = [stack.enter_context(s) for s in open_indexes(indexes, opening.asking)]
        limit_memory(searchers, limit)
        result = verify(searchers, loaded, k)
    if json:
        print_json({"equal": result.equal, **vars(result)})
    for difference in result.differences if not json else []:
        note(
            f"{difference.index}: query {difference.query_id}, rank {difference.rank}: "
            f"{_hit(difference.found)}, but {_hit(difference.expected)} in {indexes[0]}"
        )
        for term in difference.terms:
            impact = "no such document" if term.impact is None else f"impact {term.impact}"
            note(f"    {term.index}: document {term.doc_id}, term {term.term!r}: {impact}")
    for path, share in result.recall.items() if not json else []:
        told = ", ".join(f"{value:.2%} of the top {cut}" for cut, value in share.items())
        note(f"{path}: approximate; of the exact results it finds {told}")
    if not result.equal:
        differing = ", ".join(f"{n} in {path}" for path, n in result.differing.items() if n)
        raise CheckFailedError(
            f"{result.queries:,} queries compared, results differ for {differing}"
        )
    exact = len(indexes) - len(result.recall)
    if not json and exact > 1:
        note(
            f"all {exact} indexes agree: {result.queries:,} queries, {result.results:,} "
            f"results at k = {k}, the same scores and order"
        )


def _only_for_probe(context: typer.Context) -> None:
    """Refuse flags that are of indexes and their queries."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in OF_PROBE and source is not None and source.name != "DEFAULT":
            flag = "--" + name.replace("_", "-")
            raise UsageError(f"{flag} has no effect with --probe: leave one of them out")


def _probe(
    indexes: Sequence[Place],
    asked: QueryFlags,
    engine_models: dict[Side, str],
    checkpoint: ModelFlags,
    *,
    json: bool,
) -> None:
    from splade_bridge.evaluation.probe import probe

    [place, *others] = indexes
    if others or not isinstance(place, Address):
        raise UsageError(
            "--probe asks one engine: give one address, as opensearch://localhost:9200/passages"
        )
    assert asked.model is not None
    found = probe(place, asked.model, engine_models, asked.max_length, checkpoint.choices)
    if json:
        print_json({"agree": all(p.equal for p in found), "probes": found})
    for p in found if not json else []:
        said = f"{p.side} {p.engine_model}, the {p.text} text of {p.tokens:,} tokens"
        if p.equal:
            note(f"{said}: the same {p.terms:,} terms, within {p.largest_difference:.1e}")
            continue
        why = ""
        if p.engine_max_length is not None:
            why = f"; it reads up to {p.engine_max_length} tokens"
        note(
            f"{said}: {p.terms:,} terms here and {p.engine_terms:,} there; {p.term!r} is "
            f"{p.weight:.4f} here and {p.engine_weight:.4f} there{why}"
        )
    if differing := [p for p in found if not p.equal]:
        hint = "it was imported without pooling over positions, or from another checkpoint"
        if not any(p.text == "short" for p in differing):
            hint = "texts are cut at another length there: --max-length says what is read here"
        models = " and ".join(dict.fromkeys(p.engine_model for p in differing))
        raise CheckFailedError(f"{place.server}: {models} does not say what --model does: {hint}")


def _hit(hit: tuple[str, int] | None) -> str:
    return f"{hit[0]} with {hit[1]:,}" if hit else "the end of the list"
