"""Texts in, sparse batches out, in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from splade_bridge.corpora import Text
from splade_bridge.encode.head import Pooling
from splade_bridge.encode.side import LoadedSide, QueryMode, load_side
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.manifest import EncodingInfo, Side
from splade_bridge.store import PART_ROWS
from splade_bridge.vectors import Float32Array, Int32Array, SparseBatch, row_pointers

DType = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

CPU_BATCH_TOKENS, CUDA_BATCH_TOKENS = 2048, 32768
MAX_POOLED = 1 << 25
"""Pooled weights of one batch (128 MiB): bounds the rows where texts are short."""

Progress = Callable[[int, int], None]
"""Told the texts and the tokens that were encoded since the last call."""


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode, one to one with the flags of ``encode``.

    Attributes:
        max_length: in tokens, special ones included; None for the model's own limit.
        pooling: None for what was saved with the model, else "max".
        dtype: of the network; "auto" is bfloat16 on CUDA and float32 on a CPU.
        batch_tokens: padded tokens of one batch; None for a default by device.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of torch on a CPU; None leaves its own choice.
        query_mode: "bow" encodes queries as their tokens with weight 1.
    """

    max_length: int | None = 256
    pooling: Pooling | None = None
    dtype: DType = "auto"
    batch_tokens: int | None = None
    device: str = "auto"
    threads: int | None = None
    query_mode: QueryMode = "model"


@dataclass
class EncodeStats:
    """What an encoder did so far.

    Attributes:
        texts: all, empty ones included.
        tokens: after truncation, special ones included.
        computed_tokens: padding included.
        truncated: texts longer than the limit.
        replaced: texts in which lone surrogates became U+FFFD.
        seconds: in tokenizer and model.
    """

    texts: int = 0
    tokens: int = 0
    computed_tokens: int = 0
    truncated: int = 0
    replaced: int = 0
    seconds: float = 0.0

    @property
    def padding_share(self) -> float:
        """Share of the computed tokens that were padding."""
        return 1 - self.tokens / self.computed_tokens if self.computed_tokens else 0.0

    def rates(self) -> dict[str, float]:
        """Texts and tokens per second, and the share of padding."""
        seconds = self.seconds or 1e-9
        return {
            "texts_per_second": self.texts / seconds,
            "tokens_per_second": self.tokens / seconds,
            "padding_share": self.padding_share,
        }


class Encoder:
    """Encodes texts with one side of a model; made by :func:`load_encoder`.

    A text without a token of its own (empty, or only characters that the tokenizer drops) becomes
    an empty row: what a model says of its special tokens alone is no content of the text.

    Attributes:
        side: "document" or "query".
        loaded: the model's side.
        stats: running totals.
    """

    def __init__(self, loaded: LoadedSide, side: Side, dtype: str, batch_tokens: int) -> None:
        self.loaded = loaded
        self.side: Side = side
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.stats = EncodeStats()

    def encode(
        self,
        texts: Iterable[Text],
        *,
        window: int = PART_ROWS,
        progress: Progress | None = None,
    ) -> Iterator[SparseBatch]:
        """Weights of ``texts`` in their order, one batch a window of texts.

        Texts are sorted by length inside a window, so a larger one wastes less on padding; what a
        row holds depends only on the texts of its window.

        Raises:
            BadInputError: a text whose weights are not finite.
        """
        for group in windows(texts, window):
            yield self.encode_window(group, progress)

    def encode_window(self, texts: Sequence[Text], progress: Progress | None = None) -> SparseBatch:
        """Weights of some thousand texts; see :meth:`encode`."""
        began = time.perf_counter()
        tokenized = self.loaded.tokenizer([t.text for t in texts])
        self.stats.truncated += tokenized.truncated
        self.stats.replaced += tokenized.replaced
        rows: list[tuple[Int32Array, Float32Array]] = [_EMPTY] * len(texts)
        lengths = np.array([len(ids) for ids in tokenized.ids], dtype=np.int64)
        # Longest first: what does not fit into memory is found out at once.
        order = np.argsort(-lengths, kind="stable")
        order = order[: np.count_nonzero(lengths)]
        for batch in self._batches(order, lengths):
            sizes = [int(n) for n in lengths[batch]]
            ids = np.full((len(batch), sizes[0]), self.loaded.pad, dtype=np.int64)
            for row, i in enumerate(batch):
                ids[row, : sizes[row]] = tokenized.ids[i]
            with torch.inference_mode():
                weights = self.loaded.weights(torch.from_numpy(ids), sizes)
                if not bool(torch.isfinite(weights).all()):
                    self._refuse([texts[i] for i in batch], weights)
                found = _sparse_rows(weights, self.loaded.max_active)
            for i, row_found in zip(batch, found, strict=True):
                rows[i] = row_found
            self.stats.computed_tokens += ids.size
            self.stats.tokens += sum(sizes)
            if progress:
                progress(len(batch), sum(sizes))
        if progress and len(order) < len(texts):
            progress(len(texts) - len(order), 0)
        self.stats.texts += len(texts)
        self.stats.seconds += time.perf_counter() - began
        return SparseBatch(
            [t.id for t in texts],
            row_pointers([len(indices) for indices, _ in rows]),
            np.concatenate([_EMPTY[0], *(indices for indices, _ in rows)]),
            np.concatenate([_EMPTY[1], *(weights for _, weights in rows)]),
        )

    def info(self, truncated: int) -> EncodingInfo:
        """Provenance for a manifest; ``truncated`` counts the whole artefact, not this run."""
        loaded = self.loaded
        return EncodingInfo(
            model=loaded.model,
            revision=loaded.revision,
            sha256=loaded.weights_sha256,
            side=self.side,
            pooling=loaded.method,
            max_length=loaded.max_length,
            dtype=self.dtype,
            truncated=truncated,
        )

    def _batches(
        self, order: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Runs of ``order`` (longest first) that fill the token budget.

        A run ends before its budget at a text that would be padded by more than a tenth, once an
        eighth of the budget is used: smaller batches cost less than padding.
        """
        most = max(1, MAX_POOLED // len(self.loaded.vocabulary))
        start = 0
        while start < len(order):
            longest = int(lengths[order[start]])
            size = min(max(1, self.batch_tokens // longest), most)
            near = int(np.count_nonzero(lengths[order[start : start + size]] >= 0.9 * longest))
            size = min(size, max(near, self.batch_tokens // 8 // longest, 1))
            yield order[start : start + size]
            start += size

    def _refuse(self, texts: Sequence[Text], weights: Tensor) -> None:
        bad = int((~torch.isfinite(weights)).any(1).nonzero()[0])
        hint = "" if self.dtype == "float32" else "; use --dtype float32"
        raise BadInputError(
            f"the model's weights for text {texts[bad].id!r} are not finite in {self.dtype}{hint}",
            texts[bad].place,
        )


_EMPTY: tuple[Int32Array, Float32Array] = (np.empty(0, np.int32), np.empty(0, np.float32))


def load_encoder(model: str, side: Side, options: EncodeOptions = EncodeOptions()) -> Encoder:
    """An encoder for one side of ``model``, a folder or a name on the Hugging Face hub.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        UsageError: an option that cannot be meant.
        MissingToolError: a CUDA device is asked for and there is none.
    """
    device = pick_device(options.device)
    dtype = options.dtype
    if dtype == "auto":
        dtype = "bfloat16" if device.type == "cuda" else "float32"
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: auto, {', '.join(DTYPES)}")
    default = CUDA_BATCH_TOKENS if device.type == "cuda" else CPU_BATCH_TOKENS
    batch_tokens = default if options.batch_tokens is None else options.batch_tokens
    for flag, value in (("batch-tokens", batch_tokens), ("threads", options.threads)):
        if value is not None and value < 1:
            raise UsageError(f"--{flag} {value}: must be 1 or more")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    loaded = load_side(
        model,
        side,
        max_length=options.max_length,
        pooling=options.pooling,
        query_mode=options.query_mode,
        dtype=DTYPES[dtype],
        device=device,
    )
    return Encoder(loaded, side, dtype, batch_tokens)


def pick_device(wanted: str) -> torch.device:
    """The torch device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: not one of these.
        MissingToolError: CUDA is asked for and torch sees no such device.
    """
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = wanted.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()) or wanted == "cpu:":
        raise UsageError(f"--device {wanted}: auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise MissingToolError(
            f"--device {wanted}: torch {torch.__version__} sees {torch.cuda.device_count()} CUDA "
            "devices; install a CUDA build of torch and a driver, or use --device cpu"
        )
    return torch.device(wanted)


def windows(texts: Iterable[Text], size: int) -> Iterator[list[Text]]:
    """Lists of ``size`` texts, the last one shorter."""
    stream = iter(texts)
    while group := list(islice(stream, size)):
        yield group


def _sparse_rows(
    weights: Tensor, max_active: int | None
) -> Iterator[tuple[Int32Array, Float32Array]]:
    """Rows of float32[B, V] as rising term ids and their weights, without zeros."""
    active = weights > 0
    ends = active.sum(1).cumsum(0).tolist()
    indices = active.nonzero()[:, 1].to(torch.int32).cpu().numpy()
    values = weights[active].cpu().numpy()
    start = 0
    for end in ends:
        row, row_values = indices[start:end], values[start:end]
        if max_active is not None and len(row) > max_active:
            # Of equal weights the lower term id stays.
            kept = np.sort(np.lexsort((row, -row_values))[:max_active])
            row, row_values = row[kept], row_values[kept]
        yield row, row_values
        start = end
