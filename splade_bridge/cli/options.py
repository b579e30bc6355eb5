"""Flags that several commands share, so that they look and mean the same everywhere.

``tests/test_flags.py`` holds that a flag means one thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from splade_bridge.cli.marks import READS
from splade_bridge.data.choices import Rounding as RoundingChoice
from splade_bridge.data.choices import Side as SideChoice
from splade_bridge.engines.registry import EngineName
from splade_bridge.engines.remote.choices import Check as CheckChoice
from splade_bridge.files.address import Place
from splade_bridge.formats.choices import CiffDocids as CiffDocidsChoice
from splade_bridge.formats.choices import SourceFormat


def output_flag(what: str, default: str | bool = False) -> Any:
    """The flag of what a command writes; ``what`` says what that is."""
    return typer.Option("--output", "-o", metavar="PATH", help=what, show_default=default)


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout: docs/json.md.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that is there, if it is ours.")
]
NoCheck = Annotated[
    bool,
    typer.Option(
        "--no-check", help="Do not compare files that are read with the hashes in their manifests."
    ),
]
"""Of every command that opens an index, a vector store or an export; ``cli/command.py`` heeds it.

The parameter is ``no_check``, and the command itself has nothing to do with it.
"""
Gzip = Annotated[bool, typer.Option("--gzip", help="Compress what is written.")]

Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads to use.")]
Memory = Annotated[
    str, typer.Option("--memory", help="Budget for sorting, as 500M, 2G, 512MiB.", metavar="SIZE")
]

IndexMemory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="Heap of the JVM that a Lucene index is open in; other engines map their files.",
        metavar="SIZE",
        show_default="1GiB",
    ),
]
"""Where indexes are open and not made."""

SIDE = typer.Option("--side", help="Whether what is read are documents or queries.")
Side = Annotated[SideChoice, SIDE]
From = Annotated[
    SourceFormat | None,
    typer.Option("--from", help="What SOURCE is, where it cannot be seen.", show_default=False),
]
Engine = Annotated[
    EngineName | None,
    typer.Option(
        "--engine",
        "-e",
        help="Engine of the index; an address says it itself.",
        show_default=False,
    ),
]

CiffDocids = Annotated[
    CiffDocidsChoice,
    typer.Option(
        "--ciff-docids",
        help="What the postings of a CIFF file hold: gaps, as the format has it, or docids, as an "
        "early jsonl2ciff wrote them.",
    ),
]

Vocabulary = Annotated[
    Path | None,
    typer.Option(
        "--vocabulary",
        help="What term ids of a matrix, tensor or table stand for, or dimensions of an index that "
        "others made in an engine: vocab.txt, tokenizer.json, a JSON array, or the folder of a "
        "checkpoint.",
        show_default=False,
    ),
]

VectorField = Annotated[
    str | None,
    typer.Option(
        "--field",
        help="Of an index that others made in an engine: the field that holds the vectors.",
        show_default="the only one",
    ),
]

Approximate = Annotated[
    bool,
    typer.Option(
        "--approximate",
        help="Let an engine give approximate results, by its own options.",
    ),
]

CheckAgainst = Annotated[
    Place | None,
    typer.Option(
        "--check-against",
        metavar="INDEX",
        help="Search this index (of the full vectors), too, and tell which share of its top was "
        "found.",
    ),
]

SkipOthers = Annotated[
    bool,
    typer.Option(
        "--skip-others",
        help="Leave out files of a folder that hold nothing of what is read; else they are an "
        "error.",
    ),
]

Scale = Annotated[
    float | None,
    typer.Option(
        "--scale",
        help="Impact = weight x scale, rounded. 100 for a vector store; files with float weights "
        "must be told; integers are impacts already, and refuse it.",
        show_default=False,
    ),
]
Rounding = Annotated[
    RoundingChoice | None,
    typer.Option(
        "--rounding", help="nearest is half to even; of float weights.", show_default="nearest"
    ),
]
Clip = Annotated[
    int | None,
    typer.Option("--clip", min=1, help="Cut impacts to this, and count it.", show_default=False),
]


CheckStored = Annotated[
    CheckChoice | None,
    typer.Option(
        "--check",
        help="What is compared in the end: all documents, 10,000 of them, or their number.",
        show_default="full up to a million documents, else sample",
    ),
]
"""What an engine holds in the end, where it holds the index itself."""


def model_flag(*names: str) -> Any:
    """The flag of a checkpoint, with its further ``names``."""
    return typer.Option(
        "--model",
        *names,
        "-m",
        metavar="MODEL",
        help="Checkpoint that encodes text: a folder or a hub name.",
        show_default=False,
    )


Model = Annotated[str | None, model_flag(), READS]
QueryModel = Annotated[str | None, model_flag("--query-model"), READS]
"""Where only queries are encoded."""
Revision = Annotated[
    str | None,
    typer.Option(
        "--revision",
        help="Branch, tag or commit of a model that has a hub name.",
        show_default="its main branch",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code",
        help="Run code that comes with the checkpoint, which may do anything: read it first.",
    ),
]
MaxLength = Annotated[
    int, typer.Option("--max-length", min=1, help="Tokens of a text that are read.")
]

OwnMaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length",
        min=1,
        help="Tokens of a text that are read.",
        show_default="the model's own limit",
    ),
]
"""Where a model's own limit is what is meant, if nothing is said."""

QUERIES = "QUERIES"


def queries_flag(what: str) -> Any:
    """The flag of queries; ``what`` says which."""
    return typer.Option(
        "--queries", "-q", metavar=QUERIES, help=f"Queries: {what}", show_default=False
    )


QUERIES_FLAG = queries_flag(
    "pre-encoded (TSV of repeated tokens, JSON lines with vectors, a vector store), or text with "
    "--model."
)
Queries = Annotated[str, QUERIES_FLAG, READS]
MaybeQueries = Annotated[str | None, QUERIES_FLAG, READS]
"""Where something else may be asked in their place."""
ShownCorpus = Annotated[
    str | None,
    typer.Option("--corpus", help="Texts of the documents, as for encode.", show_default=False),
    READS,
]
"""Of what is shown."""
PreEncoded = Annotated[
    bool,
    typer.Option(
        "--pre-encoded", help="Take queries that look like text for what they are: tokens."
    ),
]
AllowMismatch = Annotated[
    bool,
    typer.Option(
        "--allow-mismatch",
        help="Search documents of one model with queries of another, with vectors of the other "
        "side, or an index of plain text; else they are refused.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        help="Of a BEIR folder: the judgements in qrels/SPLIT.tsv, or the queries that they judge.",
        show_default="test of judgements, all queries",
    ),
]

Hits = Annotated[int, typer.Option("-k", "--hits", min=1, help="Documents a query.")]
Tag = Annotated[str, typer.Option("--tag", help="Last column of a TREC run.")]


def measures_flag(default: str) -> Any:
    """The flag of measures; ``default`` says which are taken without it."""
    return typer.Option(
        "--measure",
        "-M",
        help="nDCG@10, RR@10, R@1000, AP ... or trec_eval's ndcg_cut_10, map ...; repeatable, and "
        "several in one are divided by blanks.",
        show_default=default,
    )


RemoveQuery = Annotated[
    bool,
    typer.Option("--remove-query", help="Leave out the document whose id is the query's."),
]

Corpus = Annotated[
    str,
    typer.Argument(
        help="JSON lines or arrays, TSV, CSV, Parquet, Arrow, a folder of these, a BEIR folder, an "
        "ir_datasets id; - is JSON lines on stdin."
    ),
    READS,
]
PartRows = Annotated[
    int,
    typer.Option(
        "--part-rows", min=1, help="Texts of a part: what a kill loses, and a worker takes."
    ),
]
IdField = Annotated[
    str | None,
    typer.Option("--id-field", help="Field of the id.", show_default="id, _id or docid"),
]
TextField = Annotated[
    str | None,
    typer.Option("--text-field", help="Field of the text.", show_default="contents or text"),
]
TitleField = Annotated[
    str, typer.Option("--title-field", help="Field put in front of the text, if there.")
]
