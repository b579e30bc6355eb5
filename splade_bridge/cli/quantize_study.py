"""``splade-bridge quantize-study``."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.marks import WRITES
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import (
    AllowMismatch,
    Hits,
    Json,
    NoCheck,
    Overwrite,
    Split,
    output_flag,
    queries_flag,
)
from splade_bridge.cli.telling import note, print_json, progress, say
from splade_bridge.data.choices import Rounding

if TYPE_CHECKING:
    from splade_bridge.evaluation.quantize_study import Setting, Study

NAME = "quantize-study"


def command(
    vectors: Annotated[Path, typer.Argument(help="Vector store of the documents.")],
    queries: Annotated[
        Path,
        queries_flag("a vector store of float weights."),
    ],
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="Judgements, for the change of nDCG@10.", show_default=False),
    ] = None,
    split: Annotated[Split, needs("--qrels")] = None,
    scales: Annotated[
        list[float] | None,
        typer.Option(
            "--scale",
            help="To try, on both sides; repeatable.",
            show_default="5 10 20 50 100 200 500 1000",
        ),
    ] = None,
    roundings: Annotated[
        list[Rounding] | None,
        typer.Option(
            "--rounding",
            help="nearest is half to even; to try, on both sides; repeatable.",
            show_default="both",
        ),
    ] = None,
    clip: Annotated[
        int,
        typer.Option(
            "--clip", min=0, help="Cut impacts to this, and count it; tried beside none. 0: none."
        ),
    ] = 255,
    k: Hits = 1000,
    persistence: Annotated[float, typer.Option("--rbo-p", help="The p of RBO.")] = 0.9,
    max_loss: Annotated[
        float,
        typer.Option("--max-loss", help="Of nDCG@10, for the recommendation."),
        needs("--qrels"),
    ] = 0.001,
    min_rbo: Annotated[
        float, typer.Option("--min-rbo", help="RBO that the recommendation must exceed.")
    ] = 0.99,
    allow_mismatch: AllowMismatch = False,
    output: Annotated[Path | None, output_flag("Report: .json or .csv."), WRITES] = None,
    no_check: NoCheck = False,
    overwrite: Annotated[Overwrite, needs("--output")] = False,
    json: Json = False,
) -> None:
    """Find the scale that impacts need. They are compared with the float weights they come
    from.

    Prints a line a setting: agreement with the ranking of the floats (overlap, RBO), change of
    nDCG@10, lost mass, dropped postings, and how far scores stay below 2^24.
    """
    from splade_bridge.errors import UsageError
    from splade_bridge.evaluation.qrels import read_qrels
    from splade_bridge.evaluation.quantize_study import StudyOptions, quantize_study
    from splade_bridge.files.outputs import check_output
    from splade_bridge.files.writing import atomic_writer

    if output is not None:
        if output.suffix not in (".json", ".csv"):
            raise UsageError(f"--output must end in .json or .csv, not {output.name!r}")
        check_output(output, overwrite=overwrite, kind="file")
    options = StudyOptions(
        scales=tuple(scales) if scales else StudyOptions.scales,
        roundings=tuple(roundings) if roundings else StudyOptions.roundings,
        clips=(None, clip) if clip else (None,),
        k=k,
        persistence=persistence,
        max_loss=max_loss,
        min_rbo=min_rbo,
    )
    study = quantize_study(
        vectors,
        queries,
        read_qrels(qrels, split=split) if qrels else None,
        options,
        allow_mismatch=allow_mismatch,
        watch=lambda settings: progress(settings, "trying", len(settings)),
    )
    if output is not None:
        with atomic_writer(output) as stream:
            stream.write(_csv(study) if output.suffix == ".csv" else _json(study))
    if json:
        print_json({"output": output and str(output), **asdict(study)})
        return
    for line in _table(study):
        say(line)
    note(study.reason)
    if study.without_results:
        note(f"{len(study.without_results)} queries have no term of any document and do not count")


def _json(study: Study) -> bytes:
    import orjson

    return orjson.dumps(asdict(study), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _csv(study: Study) -> bytes:
    text = io.StringIO()
    rows: list[dict[str, Any]] = [
        asdict(s) | {"recommended": s == study.recommended} for s in study.settings
    ]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _table(study: Study) -> list[str]:
    titles = ["scale", "rounding", "cap", "max", "postings", "dropped", "lost mass", "overlap@10",
              f"overlap@{study.k}", "RBO", "nDCG@10", "2^24 margin"]  # fmt: skip
    rows = [titles, *(_cells(s) for s in study.settings)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    marks = ["", *("  <-" * (s == study.recommended) for s in study.settings)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + mark
        for row, mark in zip(rows, marks, strict=True)
    ]


def _cells(s: Setting) -> list[str]:
    return [
        f"{s.scale:g}",
        s.rounding,
        str(s.clip or "-"),
        f"{s.max_impact:,}",
        f"{s.postings:,}",
        f"{s.dropped_postings:.2%}",
        f"{s.lost_mass:.3%}",
        f"{s.overlap_10:.4f}",
        f"{s.overlap_k:.4f}",
        f"{s.rbo:.4f}",
        "-" if s.ndcg is None else f"{s.ndcg:.4f} ({s.ndcg_change:+.4f})",
        f"{s.margin:,.2f}",
    ]
