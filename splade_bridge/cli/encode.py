"""``splade-bridge encode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from splade_bridge.cli.options import Json, Overwrite, note, print_json

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
        str, typer.Option("--batch-tokens", help="Padded tokens of a batch, or auto.")
    ] = "auto",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="Threads on a CPU.", show_default="all cores"),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option("--id-field", help="Field of the id.", show_default="id, _id or docid"),
    ] = None,
    text_field: Annotated[
        str | None,
        typer.Option("--text-field", help="Field of the text.", show_default="contents or text"),
    ] = None,
    title_field: Annotated[
        str, typer.Option("--title-field", help="Field put in front of the text, if there.")
    ] = "title",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Turn text into sparse vectors.

    A run that was stopped goes on where it was when the same command is given again.
    """
    from splade_bridge.corpora import CorpusOptions, read_texts
    from splade_bridge.errors import UsageError
    from splade_bridge.files import refuse_existing
    from splade_bridge.manifest import FILE_NAME
    from splade_bridge.store import PLAN

    if side not in ("document", "query"):
        raise UsageError(f"--side is document or query, not {side!r}")
    wanted = (query_model if side == "query" else document_model) or model
    if wanted is None:
        raise UsageError(f"no model: pass --model, or --{side}-model")
    # Before a model is loaded for nothing; an unfinished output is gone on with.
    if (out / FILE_NAME).exists() or not (out / PLAN).exists():
        refuse_existing(out, overwrite=overwrite)
    role = "queries" if side == "query" else "documents"
    texts = read_texts(corpus, role, CorpusOptions(id_field, text_field, title_field))  # type: ignore[arg-type]

    from splade_bridge.encode.encoder import DTYPES, EncodeOptions, load_encoder
    from splade_bridge.encode.head import Pooling
    from splade_bridge.encode.progress import known_count, progress_bar
    from splade_bridge.encode.run import encode_to_store, not_empty
    from splade_bridge.encode.side import QueryMode

    for flag, value, known in (
        ("pooling", pooling, (None, *get_args(Pooling))),
        ("query-mode", query_mode, get_args(QueryMode)),
        ("dtype", dtype, ("auto", *DTYPES)),
    ):
        if value not in known:
            raise UsageError(f"--{flag} is {', '.join(filter(None, known))}, not {value!r}")
    if batch_tokens != "auto" and not batch_tokens.isdecimal():
        raise UsageError(f"--batch-tokens is auto or a number of tokens, not {batch_tokens!r}")
    options = EncodeOptions(
        max_length=max_length,
        pooling=pooling,  # type: ignore[arg-type]
        dtype=dtype,  # type: ignore[arg-type]
        batch_tokens=None if batch_tokens == "auto" else int(batch_tokens),
        device=device,
        threads=threads,
        query_mode=query_mode,  # type: ignore[arg-type]
    )
    texts = not_empty(texts, corpus)
    encoder = load_encoder(wanted, side, options)  # type: ignore[arg-type]
    with progress_bar(known_count(corpus, role)) as bar:  # type: ignore[arg-type]
        manifest = encode_to_store(
            texts, encoder, out, corpus=corpus, overwrite=overwrite, progress=bar
        )
    counts, rates = manifest.counts, encoder.stats.rates()
    if json:
        print_json({"vectors": str(out), "counts": counts, "encoding": manifest.encoding,
                    "seconds": encoder.stats.seconds, **rates})  # fmt: skip
        return
    note(
        f"{out}: {counts.documents:,} texts ({counts.empty:,} empty), {counts.postings:,} weights; "
        f"{rates['texts_per_second']:,.1f} texts/s, {rates['tokens_per_second']:,.0f} tokens/s, "
        f"{rates['padding_share']:.1%} padding"
    )
