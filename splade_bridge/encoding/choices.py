"""How a corpus is encoded: what flags and keywords say, in a module that loads nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from splade_bridge.data.choices import Side, check_choice, check_threads
from splade_bridge.embeddings.choices import (
    DEFAULT_EF_CONSTRUCTION,
    DEFAULT_M,
    IndexKind,
    Similarity,
)
from splade_bridge.errors import UsageError

Pooling = Literal["max", "sum", "last"]
"""Of a term's logits over the positions of a text; ``last`` takes those of the last one, which a
decoder that reads from left to right has seen all of the text for (PromptReps, arXiv 2404.18424).
"""

DType = Literal["auto", "float32", "bfloat16", "float16", "int8"]

QueryMode = Literal["model", "bow", "idf"]
"""What encodes queries: the model's own query encoder; each token of the query, the special ones
apart, with weight 1 (``bow``, SPLADE-doc), or with its weight in the checkpoint's table (``idf``).
"""

LongMode = Literal["truncate", "max", "passages"]
"""What becomes of a text beyond the limit; see :mod:`splade_bridge.encoding.passages`."""

Cluster = Literal["ray"]

ScorerKind = Literal["cross-encoder", "dense", "sparse"]
"""What scores a query with a document: a model that reads both together, or one that encodes each,
as dense vectors or as term weights."""

FloatType = Literal["float32", "bfloat16", "float16"]

ExportTarget = Literal["onnx", "opensearch", "elasticsearch"]
"""What a model is exported to."""

DEFAULT_PART_ROWS = 8192


@dataclass(frozen=True)
class ModelChoices:
    """How a checkpoint is read, wherever one encodes text; one to one with the flags.

    Attributes:
        revision: branch, tag or commit of a hub name; None for its main branch.
        prompt: put in front of every text; None for what the checkpoint says of its side.
        prompt_name: the one of its prompts that is put there.
        query_mode: what encodes queries.
        normalize: make every vector of length 1, as for a comparison by cosine.
        trust_remote_code: run code that lies in the checkpoint, where its settings name some.

    Raises:
        UsageError: a choice that there is not, or two prompts.
    """

    revision: str | None = None
    prompt: str | None = None
    prompt_name: str | None = None
    query_mode: QueryMode = "model"
    normalize: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_choice("query-mode", self.query_mode, QueryMode)
        _check_prompts(self.prompt, self.prompt_name, self.query_mode)


def _check_prompts(
    prompt: str | None, prompt_name: str | None, query_mode: QueryMode, side: str = ""
) -> None:
    """Raise UsageError for two prompts, or one that is put in front of nothing.

    Args:
        side: what the flags' names begin with, as ``query-``.
    """
    if prompt is not None and prompt_name is not None:
        raise UsageError(
            f"--{side}prompt and --{side}prompt-name both say what is put in front: leave one"
        )
    for name, value in (("prompt", prompt), ("prompt-name", prompt_name)):
        if value is not None and query_mode == "bow":
            raise UsageError(f"--{side}{name} has no effect with --query-mode bow: leave one out")


@dataclass(frozen=True, kw_only=True)
class PairChoices:
    """How a checkpoint is read that encodes queries and documents; one to one with the flags.

    Attributes:
        revision: branch, tag or commit of a hub name; None for its main branch.
        query_prompt, document_prompt: put in front of every text of the side; None for what the
            checkpoint says of it.
        query_prompt_name, document_prompt_name: the one of its prompts that is put there.
        query_mode: what encodes queries.
        normalize: make every vector of length 1, as for a comparison by cosine.
        trust_remote_code: run code that lies in the checkpoint, where its settings name some.

    Raises:
        UsageError: a choice that there is not, or two prompts of a side.
    """

    revision: str | None = None
    query_prompt: str | None = None
    query_prompt_name: str | None = None
    document_prompt: str | None = None
    document_prompt_name: str | None = None
    query_mode: QueryMode = "model"
    normalize: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        check_choice("query-mode", self.query_mode, QueryMode)
        _check_prompts(self.query_prompt, self.query_prompt_name, self.query_mode, "query-")
        _check_prompts(self.document_prompt, self.document_prompt_name, "model", "document-")

    @classmethod
    def part_of(cls, options: PairChoices) -> PairChoices:
        """Of options that say more, what they say of the checkpoint."""
        return cls(**{field.name: getattr(options, field.name) for field in fields(cls)})

    def of(self, side: Side) -> ModelChoices:
        """How one side is read."""
        asks = side == "query"
        return ModelChoices(
            revision=self.revision,
            prompt=self.query_prompt if asks else self.document_prompt,
            prompt_name=self.query_prompt_name if asks else self.document_prompt_name,
            query_mode=self.query_mode if asks else "model",
            normalize=self.normalize,
            trust_remote_code=self.trust_remote_code,
        )


@dataclass(frozen=True)
class ScorerOptions:
    """How a model computes the scores of pairs.

    Attributes:
        batch_size: pairs or texts at once; without effect on ``sparse``, which finds its own.
        max_length: of a text, or of query and document of a cross-encoder together, in tokens;
            None for the model's own limit, which is never exceeded (256 of ``sparse``).
        dtype: of the model's weights.
        device: ``cpu``, ``cuda``, ``cuda:1``; None takes a GPU if there is one.
        threads: None leaves torch its own choice.
        checkpoint: how it is read. A cross-encoder has no sides and no prompts.
    """

    batch_size: int = 64
    max_length: int | None = None
    dtype: FloatType = "float32"
    device: str | None = None
    threads: int | None = None
    checkpoint: PairChoices = PairChoices()

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, FloatType)
        check_threads(self.threads)
        for name, value in (("batch-size", self.batch_size), ("max-length", self.max_length)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} must be 1 or more, not {value}")


@dataclass(frozen=True)
class EncodeChoices:
    """One to one with the flags of ``splade-bridge encode`` that say what is made and by what.

    Attributes:
        max_length, pooling, dtype, batch_tokens, threads: see
            :class:`splade_bridge.encoding.encoder.EncodeOptions`.
        checkpoint: how it is read.
        long, stride: see :class:`splade_bridge.encoding.passages.LongOptions`.
        devices: see :func:`splade_bridge.encoding.devices.parse_devices`; more than one are a
            process each.
        part_rows: texts of a part.

    Raises:
        UsageError: a choice that there is not, or that does nothing for this side.
    """

    side: Side = "document"
    max_length: int | None = 256
    pooling: Pooling | None = None
    checkpoint: ModelChoices = ModelChoices()
    dtype: DType = "auto"
    batch_tokens: int | None = None
    long: LongMode = "truncate"
    stride: int | None = None
    devices: str = "auto"
    threads: int | None = None
    part_rows: int = DEFAULT_PART_ROWS

    def __post_init__(self) -> None:
        check_choice("side", self.side, Side)
        check_choice("pooling", self.pooling or "max", Pooling)
        check_choice("dtype", self.dtype, DType)
        check_choice("long", self.long, LongMode)
        if (mode := self.checkpoint.query_mode) != "model" and self.side != "query":
            raise UsageError(
                f"--query-mode {mode} has no effect without --side query: leave it out"
            )


@dataclass(frozen=True)
class DenseChoices:
    """One to one with the flags of ``splade-bridge dense`` that say what is made and by what.

    Attributes:
        max_length: tokens of a text that are read; None for the model's own limit, which is never
            exceeded.
        similarity: None for what was saved with the model.
        index_kind, hnsw_m, hnsw_ef_construction, memory: see
            :class:`splade_bridge.embeddings.build.Recipe`.
        batch_size: texts that are computed at once.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: None leaves torch its own choice, and is one for a graph.
        part_rows: texts of a part.
        checkpoint: how it is read; its prompt, revision and code.

    Raises:
        UsageError: a choice that there is not, or a number that cannot be meant.
    """

    side: Side = "document"
    max_length: int | None = None
    similarity: Similarity | None = None
    index_kind: IndexKind = "flat"
    hnsw_m: int = DEFAULT_M
    hnsw_ef_construction: int = DEFAULT_EF_CONSTRUCTION
    batch_size: int = 32
    device: str = "auto"
    threads: int | None = None
    memory: int = 2_000_000_000
    part_rows: int = DEFAULT_PART_ROWS
    checkpoint: ModelChoices = ModelChoices()

    def __post_init__(self) -> None:
        check_choice("side", self.side, Side)
        check_choice("similarity", self.similarity or "dot", Similarity)
        check_choice("index-kind", self.index_kind, IndexKind)
        check_threads(self.threads)
        least = {"hnsw_m": 2, "hnsw_ef_construction": 1, "batch_size": 1, "part_rows": 1}
        for name, fewest in least.items():
            if getattr(self, name) < fewest:
                flag = name.replace("_", "-")
                raise UsageError(f"--{flag} must be {fewest} or more, not {getattr(self, name)}")
        if self.max_length is not None and self.max_length < 1:
            raise UsageError(f"--max-length must be 1 or more, not {self.max_length}")
