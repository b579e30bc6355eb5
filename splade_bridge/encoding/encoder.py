"""Texts in, sparse batches out, in the same order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from splade_bridge.data.choices import check_threads
from splade_bridge.data.manifest import EncodingInfo, Side
from splade_bridge.data.store import PART_ROWS
from splade_bridge.data.vectors import Int64Array, SparseBatch
from splade_bridge.encoding.budget import TokenBudget, fitting_tokens, is_out_of_memory
from splade_bridge.encoding.choices import DType, ModelChoices, Pooling
from splade_bridge.encoding.onnx_side import Exported, find_exported, load_exported
from splade_bridge.encoding.side import LoadedSide, load_side
from splade_bridge.encoding.sparse_rows import NotFiniteError, Row, SparseRows
from splade_bridge.encoding.tokens import TextTooLongError, Tokenized
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.text.corpora import Text

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

MOST_TOKENS = 1 << 31
"""Of a batch: more are never together."""

MAX_POOLED = 1 << 25
"""Pooled weights of one batch (128 MiB): bounds the rows where texts are short."""

Progress = Callable[[int, int], None]
"""Told the texts and the tokens that were encoded since the last call."""


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode, one to one with the flags of ``encode``.

    Attributes:
        max_length: in tokens, special ones included; None for the model's own limit.
        pooling: None for what was saved with the model, else "max"; see :data:`.Pooling`.
        dtype: of the network; "auto" is bfloat16 on CUDA and float32 on a CPU.
        batch_tokens: of one batch; None for what suits the device and fits into its memory.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of torch on a CPU; None leaves its own choice.
        checkpoint: how it is read.
    """

    max_length: int | None = 256
    pooling: Pooling | None = None
    dtype: DType = "auto"
    batch_tokens: int | None = None
    device: str = "auto"
    threads: int | None = None
    checkpoint: ModelChoices = ModelChoices()


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
        batch_tokens: as asked for.
        budget: tokens of a batch, as found and perhaps halved since.
        stats: running totals.
    """

    def __init__(
        self, loaded: LoadedSide, side: Side, dtype: str, batch_tokens: int | None
    ) -> None:
        self.loaded = loaded
        self.side: Side = side
        self.dtype = dtype
        self.batch_tokens = batch_tokens
        self.budget = TokenBudget(fitting_tokens(loaded) if batch_tokens is None else batch_tokens)
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

    def encode_window(
        self,
        texts: Sequence[Text],
        progress: Progress | None = None,
        tokenized: Tokenized | None = None,
        *,
        normalize: bool = True,
    ) -> SparseBatch:
        """Weights of some thousand texts; see :meth:`encode`.

        Args:
            tokenized: of these texts, where :meth:`tokenize` was called before.
            normalize: where the model is read so; False leaves it to who joins rows.
        """
        began = time.perf_counter()
        if tokenized is None:
            tokenized = self.tokenize(texts)
        self.stats.truncated += tokenized.truncated
        self.stats.replaced += tokenized.replaced
        rows: list[Row] = [_EMPTY] * len(texts)
        lengths = np.array([len(ids) for ids in tokenized.ids], dtype=np.int64)
        # Longest first: what does not fit into memory is found out at once.
        order = np.argsort(-lengths, kind="stable")
        order = order[: np.count_nonzero(lengths)]
        for batch, computed in self._run(order, tokenized, texts):
            for i, row in zip(batch, computed, strict=True):
                rows[i] = row
            sizes = lengths[batch].tolist()
            tokens = sum(sizes)
            self.stats.tokens += tokens
            self.stats.computed_tokens += self.loaded.computed_tokens(sizes)
            if progress:
                progress(len(batch), tokens)
        if progress and len(order) < len(texts):
            progress(len(texts) - len(order), 0)
        self.stats.texts += len(texts)
        self.stats.seconds += time.perf_counter() - began
        found = SparseBatch.of_rows([t.id for t in texts], rows)
        return found.normalized() if normalize and self.loaded.normalize else found

    def tokenize(self, texts: Sequence[Text]) -> Tokenized:
        """What :meth:`encode_window` begins with; another thread may call it ahead of time.

        Raises:
            BadInputError: a text is too long to be tokenized.
        """
        with naming(texts):
            return self.loaded.tokenizer([t.text for t in texts])

    def held(self, text: str) -> list[int]:
        """Ids of the tokens that are read of a text, without the model's own and a prompt."""
        tokenizer = self.loaded.tokenizer
        (ids,) = tokenizer([text]).ids
        before, after = tokenizer.frame()
        found: list[int] = ids[before : len(ids) - after].tolist()
        return found

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
            partner=loaded.partner_sha256,
            encoder=loaded.encoder,
            prompt=loaded.prompt,
        )

    def _run(
        self, order: Int64Array, tokenized: Tokenized, texts: Sequence[Text]
    ) -> Iterator[tuple[Int64Array, list[Row]]]:
        """Runs of ``order`` (longest first) and their rows, fetched while the next run computes."""
        before: tuple[Int64Array, SparseRows] | None = None
        lengths = np.array([len(tokenized.ids[i]) for i in order], dtype=np.int64)
        start = 0
        while start < len(order):
            size = self._fitting(lengths[start:])
            batch = order[start : start + size]
            rows = self._compute(batch, tokenized, texts)
            if before is not None:
                yield self._fetched(*before, texts)
                before = None
            if rows is None:
                self.budget.halve(int(lengths[start : start + size].sum()), size)
                continue
            start += size
            before = batch, rows
        if before is not None:
            yield self._fetched(*before, texts)

    def _fitting(self, lengths: Int64Array) -> int:
        """How many of the next texts are a batch."""
        most = max(1, MAX_POOLED // len(self.loaded.vocabulary))
        ends = np.cumsum(lengths[:most])
        return max(1, int(np.searchsorted(ends, self.budget.tokens, side="right")))

    def _compute(
        self, batch: Int64Array, tokenized: Tokenized, texts: Sequence[Text]
    ) -> SparseRows | None:
        """Queue one batch; None where memory does not suffice."""
        rows = [tokenized.ids[i] for i in batch]
        ids = torch.from_numpy(np.concatenate(rows).astype(np.int64))
        try:
            with torch.inference_mode():
                weights = self.loaded.weights(ids, [len(row) for row in rows])
                found = SparseRows(weights, self.loaded.max_active)
        except NotFiniteError as error:
            raise self._refusal(texts[batch[error.row]]) from None
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.budget.fits(len(ids))
            return found
        # Here the error is gone, and with its frames the tensors of the batch that failed.
        if self.loaded.columns.is_cuda:
            torch.cuda.empty_cache()
        return None

    def _fetched(
        self, batch: Int64Array, rows: SparseRows, texts: Sequence[Text]
    ) -> tuple[Int64Array, list[Row]]:
        try:
            return batch, rows.fetch()
        except NotFiniteError as error:
            raise self._refusal(texts[batch[error.row]]) from None

    def _refusal(self, text: Text) -> BadInputError:
        hint = "" if self.dtype == "float32" else "; use --dtype float32"
        return BadInputError(
            f"the model's weights for text {text.id!r} are not finite in {self.dtype}{hint}",
            text.place,
        )


@contextlib.contextmanager
def naming(texts: Sequence[Text]) -> Iterator[None]:
    """Where one of ``texts`` is too long for the tokenizer, the error names its place."""
    try:
        yield
    except TextTooLongError as error:
        raise BadInputError(str(error), texts[error.number].place) from error


_EMPTY: Row = (np.empty(0, np.int32), np.empty(0, np.float32))


def _as_exported(flag: str, found: Exported) -> UsageError:
    return UsageError(
        f"{flag}: {found.file} computes as it was exported; leave it out, or name the checkpoint "
        "that it was made from"
    )


def load_encoder(model: str, side: Side, options: EncodeOptions = EncodeOptions()) -> Encoder:
    """An encoder for one side of ``model``, a folder, a graph of ONNX or a name on the hub.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        UsageError: an option that cannot be meant.
        MissingToolError: a CUDA device is asked for and there is none.
    """
    device = pick_device(options.device)
    dtype = options.dtype
    if dtype == "auto":
        dtype = _auto_dtype(device)
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: auto, {', '.join(DTYPES)}")
    for flag, value in (("batch-tokens", options.batch_tokens), ("threads", options.threads)):
        if value is not None and value < 1:
            raise UsageError(f"--{flag} {value}: must be 1 or more")
    check_threads(options.threads)
    if options.batch_tokens is not None and options.batch_tokens > MOST_TOKENS:
        raise UsageError(f"--batch-tokens {options.batch_tokens}: {MOST_TOKENS:,} at most")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if (exported := find_exported(model, side, options.checkpoint.revision)) is not None:
        mode = options.checkpoint.query_mode
        if mode != "model":
            raise _as_exported(f"--query-mode {mode}", exported)
        loaded, computed = load_exported(
            exported,
            side,
            max_length=options.max_length,
            pooling=options.pooling,
            checkpoint=options.checkpoint,
            device=device,
        )
        if options.dtype not in ("auto", computed):
            raise _as_exported(f"--dtype {dtype}", exported)
        return Encoder(loaded, side, computed, options.batch_tokens)
    loaded = load_side(
        model,
        side,
        max_length=options.max_length,
        pooling=options.pooling,
        checkpoint=options.checkpoint,
        dtype=DTYPES[dtype],
        device=device,
    )
    return Encoder(loaded, side, dtype, options.batch_tokens)


def computing(options: EncodeOptions) -> dict[str, str]:
    """The kind of ``device`` and the ``dtype`` that ``options`` come to on this machine.

    Raises:
        MissingToolError, UsageError: see :func:`pick_device`.
    """
    device = pick_device(options.device)
    dtype = _auto_dtype(device) if options.dtype == "auto" else options.dtype
    return {"device": device.type, "dtype": dtype}


def _auto_dtype(device: torch.device) -> DType:
    return "bfloat16" if device.type == "cuda" else "float32"


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
