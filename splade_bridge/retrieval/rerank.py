"""Runs whose best documents are ordered anew by a model that reads the texts.

Of each query the first ``depth`` documents of its list (score descending, then document id
ascending by code point; a run's rank column is not read) get the model's scores and are ordered by
them, equal scores by document id ascending. What lies below keeps its order below them: with s the
lowest new score, it scores s - 1, s - 2 and so on, so that whoever sorts by score finds that order.

Scores are float32 of the model, written in as few digits as tell them apart. Queries are scored in
parts of ``part_queries``, each of which appears whole beside the output, so that the same command
goes on after it was stopped, with the bytes that it would have written without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from splade_bridge.data.choices import check_choice
from splade_bridge.data.hits import best, string_ranks
from splade_bridge.data.manifest import base_tools
from splade_bridge.data.vectors import Float32Array
from splade_bridge.encoding.choices import ScorerKind, ScorerOptions
from splade_bridge.encoding.naver import model_inputs
from splade_bridge.encoding.snapshot import model_place
from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.finished import fingerprints, kept_result, record
from splade_bridge.files.locks import scratch_folder
from splade_bridge.files.outputs import (
    check_companion,
    check_output,
    companion,
    is_stream,
    throw_away,
)
from splade_bridge.files.parts import goes_on, part_file, parts_folder
from splade_bridge.files.writing import atomic_writer, sha256_file
from splade_bridge.retrieval.fusion import Ranking, RunLists
from splade_bridge.retrieval.runs import DEFAULT_TAG, Run, RunFormat, check_tag, write_ranked
from splade_bridge.text.corpora import CorpusOptions, Text, corpus_files, read_texts
from splade_bridge.text.text_table import TextTable

if TYPE_CHECKING:
    from splade_bridge.encoding.scorers import Scorer

Watch = Callable[[Iterable[Ranking], int | None], Iterator[Ranking]]
"""Wraps a stream of so many rankings, for a progress bar."""
SHOWN = 5
PART_QUERIES = 16


@dataclass(frozen=True)
class RerankOptions:
    """One to one with the flags of ``splade-bridge rerank``.

    Attributes:
        depth: documents of a query that are scored, its best.
        k: documents of a query that are written.
        scorer: see :func:`splade_bridge.encoding.scorers.load_scorer`.
        computing: how the model computes.
        part_queries: that are scored together: what a kill loses.
        run_format, tag: as of ``search``.
    """

    depth: int = 100
    k: int = 1000
    scorer: ScorerKind = "cross-encoder"
    computing: ScorerOptions = ScorerOptions()
    part_queries: int = PART_QUERIES
    run_format: RunFormat = "trec"
    tag: str = DEFAULT_TAG

    def __post_init__(self) -> None:
        check_choice("scorer", self.scorer, ScorerKind)
        check_choice("output-format", self.run_format, RunFormat)
        check_tag(self.tag)
        for name in ("depth", "k", "part_queries"):
            if getattr(self, name) < 1:
                flag = "-k" if name == "k" else f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} must be 1 or more, not {getattr(self, name)}")
        if self.tag != DEFAULT_TAG and self.run_format != "trec":
            raise UsageError("--tag has no effect without --output-format trec: leave it out")


@dataclass(frozen=True)
class RerankSummary:
    """What was reranked.

    Attributes:
        pairs: of a query and a document that were scored.
        parts_kept: of an earlier, interrupted call.
    """

    queries: int
    results: int
    pairs: int
    parts_kept: int


class _Candidates(NamedTuple):
    """The list of a query, best first, as far as it will be written."""

    query_id: str
    doc_ids: list[str]


class Reranker:
    """A model with the texts of what it is to order.

    Args:
        run: what is reranked, a file or a run in memory.
        queries: their texts, of which those that the run lacks are passed over.
        corpus: the documents' texts; they are read once, and those of the lists kept in a file.
        work: a folder for that file.
        model: folder or hub name; it is loaded when the first pair is scored.

    Raises:
        BadInputError: a broken or an empty run; a query of it without text; or documents within
            the depth that the corpus lacks.
    """

    def __init__(
        self,
        run: Path | Run,
        queries: Iterable[Text],
        corpus: Iterable[Text],
        work: Path,
        options: RerankOptions,
        model: str,
    ) -> None:
        self.options = options
        self._lists = RunLists([run], least=1)
        self.query_ids = self._lists.query_ids
        name = str(run) if isinstance(run, Path) else "the run"
        self._queries = {t.id: t.text for t in queries if t.id in self._lists}
        if lost := [q for q in self.query_ids if q not in self._queries]:
            raise BadInputError(
                f"{_some(lost, len(self.query_ids), 'queries')} have no text: name the file of "
                "the queries that were searched",
                name,
            )
        wanted = {d for q in self.query_ids for d in self._scored(q)}
        self._texts = TextTable.build((t for t in corpus if t.id in wanted), work)
        if lost := sorted(d for d in wanted if d not in self._texts):
            raise BadInputError(
                f"{_some(lost, len(wanted), 'documents')} to be scored are not in the corpus: "
                "name the corpus that was searched",
                name,
            )
        self._model = model
        self._scorer: Scorer | None = None

    def pairs(self) -> int:
        """How many pairs of query and document are scored in all."""
        return sum(len(self._scored(query_id)) for query_id in self.query_ids)

    def rankings(self, query_ids: Sequence[str]) -> list[Ranking]:
        """The new rankings of these queries, which are scored together.

        Raises:
            BadInputError: a score that is not finite.
        """
        if self._scorer is None:
            from splade_bridge.encoding.scorers import load_scorer

            self._scorer = load_scorer(self._model, self.options.scorer, self.options.computing)
        lists = [_Candidates(q, self._list(q, self.options.k)) for q in query_ids]
        tops = [self._scored(query_id) for query_id in query_ids]
        pairs = [
            (self._queries[query_id], self._texts[doc_id])
            for query_id, top in zip(query_ids, tops, strict=True)
            for doc_id in top
        ]
        # Ordered as they are written, so that equal numbers are ties.
        scores = np.asarray(self._scorer(pairs) if pairs else [], dtype=np.float32)
        if not np.isfinite(scores).all():
            raise BadInputError(
                "gives scores that are not finite: use another --dtype", self._model
            )
        ends = np.cumsum([len(top) for top in tops])[:-1]
        return [
            self._ranking(found, top, mine)
            for found, top, mine in zip(lists, tops, np.split(scores, ends), strict=True)
        ]

    def _ranking(self, found: _Candidates, top: list[str], scores: Float32Array) -> Ranking:
        order = best(scores, len(top), string_ranks(top).__getitem__).tolist()
        doc_ids = [top[i] for i in order]
        values = [float(str(scores[i])) + 0.0 for i in order]  # no -0.0
        below = found.doc_ids[len(top) :]
        if below:
            low = values[-1]
            step = max(1.0, abs(low) * 2**-20)  # so that a reader's float32 tells them apart
            values += [low - step * i for i in range(1, len(below) + 1)]
        k = self.options.k
        return Ranking(found.query_id, [*doc_ids, *below][:k], np.array(values[:k]))

    def _scored(self, query_id: str) -> list[str]:
        return self._list(query_id, self.options.depth)

    def _list(self, query_id: str, depth: int) -> list[str]:
        docs, _ = self._lists.lists(query_id, depth)[0]
        return self._lists.names(docs)


def _some(lost: Sequence[str], of: int, what: str) -> str:
    more = ", ..." if len(lost) > SHOWN else ""
    return f"{len(lost):,} of {of:,} {what} ({', '.join(lost[:SHOWN])}{more})"


def rerank_with(reranker: Reranker, parts: Path) -> Iterator[Ranking]:
    """The new ranking of each query, in the run's order; those in ``parts`` are taken from there.

    What is not there yet is put there.
    """
    size, ids = reranker.options.part_queries, reranker.query_ids
    for number, start in enumerate(range(0, len(ids), size)):
        part = part_file(parts, number)
        if not part.exists():
            with atomic_writer(part) as out:
                for found in reranker.rankings(ids[start : start + size]):
                    line = [found.query_id, found.doc_ids, found.scores.tolist()]
                    out.write(orjson.dumps(line) + b"\n")
        with open(part, "rb") as stream:
            for held in stream:
                query_id, doc_ids, scores = orjson.loads(held)
                yield Ranking(query_id, doc_ids, np.array(scores, dtype=np.float64))


def rerank_to_run(
    run: Path,
    out: Path,
    model: str,
    corpus: str,
    queries: str,
    options: RerankOptions = RerankOptions(),
    *,
    texts: CorpusOptions = CorpusOptions(),
    split: str | None = None,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> RerankSummary:
    """Rerank a run file into another; what the same options have made is left as it is.

    Args:
        out: compressed by its suffix; a stream is written as a whole in the end, and nothing goes
            on from what was done for it.
        texts: how corpus and queries are read; ``split`` is of the queries.

    Raises:
        UsageError: ``out`` exists, or parts beside it are of another plan.
        BadInputError: see :class:`Reranker` and :func:`.scorers.load_scorer`.
        MissingToolError: torch, or sentence-transformers for what it loads, is not installed.
    """
    require("encode", "a reranker")
    stream = is_stream(out)
    for given in (str(run), corpus, queries):
        if is_stream(Path(given)) and not stream:
            raise UsageError(
                f"{given}: can be read once only, and what was stopped goes on from it: name a file"
            )
    revision = options.computing.checkpoint.revision
    # before a long corpus is read for nothing
    model_files = model_inputs(model_place(model, revision))
    files = [*corpus_files(corpus), *corpus_files(queries, "queries", split=split)]
    plan = {
        "run": str(run),
        "model": model,
        "corpus": corpus,
        "queries": queries,
        "options": asdict(
            replace(options, computing=replace(options.computing, device=None, threads=None))
        ),
        "texts": asdict(replace(texts, split=split)),
        "inputs": fingerprints([run, *model_files, *files]),
    }
    if not stream:
        again = overwrite or goes_on(out, plan)
        if kept := kept_result(out, plan, overwrite=again, result="summary"):
            return RerankSummary(**kept)
        check_output(out, overwrite=again, kind="file")
        check_companion(out)
    with ExitStack() as stack:
        work = stack.enter_context(scratch_folder(None if stream else out.parent))
        if stream:
            parts = work
        else:
            parts = stack.enter_context(parts_folder(out, plan, overwrite=overwrite))
        reranker = Reranker(
            run,
            read_texts(queries, "queries", replace(texts, split=split)),
            read_texts(corpus, "documents", texts),
            work,
            options,
            model,
        )
        kept_parts = len([*parts.glob("part-*.jsonl")])
        rankings = rerank_with(reranker, parts)
        if watch is not None:
            rankings = watch(rankings, len(reranker.query_ids))
        results = write_rankings(rankings, out, options.run_format, options.tag)
        summary = RerankSummary(len(reranker.query_ids), results, reranker.pairs(), kept_parts)
        if not stream:
            told = {
                "kind": "reranked-run",
                "summary": {**asdict(summary), "parts_kept": 0},
                "sha256": sha256_file(out),
                "tools": base_tools(),
                **record(plan, [out], out.parent),
            }
            with atomic_writer(companion(out)) as written:
                written.write(orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2) + b"\n")
            throw_away(parts, out)
    return summary


def write_rankings(
    rankings: Iterable[Ranking], out: Path, run_format: RunFormat, tag: str = DEFAULT_TAG
) -> int:
    """Write a run, whole or not at all; the number of its lines."""
    results = 0
    with atomic_writer(out) as run:
        for query_id, doc_ids, scores in rankings:
            write_ranked(run, query_id, doc_ids, scores.tolist(), run_format, tag)
            results += len(doc_ids)
    return results
