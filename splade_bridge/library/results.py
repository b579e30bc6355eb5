"""Searching, measuring, comparing and explaining in one call each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack, cast

from splade_bridge.engines.base import Searcher, limit_memory
from splade_bridge.engines.registry import open_indexes
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import UsageError
from splade_bridge.evaluation.choices import Missing
from splade_bridge.evaluation.evaluate import DEFAULT_MEASURES
from splade_bridge.evaluation.evaluate import evaluate as evaluate_run
from splade_bridge.evaluation.verify import verify as verify_searchers
from splade_bridge.files.address import Address
from splade_bridge.files.checks import unchecked
from splade_bridge.library import given
from splade_bridge.library.dense import OpenDenseIndex
from splade_bridge.library.indexes import OpenIndex, open_impacts, open_index
from splade_bridge.library.keywords import (
    AskingMany,
    AskingOne,
    Opening,
    Place,
    Running,
    Searching,
    part,
    takes,
)
from splade_bridge.library.search_run import SearchRun
from splade_bridge.library.shown import ContributionList, ShownEvaluation, ShownVerification


@takes(Searching)
def search(
    index: Place,
    queries: Any,
    *,
    algorithm: str | None = None,
    ef_search: int | None = None,
    **searching: Unpack[Searching],
) -> SearchRun:
    """Search an index once: :func:`open_index`, :meth:`OpenIndex.search`, and closed again.

    Args:
        index: folder or address of an index.
        queries: pre-encoded or, with ``model``, text; see :meth:`OpenIndex.search`.
        model, max_length, split, pre_encoded, allow_mismatch: see :func:`open_index`.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see there, too.
        scale, rounding, clip, no_check: see :func:`open_index`, too.
        two_step, first_query_terms, candidates, memory: see :func:`open_index`, too.
        field, vocabulary, filter, approximate: see :func:`open_index`, too.
        elasticsearch_frequency_ratio, elasticsearch_weight_ratio: see :func:`open_index`, too.
        impact_index_alpha, impact_index_beta, milvus_drop_ratio: see :func:`open_index`, too.
        postgresql_ef_search, seismic_query_cut, seismic_heap_factor: see :func:`open_index`, too.
        k, algorithm, threads, remove_query, max_passage, output, output_format, tag, overwrite:
            see :meth:`OpenIndex.search`.
        ef_search: of a graph of dense vectors; see :meth:`OpenDenseIndex.search`.

    Returns:
        ``{query id: {document id: score}}``, documents best first; ``to_pandas()`` makes
        PyTerrier's DataFrame of it.

    Raises:
        BadInputError, MismatchError, MissingToolError, UsageError, ExternalProgramError: see both.
    """
    running = part(Running, searching)
    with open_index(index, **part(Opening, searching)) as opened:
        if isinstance(opened, OpenDenseIndex):
            if algorithm is not None:
                raise UsageError(f"{index}: dense vectors have no algorithm: leave it out")
            return opened.search(queries, ef_search=ef_search, **running)
        if ef_search is not None:
            raise UsageError(f"{index}: ef_search is of a graph of dense vectors: leave it out")
        return opened.search(queries, algorithm=algorithm, **running)


def evaluate(
    qrels: Any,
    run: Any,
    *,
    measure: str | Sequence[str] = DEFAULT_MEASURES,
    split: str | None = None,
    missing: str = "zero",
) -> ShownEvaluation:
    """Measure a run against judgements, with trec_eval's rules for ties.

    Args:
        qrels: a TREC, BEIR or JSON file, a BEIR folder, an ir_datasets id;
            ``{query id: {document id: grade}}``; a DataFrame with ``qid``, ``docno``, ``label``;
            records with ``query_id``, ``doc_id``, ``relevance``.
        run: a TREC, MS MARCO or JSON file, or one of ``qid docid score``;
            ``{query id: {document id: score}}``; a DataFrame with ``qid``, ``docno``, ``score``;
            records with ``query_id``, ``doc_id``, ``score``.
        measure: one or more of ir_measures' names (``nDCG@10``) or trec_eval's
            (``ndcg_cut_10``); one string may hold several.
        split: which judgements of a BEIR folder; None for ``test``.
        missing: a judged query without results counts as 0 (``zero``) or is left out (``skip``).

    Returns:
        ``means`` by measure, ``per_query`` values, ``missing`` and ``unjudged`` queries; ``depth``
        of the run, and the measures ``beyond`` it, which a warning names.

    Raises:
        UsageError: an unknown measure, or a parameter of one that is out of range.
        MissingToolError: what computes a measure is not installed.
        BadInputError: a broken file, a score or grade that is no number, or run and judgements
            without a query in common.
    """
    measures = [measure] if isinstance(measure, str) else list(measure)
    found = given.run(run)
    # A query that found nothing is missing, as it is from a file.
    found = {query_id: documents for query_id, documents in found.items() if documents}
    evaluation = evaluate_run(
        given.qrels(qrels, split), found, measures, missing=cast(Missing, missing)
    )
    evaluation.warn_beyond(str(run) if given.is_place(run) else "the run")
    return ShownEvaluation(**vars(evaluation))


@takes(AskingMany)
def verify(
    indexes: Iterable[Place | OpenIndex],
    queries: Any,
    *,
    k: int = 1000,
    **asking: Unpack[AskingMany],
) -> ShownVerification:
    """Search several indexes with the same queries and compare each with the first.

    Args:
        indexes: two or more, paths, addresses or open ones.
        queries: see :meth:`OpenIndex.search`.
        model, max_length, split: for queries that are text.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see
            :func:`open_index`.
        pre_encoded, allow_mismatch: see :func:`open_index`.
        k: documents a query.
        scale, rounding, clip: how float weights of queries are quantized; None is 100.
        memory: see :func:`open_index`; of those that are Lucene's.
        field, vocabulary: see :func:`open_index`; of those that are addresses.
        no_check: see :func:`open_index`.

    Returns:
        ``equal``, and the first ``differences`` with query, rank, documents and terms; of an
        approximate index its ``recall``. A difference raises nothing here; the command line ends
        with status 7.

    Raises:
        UsageError: fewer than two indexes, or the first one is approximate.
        BadInputError: no index, or broken queries.
        MismatchError: queries and an index have nothing in common.
    """
    wanted = list(indexes)
    if len(wanted) < 2:
        raise UsageError("verify compares two or more indexes")
    asked = given.queries(queries, asking)
    places = [given.place(i) for i in wanted if not isinstance(i, OpenIndex)]
    how = given.asking(part(Opening, asking))
    if how != Asking() and not any(isinstance(place, Address) for place in places):
        raise UsageError(
            "field and vocabulary are for addresses, and there is none: leave them out"
        )
    with contextlib.ExitStack() as stack, unchecked(asking["no_check"]):
        opened = open_indexes(places, how)
        searchers: list[Searcher] = [
            i.searcher if isinstance(i, OpenIndex) else stack.enter_context(next(opened))
            for i in wanted
        ]
        memory = asking["memory"]
        limit_memory(searchers, None if memory is None else given.size(memory))
        return ShownVerification(**vars(verify_searchers(searchers, asked, k)))


@takes(AskingOne)
def explain(
    index: Place,
    query: str | Mapping[str, float],
    doc_id: str,
    **asking: Unpack[AskingOne],
) -> ContributionList:
    """What each term of a query adds to a document's score, as the engine has it.

    Args:
        index: folder or address of an index; see :meth:`OpenIndex.explain` for one that is open.
        query: ``{term: weight}``, or text with ``model``.
        doc_id: the document.
        model, max_length, allow_mismatch, scale, rounding, clip: see :func:`open_index`.
        revision, prompt, prompt_name, query_mode, normalize, trust_remote_code: see there, too.
        memory, field, vocabulary, no_check: see :func:`open_index`, too.

    Returns:
        ``term``, ``weight``, ``impact`` and ``score`` (their product) of each term of the query,
        the largest score first.

    Raises:
        BadInputError: no such index, model or document.
        UsageError: text without a model.
    """
    with open_impacts(index, **asking) as opened:
        return opened.explain(query, doc_id)
