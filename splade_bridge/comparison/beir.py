"""Models over many data sets in BEIR's layout, by BEIR's conventions, step by step.

A data set is a folder with ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/SPLIT.tsv``. Title and
text are joined by a blank. The split is test, and dev of MS MARCO. Of the results of a query the
document of the same id is left out, as ``ignore_identical_ids`` of BEIR's ``EvaluateRetrieval``
does by default, on all data sets (Thakur et al.: BEIR, NeurIPS 2021; it matters where both sides
share their ids, as in ArguAna and Quora). CQADupStack is the mean of its twelve parts. Each data
set is a comparison of its own, whose steps lie in one folder and are done once.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from splade_bridge.comparison.check import check
from splade_bridge.comparison.compare import WORK, WRITTEN, open_work
from splade_bridge.comparison.make import Maker
from splade_bridge.comparison.read_checkpoint import SIDES
from splade_bridge.comparison.spec import MAX_LENGTH, Encoded, Spec, Variant
from splade_bridge.comparison.steps import Steps
from splade_bridge.data.choices import check_choice
from splade_bridge.encoding.choices import PairChoices, Pooling
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import NAMES
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.measures import parse_measures
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import check_place
from splade_bridge.files.written import WrittenFiles
from splade_bridge.report import notebook
from splade_bridge.report.beir_table import MSMARCO, BeirTable, beir_table, latex, markdown
from splade_bridge.report.published_beir import CQADUPSTACK
from splade_bridge.text.splits import TEST, split_file

JSON, TABLE, LATEX = "results.json", "table.md", "table.tex"
MEASURES = ("nDCG@10", "R@100")
CORPUS = re.compile(r"corpus\.jsonl(\.gz|\.zst)?")


@dataclass(frozen=True)
class DataSet:
    """One folder.

    Attributes:
        name: as BEIR calls the folder; a part of CQADupStack is ``cqadupstack/PART``.
        group: the data set that it is a part of, if it is one.
    """

    name: str
    folder: Path
    split: str
    group: str | None = None


@dataclass(frozen=True)
class BeirModel:
    """One column of the tables.

    Attributes:
        name: of the column.
        documents, queries: the checkpoint of each side and how it is read; of no corpus yet.
    """

    name: str
    documents: Encoded
    queries: Encoded

    def of(self, data_set: DataSet) -> Variant:
        """The model over a data set."""
        documents, queries = (
            replace(side, corpus=str(data_set.folder)) for side in (self.documents, self.queries)
        )
        return Variant(self.name, documents, queries, group=self.name, label=self.name)


@dataclass(frozen=True)
class BeirOptions:
    """One to one with the flags of ``splade-bridge beir``.

    Attributes:
        measures: in any notation that ``evaluate`` takes.
        split: of all data sets; None for BEIR's own.
        max_length, pooling, checkpoint: of every model that says nothing itself.
        k: documents a query that are searched.
    """

    measures: tuple[str, ...] = MEASURES
    split: str | None = None
    engine: str = "exact"
    max_length: int = MAX_LENGTH
    k: int = 1000
    pooling: Pooling | None = None
    checkpoint: PairChoices = PairChoices()

    def __post_init__(self) -> None:
        if self.engine not in NAMES:
            raise UsageError(f"--engine is one of {', '.join(NAMES)}, not {self.engine!r}")
        for flag, value in (("max-length", self.max_length), ("hits", self.k)):
            if value < 1:
                raise UsageError(f"--{flag} must be 1 or more, not {value}")
        check_choice("pooling", self.pooling or "max", Pooling)

    def model(self, named: str) -> BeirModel:
        """The model called by its last name."""
        document, query = (
            Encoded("", named, self.max_length, self.pooling, self.checkpoint.of(side))
            for side in SIDES
        )
        return BeirModel(Path(named).name or named, document, query)


@dataclass(frozen=True)
class BeirResult:
    """What one model gives on one data set.

    Attributes:
        data_set: as BEIR calls its folder.
        model: its last name.
        split: whose judgements were taken.
        queries: that were judged and asked, over all parts.
        documents: of the corpus, or of all parts together.
        means: measure -> mean over the queries; of CQADupStack the mean of its parts' means.
        parts: part -> means; of CQADupStack.
        seconds: by kind of step, when these were done.
    """

    data_set: str
    model: str
    split: str
    queries: int
    documents: int
    means: dict[str, float]
    parts: dict[str, dict[str, float]]
    seconds: dict[str, float]


@dataclass(frozen=True)
class BeirOutcome:
    """All results, their tables, and how many steps were done now or had been done before."""

    results: list[BeirResult]
    tables: list[BeirTable]
    done: dict[str, int]
    kept: dict[str, int]
    freed: int = 0

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        return notebook.beir(self.tables)


def data_sets(folders: Iterable[Path], split: str | None = None) -> list[DataSet]:
    """The data sets that ``folders`` are, or hold: each may also be a folder of data sets.

    Raises:
        BadInputError: there are none in one of them, or one lacks the judgements of its split.
        UsageError: two are called the same.
    """
    found: list[DataSet] = []
    for folder in folders:
        if not folder.is_dir():
            raise BadInputError("no such folder", str(folder))
        mine = _below(folder, split)
        if not mine:
            raise BadInputError(
                "neither a data set in BEIR's layout (corpus.jsonl, queries.jsonl and qrels/) nor "
                "a folder of such",
                str(folder),
            )
        found += mine
    names = [each.name for each in found]
    for each in found:
        if names.count(each.name) > 1:
            raise UsageError(f"{each.folder}: two data sets are called {each.name}: rename one")
        split_file(each.folder, each.split)
    return found


def _below(folder: Path, split: str | None) -> list[DataSet]:
    name = folder.resolve().name
    if _is_data_set(folder):
        return [DataSet(name, folder, split or _usual(name))]
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    if name.lower() == CQADUPSTACK:
        return [
            DataSet(f"{CQADUPSTACK}/{p.name}", p, split or TEST, CQADUPSTACK)
            for p in inside
            if _is_data_set(p)
        ]
    return [
        each
        for p in inside
        if _is_data_set(p) or p.name.lower() == CQADUPSTACK
        for each in _below(p, split)
    ]


def _is_data_set(folder: Path) -> bool:
    return any(CORPUS.fullmatch(p.name) for p in folder.iterdir())


def _usual(name: str) -> str:
    return "dev" if name.lower() == MSMARCO else TEST


def beir(
    folders: Sequence[Path],
    models: Sequence[str | BeirModel],
    out: Path,
    options: BeirOptions = BeirOptions(),
    *,
    say: Callable[[str], None] = lambda _: None,
    drop_indexes: bool = False,
) -> BeirOutcome:
    """Do what is not done yet below ``out/work``, and write all results into ``out``.

    Args:
        models: with settings of their own, or folders and hub names.
        say: told what begins.
        drop_indexes: delete the indexes of a data set when it is done.

    Raises:
        UsageError: a name that stands for two data sets or models, or a file of ``out`` that is
            not ours.
        SpladeBridgeError: of the step that failed; finished steps are kept.
    """
    chosen = [options.model(model) if isinstance(model, str) else model for model in models]
    named = [model.name for model in chosen]
    if not models or len(set(named)) < len(models):
        raise UsageError(
            "--model: name one or more, no two of which are called the same: " + ", ".join(named)
        )
    if options.checkpoint.revision is not None and len(models) > 1:
        raise UsageError(
            f"--revision {options.checkpoint.revision}: is of one model, and there are "
            f"{len(models)}: say it of each in a TOML"
        )
    measures = tuple(parse_measures(options.measures))
    sets = data_sets(folders, options.split)
    specs = [_spec(each, chosen, measures, options) for each in sets]
    checked = [check(spec) for spec in specs]  # before the first of many hours
    steps = Steps(out / WORK, say)
    written = WrittenFiles(out, steps.folder / WRITTEN)
    check_place(out / WORK)
    open_work(steps.folder, "beir")
    single: list[BeirResult] = []
    freed = 0
    with folder_lock(steps.folder / ".lock", out):
        written.check([JSON, TABLE, LATEX])
        for each, spec, opened in zip(sets, specs, checked, strict=True):
            say(f"data set {each.name}")
            maker = Maker(spec, opened, steps)
            single += [_result(maker, v, each, options.engine) for v in spec.variants]
            freed += maker.drop_indexes() if drop_indexes else 0
        results = _grouped(single, sets, named)
        tables = [beir_table(m, named, _values(results, m)) for m in measures]
        outcome = BeirOutcome(results, tables, steps.done, steps.kept, freed)
        written.write(_files(outcome, chosen, options))
    return outcome


def _spec(
    each: DataSet, models: Sequence[BeirModel], measures: tuple[str, ...], options: BeirOptions
) -> Spec:
    variants = [model.of(each) for model in models]
    return Spec(
        file=each.folder,
        title=each.name,
        collection=each.name,
        qrels=split_file(each.folder, each.split),
        measures=measures,
        remove_query=True,
        depth=options.k,
        variants=tuple(variants),
        baseline=variants[0].name,
        algorithms={options.engine: ()},
        index=BuildOptions(),
    )


def _result(maker: Maker, variant: Variant, each: DataSet, engine: str) -> BeirResult:
    made = maker.sources(variant)
    index = maker.index(variant, engine)
    run = maker.run(variant, engine)
    means = maker.evaluation(run).outcome["means"]
    seconds: dict[str, float] = {"encode": sum(step.seconds for step in made)}
    seconds |= {"index": index.seconds, "search": run.seconds}
    return BeirResult(
        each.name,
        variant.name,
        each.split,
        run.outcome["queries"],
        index.outcome["counts"]["documents"],
        means,
        {},
        seconds,
    )


def _grouped(
    single: Sequence[BeirResult], sets: Sequence[DataSet], models: Sequence[str]
) -> list[BeirResult]:
    """The results, those of a group's parts made into one at the place of its first."""
    found = []
    groups = {each.name: each.group or each.name for each in sets}
    for name in dict.fromkeys(groups.values()):
        for model in models:
            parts = [r for r in single if groups[r.data_set] == name and r.model == model]
            if parts[0].data_set == name:
                found += parts
                continue
            found.append(
                BeirResult(
                    name,
                    model,
                    parts[0].split,
                    sum(p.queries for p in parts),
                    sum(p.documents for p in parts),
                    {m: statistics.mean(p.means[m] for p in parts) for m in parts[0].means},
                    {p.data_set.partition("/")[2]: p.means for p in parts},
                    {k: sum(p.seconds[k] for p in parts) for k in parts[0].seconds},
                )
            )
    return found


def _values(results: Sequence[BeirResult], measure: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for r in results:
        found.setdefault(r.data_set, {})[r.model] = r.means[measure]
    return found


def _files(
    outcome: BeirOutcome, models: Sequence[BeirModel], options: BeirOptions
) -> dict[str, bytes]:
    content: dict[str, Any] = {"evaluations": outcome.results, "tables": outcome.tables}
    lengths = {side.max_length for model in models for side in (model.documents, model.queries)}
    told = [
        f"Searched to {options.k:,} documents a query with the engine {options.engine}, texts read "
        f"to {' or '.join(map(str, sorted(lengths)))} tokens, weights x 100; the document whose id "
        "is the query's is left out, a judged query without results counts as 0."
    ]
    for model in models:
        by, asked = model.documents.encoder, model.queries.encoder
        if (by, asked) != (model.name, model.name):
            told.append(f"{model.name}: documents by {by}, queries by {asked}.")
    splits = {r.data_set: r.split for r in outcome.results if r.split != TEST}
    if splits:
        said = ", ".join(f"{split} of {name}" for name, split in splits.items())
        told.append(f"Judgements: test, but {said}.")
    for r in outcome.results:
        if r.parts and r.model == outcome.results[0].model:
            told.append(f"{r.data_set}: the mean of {len(r.parts)} parts.")
    return {
        JSON: orjson.dumps(content, option=orjson.OPT_INDENT_2),
        TABLE: markdown(outcome.tables, told).encode(),
        LATEX: latex(outcome.tables).encode(),
    }
