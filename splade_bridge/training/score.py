"""Teacher scores: what a better model says of each query with its positives and negatives.

The lines of the input (:mod:`splade_bridge.training.records`) come back with ``scores``, by id or,
where the lines hold texts, as a list. The work is done in parts, each of which appears whole in
``OUT.parts/``; the same command goes on after an interruption and writes the same bytes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from splade_bridge.data.manifest import base_tools
from splade_bridge.encoding.choices import FloatType, PairChoices, ScorerOptions
from splade_bridge.errors import BadInputError, MismatchError, UsageError, require
from splade_bridge.files.finished import kept_result, record
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
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import read_texts
from splade_bridge.text.text_table import TextTable
from splade_bridge.training.examples import DataCounts
from splade_bridge.training.groups import Group
from splade_bridge.training.hub import model_folder
from splade_bridge.training.plans import plan_of
from splade_bridge.training.records import json_groups

log = logging.getLogger(__name__)

Teacher = Literal["cross-encoder", "dense", "sparse", "run"]
TEACHERS: tuple[Teacher, ...] = ("cross-encoder", "dense", "sparse", "run")

SHOWN = 5


@dataclass(frozen=True)
class ScoreOptions(PairChoices):
    """One to one with the flags of ``splade-bridge train score``.

    Attributes:
        pairs: JSON lines of queries with positives and negatives, as ``mine`` writes them.
        out: JSON lines, compressed by its suffix.
        teacher: ``cross-encoder`` and ``dense`` are models of sentence-transformers (the logit of
            one; the similarity that the other was trained with), ``sparse`` one that ``encode``
            takes (dot product of float weights), ``run`` a TREC run in which scores are looked up.
        model: of the teacher, a folder or a hub name.
        run: the file of the teacher ``run``.
        collection: texts of document ids; without it the lines hold texts.
        queries: texts of query ids, where the lines lack them.
        batch_size: pairs or texts at once.
        max_length: of a text, or of query and document of a cross-encoder together, in tokens;
            the model's own if None.
        dtype: of the model's weights.
        device: ``cpu``, ``cuda``, ``cuda:1``; None takes a GPU if there is one.
        part_queries: lines of a part.
        allow_missing: write lines without the scores that a run lacks, instead of refusing.
        overwrite: replace ``out``, and parts that another command left.

    How the model is read is said as to :class:`.PairChoices`.
    """

    pairs: Path
    out: Path
    teacher: Teacher = "cross-encoder"
    model: str | None = None
    run: Path | None = None
    collection: str | None = None
    queries: str | None = None
    batch_size: int = 64
    max_length: int | None = None
    dtype: FloatType = "float32"
    device: str | None = None
    part_queries: int = 1000
    allow_missing: bool = False
    overwrite: bool = False

    @property
    def scorer_options(self) -> ScorerOptions:
        """How the model computes."""
        return ScorerOptions(
            self.batch_size,
            self.max_length,
            self.dtype,
            self.device,
            checkpoint=PairChoices.part_of(self),
        )


@dataclass
class ScoreSummary:
    """What was scored.

    Attributes:
        queries: lines.
        pairs: with a score.
        missing: without one, where that is allowed.
        missing_examples: some of these, as ``query document``.
        parts_kept: of an earlier, interrupted call.
    """

    queries: int = 0
    pairs: int = 0
    missing: int = 0
    missing_examples: list[str] = field(default_factory=list)
    parts_kept: int = 0


class Pair(NamedTuple):
    """A query and a document with their ids (None where there are none) and texts."""

    query_id: str | None
    key: str
    query: str
    document: str


Scorer = Callable[[Sequence[Pair]], "Sequence[float | None]"]


def score(options: ScoreOptions) -> ScoreSummary:
    """Write the lines of ``pairs`` with a teacher's scores.

    What the same options have made already is left as it is.

    Raises:
        UsageError: options that do not go together, or ``out`` exists.
        BadInputError: broken input, an id without a text, a model that cannot be loaded, or a score
            that is not finite.
        MismatchError: a run lacks a pair, and that is not allowed.
        MissingToolError: the extra ``train`` is not installed.
    """
    _check(options)
    plan = plan_of(options, ("device",), (options.collection, options.queries))
    job = _job(options)
    again = options.overwrite or goes_on(options.out, job)
    if kept := kept_result(options.out, plan, overwrite=again, result="summary"):
        return ScoreSummary(**kept)
    summary = ScoreSummary()
    with ExitStack() as stack:
        parts = stack.enter_context(parts_folder(options.out, job, overwrite=options.overwrite))
        work = stack.enter_context(scratch_folder(options.out.parent))
        texts = _Texts(options, work)
        scorer: Scorer | None = None
        done = []
        ids = options.collection is not None or options.teacher == "run"
        counts = DataCounts()
        lines = json_groups(options.pairs, counts, ids=ids)
        for number in range(1 << 62):
            groups = list(islice(lines, options.part_queries))
            if not groups:
                break
            part = part_file(parts, number)
            done.append(part)
            if part.exists():
                summary.parts_kept += 1
                continue
            scorer = scorer or _scorer(options)
            with atomic_writer(part) as out:
                for line in _scored(groups, texts, scorer):
                    out.write(orjson.dumps(line) + b"\n")
        if not done:
            raise BadInputError("holds no queries", str(options.pairs))
        for told in counts.lines():
            log.warning("%s", told)
        _join(done, options, summary)
        _write_manifest(options, summary, plan)
        throw_away(parts, options.out)
    return summary


def _check(options: ScoreOptions) -> None:
    if options.teacher not in TEACHERS:
        raise UsageError(f"--teacher {options.teacher}: there are {', '.join(TEACHERS)}")
    wanted, other = ("run", "model") if options.teacher == "run" else ("model", "run")
    if getattr(options, wanted) is None or getattr(options, other) is not None:
        raise UsageError(f"--teacher {options.teacher} takes --{wanted} and no --{other}")
    if options.batch_size < 1 or options.part_queries < 1:
        raise UsageError("--batch-size and --part-queries must be 1 or more")
    if options.allow_missing and options.teacher != "run":
        raise UsageError("--allow-missing is for --teacher run: a model scores every pair")
    if is_stream(options.out):
        raise UsageError(f"{options.out}: the parts of the work lie beside it: name a file")
    if options.overwrite or not options.out.is_file():
        check_output(options.out, overwrite=options.overwrite, kind="file")
        check_companion(options.out)
    if options.model is not None:
        # before the hours that the rest may take
        sparse = options.teacher == "sparse"
        model_folder(options.model, "--model", options.revision, graph=sparse)


def _job(options: ScoreOptions) -> dict[str, Any]:
    """What decides the parts."""
    named = {k: v for k, v in asdict(options).items() if k not in ("overwrite", "device")}
    if not options.pairs.is_file():
        raise BadInputError("no such file", str(options.pairs))
    return {**named, "sha256": sha256_file(options.pairs)}


class _Texts:
    """Looks up the texts of lines that hold ids."""

    def __init__(self, options: ScoreOptions, work: Path) -> None:
        self._needed = options.teacher != "run"
        self._table: TextTable | None = None
        self._queries: dict[str, str] = {}
        if self._needed and options.collection is not None:
            self._table = TextTable.build(read_texts(options.collection), work)
        if self._needed and options.queries is not None:
            self._queries = {t.id: t.text for t in read_texts(options.queries, "queries")}

    def pairs(self, group: Group) -> list[Pair]:
        """The pairs of a line, its positives first."""
        keys = [*group.positives, *(c.key for c in group.negatives)]
        query_id = group.query_id
        if not self._needed:
            if query_id is None:
                raise BadInputError("no query_id, by which a run could be asked", group.place)
            return [Pair(query_id, key, "", "") for key in keys]
        query = group.query or self._queries.get(query_id or "")
        if query is None:
            raise BadInputError(
                f"no text for query {query_id}: name their file with --queries", group.place
            )
        if self._table is None:
            return [Pair(query_id, key, query, key) for key in keys]
        lost = [key for key in keys if key not in self._table]
        if lost:
            raise BadInputError(
                f"the collection has no text for document {lost[0]} of query {query_id}"
                + (f" and {len(lost) - 1} others" if len(lost) > 1 else ""),
                group.place,
            )
        return [Pair(query_id, key, query, self._table[key]) for key in keys]


def _scored(groups: Sequence[Group], texts: _Texts, scorer: Scorer) -> Iterator[dict[str, Any]]:
    pairs = [texts.pairs(group) for group in groups]
    found = iter(scorer([pair for row in pairs for pair in row]))
    for group, row in zip(groups, pairs, strict=True):
        scores = {p.key: next(found) for p in row}
        for key, value in scores.items():
            if value is not None and not np.isfinite(value):
                raise BadInputError(
                    f"the teacher's score for {key[:60]!r} is {value}; use another --dtype",
                    group.place,
                )
        named = {"query_id": group.query_id, "query": group.query}
        yield {
            **{k: v for k, v in named.items() if v is not None},
            "positives": group.positives,
            "negatives": _negatives(group),
            "scores": {k: v for k, v in scores.items() if v is not None},
            "missing": [k for k, v in scores.items() if v is None],
        }


def _negatives(group: Group) -> Any:
    """As they were: with the scores by which they were mined, or without."""
    if group.negatives and all(c.rank_score is not None for c in group.negatives):
        return {c.key: c.rank_score for c in group.negatives}
    return [c.key for c in group.negatives]


def _join(parts: Sequence[Path], options: ScoreOptions, summary: ScoreSummary) -> None:
    """One file of all parts, counted; refused where scores are missing and must not be."""
    for line in _lines(parts):
        record = orjson.loads(line)
        missing = record["missing"]
        summary.queries += 1
        summary.pairs += len(record["scores"])
        summary.missing += len(missing)
        for key in missing[: SHOWN - len(summary.missing_examples)]:
            summary.missing_examples.append(f"{record['query_id']} {key}")
    if summary.missing and not options.allow_missing:
        throw_away(parts[0].parent, options.out)
        raise MismatchError(
            f"{options.run}: lacks {summary.missing:,} of {summary.missing + summary.pairs:,} "
            f"pairs of {options.pairs}, as {', '.join(summary.missing_examples)}; search deeper, "
            "or pass --allow-missing, which leaves them without a score"
        )
    if not summary.pairs:
        throw_away(parts[0].parent, options.out)
        raise BadInputError("not one pair got a score", str(options.pairs))
    with atomic_writer(options.out) as out:
        for line in _lines(parts):
            record = orjson.loads(line)
            del record["missing"]
            out.write(orjson.dumps(record) + b"\n")


def _lines(parts: Iterable[Path]) -> Iterator[bytes]:
    for part in parts:
        with open(part, "rb") as stream:
            yield from stream


def _write_manifest(options: ScoreOptions, summary: ScoreSummary, plan: dict[str, Any]) -> None:
    told = {
        "kind": "teacher-scores",
        "options": {k: v for k, v in asdict(options).items() if k != "overwrite"},
        "summary": {k: v for k, v in asdict(summary).items() if k != "parts_kept"},
        "sha256": sha256_file(options.out),
        "tools": base_tools(),
        **record(plan, [options.out], options.out.parent),
    }
    with atomic_writer(companion(options.out)) as out:
        out.write(orjson.dumps(told, default=str, option=orjson.OPT_INDENT_2) + b"\n")


# --- teachers --------------------------------------------------------------------------------


def _scorer(options: ScoreOptions) -> Scorer:
    if options.run is not None:
        run = read_run(options.run)
        return lambda pairs: [run.get(p.query_id or "", {}).get(p.key) for p in pairs]
    assert options.model and options.teacher != "run"
    require("encode", "a teacher")
    from splade_bridge.encoding.scorers import load_scorer

    found = load_scorer(options.model, options.teacher, options.scorer_options)
    return lambda pairs: found([(p.query, p.document) for p in pairs]).tolist()
