"""Quality of a model in training: retrieval with the exact engine over a sampled collection."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.evaluation import BaseEvaluator

from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.encoding.tokens import terms_of
from splade_bridge.engines.exact import ExactEngine
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import Qrels, read_qrels
from splade_bridge.files.locks import scratch_folder
from splade_bridge.formats.base import BatchSource
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.max_first import only_terms
from splade_bridge.training.model import transformers_of
from splade_bridge.training.options import ValidationOptions

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

log = logging.getLogger(__name__)

MEASURES = ("nDCG@10", "RR@10")
DEPTH = 10
ENCODED_AT_ONCE = 1000


@dataclass(frozen=True)
class ValidationSet:
    """Judged queries with a collection that holds all of their judged documents.

    Attributes:
        documents: id -> text.
        queries: id -> text.
        qrels: of these queries.
        remove_query: the document with a query's id is not found by it.
    """

    documents: dict[str, str]
    queries: dict[str, str]
    qrels: Qrels
    remove_query: bool = False


def load_validation(options: ValidationOptions, seed: int) -> ValidationSet:
    """Read the collection once and draw the sample, the same for the same seed.

    Judged documents that the corpus lacks are counted in a warning; like trec_eval, measures count
    them as documents that were not found.

    Raises:
        BadInputError: no judged query has a text, or the corpus has none of the relevant documents.
    """
    qrels = read_qrels(options.qrels, pipe=False)
    queries = {q.id: q.text for q in read_texts(options.queries, "queries") if q.id in qrels}
    queries = {q: text for q, text in queries.items() if any(g > 0 for g in qrels[q].values())}
    if not queries:
        raise BadInputError("none of its queries has a relevant document", options.queries)
    rng = random.Random(seed)
    if 0 < options.max_queries < len(queries):
        chosen = set(rng.sample(sorted(queries), options.max_queries))
        queries = {q: text for q, text in queries.items() if q in chosen}
    qrels = {q: qrels[q] for q in queries}
    judged = {doc_id for grades in qrels.values() for doc_id in grades}
    kept: dict[str, str] = {}
    pool: list[tuple[str, str]] = []
    room = max(0, options.max_documents - len(judged)) if options.max_documents else None
    seen = 0
    for text in read_texts(options.corpus):
        if text.id in judged:
            kept[text.id] = text.text
            continue
        seen += 1
        if room is None or len(pool) < room:
            pool.append((text.id, text.text))
        elif (place := rng.randrange(seen)) < room:  # reservoir sampling: one pass, any corpus
            pool[place] = (text.id, text.text)
    wanted = {d for grades in qrels.values() for d, grade in grades.items() if grade > 0}
    if wanted.isdisjoint(kept):
        raise BadInputError(
            f"has none of the {len(wanted):,} documents that {options.qrels} calls relevant, as "
            f"{min(wanted)}",
            options.corpus,
        )
    if lacking := sorted(judged - kept.keys()):
        log.warning(
            "%s lacks %d of %d judged documents, as %s; the relevant ones count as not found",
            options.corpus,
            len(lacking),
            len(judged),
            lacking[0],
        )
    return ValidationSet(kept | dict(pool), queries, qrels, options.remove_query)


class RetrievalEvaluator(BaseEvaluator):  # type: ignore[misc]
    """Encodes the set, searches it with the exact engine, and measures with ``evaluate``.

    Besides nDCG@10 and RR@10 it gives ``document_terms`` and ``query_terms`` (mean number of
    impacts) and ``flops``: sum over terms of P(term in a query) x P(term in a document), the
    additions of an average query and document (Paria et al., arXiv:2004.05665). All of them are
    of impacts at scale 100, as an index would hold them. With ``count_documents``,
    ``document_terms`` is of a sample; the other figures are the same.
    """

    def __init__(
        self,
        validation: ValidationSet,
        batch_size: int,
        dtype: torch.dtype | None,
        count_documents: int = 0,
    ) -> None:
        super().__init__()
        self._set = validation
        self._batch_size = batch_size
        self._dtype = dtype
        self._count = count_documents

    def __call__(
        self,
        model: SparseEncoder,
        output_path: str | None = None,
        epoch: float = -1,
        steps: int = -1,
    ) -> dict[str, float]:
        """Names and values of the measures."""
        return self.measure(model, steps)[0]

    def measure(
        self, model: SparseEncoder, steps: int = -1
    ) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
        """Names and values of the measures, and query id -> measure -> value."""
        tokenizer = transformers_of(model)[-1].tokenizer
        width = model.get_embedding_dimension() or len(tokenizer)
        vocabulary, columns = terms_of(tokenizer, width, "the tokenizer")
        encoder = _Impacts(model, self._batch_size, self._dtype, columns, width)
        queries = ImpactBatch.concat(encoder(self._set.queries, "query"))
        asked = torch.from_numpy(columns[np.unique(queries.indices)]).to(model.device)
        documents, counted = self._documents(model, encoder, asked)
        figures = _sizes(documents, queries, counted, len(vocabulary))
        if not figures["document_terms"] or not figures["query_terms"]:
            log.warning("at step %d no text has a term any more", steps)
            nothing = dict.fromkeys(MEASURES, 0.0)
            return nothing | figures, dict.fromkeys(self._set.qrels, nothing)
        with scratch_folder() as folder:
            index = folder / "index"
            engine = ExactEngine()
            manifest = engine.build(BatchSource(Path("validation"), documents, vocabulary), index)
            with engine.open(index, manifest) as searcher:
                run = {
                    hits.query_id: dict(zip(hits.doc_ids, hits.scores.tolist(), strict=True))
                    for hits in searcher.search(queries, DEPTH + self._set.remove_query)
                }
        if self._set.remove_query:
            for query_id, found in run.items():
                found.pop(query_id, None)  # measures look at the first DEPTH alone
        measured = evaluate(self._set.qrels, run, MEASURES)
        return {**measured.means, **figures}, measured.per_query

    def _documents(
        self, model: SparseEncoder, encoder: _Impacts, asked: torch.Tensor
    ) -> tuple[list[ImpactBatch], list[ImpactBatch]]:
        """All documents, and those whose terms are counted: the same, or a sample.

        Where it is a sample, the others have their weights of the terms ``asked`` (int64[n]) alone.
        """
        texts = self._set.documents
        if 0 < self._count < len(texts):
            with only_terms(model, asked) as fewer:
                documents = list(encoder(texts, "document")) if fewer else []
            if fewer:
                drawn = random.Random(0).sample(sorted(texts), self._count)
                return documents, list(encoder({i: texts[i] for i in drawn}, "document"))
        documents = list(encoder(texts, "document"))
        return documents, documents


class _Impacts:
    """Encodes texts as the model stands, and quantizes them."""

    def __init__(
        self,
        model: SparseEncoder,
        batch_size: int,
        dtype: torch.dtype | None,
        columns: np.ndarray,
        width: int,
    ) -> None:
        self._model, self._batch_size, self._dtype = model, batch_size, dtype
        self._places = np.full(width, -1, dtype=np.int64)
        self._places[columns] = np.arange(len(columns))

    def __call__(self, texts: dict[str, str], side: str) -> Iterator[ImpactBatch]:
        quantizer = Quantizer(QuantizeOptions())
        encode = getattr(self._model, f"encode_{side}")
        ids = list(texts)
        for start in range(0, len(ids), ENCODED_AT_ONCE):
            part = ids[start : start + ENCODED_AT_ONCE]
            with torch.autocast(
                self._model.device.type, self._dtype, enabled=self._dtype is not None
            ):
                found = encode(
                    [texts[i] for i in part],
                    batch_size=self._batch_size,
                    show_progress_bar=False,
                    convert_to_sparse_tensor=True,
                    save_to_cpu=True,
                )
            yield quantizer(self._batch(part, found.coalesce()))

    def _batch(self, ids: list[str], found: Any) -> SparseBatch:
        rows, terms = found.indices().numpy()
        places, weights = self._places[terms], found.values().float().numpy()
        keep = (places >= 0) & (weights > 0)
        # Terms are numbered in the order of their tokens, so rows stay sorted.
        return SparseBatch(
            ids,
            row_pointers(np.bincount(rows[keep], minlength=len(ids))),
            places[keep].astype(np.int32),
            weights[keep].astype(np.float32),
        )


def _sizes(
    documents: Sequence[ImpactBatch],
    queries: ImpactBatch,
    counted: Sequence[ImpactBatch],
    width: int,
) -> dict[str, float]:
    in_documents = sum(np.bincount(b.indices, minlength=width) for b in documents)
    in_queries = np.bincount(queries.indices, minlength=width)
    return {
        "document_terms": float(sum(len(b.indices) for b in counted)) / sum(map(len, counted)),
        "query_terms": float(in_queries.sum()) / len(queries),
        "flops": float(np.dot(in_documents / sum(map(len, documents)), in_queries / len(queries))),
    }
