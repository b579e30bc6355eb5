"""``splade-bridge serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from splade_bridge.cli.groups import ModelFlags, OpenFlags, ShownTextFlags
from splade_bridge.cli.marks import READS
from splade_bridge.cli.needs import needs
from splade_bridge.cli.options import (
    AllowMismatch,
    Json,
    MaxLength,
    NoCheck,
    ShownCorpus,
    Split,
    queries_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.files.address import Place
from splade_bridge.server.choices import DEFAULT_MEASURE, LOCAL, MOST_PORT, PORT, is_local

NAME = "serve"


def command(
    indexes: Annotated[
        list[Place],
        typer.Argument(help="One or more indexes or addresses; the page compares two of them."),
    ],
    model: Annotated[
        list[str],
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            help="Checkpoint that encodes queries: a folder or a hub name; bm25 is Lucene's "
            "analyzer, for an index of BM25 weights. Once for all indexes, or once for each.",
            show_default=False,
        ),
        READS,
    ],
    corpus: ShownCorpus = None,
    queries: Annotated[
        str | None, queries_flag("text, judged by --qrels, to pick from."), READS
    ] = None,
    qrels: Annotated[
        Path | None,
        typer.Option("--qrels", help="Judgements of --queries.", show_default=False),
        needs("--queries"),
    ] = None,
    split: Annotated[Split, needs("--qrels")] = None,
    measure: Annotated[
        str,
        typer.Option("--measure", "-M", help="Of the rankings of judged queries."),
        needs("--qrels"),
    ] = DEFAULT_MEASURE,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 lets others in.")
    ] = LOCAL,
    port: Annotated[
        int, typer.Option("--port", min=0, max=MOST_PORT, help="0 takes any that is free.")
    ] = PORT,
    threads: Annotated[
        int, typer.Option("--threads", min=1, max=64, help="Requests that are answered at a time.")
    ] = 4,
    max_length: MaxLength = 256,
    texts: ShownTextFlags = ShownTextFlags(),
    opening: OpenFlags = OpenFlags(),
    checkpoint: ModelFlags = ModelFlags(),
    allow_mismatch: AllowMismatch = False,
    no_check: NoCheck = False,
    json: Json = False,
) -> None:
    """Serve a page to search and compare indexes, and see why.

    Shows a query's terms, which can be changed by hand, and what each adds to a document; the same
    as JSON. Ctrl-C ends it.
    """
    from splade_bridge.errors import require

    require("serve", "serve")
    from splade_bridge.server.app import application
    from splade_bridge.server.listening import address_of, listening, names_of
    from splade_bridge.server.listening import serve as answer
    from splade_bridge.server.opening import ServeOptions, opened

    options = ServeOptions(
        tuple(model),
        corpus,
        texts.options(),
        queries,
        qrels,
        split,
        measure,
        max_length,
        opening.options,
        checkpoint.choices,
        opening.asking,
        opening.limit,
        allow_mismatch,
    )
    with listening(host, port) as listener:  # before a model is loaded for nothing
        address = address_of(listener, host)
        with opened(indexes, options) as served:
            if not is_local(host):
                note(f"warning: whoever reaches {address} can search and read what is served")

            def begun() -> None:
                if json:
                    print_json({"address": address, "indexes": served.indexes().indexes})
                note(
                    f"{address} serves {', '.join(s.label for s in served.systems)}; Ctrl-C ends it"
                )

            answer(application(served, threads, names_of(host)), listener, begun)
