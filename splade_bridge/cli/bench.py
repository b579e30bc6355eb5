"""``splade-bridge bench``."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.groups import (
    AskingFlags,
    ModelFlags,
    QuantizeFlags,
    QueryFlags,
    TwoStepFlags,
)
from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import Needs
from splade_bridge.cli.options import (
    CheckAgainst,
    IndexMemory,
    Json,
    NoCheck,
    Overwrite,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json, say
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    from splade_bridge.evaluation.bench import BenchRow, Latency
    from splade_bridge.evaluation.frontier import FrontierPoint

NAME = "bench"
WRITTEN = Needs(
    "without --output or --frontier",
    "add one",
    lambda given: given["output"] is not None or given["frontier"] is not None,
)


def command(
    indexes: Annotated[list[Place], typer.Argument(help="One or more indexes.")],
    asked: QueryFlags,
    ks: Annotated[
        list[int] | None,
        typer.Option(
            "-k", "--hits", min=1, help="Documents a query; repeatable.", show_default="10 1000"
        ),
    ] = None,
    algorithms: Annotated[
        list[str] | None,
        typer.Option(
            "--algorithm",
            help="As for search, auto or all; repeatable.",
            show_default="the engine's default",
        ),
    ] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Timed passes that count.")] = 3,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads",
            min=1,
            help="Threads to use for queries/s, measured then; latencies are those of one.",
            show_default=False,
        ),
    ] = None,
    steps: TwoStepFlags = TwoStepFlags(),
    frontier: Annotated[
        Path | None,
        typer.Option(
            "--frontier",
            metavar="FILE.svg",
            help="Time each index under all its options, too, and draw recall against latency: "
            "options of approximation, with --two-step those of a first step. For one -k (10).",
        ),
        WRITES,
    ] = None,
    check_against: CheckAgainst = None,
    asking: AskingFlags = AskingFlags(),
    output: Annotated[Path | None, output_flag("Write the figures as CSV."), WRITES] = None,
    checkpoint: ModelFlags = ModelFlags(),
    quantize: QuantizeFlags = QuantizeFlags(),
    memory: IndexMemory = None,
    no_check: NoCheck = False,
    overwrite: Annotated[Overwrite, WRITTEN] = False,
    json: Json = False,
) -> None:
    """Measure latency and throughput of indexes. In one thread, warm, repeated in turns.

    Milliseconds a query. Encoding text with --model is timed apart, one query a time. Repeats whose
    medians differ by more than 10 % are made again, twice at most, and those nearest to each other
    count; if they differ still, the machine is too noisy to tell. Of what is approximate the share
    of the exact top that it finds is told, of some queries or with --check-against of all. With
    --two-step each index is a first step; with --frontier beside it each is measured as it is, too.
    """
    from dataclasses import replace

    from splade_bridge.engines.base import limit_memory
    from splade_bridge.engines.registry import open_index, open_indexes
    from splade_bridge.evaluation.bench import (
        TOO_NOISY,
        BenchOptions,
        bench,
        first_steps,
        time_encoding,
    )
    from splade_bridge.evaluation.frontier import DEFAULT_K
    from splade_bridge.evaluation.frontier import frontier as swept
    from splade_bridge.files.lines import plain_suffix
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.sizes import size_in_bytes
    from splade_bridge.files.writing import atomic_writers
    from splade_bridge.formats.forward import ForwardStore
    from splade_bridge.report.frontier import frontier_chart, on_front

    if output is not None:
        if plain_suffix(output) != ".csv":
            raise UsageError(f"--output must end in .csv, not {output.name!r}: the figures are CSV")
        check_output(output, overwrite=overwrite, kind="file")
    if frontier is not None:
        if plain_suffix(frontier) != ".svg":
            raise UsageError(f"--frontier must end in .svg, not {frontier.name!r}")
        check_output(frontier, overwrite=overwrite, kind="file")
    usual = (DEFAULT_K,) if frontier is not None else (10, 1000)
    options = BenchOptions(tuple(ks or usual), tuple(algorithms or ()), repeat, threads)
    if frontier is not None and (steps.first_query_terms, steps.candidates) != (None, None):
        raise UsageError(
            "--frontier sweeps the terms and candidates of a first step: leave --first-query-terms "
            "and --candidates out"
        )
    limit = None if memory is None else size_in_bytes(memory)
    encoding = None
    with contextlib.ExitStack() as stack:
        searchers = [stack.enter_context(s) for s in open_indexes(indexes, asking.asking)]
        limit_memory(searchers, limit)
        if asked.model is None:
            loaded = asked.load(quantize, checkpoint)
        else:
            loaded, encoding = time_encoding(
                asked.queries,
                asked.model,
                quantize.options,
                asked.max_length,
                asked.split,
                checkpoint.choices,
            )
            loaded = replace(loaded, allow_mismatch=asked.allow_mismatch)
        exact = None
        if check_against is not None:
            exact = stack.enter_context(open_index(check_against))
        points: list[FrontierPoint] = []
        if frontier is not None:
            forward = None if steps.two_step is None else ForwardStore(steps.two_step)
            points = swept(searchers, loaded, options, forward=forward, exact=exact)
            rows = [point.row for point in points]
        else:
            steps_of_each = first_steps(searchers, options.k, **vars(steps))
            rows = bench(steps_of_each, loaded, options, exact=exact)
    with atomic_writers([path for path in (frontier, output) if path]) as streams:
        if frontier is not None:
            streams[0].write(frontier_chart(points, options.k[0]).encode())
        if output is not None:
            streams[-1].write(_csv(rows, encoding, points).encode())
    noisy = [row for row in rows if row.timing.noisy]
    if json:
        told = [
            {"of": p.of, "setting": p.setting, "exact": p.exact, "on_front": front}
            for p, front in zip(points, on_front(points), strict=True)
        ]
        drawn = frontier and {"output": str(frontier), "points": told}
        print_json({"output": output and str(output), "encoding_ms": encoding,
                    "noisy": bool(noisy), "rows": rows, "frontier": drawn})  # fmt: skip
    else:
        say(_swept(points) if points else _table(rows), "\n")
        if encoding:
            say(
                f"encoding a query: mean {encoding.mean:.2f} ms, p50 {encoding.p50:.2f}, "
                f"p95 {encoding.p95:.2f}, p99 {encoding.p99:.2f}"
            )
    if noisy:
        worst = max(noisy, key=lambda row: row.timing.spread)
        note(
            f"too noisy to tell: medians of repeats differ by more than {TOO_NOISY:.0%} in "
            f"{len(noisy)} of {len(rows)} rows, by {worst.timing.spread:.0%} in {worst.index} "
            f"({worst.algorithm}, k = {worst.k}); free the machine, or repeat more often"
        )


def _flat(row: BenchRow) -> dict[str, Any]:
    """One level of names, for CSV."""
    timing = row.timing
    return {
        "index": row.index,
        "forward": row.forward,
        "engine": row.engine,
        "algorithm": row.algorithm,
        "k": row.k,
        "queries": row.queries,
        "mean_ms": round(timing.latency.mean, 6),
        "p50_ms": round(timing.latency.p50, 6),
        "p95_ms": round(timing.latency.p95, 6),
        "p99_ms": round(timing.latency.p99, 6),
        "repeats": len(timing.medians),
        "spread": round(timing.spread, 4),
        "noisy": timing.noisy,
        "queries_per_second": timing.queries_per_second and round(timing.queries_per_second, 2),
        "threads": timing.threads,
        "bytes": row.bytes,
        "qd_flops": row.qd_flops,
        "scored_share": row.scored_share,
    } | ({} if row.kept is None else {"kept": round(row.kept, 6)})


def _csv(
    rows: Sequence[BenchRow], encoding: Latency | None, points: Sequence[FrontierPoint]
) -> str:
    import csv
    import io

    from splade_bridge.report.frontier import said

    text = io.StringIO()
    encode_ms = {"encoding_mean_ms": round(encoding.mean, 6)} if encoding else {}
    flat = [_flat(row) | encode_ms for row in rows]
    if points:
        asked = ({"of": point.of, "setting": said(point.setting)} for point in points)
        flat = [how | figures for how, figures in zip(asked, flat, strict=True)]
    writer = csv.DictWriter(text, list(flat[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return text.getvalue()


def _table(rows: Sequence[BenchRow]) -> str:
    head = ("index", "engine", "algorithm", "k", "mean", "p50", "p95", "p99", "spread",
            "queries/s", "MB", "QD-FLOPS", "scored")  # fmt: skip
    told = any(row.kept is not None for row in rows)
    lines: list[tuple[str, ...]] = [(*head, "kept") if told else head]
    for row in rows:
        timing, latency = row.timing, row.timing.latency
        lines.append((
            row.index, row.engine, row.algorithm, f"{row.k}",
            f"{latency.mean:.3f}", f"{latency.p50:.3f}", f"{latency.p95:.3f}",
            f"{latency.p99:.3f}", f"{timing.spread:.0%}",
            f"{timing.queries_per_second:,.0f}" if timing.queries_per_second else "-",
            f"{row.bytes / 1e6:,.1f}",
            "not told" if row.qd_flops is None else f"{row.qd_flops:.2f}",
            "not told" if row.scored_share is None else f"{row.scored_share:.0%}",
            *([f"{row.kept:.2%}" if row.kept is not None else "-"] * told),
        ))  # fmt: skip
    return _aligned(lines, 3)


def _swept(points: Sequence[FrontierPoint]) -> str:
    """A line for each, from quick to slow; those on the front are marked."""
    from splade_bridge.report.frontier import on_front, said

    lines: list[tuple[str, ...]] = [
        ("", "index", "setting", "algorithm", "recall", "mean", "p95", "spread")
    ]
    fronts = zip(points, on_front(points), strict=True)
    for point, front in sorted(fronts, key=lambda pair: pair[0].milliseconds):
        latency = point.row.timing.latency
        lines.append((
            "*" if front else "", point.of, said(point.setting) or "as it is", point.row.algorithm,
            "exact" if point.exact else f"{point.recall:.2%}", f"{latency.mean:.3f}",
            f"{latency.p95:.3f}", f"{point.row.timing.spread:.0%}",
        ))  # fmt: skip
    return _aligned(lines, 4)


def _aligned(lines: Sequence[tuple[str, ...]], words: int) -> str:
    """A table whose first columns are ``words``, and all others figures."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < words else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
