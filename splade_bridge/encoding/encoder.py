"""Texts in, sparse batches out, in the same order."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch

from splade_bridge.data.choices import check_threads
from splade_bridge.data.manifest import EncodingInfo, Side
from splade_bridge.data.store import PART_ROWS
from splade_bridge.data.vectors import Int64Array, SparseBatch
from splade_bridge.encoding.batches import Batches
from splade_bridge.encoding.budget import TokenBudget, fitting_tokens, is_out_of_memory
from splade_bridge.encoding.choices import DType, ModelChoices, Pooling
from splade_bridge.encoding.in_threads import in_threads, shares_of_cores, use_cores
from splade_bridge.encoding.int8 import multiplies_bytes
from splade_bridge.encoding.onnx_side import Exported, find_exported, load_exported
from splade_bridge.encoding.side import LoadedSide, load_side
from splade_bridge.encoding.sparse_rows import NotFiniteError, Row, SparseRows
from splade_bridge.encoding.tokens import TextTooLongError, Tokenized
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.text.corpora import Text

log = logging.getLogger(__name__)

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}

MOST_TOKENS = 1 << 31
"""Of a batch: more are never together."""

MAX_POOLED = 1 << 25
"""Pooled weights of one batch (128 MiB): bounds the rows where texts are short."""

FEWEST_BATCHES = 2
"""For each thread, or one of them would often wait for the others."""

Progress = Callable[[int, int], None]
"""Told the texts and the tokens that were encoded since the last call."""


@dataclass(frozen=True)
class EncodeOptions:
    """How to encode, one to one with the flags of ``encode``.

    Attributes:
        max_length: in tokens, special ones included; None for the model's own limit.
        pooling: None for what was saved with the model, else "max"; see :data:`.Pooling`.
        dtype: of the network; "auto" is bfloat16 on CUDA and float32 on a CPU. "int8" is for a CPU.
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
        self._sides: list[LoadedSide] = [loaded]
        self._lonely = loaded.network is None or loaded.columns.is_cuda

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
        with contextlib.closing(self._run(order, tokenized, texts)) as batches:
            for batch, computed in batches:
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
    ) -> Generator[tuple[Int64Array, list[Row]]]:
        """Runs of ``order`` (longest first) and their rows, in any order."""
        lengths = np.array([len(tokenized.ids[i]) for i in order], dtype=np.int64)
        batches = self._batches(lengths)
        given = _Given(order, tokenized, texts, batches)
        cores = self._cores(batches)
        if len(cores) == 1:
            yield from self._one_after_the_other(given)
            return
        sides = self._sides[: len(cores)]
        computes = [partial(self._computed, side, given) for side in sides]
        with contextlib.closing(in_threads(batches, computes, cores)) as done:
            for found in done:
                if found is not None:
                    yield found

    def _batches(self, lengths: Int64Array) -> Batches:
        most = max(1, MAX_POOLED // len(self.loaded.vocabulary))
        network = self.loaded.network
        if network is None:
            return Batches(lengths, self.budget, most)
        cores = max(shares_of_cores())
        return Batches(lengths, self.budget, most, network.together, cores, network.width)

    def _cores(self, batches: Batches) -> list[int]:
        """How many cores each thread has that computes a batch at a time."""
        if self._lonely:
            return [torch.get_num_threads()]
        cores = shares_of_cores(batches.count() // FEWEST_BATCHES)
        while len(self._sides) < len(cores) and self.loaded.network is not None:
            twin = self.loaded.network.twin()
            if twin is None:
                self._lonely = True
                return [torch.get_num_threads()]
            self._sides.append(replace(self.loaded, network=twin))
        return cores

    def _one_after_the_other(self, given: _Given) -> Generator[tuple[Int64Array, list[Row]]]:
        """See :meth:`_run`; rows are fetched while the next batch computes."""
        before: tuple[Int64Array, SparseRows] | None = None
        for batch in given.batches:
            rows = self._compute(self.loaded, batch, given)
            if before is not None:
                yield self._fetched(*before, given.texts)
            before = None if rows is None else (given.order[batch], rows)
        if before is not None:
            yield self._fetched(*before, given.texts)

    def _computed(
        self, side: LoadedSide, given: _Given, batch: slice
    ) -> tuple[Int64Array, list[Row]] | None:
        """One batch, by any thread; None where memory does not suffice."""
        rows = self._compute(side, batch, given)
        return None if rows is None else self._fetched(given.order[batch], rows, given.texts)

    def _compute(self, side: LoadedSide, batch: slice, given: _Given) -> SparseRows | None:
        """Queue one batch; None where memory does not suffice, and it is to be cut."""
        texts = given.order[batch]
        rows = [given.tokenized.ids[i] for i in texts]
        ids = torch.from_numpy(np.concatenate(rows).astype(np.int64))
        try:
            with torch.inference_mode():
                weights = side.weights(ids, [len(row) for row in rows])
                found = SparseRows(weights, side.max_active)
        except NotFiniteError as error:
            raise self._refusal(given.texts[texts[error.row]]) from None
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            self.budget.fits(len(ids))
            return found
        # Here the error is gone, and with its frames the tensors of the batch that failed.
        if side.columns.is_cuda:
            torch.cuda.empty_cache()
        self.budget.halve(len(ids), len(rows))
        given.batches.again(batch)
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


@dataclass(frozen=True)
class _Given:
    """A window that is being computed.

    Attributes:
        order: int64[n], which of ``texts`` have tokens, longest first.
        tokenized: token ids of all ``texts``.
        batches: of ``order``.
    """

    order: Int64Array
    tokenized: Tokenized
    texts: Sequence[Text]
    batches: Batches


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
    if dtype == "int8" and device.type == "cuda":
        raise UsageError(
            "--dtype int8 is for processors; on a GPU leave it out (bfloat16), or use --devices cpu"
        )
    for flag, value in (("batch-tokens", options.batch_tokens), ("threads", options.threads)):
        if value is not None and value < 1:
            raise UsageError(f"--{flag} {value}: must be 1 or more")
    check_threads(options.threads)
    if options.batch_tokens is not None and options.batch_tokens > MOST_TOKENS:
        raise UsageError(f"--batch-tokens {options.batch_tokens}: {MOST_TOKENS:,} at most")
    use_cores(options.threads)
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
    if dtype == "int8" and loaded.network is not None and not multiplies_bytes():
        log.warning(
            "--dtype int8: this processor does not multiply bytes (VNNI, AMX), or torch %s does "
            "not let it: the same vectors, no faster than in float32; leave it out unless it is "
            "these that you want",
            torch.__version__,
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
