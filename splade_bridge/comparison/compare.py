"""A whole comparison, and what it found."""

from __future__ import annotations

import csv
import importlib.metadata
import io
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from splade_bridge import __version__
from splade_bridge.comparison.addressed import engine_address
from splade_bridge.comparison.check import check
from splade_bridge.comparison.fused import fusion_result
from splade_bridge.comparison.make import Maker, agree, recall_of
from splade_bridge.comparison.spec import Spec, Variant
from splade_bridge.comparison.steps import Step, Steps, by_kind
from splade_bridge.comparison.timing import Latencies, latencies
from splade_bridge.engines.registry import engine
from splade_bridge.errors import UsageError
from splade_bridge.evaluation.agreement import DEFAULT_PERSISTENCE
from splade_bridge.evaluation.significance import Comparison, compare_all
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import MARK, check_place, mark
from splade_bridge.files.written import WrittenFiles
from splade_bridge.report import notebook
from splade_bridge.report.charts import Chart, difference_charts, latency_charts, size_charts
from splade_bridge.report.latex import compared
from splade_bridge.report.page import page
from splade_bridge.report.published import published
from splade_bridge.report.results import IndexResult, Results, VariantResult
from splade_bridge.report.svg import standalone

JSON, CSV, REPORT, LATEX = "results.json", "results.csv", "report.html", "table.tex"
CHARTS, WORK = "charts", "work"
WRITTEN = "written.json"


@dataclass(frozen=True)
class Outcome:
    """What was found, and how many steps of each kind were done now or had been done before."""

    results: Results
    done: dict[str, int]
    kept: dict[str, int]
    freed: int = 0

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        return notebook.comparison(self.results)


def compare(
    spec: Spec,
    out: Path,
    *,
    say: Callable[[str], None] = lambda _: None,
    rebench: bool = False,
    drop_indexes: bool = False,
    allow_mismatch: bool = False,
    memory: int | None = None,
) -> Outcome:
    """Do what is not done yet below ``out/work`` and write all results into ``out``.

    What else is in ``out`` stays as it is.

    Args:
        say: told what begins.
        rebench: measure all latencies again, so that they come from one session.
        allow_mismatch: see :class:`splade_bridge.formats.queries.Queries`.
        drop_indexes: delete the indexes at the end; they are built again where they are needed.
        memory: bytes of the heap of the JVM that a Lucene index is searched in; None for 1 GiB.

    Raises:
        UsageError: a file of ``out`` has the name of one that is written, and is not ours; or
            somebody has changed it since; or ``memory``, and no engine takes it.
        SpladeBridgeError: of the step that failed; finished steps are kept.
    """
    checked = check(spec, memory)
    steps = Steps(out / WORK, say)
    written = WrittenFiles(out, steps.folder / WRITTEN)
    check_place(out / WORK)
    open_work(steps.folder)
    with folder_lock(steps.folder / ".lock", out):
        written.check([JSON, CSV, REPORT, LATEX], [CHARTS])
        maker = Maker(spec, checked, steps, allow_mismatch=allow_mismatch)
        engines = list(checked.algorithms)
        for v in spec.variants:
            maker.sources(v)
        for v in spec.variants:
            for name in engines:
                maker.index(v, name)
        runs = {v.name: [maker.run(v, name) for name in engines] for v in spec.variants}
        runs |= {f.name: [maker.fused(f, name) for name in engines] for f in spec.fusions}
        timing = latencies(maker, rebench=rebench)
        results = _results(maker, runs, timing)
        written.write(_files(results))
        freed = maker.drop_indexes() if drop_indexes else 0
    return Outcome(results, steps.done, steps.kept, freed)


def _results(maker: Maker, runs: dict[str, list[Step]], timing: Latencies) -> Results:
    spec = maker.spec
    evaluations = {name: maker.evaluation(found[0]).outcome for name, found in runs.items()}
    tests = _tests(spec, evaluations)
    depths = sorted({min(k, spec.depth) for k in (10, *spec.bench.ks)})
    variants = [_variant(maker, v, runs, evaluations, tests, depths, timing) for v in spec.variants]
    variants += [
        fusion_result(maker, f, runs, evaluations[f.name], tests[f.name], depths, variants)
        for f in spec.fusions
    ]
    first = runs[spec.baseline][0]
    return Results(
        title=spec.title,
        collection=spec.collection,
        baseline=spec.baseline,
        queries=first.outcome["queries"],
        judged=len(next(iter(evaluations[spec.baseline]["per_query"].values()))),
        measures=list(spec.measures),
        depth=spec.depth,
        algorithms=maker.checked.algorithms,
        ks=list(spec.bench.ks),
        persistence=DEFAULT_PERSISTENCE,
        confidence=spec.significance.confidence,
        variants=variants,
        sessions=timing.sessions,
        machine=_machine(),
        versions=_versions(maker),
    )


def _tests(spec: Spec, evaluations: dict[str, dict[str, Any]]) -> dict[str, dict[str, Comparison]]:
    """Variant -> measure -> test against the baseline, corrected for the number of variants."""
    found: dict[str, dict[str, Comparison]] = {name: {} for name in evaluations}
    if len(found) > 1:
        for name in spec.measures:
            values = {v: e["per_query"][name] for v, e in evaluations.items()}
            for test in compare_all(values, spec.baseline, spec.significance):
                found[test.second][name] = test
    return found


def _variant(
    maker: Maker,
    v: Variant,
    runs: dict[str, list[Step]],
    evaluations: dict[str, dict[str, Any]],
    tests: dict[str, dict[str, Comparison]],
    depths: list[int],
    timing: Latencies,
) -> VariantResult:
    spec, engines = maker.spec, list(maker.checked.algorithms)
    mine = runs[v.name]
    searched = [maker.run(replace(v, rerank=None), name) for name in engines]
    indexes = [maker.index(v, name) for name in engines]
    counts = indexes[0].outcome["counts"]
    queries = maker.queries(v).batch
    evaluation = evaluations[v.name]
    agreed: dict[str, float] = {}
    if v.name != spec.baseline:
        step = maker.agreement(mine[0], runs[spec.baseline][0], depths, DEFAULT_PERSISTENCE)
        agreed = step.outcome
    made = maker.sources(v)
    encoding, forward = maker.query_encoding(v), maker.forward(v)
    if forward:
        made.append(forward)
    return VariantResult(
        name=v.name,
        group=v.group,
        label=v.label,
        steps=v.steps(),
        documents=counts["documents"],
        empty=counts["empty"],
        postings=counts["postings"] + (forward.outcome["postings"] if forward else 0),
        max_impact=counts["max_impact"],
        query_terms=float(queries.lengths.mean()),
        qd_flops=next((f for run in mine if (f := run.outcome["qd_flops"]) is not None), None),
        means=evaluation["means"],
        per_query=evaluation["per_query"],
        engines_agree=agree(engines, mine),
        indexes=[
            IndexResult(
                name,
                index.outcome["bytes"],
                {"index": index.seconds, "search": first.seconds}
                | ({"rerank": run.seconds} if v.rerank else {}),
                recall_of(name, first),
            )
            for name, index, first, run in zip(engines, indexes, searched, mine, strict=True)
        ],
        latencies=timing.of[v.name],
        encoding_ms=encoding.outcome["mean"] if encoding else None,
        reranking_ms=1e3 * mine[0].seconds / mine[0].outcome["queries"] if v.rerank else None,
        overlap={k: agreed[f"overlap@{k}"] for k in depths} if agreed else {},
        rbo=agreed.get("RBO"),
        tests=tests[v.name],
        published=published(v.published, spec.collection, spec.measures)
        if v.published and spec.collection
        else [],
        seconds=by_kind(made, lambda step: step.seconds),
        bytes=by_kind(made, lambda step: step.outcome["bytes"]),
        kept_exact={int(k): share for k, share in mine[0].outcome["kept"].items()},
    )


def charts(results: Results) -> list[Chart]:
    """All charts of the report."""
    found = [*latency_charts(results), *size_charts(results)]
    return found + [chart for _, chart in difference_charts(results)]


def open_work(work: Path, command: str = "compare") -> None:
    """Make the folder of all work, or find one that is ours.

    Raises:
        UsageError: what is there is not.
    """
    if work.exists() and (not work.is_dir() or any(work.iterdir())) and not (work / MARK).is_file():
        raise UsageError(
            f"{work}: was not made by splade-bridge {command}, which works in it; move it away or "
            "name another output"
        )
    work.mkdir(parents=True, exist_ok=True)
    mark(work)


def _files(results: Results) -> dict[str, bytes]:
    """What is written for people and programs, by its path below the output."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS
    found = {
        JSON: orjson.dumps(results, option=options),
        CSV: as_csv(results).encode(),
        REPORT: page(results).encode(),
        LATEX: compared(results).encode(),
    }
    drawn = {f"{CHARTS}/{c.name}.svg": standalone(c.drawing).encode() for c in charts(results)}
    return found | drawn


def as_csv(results: Results) -> str:
    """A line for every variant, engine, algorithm and k."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    measures = results.measures
    tested = [f"p_{m}" for m in measures]
    timed = ["mean_ms", "p50_ms", "p95_ms", "p99_ms"]
    writer.writerow(
        ["variant", "engine", "algorithm", "k", *measures, *tested, "postings", "documents",
         "query_terms", "qd_flops", "index_bytes", *timed, "rbo"]
    )  # fmt: skip
    for v in results.variants:
        means = [v.means[m] for m in measures]
        p_values = [v.tests[m].corrected if m in v.tests else "" for m in measures]
        sizes = [v.postings, v.documents, v.query_terms, "" if v.qd_flops is None else v.qd_flops]
        for t in v.latencies:
            size = v.index(t.engine).bytes
            rbo = "" if v.rbo is None else v.rbo
            writer.writerow(
                [v.name, t.engine, t.algorithm, t.k, *means, *p_values, *sizes,
                 size, t.mean, *("" if p is None else p for p in (t.p50, t.p95, t.p99)), rbo]
            )  # fmt: skip
    return text.getvalue()


def _machine() -> dict[str, str]:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": (named or [platform.processor() or platform.machine()])[0],
        "cores": str(usable_cores()),
        "memory": f"{memory / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _versions(maker: Maker) -> dict[str, str]:
    found = {"splade-bridge": __version__, "Python": platform.python_version()}
    first = maker.spec.variants[0]
    for name in maker.checked.algorithms:
        if engine_address(name) is None:
            found |= engine(name).tools()
        else:
            found[name] = maker.index(first, name).outcome["server"]
    for name in ("numpy", "ir-measures", "pytrec-eval-terrier", "scipy"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
