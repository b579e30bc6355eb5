"""The whole chain on the built-in collection, by the same commands that a user would type."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from splade_bridge.data.manifest import Side
from splade_bridge.demo import collection
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.engines.registry import USUAL, engine
from splade_bridge.errors import MismatchError, MissingToolError, require
from splade_bridge.evaluation.evaluate import Evaluation, evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.retrieval.runs import Run, read_run

MEASURES = ("nDCG@10", "RR@10", "R@100")
HITS = 100

SOURCES = {"lucene": "export/jsonvector", "pisa": "export/index.ciff", "exact": "vectors"}
"""Each engine is built from another of the three forms, so that agreement proves them all."""


def source_of(name: str) -> str:
    """What the index of engine ``name`` is built from."""
    return SOURCES.get(name, "vectors")


@dataclass(frozen=True)
class EngineResult:
    """What one engine did in the demo; ``milliseconds`` is the mean of a query."""

    engine: str
    source: str
    index_bytes: int
    milliseconds: float
    evaluation: Evaluation


@dataclass(frozen=True)
class DemoResult:
    """Everything that the closing table shows.

    Attributes:
        samples: question, and the best document that was found for it.
        skipped: engines that are not installed, with the remedy.
        seconds: by command.
    """

    documents: int
    questions: int
    engines: list[EngineResult]
    samples: list[tuple[str, str]]
    skipped: dict[str, str]
    seconds: dict[str, float]


def as_printed(result: DemoResult) -> dict[str, Any]:
    """The result as ``--json`` prints it, in the words of the commands that the demo runs."""
    engines = [
        {
            "engine": r.engine,
            "source": r.source,
            "bytes": r.index_bytes,
            "mean_ms": r.milliseconds,
            "measures": r.evaluation.means,
        }
        for r in result.engines
    ]
    return {
        "documents": result.documents,
        "queries": result.questions,
        "engines": engines,
        "samples": [{"query": asked, "doc_id": found} for asked, found in result.samples],
        "skipped": result.skipped,
        "seconds": sum(result.seconds.values()),
        "commands": [{"command": c, "seconds": s} for c, s in result.seconds.items()],
    }


def check_model(model: str, checkpoint: ModelChoices = ModelChoices()) -> None:
    """Load both sides of ``model``, so that a wrong one is refused before anything is made.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        MismatchError: the terms of its two sides differ.
        MissingToolError: the extra ``encode`` is not installed.
    """
    require("encode", "the demo")
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    options = EncodeOptions(checkpoint=checkpoint)
    document, query = (
        load_encoder(model, side, options).loaded.vocabulary for side in get_args(Side)
    )
    if document.sha256() != query.sha256():
        raise MismatchError(
            f"{model}: its documents have other terms ({len(document):,}) than its queries "
            f"({len(query):,}): both sides must share a tokenizer"
        )


def run_demo(
    folder: Path,
    model: str,
    command: Callable[[Sequence[str]], None],
    say: Callable[[str], None],
    checkpoint: ModelChoices = ModelChoices(),
) -> DemoResult:
    """Run all steps in ``folder``.

    Args:
        model: checkpoint of both sides, a folder or a hub name; see :func:`check_model`.
        command: runs one ``splade-bridge`` command line, given without the program's name.
        say: shows a line to the user.
        checkpoint: its revision, and whether its code may run.

    Raises:
        SpladeBridgeError: from the step that failed.
    """
    seconds: dict[str, float] = {}
    named = ["-m", model]
    if checkpoint.revision is not None:
        named += ["--revision", checkpoint.revision]
    if checkpoint.trust_remote_code:
        named.append("--trust-remote-code")

    def step(what: str, *arguments: str) -> None:
        say(f"\n# {what}\n$ splade-bridge {shlex.join(arguments)}")
        started = time.perf_counter()
        command(arguments)
        seconds[shlex.join(arguments)] = time.perf_counter() - started

    def at(name: str) -> str:
        return str(folder / name)

    folder.mkdir(parents=True, exist_ok=True)
    documents = collection.write_corpus(folder / "corpus.jsonl")
    shutil.copyfile(collection.queries_path(), folder / "queries.jsonl")
    shutil.copyfile(collection.qrels_path(), folder / "qrels.tsv")
    say(f"{documents:,} documentation strings of this Python's standard library are in {folder}")
    names, skipped = _installed()

    corpus, vectors, questions = at("corpus.jsonl"), at("vectors"), at("query-vectors")
    step("text to float vectors, once", "encode", corpus, *named, "-o", vectors)
    side = [*named, "--side", "query"]
    step(
        "the questions, with the same model", "encode", at("queries.jsonl"), *side, "-o", questions
    )
    formats = ["-f", "jsonvector", "-f", "ciff"]
    step("weights to integers, for other tools", "export", vectors, *formats, "-o", at("export"))
    for name in names:
        built = [at(source_of(name)), "--engine", name, "-o", at(name)]
        step(f"an index for {name}, from {source_of(name)}", "index", *built)
    asked = ["--queries", questions, "-k", str(HITS)]
    for name in names:
        written = ["--latencies", at(f"{name}.ms.tsv"), "-o", at(f"{name}.run")]
        step(f"search with {name}", "search", at(name), *asked, *written)
    measures = [flag for measure in MEASURES for flag in ("-M", measure)]
    for name in names:
        judged = [at("qrels.tsv"), at(f"{name}.run")]
        step(f"how good is the run of {name}?", "evaluate", *judged, *measures)
    if len(names) > 1:
        step("do the engines agree, score for score?", "verify", *map(at, names), *asked)

    results = [_result(folder, name) for name in names]
    run = read_run(folder / f"{names[-1]}.run")
    return DemoResult(
        documents, len(results[0].evaluation.per_query), results,
        _samples(folder, run, results[0].evaluation), skipped, seconds,
    )  # fmt: skip


def _installed() -> tuple[list[str], dict[str, str]]:
    names, skipped = [], {}
    for name in USUAL:
        try:
            engine(name).check_installed()
            names.append(name)
        except MissingToolError as error:
            skipped[name] = str(error)
    return names, skipped


def _result(folder: Path, name: str) -> EngineResult:
    size = sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file())
    rows = (folder / f"{name}.ms.tsv").read_text().splitlines()
    times = [float(row.split("\t")[1]) for row in rows]
    found = evaluate(read_qrels(folder / "qrels.tsv"), read_run(folder / f"{name}.run"), MEASURES)
    return EngineResult(name, source_of(name), size, sum(times) / len(times), found)


def _samples(
    folder: Path, run: Run, evaluation: Evaluation, count: int = 5
) -> list[tuple[str, str]]:
    from splade_bridge.text.corpora import read_texts

    texts = {q.id: q.text for q in read_texts(str(folder / "queries.jsonl"), "queries")}
    return [(texts[q], next(iter(run[q]))) for q in list(evaluation.per_query)[:count] if q in run]
