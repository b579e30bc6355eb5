"""Flags that come together, as one parameter of a command: ``asked: QueryFlags``.

``cli/command.py`` shows the fields of a group as flags of the command, in the place of the
parameter, and hands the command the group.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splade_bridge.cli.marks import READS
from splade_bridge.cli.needs import Needs, needs, unless, where_there
from splade_bridge.cli.options import (
    AllowMismatch,
    Approximate,
    CheckStored,
    CiffDocids,
    Clip,
    From,
    IdField,
    IndexMemory,
    MaxLength,
    MaybeQueries,
    Overwrite,
    PartRows,
    PreEncoded,
    Queries,
    QueryModel,
    Revision,
    Rounding,
    Scale,
    SkipOthers,
    Split,
    TextField,
    TitleField,
    TrustRemoteCode,
    VectorField,
    Vocabulary,
)
from splade_bridge.encoding.choices import QueryMode
from splade_bridge.files.address import Address

if TYPE_CHECKING:
    from splade_bridge.conversion.detect import SourceOptions
    from splade_bridge.data.quantize import QuantizeOptions
    from splade_bridge.encoding.choices import ModelChoices, PairChoices
    from splade_bridge.engines.remote.choices import Asking
    from splade_bridge.engines.remote.load import LoadOptions
    from splade_bridge.formats.queries import Queries as LoadedQueries
    from splade_bridge.text.corpora import CorpusOptions


@dataclass(frozen=True, kw_only=True)
class Group:
    """Flags that come together; each field is one, annotated as a parameter would be."""


@dataclass(frozen=True, kw_only=True)
class SourceFlags(Group):
    """How the vectors of documents are read."""

    source_format: From = None
    vocabulary: Vocabulary = None
    skip_others: SkipOthers = False
    ciff_docids: CiffDocids = "gaps"
    field: VectorField = None

    @property
    def options(self) -> SourceOptions:
        """The same for the library.

        Raises:
            BadInputError: the vocabulary cannot be read.
        """
        from splade_bridge.conversion.detect import SourceOptions
        from splade_bridge.formats.vocabularies import read_vocabulary

        terms = None if self.vocabulary is None else read_vocabulary(self.vocabulary)
        return SourceOptions(
            self.source_format, terms, self.skip_others, self.ciff_docids, self.field
        )


@dataclass(frozen=True, kw_only=True)
class TextFlags(Group):
    """How texts are read."""

    id_field: IdField = None
    text_field: TextField = None
    title_field: TitleField = "title"
    skip_others: SkipOthers = False

    def options(self, split: str | None = None) -> CorpusOptions:
        """The same for the library."""
        from splade_bridge.text.corpora import CorpusOptions

        return CorpusOptions(
            self.id_field, self.text_field, self.title_field, self.skip_others, split
        )


OF_CORPUS = needs("--corpus")


@dataclass(frozen=True, kw_only=True)
class ShownTextFlags(TextFlags):
    """The same of a corpus whose texts are shown, if one is named."""

    id_field: Annotated[IdField, OF_CORPUS] = None
    text_field: Annotated[TextField, OF_CORPUS] = None
    title_field: Annotated[TitleField, OF_CORPUS] = "title"
    skip_others: Annotated[SkipOthers, OF_CORPUS] = False


@dataclass(frozen=True, kw_only=True)
class PartFlags(Group):
    """How what is made of texts is cut into parts."""

    part_rows: PartRows = 8192


@dataclass(frozen=True, kw_only=True)
class EncodeFlags(TextFlags, PartFlags):
    """How texts are read that are encoded part by part, and what is there replaced."""

    split: Annotated[Split, needs("--side", "query")] = None
    overwrite: Overwrite = False

    @property
    def corpus(self) -> CorpusOptions:
        """The same for the library."""
        return self.options(self.split)


ADDRESS = Needs(
    "where --output is no address",
    "give one, as opensearch://localhost:9200/passages",
    lambda given: isinstance(given["output"], Address),
)


OF_ADDRESS = Needs(
    "where --output is a folder, since indexes of files are made anew",
    "give an address, or --overwrite",
    lambda given: isinstance(given["output"], Address),
)
NEW = unless("--update")
"""Of what an index is made with."""


@dataclass(frozen=True, kw_only=True)
class LoadFlags(Group):
    """How an index is loaded that an engine holds itself."""

    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Add the documents to the index that is there; one of the same id is replaced as "
            "a whole.",
        ),
        OF_ADDRESS,
    ] = False
    with_contents: Annotated[
        str | None,
        typer.Option(
            "--with-contents",
            metavar="CORPUS",
            help="The corpus that was encoded: store its texts, too.",
            show_default=False,
        ),
        READS,
        ADDRESS,
    ] = None
    fields: Annotated[
        str | None,
        typer.Option(
            "--fields",
            metavar="NAME,NAME",
            help="Store these further fields of the corpus, for search --filter; NAME:TYPE says "
            "one of keyword, integer, number, boolean.",
            show_default=False,
        ),
        needs("--with-contents"),
    ] = None
    shards: Annotated[
        int | None,
        typer.Option("--shards", min=1, help="Of the new index.", show_default="as the engine has"),
        ADDRESS,
        NEW,
    ] = None
    replicas: Annotated[
        int | None,
        typer.Option("--replicas", min=0, help="Of each shard.", show_default="as the engine has"),
        ADDRESS,
        NEW,
    ] = None
    merge: Annotated[
        bool, typer.Option("--merge", help="Merge into one segment at the end."), ADDRESS
    ] = False
    check: Annotated[CheckStored, ADDRESS] = None
    allow_loss: Annotated[
        bool,
        typer.Option("--allow-loss", help="Load though the engine will change some weights."),
        ADDRESS,
    ] = False
    keep_weights: Annotated[
        bool,
        typer.Option(
            "--keep-weights",
            help="Load float weights as they are, and no impacts made of them, where the engine "
            "keeps them.",
        ),
        ADDRESS,
        NEW,
    ] = False
    alias: Annotated[
        str | None,
        typer.Option(
            "--alias", help="Stands for the index once it is whole and checked.", show_default=False
        ),
        ADDRESS,
        NEW,
    ] = None
    drop_old: Annotated[
        bool,
        typer.Option("--drop-old", help="Throw away the index that --alias stood for."),
        needs("--alias"),
    ] = False
    approximate: Annotated[Approximate, ADDRESS, NEW] = False
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would make the index, and make nothing."),
        ADDRESS,
        NEW,
    ] = False

    def options(self, own: Any = None, *, overwrite: bool) -> LoadOptions:
        """The same for the library.

        Args:
            own: what only the engine knows, an instance of its options.
        """
        from splade_bridge.engines.remote.base import RemoteOptions
        from splade_bridge.engines.remote.load import LoadOptions

        fields = ("text",) if self.with_contents is not None else ()
        return LoadOptions(
            RemoteOptions(self.shards, self.replicas, fields, asdict(own) if own else {}),
            self.check,
            self.allow_loss,
            self.merge,
            alias=self.alias,
            drop_old=self.drop_old,
            overwrite=overwrite,
            approximate=self.approximate,
            keep_weights=self.keep_weights,
        )


ASKED = Needs(
    "where no index is an address",
    "give one, as milvus:passages.db",
    lambda given: any(
        isinstance(place, Address) for place in given.get("indexes") or [given.get("index")]
    ),
)
APPROXIMATE = needs("--approximate")


@dataclass(frozen=True, kw_only=True)
class OthersFlags(Group):
    """How an index is understood that others made in an engine."""

    field: Annotated[VectorField, ASKED] = None
    vocabulary: Annotated[Vocabulary, ASKED] = None

    @property
    def asking(self) -> Asking:
        """The same for the library.

        Raises:
            BadInputError: the vocabulary cannot be read.
        """
        from splade_bridge.engines.remote.choices import Asking
        from splade_bridge.formats.vocabularies import read_vocabulary

        terms = None if self.vocabulary is None else read_vocabulary(self.vocabulary)
        return Asking(self.field, terms)


@dataclass(frozen=True, kw_only=True)
class AskingFlags(OthersFlags):
    """The same, and how an engine may answer otherwise than exactly."""

    approximate: Approximate = False
    elasticsearch_frequency_ratio: Annotated[
        float | None,
        typer.Option(
            "--elasticsearch-frequency-ratio",
            min=1,
            max=100,
            help="Prune terms of a query that are in so many times as many documents as the "
            "average one.",
            show_default="Elasticsearch's 5",
        ),
        APPROXIMATE,
    ] = None
    elasticsearch_weight_ratio: Annotated[
        float | None,
        typer.Option(
            "--elasticsearch-weight-ratio",
            min=0,
            max=1,
            help="And whose weight is below this part of the largest of the query.",
            show_default="Elasticsearch's 0.4",
        ),
        APPROXIMATE,
    ] = None
    impact_index_alpha: Annotated[
        float | None,
        typer.Option(
            "--impact-index-alpha",
            min=0.01,
            max=1,
            help="How readily Block-Max Pruning passes over a block: less is quicker.",
            show_default="1",
        ),
        APPROXIMATE,
    ] = None
    impact_index_beta: Annotated[
        float | None,
        typer.Option(
            "--impact-index-beta",
            min=0.01,
            max=1,
            help="The part of a query's terms, the heaviest, that Block-Max Pruning uses.",
            show_default="1",
        ),
        APPROXIMATE,
    ] = None
    milvus_drop_ratio: Annotated[
        float | None,
        typer.Option(
            "--milvus-drop-ratio",
            min=0,
            max=0.99,
            help="The part of a query's smallest weights that is left out.",
            show_default=False,
        ),
        APPROXIMATE,
    ] = None
    postgresql_ef_search: Annotated[
        int | None,
        typer.Option(
            "--postgresql-ef-search",
            min=1,
            max=1000,
            help="Candidates of an index of type HNSW, at least -k; more find more of the exact "
            "results.",
            show_default="100",
        ),
        APPROXIMATE,
    ] = None
    seismic_query_cut: Annotated[
        int | None,
        typer.Option(
            "--seismic-query-cut",
            min=1,
            max=1_000_000,
            help="seismic: Query terms, the heaviest, whose lists a search looks at.",
            show_default="as the index was made",
        ),
        APPROXIMATE,
    ] = None
    seismic_heap_factor: Annotated[
        float | None,
        typer.Option(
            "--seismic-heap-factor",
            min=0,
            max=1,
            help="seismic: How readily a search passes over a block, 0 (never) to 1.",
            show_default="as the index was made",
        ),
        APPROXIMATE,
    ] = None

    @property
    def asking(self) -> Asking:
        """The same for the library.

        Raises:
            BadInputError: the vocabulary cannot be read.
        """
        from dataclasses import fields, replace

        from splade_bridge.engines.remote.choices import Approximation

        found = super().asking
        if not self.approximate:
            return found
        return replace(
            found,
            approximation=Approximation(
                **{option.name: getattr(self, option.name) for option in fields(Approximation)}
            ),
        )


TwoStep = Annotated[
    Path | None,
    typer.Option(
        "--two-step",
        metavar="FORWARD",
        help="Score what INDEX (pruned) finds from these full vectors (export --format forward).",
    ),
]


@dataclass(frozen=True, kw_only=True)
class TwoStepFlags(Group):
    """A first step in a pruned index, and exact scores for what it finds."""

    two_step: TwoStep = None
    first_query_terms: Annotated[
        int | None,
        typer.Option(
            "--first-query-terms",
            min=1,
            help="With --two-step: query terms, the heaviest, that INDEX is searched with.",
            show_default="all",
        ),
        needs("--two-step"),
    ] = None
    candidates: Annotated[
        int | None,
        typer.Option(
            "--candidates",
            min=1,
            help="With --two-step: documents a query to be scored, at least -k.",
            show_default="1000, or -k if that is more",
        ),
        needs("--two-step"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class RunTwoStepFlags(TwoStepFlags):
    """The same of a run, where there may be none."""

    two_step: Annotated[TwoStep, needs("--queries")] = None


@dataclass(frozen=True, kw_only=True)
class QuantizeFlags(Group):
    """How float weights become impacts."""

    scale: Scale = None
    rounding: Rounding = None
    clip: Clip = None

    @property
    def options(self) -> QuantizeOptions | None:
        """What was asked for; None for nothing, so that each source takes its default."""
        from splade_bridge.data.quantize import quantize_options

        return quantize_options(self.scale, self.rounding, self.clip)


MODELS = ("model", "query_model", "document_model")
MODEL = Needs(
    "without --model",
    "add that",
    lambda given: any(given.get(name) for name in MODELS),
    of=MODELS,
)
"""Of what says how a checkpoint is read; where each side has one of its own, either will do."""
OF_TEXT = Needs("without a text", "give one", lambda given: given["text"] is not None, of=("text",))
"""The same where a text says that what is named is a checkpoint."""
READ = (MODEL, OF_TEXT)
ASKS = where_there(needs("--side", "query"), "side")
NO_BOW = where_there(unless("--query-mode", "bow"), "query_mode")
ENCODES = where_there(needs("--scorer", "dense", "sparse"), "scorer")
"""Not of a cross-encoder, which reads query and document as one text."""
WEIGHS = where_there(needs("--scorer", "sparse"), "scorer")


def prompt_flag(side: str = "") -> Any:
    """The flag of a prompt; ``side`` is what its name begins with, as ``query-``."""
    said = f"Put in front of every {side.replace('-', ' ')}text."
    shown = "as the checkpoint has it for the side"
    return typer.Option(f"--{side}prompt", metavar="TEXT", help=said, show_default=shown)


def prompt_name_flag(side: str = "") -> Any:
    """The flag of a prompt's name; see :func:`prompt_flag`."""
    said = "The one of the checkpoint's prompts that is put in front"
    said += f" of every {side[:-1]} text." if side else "."
    shown = side[:-1] or "query or document"
    return typer.Option(f"--{side}prompt-name", metavar="NAME", help=said, show_default=shown)


NORMALIZE = typer.Option(
    "--normalize", help="Make every vector of length 1, as for a comparison by cosine."
)
QUERY_MODE = typer.Option(
    "--query-mode",
    help="What encodes queries: the checkpoint's own query encoder; bow, each token with weight 1, "
    "for document-only models; idf, each token with its weight in the checkpoint's table.",
)


@dataclass(frozen=True, kw_only=True)
class CheckpointFlags(Group):
    """Which checkpoint is meant, whatever it does."""

    revision: Annotated[Revision, *READ] = None
    trust_remote_code: Annotated[TrustRemoteCode, *READ] = False


@dataclass(frozen=True, kw_only=True)
class PromptFlags(CheckpointFlags):
    """The same, and what is put in front of the texts that it encodes."""

    prompt: Annotated[str | None, prompt_flag(), *READ, NO_BOW] = None
    prompt_name: Annotated[str | None, prompt_name_flag(), *READ, NO_BOW, unless("--prompt")] = None

    @property
    def choices(self) -> ModelChoices:
        """The same for the library.

        Raises:
            UsageError: they do not fit together.
        """
        from splade_bridge.encoding.choices import ModelChoices

        return ModelChoices(**vars(self))


@dataclass(frozen=True, kw_only=True)
class ModelFlags(PromptFlags):
    """How a checkpoint is read, wherever one gives texts weights of terms."""

    query_mode: Annotated[QueryMode, QUERY_MODE, *READ, ASKS] = "model"
    normalize: Annotated[bool, NORMALIZE, *READ] = False


@dataclass(frozen=True, kw_only=True)
class PairFlags(CheckpointFlags):
    """How a checkpoint is read that encodes queries and documents in one command."""

    query_prompt: Annotated[str | None, prompt_flag("query-"), *READ, ENCODES, NO_BOW] = None
    query_prompt_name: Annotated[
        str | None, prompt_name_flag("query-"), *READ, ENCODES, NO_BOW, unless("--query-prompt")
    ] = None
    document_prompt: Annotated[str | None, prompt_flag("document-"), *READ, ENCODES] = None
    document_prompt_name: Annotated[
        str | None, prompt_name_flag("document-"), *READ, ENCODES, unless("--document-prompt")
    ] = None
    query_mode: Annotated[QueryMode, QUERY_MODE, *READ, WEIGHS] = "model"
    normalize: Annotated[bool, NORMALIZE, *READ, ENCODES] = False

    @property
    def choices(self) -> PairChoices:
        """The same for the library.

        Raises:
            UsageError: they do not fit together.
        """
        from splade_bridge.encoding.choices import PairChoices

        return PairChoices(**vars(self))


@dataclass(frozen=True, kw_only=True)
class OpenFlags(QuantizeFlags, OthersFlags):
    """How indexes are opened, and queries quantized for them."""

    memory: IndexMemory = None

    @property
    def limit(self) -> int | None:
        """Bytes of memory that an index may take, if that is said."""
        from splade_bridge.files.sizes import size_in_bytes

        return None if self.memory is None else size_in_bytes(self.memory)


OF_A_FILE = where_there(needs("--queries"), "words")
"""Of queries that are a file, where a command takes words, too."""


@dataclass(frozen=True, kw_only=True)
class MaybeQueryFlags(Group):
    """Queries, and the model of those that are text; there may be none."""

    queries: MaybeQueries = None
    model: QueryModel = None
    max_length: Annotated[MaxLength, needs("--model")] = 256
    split: Annotated[Split, needs("--model"), OF_A_FILE] = None
    pre_encoded: Annotated[PreEncoded, unless("--model")] = False
    allow_mismatch: AllowMismatch = False

    def load(self, quantize: QuantizeFlags, checkpoint: ModelFlags) -> LoadedQueries:
        """Them, pre-encoded or encoded now.

        Raises:
            BadInputError: the queries or the model cannot be read.
        """
        from splade_bridge.retrieval.encode_queries import load_queries

        assert self.queries is not None
        return load_queries(
            self.queries,
            self.model,
            quantize.options,
            self.max_length,
            checkpoint=checkpoint.choices,
            split=self.split,
            pre_encoded=self.pre_encoded,
            allow_mismatch=self.allow_mismatch,
        )


@dataclass(frozen=True, kw_only=True)
class QueryFlags(MaybeQueryFlags):
    """The same where queries must be given."""

    queries: Queries = field()
