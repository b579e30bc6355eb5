"""Building an index, and an open one that answers queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Unpack

from splade_bridge.conversion.load_index import check_unscaled
from splade_bridge.data.closing import Closing
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import Manifest
from splade_bridge.embeddings.index import is_dense_index
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.registry import LISTED, own_options
from splade_bridge.engines.registry import engine as engine_named
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address
from splade_bridge.files.checks import unchecked
from splade_bridge.formats.base import ImpactSource, WeightSource
from splade_bridge.formats.queries import Queries
from splade_bridge.library.dense import OpenDenseIndex, open_dense
from splade_bridge.library.given import (
    asking,
    model_choices,
    place,
    quantize_options,
    queries,
    run_file,
    size,
    source_opener,
    weights_opener,
)
from splade_bridge.library.keywords import (
    AskingMany,
    Opening,
    Place,
    Quantizing,
    Reading,
    Running,
    part,
    takes,
)
from splade_bridge.library.loading import loaded, refuse_loading
from splade_bridge.library.search_run import SearchRun, search_options
from splade_bridge.library.shown import ContributionList, HitList
from splade_bridge.retrieval.encode_queries import QueryEncoder
from splade_bridge.retrieval.explain import explain
from splade_bridge.retrieval.search import (
    Beside,
    SearchOptions,
    open_searcher,
    ranked,
    search_to_run,
)

ONLY = "query"
"""The id of a query that is asked alone."""


def index(
    source: Any,
    output: Place,
    *,
    engine: str | None = None,
    from_: str | None = None,
    scale: float | None = None,
    rounding: str | None = None,
    clip: int | None = None,
    skip_others: bool = False,
    ciff_docids: str = "gaps",
    vocabulary: Place | None = None,
    field: str | None = None,
    threads: int = 1,
    memory: int | str = DEFAULT_MEMORY,
    update: bool = False,
    with_contents: Place | None = None,
    fields: str | Iterable[str] | None = None,
    shards: int | None = None,
    replicas: int | None = None,
    merge: bool = False,
    check: str | None = None,
    allow_loss: bool = False,
    keep_weights: bool = False,
    approximate: bool = False,
    alias: str | None = None,
    drop_old: bool = False,
    no_check: bool = False,
    overwrite: bool = False,
    **engine_options: Any,
) -> Manifest:
    """Build an index, and check that the engine holds all that was given.

    Args:
        source: the path of a vector store, an export, a JsonVectorCollection, CIFF or forward
            store; an address; what :func:`encode`, :func:`quantize` or :func:`prune` returned; an
            iterable of ``(id, {term: number})`` or of records with an id and a ``vector``; a
            mapping; a DataFrame with such columns. Integers are impacts and taken as they are;
            floats are weights and quantized.
        output: folder of the new index, or an address.
        engine: ``lucene``, ``pisa``, ``exact``, ``seismic`` or ``impact-index``; an address says it
            itself.
        from_: ``vectors``, ``jsonvector``, ``ciff`` or ``forward``, where a path is unclear.
        scale: impact = weight x scale, rounded. None is 100 for weights, but files with float
            weights must be told, as on the command line. Integers are impacts already, and a
            scale for them is refused.
        rounding: ``nearest`` (half to even; None) or ``down``.
        clip: cut impacts to this, and count it.
        skip_others: leave out files of a folder that hold no vectors; else they are an error.
        ciff_docids: ``absolute`` for a CIFF file whose postings hold docids and not gaps, as an
            early jsonl2ciff wrote them.
        vocabulary: what term ids of a matrix, a table or an index that others made stand for: a
            file, or a checkpoint's folder.
        field: of a source that is an address, and that others made: the one with the vectors.
        threads: of an engine that can use several.
        memory: budget for sorting, in bytes or as ``"500M"``, ``"2G"``.
        update: at an address, add the documents to the index that is there; one of the same id is
            replaced as a whole.
        with_contents: at an address, store the texts of this corpus, which was encoded, too.
        fields: further fields of that corpus to be stored, for ``filter``: ``NAME`` or
            ``NAME:TYPE``, see docs/engines.md.
        shards, replicas: of a new index at an address.
        merge: at an address, merge into one segment at the end.
        check: at an address, what is compared in the end: ``full``, ``sample`` or ``count``.
        allow_loss: at an address, load though the engine will change some weights.
        keep_weights: at an address, load float weights as they are, and no impacts made of them,
            where the engine keeps them.
        approximate: at an address, take options of the engine that make results approximate, as
            ``postgresql_hnsw``.
        alias: stands for the index at an address, once it is whole and checked.
        drop_old: throw away the index that ``alias`` stood for.
        no_check: do not compare the files of ``source`` with the hashes in its manifest.
        overwrite: replace an artefact of ours at ``output``.
        engine_options: named like the flags, as ``pisa_encoding="block_qmx"``.

    Returns:
        The manifest of the index: counts of documents, postings and impacts, read back from the
        engine; scale, and what was dropped or clipped.

    Raises:
        BadInputError: a broken or empty source; of one in memory the document is named by its
            place.
        UsageError: ``output`` exists, or an option that the engine does not take.
        MismatchError: ``update`` with documents of another model, side, scale or vocabulary.
        MissingToolError: the engine is not installed.
        ExternalProgramError: the engine failed, or its counts differ from the input's.
    """
    out = place(output)
    loading: dict[str, Any] = {
        "update": update,
        "with_contents": None if with_contents is None else str(with_contents),
        "fields": fields,
        "shards": shards,
        "replicas": replicas,
        "merge": merge,
        "check": check,
        "allow_loss": allow_loss,
        "keep_weights": keep_weights,
        "approximate": approximate,
        "alias": alias,
        "drop_old": drop_old,
    }
    quantize = quantize_options(scale, rounding, clip)
    reading: Reading = {
        "from_": from_,
        "memory": memory,
        "skip_others": skip_others,
        "ciff_docids": ciff_docids,
        "vocabulary": vocabulary,
        "field": field,
        "no_check": no_check,
    }
    if isinstance(out, Address):
        if engine is not None or threads != 1:
            raise UsageError(f"{out}: the address says the engine: leave engine and threads out")
        options = own_options(out.scheme, engine_options)
        kept: Callable[[], ImpactSource | WeightSource]
        if keep_weights:
            check_unscaled(quantize)
            kept = weights_opener(source, reading)
        else:
            kept = source_opener(source, reading, quantize=quantize)
        return loaded(kept, source, out, quantize, options, **loading, overwrite=overwrite)
    refuse_loading(out, loading)
    opened = source_opener(
        source,
        reading,
        quantize=quantize,
        temporary=out.parent if out.parent.exists() else None,
        once=True,
    )
    if engine is None:
        raise UsageError(f"engine is missing: {LISTED}; or give an address as output")
    builder = engine_named(engine, own_options(engine, engine_options))
    return builder.build(opened(), out, BuildOptions(threads, size(memory)), overwrite=overwrite)


@takes(Opening)
def open_index(index: Place, **opening: Unpack[Opening]) -> OpenIndex | OpenDenseIndex:
    """An index of ours, or an impact index that Anserini made, kept open for many searches.

    An index of dense vectors is opened as :class:`OpenDenseIndex`, which searches in the same way;
    ``pre_encoded``, ``scale``, ``rounding``, ``clip``, ``two_step`` and ``memory`` are not for it.

    Args:
        index: its folder, or its address.
        model: checkpoint, a folder or a hub name, that encodes queries which are text; loaded now.
        max_length: of a text query, in tokens.
        revision: branch, tag or commit of a hub name; None for its main branch.
        prompt: put in front of every query; None for what the checkpoint says of its side.
        prompt_name: the one of the checkpoint's prompts that is put there.
        query_mode: what encodes queries: the ``model``'s own query encoder; ``bow``, each token
            with weight 1; ``idf``, each token with its weight in the checkpoint's table.
        normalize: make every vector of length 1, as for a comparison by cosine.
        trust_remote_code: run code that comes with the checkpoint, which may do anything.
        split: of the queries of a BEIR folder those that ``qrels/SPLIT.tsv`` judges.
        pre_encoded: take queries that look like text for what they are: tokens.
        allow_mismatch: search documents of one model with queries of another, with vectors of the
            other side, or an index of plain text; else they are refused.
        scale, rounding, clip: how float weights of queries are quantized; None is 100.
        two_step: forward store whose full vectors score what the index (a pruned one) found.
        first_query_terms: with ``two_step``, the heaviest terms of a query that the index is asked.
        candidates: with ``two_step``, documents a query that are scored: None is 1000, and k where
            that is more.
        memory: heap of the JVM that a Lucene index is open in, in bytes or as ``"4G"``; None is
            1 GiB. Other engines map their files and take no such limit.
        field: of an address that others made: the one that holds the vectors.
        vocabulary: of an address that others made: what its dimensions stand for, a file or a
            checkpoint's folder.
        filter: of an address: find no other documents than these, as its engine filters; text, or
            what is JSON there. See docs/engines.md.
        approximate: let the engine give approximate results, by its own options.
        elasticsearch_frequency_ratio, elasticsearch_weight_ratio: these of Elasticsearch.
        impact_index_alpha, impact_index_beta: these of impact-index.
        milvus_drop_ratio, postgresql_ef_search: these of Milvus and of PostgreSQL.
        seismic_query_cut, seismic_heap_factor: these of Seismic.
        no_check: do not compare the files that are opened with the hashes in their manifests,
            or those of an index without one with Lucene's checksums.

    Raises:
        BadInputError: not an index, or a damaged one, or no such model.
        UsageError: ``memory`` for an engine that takes none, or an option for another one.
        MismatchError: index and forward store do not belong together.
        MissingToolError: its engine is not installed.
    """
    where = place(index)
    asked, checkpoint = asking(opening), model_choices(opening)
    memory, two_step = opening["memory"], opening["two_step"]
    if isinstance(where, Path) and is_dense_index(where):
        sparse = (*part(Quantizing, opening).values(), two_step, opening["first_query_terms"],
                  opening["candidates"], memory, opening["pre_encoded"] or None)  # fmt: skip
        if any(option is not None for option in sparse) or asked != Asking():
            raise UsageError(
                f"{index}: is an index of dense vectors; pre_encoded, scale, rounding, clip, "
                "two_step, memory, field, vocabulary, filter and approximate are of those of "
                "impacts: leave them out"
            )
        return open_dense(index, opening)
    quantize = quantize_options(**part(Quantizing, opening))
    options = SearchOptions(
        k=1,
        two_step=Path(two_step) if two_step is not None else None,
        first_query_terms=opening["first_query_terms"],
        candidates=opening["candidates"],
        memory=None if memory is None else size(memory),
        asking=asked,
    )
    with unchecked(opening["no_check"]):
        searcher = open_searcher(where, options)
    try:
        model, encoder = opening["model"], None
        if model is not None:
            encoder = QueryEncoder(str(model), quantize, opening["max_length"], checkpoint)
    except BaseException:
        searcher.close()
        raise
    return OpenIndex(searcher, encoder, opening)


def open_impacts(index: Place, **opening: Unpack[Opening]) -> OpenIndex:
    """The same for whom an index of dense vectors is of no use.

    Raises:
        BadInputError: it is one.
        SpladeBridgeError: see :func:`open_index`.
    """
    where = place(index)
    if isinstance(where, Path) and is_dense_index(where):
        open_searcher(where, SearchOptions(k=1))  # which says what it is for
    found = open_index(index, **opening)
    assert isinstance(found, OpenIndex)
    return found


class OpenIndex(Closing):
    """An index that is open; made by :func:`open_index`. A context manager.

    Several threads may search it at a time; text queries are encoded one after the other.

    Attributes:
        path: of the index, or its address.
        manifest: provenance and counts; None for an index that another tool made.
        algorithms: what ``algorithm`` may be, beside ``auto``; the default first.
    """

    def __init__(
        self, searcher: Searcher, encoder: QueryEncoder | None, asking: AskingMany
    ) -> None:
        self.searcher = searcher
        self.path = searcher.path
        self.manifest: Manifest | None = searcher.manifest
        self.algorithms: tuple[str, ...] = searcher.algorithms
        self._encoder, self._asking = encoder, asking

    def queries(self, given: Any) -> Queries:
        """Queries of any kind that :meth:`search` takes, read and quantized."""
        return queries(given, self._asking, self._encoder)

    @takes(Running)
    def search(
        self,
        queries: Any,
        *,
        algorithm: str | None = None,
        **running: Unpack[Running],
    ) -> SearchRun:
        """The best ``k`` documents of every query, those of equal scores by id ascending.

        Args:
            queries: a path; an iterable of ``(id, {term: weight})`` or, with a model, of
                ``(id, text)``, records or strings (named ``"0"``, ``"1"`` ...); a mapping from id
                to either; a DataFrame with ``qid`` and ``query`` or ``query_toks``; what
                :func:`encode` returned.
            k: documents a query.
            algorithm: one of :attr:`algorithms`, or ``auto`` for the fastest, measured once. All
                give the same results.
            threads: queries that are searched at a time.
            remove_query: leave out the document whose id is the query's.
            max_passage: rank documents by their best passage: ids lose their last ``#number``.
            output: write a run file, too, whole or not at all.
            output_format: ``trec`` or ``msmarco``.
            tag: last column of a TREC run.
            overwrite: replace the file ``output``.

        Raises:
            BadInputError: broken queries; in memory a query is named by its place.
            MismatchError: queries and index have nothing in common.
            UsageError: text without a model, an unknown algorithm, ``output`` exists.
            ExternalProgramError: the engine died.
        """
        options = search_options(running, algorithm=algorithm)
        out = run_file(running["output"], overwrite=running["overwrite"])
        return _collected(self.searcher, self.queries(queries), options, out)

    def search_one(
        self, query: str | Mapping[str, float], *, k: int = 10, algorithm: str | None = None
    ) -> HitList[int]:
        """The best ``k`` documents of one query, as ``(document id, score)``.

        Args:
            query: ``{term: weight}``, or text where the index was opened with a model. Terms that
                the index does not know match nothing.
            k: documents at most.
            algorithm: see :meth:`search`.

        Raises:
            BadInputError, UsageError, ExternalProgramError: as :meth:`search`.
        """
        asked = self.queries([(ONLY, query)])
        self.searcher.meet(asked.vocabulary)
        if not any(term in self.searcher.vocabulary for term in _terms(asked)):
            return HitList()
        options = SearchOptions(k=k, algorithm=algorithm)
        *_, (hits,) = ranked(self.searcher, asked, options, algorithm)
        return HitList(zip(hits.doc_ids, hits.scores.tolist(), strict=True))

    def explain(self, query: str | Mapping[str, float], doc_id: str) -> ContributionList:
        """What each term of ``query`` adds to the score of a document, the largest part first.

        Args:
            query: as :meth:`search_one` has it.
            doc_id: the document.

        Returns:
            Contributions with ``term``, ``weight`` (of the query), ``impact`` (of the document) and
            ``score``, their product. A notebook shows them as bars, and of a text query which terms
            it holds and which the model has added.

        Raises:
            BadInputError: there is no such document.
        """
        found = explain(self.searcher, self.queries([(ONLY, query)]), ONLY, doc_id)
        held = None
        if self._encoder is not None and isinstance(query, str):
            held = self._encoder.held(query)
        return ContributionList(found, held)

    def close(self) -> None:
        """End what the engine has running."""
        self.searcher.close()


def _collected(
    searcher: Searcher, queries: Queries, options: SearchOptions, out: Path | None = None
) -> SearchRun:
    """What a search finds, as a run in memory; written to ``out``, too, if there is one."""
    run = SearchRun()
    run.summary = search_to_run(searcher, queries, out, options, Beside(watch=run.filled_by))
    return run


def _terms(asked: Queries) -> Iterator[str]:
    return (asked.vocabulary[i] for i in asked.batch.indices.tolist())
