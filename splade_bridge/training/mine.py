"""Hard negatives: what ranks high for a query and does not answer it.

The candidates come from an index of ours, from documents that are indexed for the purpose, or from
a run. Out of ranks ``skip + 1 .. depth`` the judged documents are taken, then those that score so
close to a positive that they may be positives nobody judged (the margin of "positive-aware" mining,
arXiv:2407.15831, TopK-PercPos), and from the rest a seeded sample.

A line of the result is what :func:`splade_bridge.training.records.json_groups` reads::

    {"query_id": "q1", "query": "...", "positives": {"d1": 1}, "negatives": {"d7": 1432}}
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import orjson

from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import base_tools
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.encoding.choices import PairChoices
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.bm25 import RUN, Bm25Options, build_bm25
from splade_bridge.engines.registry import EngineName, engine, open_index
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.finished import kept_result, record
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.outputs import check_companion, check_output, companion, is_stream
from splade_bridge.files.writing import atomic_writer, sha256_file
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.retrieval.encode_queries import encode_queries
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.examples import Candidate, choose, generator
from splade_bridge.training.hub import model_folder
from splade_bridge.training.judged import any_qrels
from splade_bridge.training.plans import plan_of

log = logging.getLogger(__name__)


NOT_DECISIVE = ("overwrite", "threads", "allow_mismatch")
"""Options that change nothing of what is written."""


@dataclass(frozen=True)
class MineOptions(PairChoices):
    """One to one with the flags of ``splade-bridge train mine``.

    Attributes:
        queries: texts of the queries, whatever ``encode`` takes.
        qrels: their positives: TREC, BEIR, or JSON ``{query: {document: grade}}``.
        out: JSON lines, compressed by its suffix; ``OUT.manifest.json`` tells how they were made.
        run: take the candidates from this run.
        index: search this index.
        documents: index these vectors (a store, a JsonVectorCollection, CIFF) for the purpose.
        corpus: encode this corpus with ``model`` for the purpose, or search it with ``bm25``.
        bm25: take the candidates from Lucene's BM25 over ``corpus`` (Anserini's settings), which
            needs no model.
        model: encodes the queries (and ``corpus``).
        query_vectors: the queries as vectors, instead of ``model``.
        engine: of the index that is made.
        algorithm: of the search; the engine's own choice if None.
        threads: of building and searching.
        max_length: of the texts in tokens.
        negatives: at most so many for each query.
        choice: ``random`` draws them, ``hardest`` takes the first ranks.
        depth: rank that the search goes down to.
        skip: first ranks that are left out, where unjudged positives are most likely.
        margin: leave out what scores above this times the query's best positive; None keeps it.
            0.95 is the value of arXiv:2407.15831.
        min_grade: from which grade on a document answers. What is judged above 0 is never a
            negative.
        remove_query: leave out the document with the query's id.
        allow_mismatch: search documents of one model with queries of another.
        seed: of what is drawn.
        overwrite: replace ``out``.

    How the model is read is said as to :class:`.PairChoices`.
    """

    queries: str
    qrels: Path
    out: Path
    run: Path | None = None
    index: Path | None = None
    documents: Path | None = None
    corpus: str | None = None
    bm25: bool = False
    model: str | None = None
    query_vectors: Path | None = None
    engine: EngineName = "exact"
    algorithm: str | None = None
    threads: int = 1
    max_length: int = 256
    negatives: int = 30
    choice: Literal["random", "hardest"] = "random"
    depth: int = 200
    skip: int = 0
    margin: float | None = None
    min_grade: int = 1
    remove_query: bool = False
    allow_mismatch: bool = False
    seed: int = 0
    overwrite: bool = False


@dataclass
class MineSummary:
    """What became of queries and candidates.

    Attributes:
        queries: with a positive, all of which have a line.
        negatives: in all lines.
        without_positive: queries of the source that no judgement names; they have no line.
        without_text: judged queries that the source lacks; they have no line.
        without_negatives: ids of queries whose line has none.
        short: queries with fewer than were asked for, those without any included.
        judged: candidates that were judged above 0.
        too_close: candidates that scored above the margin.
        unknown_positive: ids of queries none of whose positives has a score, so that with a
            margin every candidate had to be left out.
    """

    queries: int = 0
    negatives: int = 0
    without_positive: int = 0
    without_text: int = 0
    without_negatives: list[str] = field(default_factory=list)
    short: int = 0
    judged: int = 0
    too_close: int = 0
    unknown_positive: list[str] = field(default_factory=list)


class Ranking(NamedTuple):
    """Candidates of a query, best first, and the scores of its positives as far as known."""

    query_id: str
    candidates: list[Candidate]
    positives: dict[str, float]


def mine(options: MineOptions) -> MineSummary:
    """Write hard negatives of all judged queries; the same options give the same bytes.

    What the same options have made already is left as it is.

    Raises:
        UsageError: options that do not go together, or ``out`` exists.
        BadInputError: a file is missing or broken, or no query has a positive.
        MismatchError: queries and index were made with different vocabularies.
        ExternalProgramError: the engine died.
    """
    _check(options)
    plan = plan_of(options, ("threads", "allow_mismatch"), (options.queries, options.corpus))
    if kept := kept_result(options.out, plan, overwrite=options.overwrite, result="summary"):
        return MineSummary(**kept)
    qrels = any_qrels(options.qrels)
    positives = {
        query_id: [d for d, grade in judged.items() if grade >= options.min_grade]
        for query_id, judged in qrels.items()
    }
    positives = {query_id: found for query_id, found in positives.items() if found}
    summary = MineSummary()
    texts: dict[str, str] = {}
    for text in read_texts(options.queries, "queries"):
        if text.id in positives:
            texts[text.id] = text.text
        else:
            summary.without_positive += 1
    summary.without_text = len(positives.keys() - texts.keys())
    if not texts:
        raise BadInputError(
            f"none of these queries has a positive in {options.qrels}", options.queries
        )
    with contextlib.ExitStack() as stack:
        rankings = _rankings(options, {q: positives[q] for q in texts}, stack)
        out = stack.enter_context(atomic_writer(options.out))
        for ranking in rankings:
            query_id = ranking.query_id
            judged = {d for d, grade in qrels[query_id].items() if grade > 0}
            chosen = _chosen(ranking, judged, options, summary)
            line = {
                "query_id": query_id,
                "query": texts[query_id],
                "positives": {d: qrels[query_id][d] for d in positives[query_id]},
                "negatives": {c.key: c.rank_score for c in chosen},
            }
            out.write(orjson.dumps(line) + b"\n")
    _write_manifest(options, summary, plan)
    return summary


def _check(options: MineOptions) -> None:
    sources = {
        name: getattr(options, name)
        for name in ("run", "index", "documents", "corpus")
        if getattr(options, name) is not None
    }
    if len(sources) != 1:
        raise UsageError(
            "name one source of candidates: --run, --index, --documents or --corpus"
            + (f", not {' and '.join(f'--{s}' for s in sources)}" if sources else "")
        )
    if options.bm25 and (options.corpus is None or options.model or options.query_vectors):
        raise UsageError("--bm25 searches the texts of --corpus, without --model")
    encoded = options.run is None and not options.bm25
    if encoded and (options.model is None) == (options.query_vectors is None):
        raise UsageError("say how to encode the queries: --model, or --query-vectors for vectors")
    if options.corpus is not None and options.model is None and not options.bm25:
        raise UsageError("--corpus needs --model, which encodes it")
    if options.negatives < 1 or options.skip < 0 or options.depth <= options.skip:
        raise UsageError(
            f"--negatives {options.negatives} --skip {options.skip} --depth {options.depth}: there "
            "must be 1 negative or more, and ranks between skip and depth to take it from"
        )
    if options.margin is not None and options.margin <= 0:
        raise UsageError(f"--margin {options.margin}: must be above 0, usually 0.95")
    if options.overwrite or not options.out.is_file():
        check_output(options.out, overwrite=options.overwrite, kind="file")
        check_companion(options.out)
    if options.run is None and options.model is not None:
        # before anything that takes time
        model_folder(options.model, "--model", options.revision, graph=True)


def _chosen(
    ranking: Ranking, judged: set[str], options: MineOptions, summary: MineSummary
) -> list[Candidate]:
    """The negatives of one query in the order of their ranks, counted."""
    window = ranking.candidates[options.skip : options.depth]
    pool = [c for c in window if c.key not in judged]
    summary.judged += len(window) - len(pool)
    if options.margin is not None:
        if not ranking.positives:
            summary.unknown_positive.append(ranking.query_id)
        limit = options.margin * max(ranking.positives.values(), default=float("-inf"))
        close = [c for c in pool if c.rank_score is not None and c.rank_score > limit]
        summary.too_close += len(close)
        pool = [c for c in pool if c.rank_score is None or c.rank_score <= limit]
    rng = generator(options.seed, ranking.query_id)
    count = min(options.negatives, len(pool))
    keys = set(choose(pool, count, "first" if options.choice == "hardest" else "random", rng) or ())
    summary.queries += 1
    summary.negatives += count
    summary.short += count < options.negatives
    if not count:
        summary.without_negatives.append(ranking.query_id)
    return [c for c in pool if c.key in keys]


def _rankings(
    options: MineOptions, positives: dict[str, list[str]], stack: contextlib.ExitStack
) -> Iterator[Ranking]:
    if options.run:
        return _of_run(options, positives)
    near = None if is_stream(options.out) else options.out.parent
    temporary = stack.enter_context(scratch_folder(near))
    if options.bm25 and options.corpus:
        return _of_run(replace(options, run=_bm25_run(options, positives, temporary)), positives)
    queries = _encoded_queries(options, positives, temporary)
    searcher = stack.enter_context(open_index(_index(options, temporary)))
    return _of_index(options, positives, queries, searcher)


def _of_run(options: MineOptions, positives: dict[str, list[str]]) -> Iterator[Ranking]:
    assert options.run
    run = read_run(options.run)
    if not run.keys() & positives.keys():
        raise BadInputError("ranks none of the judged queries", str(options.run))
    for query_id, wanted in positives.items():
        found = run.get(query_id, {})
        ranked = sorted((-score, d) for d, score in found.items() if d != _own(options, query_id))
        candidates = [Candidate(d, -score) for score, d in ranked]
        yield Ranking(query_id, candidates, {d: found[d] for d in wanted if d in found})


def _bm25_run(options: MineOptions, positives: dict[str, list[str]], temporary: Path) -> Path:
    """Lucene's BM25 run of the judged queries, one document deeper where one is left out."""
    assert options.corpus
    queries = (q for q in read_texts(options.queries, "queries") if q.id in positives)
    depth = Bm25Options(k=options.depth + options.remove_query, threads=options.threads)
    build_bm25(read_texts(options.corpus), queries, temporary / "bm25", depth)
    return temporary / "bm25" / RUN


def _of_index(
    options: MineOptions, positives: dict[str, list[str]], queries: Queries, searcher: Searcher
) -> Iterator[Ranking]:
    check_queries(searcher, replace(queries, allow_mismatch=options.allow_mismatch))
    batch = searcher.aligned(queries)
    depth = options.depth + 1 if options.remove_query else options.depth
    hits = searcher.search(batch, depth, threads=options.threads, algorithm=options.algorithm)
    for number, found in enumerate(hits):
        query_id = found.query_id
        own = _own(options, query_id)
        scores = found.scores.tolist()
        candidates = [
            Candidate(d, s) for d, s in zip(found.doc_ids, scores, strict=True) if d != own
        ]
        ranked = dict(zip(found.doc_ids, scores, strict=True))
        known = {d: float(ranked[d]) for d in positives[query_id] if d in ranked}
        if options.margin is not None and not known:
            # None was reached. Where one was, it scores no less than those that were not, so that
            # the best is known without asking the index, which for Lucene takes a process.
            asked = ((d, _score(searcher, batch, number, d)) for d in positives[query_id])
            known = {d: score for d, score in asked if score is not None}
        yield Ranking(query_id, candidates, known)


def _own(options: MineOptions, query_id: str) -> str | None:
    return query_id if options.remove_query else None


def _score(searcher: Searcher, batch: ImpactBatch, number: int, doc_id: str) -> float | None:
    """The score of a document that the search did not reach."""
    terms, weights = batch.row(number)
    impacts = searcher.impacts(doc_id, terms.tolist())
    if impacts is None:
        return None
    return float(sum(w * i for w, i in zip(weights.tolist(), impacts, strict=True)))


def _encoded_queries(
    options: MineOptions, positives: dict[str, list[str]], temporary: Path
) -> Queries:
    """Vectors of the queries with a positive, in the order of the texts."""
    if options.model is not None:
        judged = temporary / "queries.jsonl"
        with open(judged, "wb") as out:
            for text in read_texts(options.queries, "queries"):
                if text.id in positives:
                    out.write(orjson.dumps({"id": text.id, "text": text.text}) + b"\n")
        return encode_queries(
            str(judged),
            options.model,
            max_length=options.max_length,
            checkpoint=options.of("query"),
        )
    assert options.query_vectors
    queries = read_queries(options.query_vectors)
    rows = {query_id: row for row, query_id in enumerate(queries.batch.ids)}
    missing = [query_id for query_id in positives if query_id not in rows]
    if missing:
        raise BadInputError(
            f"lacks {len(missing):,} judged queries of {options.queries}: "
            f"{', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}",
            str(options.query_vectors),
        )
    return Queries(
        queries.path,
        queries.batch.take([rows[q] for q in positives]),
        queries.vocabulary,
        queries.manifest,
    )


def _index(options: MineOptions, temporary: Path) -> Path:
    if options.index is not None:
        return options.index
    documents = options.documents
    if options.corpus is not None and options.model is not None:
        from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
        from splade_bridge.encoding.runner import encode_to_store

        documents = temporary / "vectors"
        encoder = load_encoder(
            options.model,
            "document",
            EncodeOptions(max_length=options.max_length, checkpoint=options.of("document")),
        )
        encode_to_store(read_texts(options.corpus), encoder, documents, corpus=options.corpus)
    assert documents
    place = temporary / "index"
    source = open_source(documents, temporary=temporary)
    engine(options.engine).build(source, place, BuildOptions(threads=options.threads))
    return place


def _write_manifest(options: MineOptions, summary: MineSummary, plan: dict[str, Any]) -> None:
    if is_stream(options.out):
        return
    told = {
        "kind": "hard-negatives",
        "options": {k: v for k, v in asdict(options).items() if k not in NOT_DECISIVE},
        "summary": asdict(summary),
        "sha256": sha256_file(options.out),
        "tools": base_tools(),
        **record(plan, [options.out], options.out.parent),
    }
    with atomic_writer(companion(options.out)) as out:
        out.write(orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2) + b"\n")
