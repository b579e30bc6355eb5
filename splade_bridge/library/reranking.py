"""Reranking a run in one call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Unpack, cast

from splade_bridge.encoding.choices import FloatType, ScorerKind, ScorerOptions
from splade_bridge.errors import require
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.outputs import check_output
from splade_bridge.library import given
from splade_bridge.library.keywords import Pairing, Place, takes
from splade_bridge.library.search_run import RankedRun
from splade_bridge.retrieval.choices import RunFormat
from splade_bridge.retrieval.fusion import Ranking
from splade_bridge.retrieval.rerank import (
    PART_QUERIES,
    Reranker,
    RerankOptions,
    RerankSummary,
    rerank_to_run,
    rerank_with,
    write_rankings,
)
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import CorpusOptions, Role, Text, read_texts, texts_in_memory


class RerankedRun(RankedRun):
    """A reranked run.

    Attributes:
        summary: counts.
    """

    summary: RerankSummary


@takes(Pairing)
def rerank(
    run: Any,
    *,
    model: Place,
    corpus: Any,
    queries: Any,
    depth: int = 100,
    k: int = 1000,
    scorer: str = "cross-encoder",
    batch_size: int = 64,
    max_length: int | None = None,
    dtype: str = "float32",
    device: str | None = None,
    threads: int | None = None,
    part_queries: int = PART_QUERIES,
    id_field: str | None = None,
    text_field: str | None = None,
    title_field: str = "title",
    skip_others: bool = False,
    split: str | None = None,
    output: Place | None = None,
    output_format: str = "trec",
    tag: str = "splade-bridge",
    overwrite: bool = False,
    **pairing: Unpack[Pairing],
) -> RerankedRun:
    """Order the best documents of a run anew, by a model that reads their texts.

    docs/rerank.md states the conventions: ties, what lies below the depth, floats.

    Args:
        run: of any kind that :func:`evaluate` takes.
        model: a folder or a hub name.
        corpus: the documents' texts: a path or an ir_datasets id, an iterable of ``(id, text)`` or
            records, a mapping, a DataFrame.
        queries: their texts, likewise.
        depth: documents of a query that are scored, its best.
        k: documents a query.
        scorer: ``cross-encoder``, or ``dense`` or ``sparse`` for models that encode both sides.
        batch_size: pairs, or texts, at once.
        max_length: tokens that are read; None for the model's own limit, 256 of ``sparse``.
        dtype: of the model's weights: ``float32``, ``bfloat16`` or ``float16``.
        device: ``cpu``, ``cuda``, ``cuda:1``; None takes a GPU if there is one.
        threads: None leaves torch its own choice.
        part_queries: queries that are scored together.
        id_field, text_field, title_field: of records, where they have not the usual names.
        skip_others: leave out files of a folder that hold no texts; else they are an error.
        split: of the queries of a BEIR folder those that ``qrels/SPLIT.tsv`` judges.
        output: write a run, too; where all that is given are paths, a call that was stopped goes
            on when it is made again.
        output_format, tag: of that.
        overwrite: replace the file ``output``.
        revision, trust_remote_code: of the model; see :func:`open_index`.
        query_prompt, query_prompt_name, document_prompt, document_prompt_name: by side, of models
            that encode both.
        normalize: of these, too.
        query_mode: of ``sparse`` alone.

    Returns:
        ``{query id: {document id: score}}``, documents best first, with ``summary``.

    Raises:
        BadInputError: a broken or an empty run, a query or a document of it without text, or no
            such model.
        UsageError: an option out of range, or ``output`` exists.
        MissingToolError: torch or sentence-transformers is not installed, or the device not there.
    """
    require("encode", "a reranker")
    checkpoint = given.pair_choices(pairing)
    options = RerankOptions(
        depth,
        k,
        cast(ScorerKind, scorer),
        ScorerOptions(batch_size, max_length, cast(FloatType, dtype), device, threads, checkpoint),
        part_queries,
        cast(RunFormat, output_format),
        tag,
    )
    texts = CorpusOptions(id_field, text_field, title_field, skip_others)
    of_queries = CorpusOptions(id_field, text_field, title_field, skip_others, split)
    found = RerankedRun()

    def watch(stream: Iterable[Ranking], total: int | None = None) -> Iterator[Ranking]:
        for ranking in stream:
            query_id, doc_ids, scores = ranking
            found[query_id] = dict(zip(doc_ids, scores.tolist(), strict=True))
            yield ranking

    out = None if output is None else Path(output)
    if out is not None and all(map(given.is_place, (run, corpus, queries))):
        found.summary = rerank_to_run(
            Path(run), out, str(model), str(corpus), str(queries), options,
            texts=texts, split=split, overwrite=overwrite, watch=watch,
        )  # fmt: skip
        if not found:  # it was there already
            found.update(read_run(out))
        return found
    if out is not None:
        check_output(out, overwrite=overwrite, kind="file")
    with scratch_folder() as work:
        reranker = Reranker(
            Path(run) if given.is_place(run) else given.run(run),
            _texts(queries, "queries", of_queries),
            _texts(corpus, "documents", texts),
            work,
            options,
            str(model),
        )
        stream = watch(rerank_with(reranker, work))
        if out is None:
            results = sum(len(ranking.doc_ids) for ranking in stream)
        else:
            results = write_rankings(stream, out, options.run_format, options.tag)
        found.summary = RerankSummary(len(reranker.query_ids), results, reranker.pairs(), 0)
    return found


def _texts(texts: Any, role: Role, options: CorpusOptions) -> Iterator[Text]:
    if given.is_place(texts):
        return read_texts(str(texts), role, options)
    return texts_in_memory(given.items_of(texts), role, options)
