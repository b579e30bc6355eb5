"""What quantizing costs: scale x rounding x cap against the ranking of the float weights.

The oracle ranks by exact float64 scores, ties by document id, as every engine ranks integers. The
same scale and rounding are used for documents and queries; the cap (255 for engines that keep an
impact in a byte) is for documents, as only theirs are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.hits import best, string_ranks
from splade_bridge.data.manifest import Rounding, check_fit
from splade_bridge.data.quantize import EXACT_SCORES_BELOW, QuantizeOptions, Quantizer
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array, SparseBatch, row_numbers
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.evaluation.agreement import DEFAULT_PERSISTENCE, agreement
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import Qrels

MEASURE = "nDCG@10"
TOP = 10
BLOCK_SCORES = 1 << 24
"""Scores that are held at a time: queries x documents of a block."""


@dataclass(frozen=True)
class StudyOptions:
    """One to one with the flags of ``splade-bridge quantize-study``.

    Attributes:
        clips: caps to try; None is none. A cap that cuts nothing is left out.
        k: depth of the rankings.
        persistence: the p of RBO.
        max_loss: of nDCG@10, that a recommended setting may have.
        min_rbo: which a recommended setting must exceed.
    """

    scales: tuple[float, ...] = (5, 10, 20, 50, 100, 200, 500, 1000)
    roundings: tuple[Rounding, ...] = ("nearest", "down")
    clips: tuple[int | None, ...] = (None, 255)
    k: int = 1000
    persistence: float = DEFAULT_PERSISTENCE
    max_loss: float = 0.001
    min_rbo: float = 0.99


@dataclass(frozen=True)
class Setting:
    """One way of quantizing, and what it does.

    Attributes:
        postings: of an index of the documents.
        dropped_postings: share of the documents' postings that became 0.
        clipped_postings: share that was cut to the cap.
        lost_mass: share of the sum of all document weights that was dropped or cut off.
        query_lost_mass: share of the sum of all query weights that was dropped.
        bits: of the largest impact.
        largest_score: what a query could reach: its sum of weights x the largest impact.
        margin: 2^24 / ``largest_score``; scores are exact in float32 engines above 1.
        overlap_10, overlap_k, rbo: agreement with the oracle, means over queries.
        ndcg, ndcg_change: nDCG@10, and minus that of the oracle; None without judgements.
    """

    scale: float
    rounding: Rounding
    clip: int | None
    postings: int
    dropped_postings: float
    clipped_postings: float
    lost_mass: float
    query_lost_mass: float
    max_impact: int
    bits: int
    largest_score: int
    margin: float
    overlap_10: float
    overlap_k: float
    rbo: float
    ndcg: float | None = None
    ndcg_change: float | None = None

    @property
    def name(self) -> str:
        """In words."""
        cap = f", cut to {self.clip}" if self.clip else ""
        return f"scale {self.scale:g}, rounding {self.rounding}{cap}"


@dataclass(frozen=True)
class Study:
    """All settings against the floats.

    Attributes:
        queries: that were compared: those that find something by their float weights.
        without_results: ids of the others.
        ndcg: of the float weights.
        recommended: None where no setting qualifies.
        reason: why, in a sentence.
    """

    documents: int
    postings: int
    queries: int
    without_results: list[str]
    k: int
    persistence: float
    ndcg: float | None
    settings: list[Setting]
    recommended: Setting | None
    reason: str


def quantize_study(
    documents: Path,
    queries: Path,
    qrels: Qrels | None = None,
    options: StudyOptions = StudyOptions(),
    *,
    allow_mismatch: bool = False,
    watch: Callable[[list[QuantizeOptions]], Iterable[QuantizeOptions]] = iter,
) -> Study:
    """Try all settings of ``options`` on two vector stores.

    The documents are read once a setting, in blocks; the document ids, the queries and their
    ``k`` best documents are held in memory.

    Args:
        allow_mismatch: see :func:`.manifest.check_fit`.
        watch: wraps the settings that are tried, for a progress bar.

    Raises:
        BadInputError: not a vector store, or no query finds anything.
        MismatchError: documents and queries have different vocabularies.
        UsageError: an option out of range.
    """
    _check(options)
    stores = VectorStore(documents), VectorStore(queries)
    check_fit(stores[0].manifest, stores[1].manifest, str(documents), allow_mismatch=allow_mismatch)
    ranker = _Ranker(*stores, options.k)
    oracle = {query_id: docs for query_id, docs in ranker.rank().items() if docs}
    if not oracle:
        raise BadInputError("no query has a term of any document", str(queries))
    ndcg = ranker.ndcg(qrels, oracle)
    settings: list[Setting] = []
    for quantize in watch([QuantizeOptions(*s) for s in _settings(options)]):
        if _cuts_nothing(quantize, settings):
            continue
        kept, asked = _Account(quantize), _Account(replace(quantize, clip=None))
        found = ranker.rank(kept, asked)
        ranking = {query_id: found[query_id] for query_id in oracle}
        alike = agreement(oracle, ranking, (TOP, options.k), options.persistence).means
        largest = asked.largest_sum * kept.max_impact
        measured = ranker.ndcg(qrels, ranking)
        settings.append(
            Setting(
                *(kept.quantize.scale, kept.quantize.rounding, kept.quantize.clip),
                postings=kept.kept,
                dropped_postings=1 - kept.kept / kept.postings,
                clipped_postings=kept.clipped / kept.postings,
                lost_mass=kept.lost_mass / kept.mass,
                query_lost_mass=asked.lost_mass / asked.mass,
                max_impact=kept.max_impact,
                bits=kept.max_impact.bit_length(),
                largest_score=largest,
                margin=EXACT_SCORES_BELOW / max(1, largest),
                overlap_10=alike[f"overlap@{TOP}"],
                overlap_k=alike[f"overlap@{options.k}"],
                rbo=alike["RBO"],
                ndcg=measured,
                ndcg_change=None if measured is None or ndcg is None else measured - ndcg,
            )
        )
    recommended, reason = recommend(settings, options)
    return Study(
        documents=len(ranker.doc_ids),
        postings=stores[0].manifest.counts.postings,
        queries=len(oracle),
        without_results=[q for q in ranker.queries.ids if q not in oracle],
        k=options.k,
        persistence=options.persistence,
        ndcg=ndcg,
        settings=settings,
        recommended=recommended,
        reason=reason,
    )


def recommend(settings: list[Setting], options: StudyOptions) -> tuple[Setting | None, str]:
    """The smallest scale that ranks as the floats do, within the exact range; and why.

    Of equal scales the one with fewer bits, then without a cap, then rounding to the nearest.
    """
    exact = [s for s in settings if s.largest_score < EXACT_SCORES_BELOW]
    good = [
        s
        for s in exact
        if s.rbo > options.min_rbo and (s.ndcg_change is None or s.ndcg_change >= -options.max_loss)
    ]
    wanted = f"RBO over {options.min_rbo:g}"
    if settings[0].ndcg is not None:
        wanted += f" and {MEASURE} no more than {options.max_loss:g} below that of the floats"
    if not exact:
        return None, (
            f"No setting is recommended: with each a score could reach {EXACT_SCORES_BELOW:,}, "
            "from where float32 engines round; try smaller scales."
        )
    if not good:
        nearest = max(exact, key=lambda s: s.rbo)
        return None, (
            f"No setting within the exact range keeps {wanted}; the nearest is {nearest.name} "
            f"({_said(nearest)})."
        )
    best = min(good, key=lambda s: (s.scale, s.bits, s.clip is not None, s.rounding != "nearest"))
    return best, (
        f"{best.name.capitalize()} is recommended: the smallest that keeps {wanted} "
        f"({_said(best)}); impacts take {best.bits} bits, {best.dropped_postings:.1%} of the "
        f"postings are dropped, and the largest possible score is {best.margin:,.1f} times below "
        "2^24, so that every engine is exact."
    )


def _said(setting: Setting) -> str:
    change = "" if setting.ndcg_change is None else f", {MEASURE} {setting.ndcg_change:+.4f}"
    return f"RBO {setting.rbo:.4f}{change}"


def _check(options: StudyOptions) -> None:
    if options.k < 1:
        raise UsageError(f"k must be 1 or more, not {options.k}")
    if not (options.scales and options.roundings and options.clips):
        raise UsageError("nothing to try: name a scale and a rounding")
    for setting in _settings(options):
        Quantizer(QuantizeOptions(*setting))  # refuses what it cannot do


def _cuts_nothing(quantize: QuantizeOptions, tried: list[Setting]) -> bool:
    """Whether the same without a cap was tried, and stayed below it."""
    return quantize.clip is not None and any(
        (s.scale, s.rounding, s.clip) == (quantize.scale, quantize.rounding, None)
        and s.max_impact <= quantize.clip
        for s in tried
    )


def _settings(options: StudyOptions) -> list[tuple[float, Rounding, int | None]]:
    return list(dict.fromkeys(product(options.scales, options.roundings, options.clips)))


class _Account:
    """A quantizer that adds up what is kept and lost."""

    def __init__(self, options: QuantizeOptions) -> None:
        self.quantize = Quantizer(options)
        self._whole = Quantizer(replace(options, clip=None))
        self.postings = self.kept = self.clipped = self.max_impact = self.largest_sum = 0
        self.mass = self.lost_mass = 0.0

    def __call__(self, batch: SparseBatch) -> ImpactBatch:
        """The impacts of ``batch``."""
        quantized, whole = self.quantize(batch), self._whole(batch)
        weights = batch.weights.astype(np.float64)
        dropped = ~np.isin(_keys(batch), _keys(quantized), assume_unique=True)
        over = whole.impacts.astype(np.int64) - quantized.impacts
        self.postings += len(weights)
        self.kept += len(quantized.impacts)
        self.clipped += int((over > 0).sum())
        self.mass += float(weights.sum())
        self.lost_mass += float(weights[dropped].sum()) + int(over.sum()) / self.quantize.scale
        if quantized.impacts.size:
            self.max_impact = max(self.max_impact, int(quantized.impacts.max()))
            self.largest_sum = max(self.largest_sum, int(quantized.row_sums().max()))
        return quantized


class _Ranker:
    """Ranks all documents of a store for all queries, by whatever the vectors are made into."""

    def __init__(self, documents: VectorStore, queries: VectorStore, k: int) -> None:
        self._documents = documents
        self._k = k
        self.queries = SparseBatch.concat(queries.batches())
        self._columns = queries.vocabulary.mapping(documents.vocabulary)
        if len(self.queries.indices) and not (self._columns[self.queries.indices] >= 0).any():
            raise MismatchError(
                f"{queries.path}: no term of any query is in {documents.path}: they were made "
                "with different vocabularies"
            )
        self.doc_ids = [doc_id for batch in documents.batches() for doc_id in batch.ids]
        self._names = string_ranks(self.doc_ids)

    def rank(
        self, documents: _Account | None = None, queries: _Account | None = None
    ) -> dict[str, list[int]]:
        """Numbers of the best k documents a query, by exact scores; by float weights if None."""
        asked = _matrix(
            queries(self.queries) if queries else self.queries,
            self._columns,
            len(self._documents.vocabulary),
        )
        n = asked.shape[0]
        ranked = [_Best(self._k, self._names) for _ in range(n)]
        rows = min(max(BLOCK_SCORES // n, 64), 8192)
        start = 0
        for batch in self._documents.batches(rows):
            block = _matrix(documents(batch) if documents else batch, None, asked.shape[1])
            scores = (asked @ block.T.tocsr()).tocsr()
            for query in range(n):
                part = slice(scores.indptr[query], scores.indptr[query + 1])
                ranked[query].add(scores.indices[part].astype(np.int64) + start, scores.data[part])
            start += len(batch)
        return {q: one.documents() for q, one in zip(self.queries.ids, ranked, strict=True)}

    def ndcg(self, qrels: Qrels | None, ranking: dict[str, list[int]]) -> float | None:
        """nDCG@10 of the ranking in its own order, ties included."""
        if qrels is None:
            return None
        run = {
            query_id: {self.doc_ids[doc]: -float(rank) for rank, doc in enumerate(docs)}
            for query_id, docs in ranking.items()
        }
        return float(evaluate(qrels, run, [MEASURE]).means[MEASURE])


class _Best:
    """The k best of the documents that were added."""

    def __init__(self, k: int, names: Int64Array) -> None:
        self._k = k
        self._names = names
        self._docs = np.empty(0, np.int64)
        self._scores: np.ndarray = np.empty(0, np.int64)

    def add(self, docs: Int64Array, scores: np.ndarray) -> None:
        if len(self._docs) == self._k:
            enough = scores >= self._scores[-1]
            docs, scores = docs[enough], scores[enough]
        docs = np.concatenate([self._docs, docs])
        scores = np.concatenate([self._scores.astype(scores.dtype), scores])
        order = best(scores, self._k, lambda places: self._names[docs[places]])
        self._docs, self._scores = docs[order], scores[order]

    def documents(self) -> list[int]:
        found: list[int] = self._docs.tolist()
        return found


def _matrix(batch: SparseBatch | ImpactBatch, columns: Int32Array | None, width: int) -> Any:
    """A scipy CSR matrix, float64 or int64; terms are put in ``columns``, and left out below 0."""
    from scipy import sparse

    if columns is not None:
        batch = batch.remap(columns)
    values = (
        batch.weights.astype(np.float64)
        if isinstance(batch, SparseBatch)
        else batch.impacts.astype(np.int64)
    )
    return sparse.csr_matrix((values, batch.indices, batch.indptr), shape=(len(batch), width))


def _keys(batch: SparseBatch | ImpactBatch) -> Int64Array:
    return (row_numbers(batch.indptr) << 32) + batch.indices
