"""``splade-bridge encode``."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from splade_bridge.cli.options import (
    IdField,
    Json,
    Overwrite,
    TextField,
    TitleField,
    note,
    print_json,
)

if TYPE_CHECKING:
    from splade_bridge.text.corpora import Role

NAME = "encode"


def command(
    corpus: Annotated[
        str,
        typer.Argument(
            help="JSON lines, TSV, Parquet, a BEIR folder, an ir_datasets id; - is JSON lines on "
            "stdin."
        ),
    ],
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder of the vector store.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Checkpoint of both sides: a folder or a hub name.",
            show_default=False,
        ),
    ] = None,
    query_model: Annotated[
        str | None,
        typer.Option("--query-model", help="Checkpoint of queries.", show_default="--model"),
    ] = None,
    document_model: Annotated[
        str | None,
        typer.Option("--document-model", help="Checkpoint of documents.", show_default="--model"),
    ] = None,
    side: Annotated[str, typer.Option("--side", help="document or query.")] = "document",
    max_length: Annotated[
        int, typer.Option("--max-length", min=1, help="Tokens of a text that are read.")
    ] = 256,
    pooling: Annotated[
        str | None,
        typer.Option(
            "--pooling", help="Over positions: max or sum.", show_default="as saved, else max"
        ),
    ] = None,
    query_mode: Annotated[
        str,
        typer.Option(
            "--query-mode",
            help="model, or bow: each token of a query with weight 1, for document-only models.",
        ),
    ] = "model",
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            help="float32, bfloat16, float16; auto is bfloat16 on a GPU, float32 on a CPU.",
        ),
    ] = "auto",
    batch_tokens: Annotated[
        str, typer.Option("--batch-tokens", help="Tokens of a batch, or auto.")
    ] = "auto",
    long: Annotated[
        str,
        typer.Option(
            "--long",
            help="Texts beyond --max-length: truncate; max, the maximum over windows of that "
            "length; passages, a row for each window, named id#0, id#1 and so on.",
        ),
    ] = "truncate",
    stride: Annotated[
        int | None,
        typer.Option(
            "--stride",
            min=1,
            help="Tokens from one window to the next.",
            show_default="a window, so that none overlap",
        ),
    ] = None,
    devices: Annotated[
        str,
        typer.Option(
            "--devices",
            "--device",
            help="auto is all GPUs, or the CPU; a number of GPUs; cpu; cuda:0,cuda:1; cpu:2 is two "
            "processes.",
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU.", show_default="all cores"),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            help="i/n, from 0: encode every n-th part, for merge.",
            show_default=False,
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="ray: encode on a Ray cluster.", show_default=False),
    ] = None,
    cluster_address: Annotated[
        str | None,
        typer.Option(
            "--cluster-address", help="Of its head.", show_default="as Ray is set, else a local one"
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, help="Of the cluster.", show_default="its GPUs, else its CPUs"
        ),
    ] = None,
    part_rows: Annotated[
        int,
        typer.Option(
            "--part-rows", min=1, help="Texts of a part: what a kill loses, and a worker takes."
        ),
    ] = 8192,
    id_field: IdField = None,
    text_field: TextField = None,
    title_field: TitleField = "title",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn text into sparse vectors.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from splade_bridge.encoding.shards import Shard
    from splade_bridge.errors import UsageError
    from splade_bridge.outputs import MANIFEST, PLAN, check_output
    from splade_bridge.reading.lines import STDIO
    from splade_bridge.text.corpora import Corpus, CorpusOptions, corpus_files

    if side not in ("document", "query"):
        raise UsageError(f"--side is document or query, not {side!r}")
    wanted = (query_model if side == "query" else document_model) or model
    if wanted is None:
        raise UsageError(f"no model: pass --model, or --{side}-model")
    if cluster not in (None, "ray"):
        raise UsageError(f"--cluster is ray, not {cluster!r}")
    if cluster is None and (cluster_address, workers) != (None, None):
        raise UsageError("--cluster-address and --workers are for --cluster ray")
    if cluster and Path(corpus) == STDIO:
        raise UsageError("--cluster ray reads the corpus in a process of its own: name a file")
    chosen = None if shard is None else Shard.parse(shard)
    # Before a model is loaded for nothing; an unfinished output is gone on with.
    if (out / MANIFEST).exists() or not (out / PLAN).exists():
        check_output(out, overwrite=overwrite)
    role: Role = "queries" if side == "query" else "documents"
    source = Corpus(corpus, role, CorpusOptions(id_field, text_field, title_field))
    files = corpus_files(corpus, role)

    from splade_bridge.encoding.devices import DeviceRunner, parse_devices
    from splade_bridge.encoding.encoder import DTYPES, EncodeOptions
    from splade_bridge.encoding.head import Pooling
    from splade_bridge.encoding.passages import LongMode, LongOptions
    from splade_bridge.encoding.progress import known_count, progress_bar
    from splade_bridge.encoding.ray_job import RayRunner
    from splade_bridge.encoding.runner import LocalRunner, Runner, fill_store, not_empty
    from splade_bridge.encoding.side import QueryMode
    from splade_bridge.encoding.worker import EncoderSpec

    for flag, value, known in (
        ("pooling", pooling, (None, *get_args(Pooling))),
        ("query-mode", query_mode, get_args(QueryMode)),
        ("dtype", dtype, ("auto", *DTYPES)),
        ("long", long, get_args(LongMode)),
    ):
        if value not in known:
            raise UsageError(f"--{flag} is {', '.join(filter(None, known))}, not {value!r}")
    if batch_tokens != "auto" and not batch_tokens.isdecimal():
        raise UsageError(f"--batch-tokens is auto or a number of tokens, not {batch_tokens!r}")
    if cluster and devices not in ("auto", "cpu", "cuda"):
        raise UsageError("--devices with --cluster ray is auto, cpu or cuda; see --workers")
    options = EncodeOptions(
        max_length=max_length,
        pooling=pooling,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        batch_tokens=None if batch_tokens == "auto" else int(batch_tokens),
        device=devices,
        threads=threads,
        query_mode=query_mode,  # type: ignore[arg-type]
    )
    spec = EncoderSpec(wanted, side, options, LongOptions(long, stride))  # type: ignore[arg-type]
    texts = source if cluster else not_empty(iter(source), corpus)  # before a model is loaded
    with contextlib.ExitStack() as stack:
        runner: Runner
        if cluster:
            not_empty(source, corpus)
            runner = stack.enter_context(RayRunner(spec, address=cluster_address, workers=workers))
        elif len(names := parse_devices(devices)) > 1:
            runner = stack.enter_context(DeviceRunner(spec, names))
        else:
            runner = LocalRunner(replace(spec, options=replace(options, device=names[0])).load())
        count = known_count(corpus, role)
        bar = stack.enter_context(progress_bar(count, lambda: runner.stats))
        manifest = fill_store(
            runner,
            texts,
            out,
            corpus=corpus,
            files=files,
            shard=chosen,
            overwrite=overwrite,
            part_rows=part_rows,
            progress=bar,
        )
        stats = runner.stats
    counts, rates = manifest.counts, stats.rates()
    if json:
        print_json({"vectors": str(out), "counts": counts, "encoding": manifest.encoding,
                    "seconds": stats.seconds, **rates})  # fmt: skip
        return
    note(
        f"{out}: {counts.documents:,} texts ({counts.empty:,} empty), {counts.postings:,} weights; "
        f"{rates['texts_per_second']:,.1f} texts/s, {rates['tokens_per_second']:,.0f} tokens/s, "
        f"{rates['padding_share']:.1%} padding"
    )
