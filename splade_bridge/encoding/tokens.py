"""Texts to token ids, and the tokenizer's tokens as terms."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Int32Array, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.network import quiet, refusal
from splade_bridge.encoding.seams import PIECE, has_seams, pieces, seam_from
from splade_bridge.errors import BadInputError, UsageError

log = logging.getLogger(__name__)

CALL_TEXTS, CALL_CHARACTERS = 1024, 1 << 20
"""What is tokenized in one call: enough to use all cores, little enough to fit in memory."""


MOST_AT_ONCE = 1 << 21
"""Characters that are tokenized at once at most, for which the tokenizer takes 1.2 GB."""


class TextTooLongError(BadInputError):
    """A text that would take too much memory, and cannot be cut.

    Attributes:
        number: of the text among those that were given, from 0.
    """

    def __init__(self, number: int, characters: int) -> None:
        self.number = number
        super().__init__(
            f"{characters:,} characters without a blank between two words, at which they could be "
            f"tokenized apart; {MOST_AT_ONCE:,} at once is the most: split the text"
        )


@dataclass(frozen=True)
class Tokenized:
    """Token ids of some texts.

    Attributes:
        ids: one int32 array a text, special tokens included; of length 0 for a text that has no
            token of its own.
        truncated: texts that were cut to the limit.
        replaced: texts in which lone surrogates became U+FFFD.
    """

    ids: list[Int32Array]
    truncated: int
    replaced: int


class TextTokenizer:
    """A tokenizer with the settings of one side.

    Args:
        tokenizer: of transformers.
        max_length: longest result in tokens, special ones included.
        prompt: put in front of every text.
        special: whether special tokens are added.

    Raises:
        UsageError: ``max_length`` leaves no room for a token of the text.
    """

    def __init__(
        self, tokenizer: Any, max_length: int, *, prompt: str = "", special: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        self._prompt = prompt
        self._special = special
        self._has_seams = has_seams(tokenizer)
        self._blank: list[int] = self._call([prompt])[0]
        if max_length <= len(self._blank):
            raise UsageError(
                f"--max-length {max_length}: the model's own tokens are {len(self._blank)}, so "
                "nothing of the text would remain"
            )

    @property
    def special_tokens(self) -> list[str]:
        """Those that are no content of a text, as ``[CLS]``."""
        return list(self._tokenizer.all_special_tokens)

    def __call__(self, texts: Sequence[str]) -> Tokenized:
        """Tokenize ``texts``, each cut to the limit as the tokenizer itself cuts.

        Raises:
            TextTooLongError: a text is too long, and cannot be cut before it is tokenized.
        """
        ids: list[Int32Array] = []
        truncated = replaced = 0
        for group in _groups(texts):
            clean = [without_surrogates(text) for text in group]
            replaced += sum(a is not b for a, b in zip(group, clean, strict=True))
            prompted = [
                self._decisive(self._prompt + text, len(ids) + n) for n, text in enumerate(clean)
            ]
            rows = self._call(prompted)
            long = [i for i, row in enumerate(rows) if len(row) > self._max_length]
            truncated += len(long)
            if long:
                cut = self._call([prompted[i] for i in long], self._max_length)
                for i, row in zip(long, cut, strict=True):
                    rows[i] = row
            ids += [np.array([] if row == self._blank else row, dtype=np.int32) for row in rows]
        return Tokenized(ids, truncated, replaced)

    def whole(self, texts: Sequence[str]) -> Tokenized:
        """Tokenize ``texts`` without a limit; ``truncated`` counts those beyond it.

        Raises:
            TextTooLongError: a text is too long, and cannot be cut before it is tokenized.
        """
        ids: list[Int32Array] = []
        replaced = 0
        for group in _groups(texts):
            clean = [without_surrogates(text) for text in group]
            replaced += sum(a is not b for a, b in zip(group, clean, strict=True))
            prompted = [self._prompt + text for text in clean]
            short = [text if len(text) <= PIECE else "" for text in prompted]
            rows = self._call(short)
            for n, text in enumerate(prompted):
                if short[n] != text:
                    rows[n] = self._in_pieces(text, len(ids) + n)
            ids += [np.array([] if row == self._blank else row, dtype=np.int32) for row in rows]
        return Tokenized(ids, sum(len(row) > self._max_length for row in ids), replaced)

    def _decisive(self, text: str, number: int) -> str:
        """So much of ``text`` that it has more tokens than are kept, or all of it."""
        start = max(PIECE, 8 * self._max_length)
        keeps_end = self._tokenizer.truncation_side == "left"
        while self._has_seams and not keeps_end and (seam := seam_from(text, start)) is not None:
            part = text[:seam]
            self._check_length(part, number)
            if len(self._call([part])[0]) > self._max_length:
                return part
            start = 2 * seam
        self._check_length(text, number)
        return text

    def _in_pieces(self, text: str, number: int) -> list[int]:
        """The tokens of a long text, special ones included."""
        row: list[int] = []
        for n, piece in enumerate(pieces(text) if self._has_seams else (text,)):
            self._check_length(piece, number)
            found = self._call([piece], special=not n)[0]
            if n:
                row += found
            else:
                own = len(found) - self.frame()[1]
                row, end = found[:own], found[own:]
        return row + end

    @staticmethod
    def _check_length(text: str, number: int) -> None:
        if len(text) > MOST_AT_ONCE:
            raise TextTooLongError(number, len(text))

    def frame(self) -> tuple[int, int]:
        """How many tokens of its own the model puts before a text, and how many after it."""
        probe = self._call([self._prompt + "a"])[0]
        before = _common(self._blank, probe)
        after = min(len(self._blank) - before, _common(self._blank[::-1], probe[::-1]))
        return before, after

    def _call(
        self, texts: list[str], max_length: int | None = None, *, special: bool = True
    ) -> list[list[int]]:
        special = special and self._special
        if max_length is None and self._tokenizer.is_fast:
            # What transformers does itself, without making what is not wanted of the results:
            # that part holds Python's lock, which the thread that drives a GPU needs.
            backend = self._tokenizer.backend_tokenizer
            backend.no_truncation()
            backend.no_padding()
            found = backend.encode_batch_fast(texts, add_special_tokens=special)
            return [encoding.ids for encoding in found]
        rows: list[list[int]] = self._tokenizer(
            texts,
            add_special_tokens=special,
            truncation=max_length is not None,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        return rows


def load_tokenizer(
    folder: Path,
    *,
    lower_case: bool = False,
    options: Mapping[str, Any] = {},
    trust_remote_code: bool = False,
) -> Any:
    """The tokenizer in ``folder``.

    Args:
        lower_case: lower-case texts before its own rules, unless it does so itself.
        options: further arguments that it is loaded with.
        trust_remote_code: run code that lies there, where its settings name some.

    Raises:
        BadInputError: there is none, or it is damaged.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=trust_remote_code, **options
            )
            tokenizer(["", "a"])  # some damage is met by the first text
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise refusal(error, folder, "its tokenizer cannot be loaded") from error
    limit = tokenizer.model_max_length  # as it stands in the file; 1e30 for none
    if type(limit) not in (int, float) or not limit >= 0:
        raise BadInputError(
            f"model_max_length must be a number of tokens, not {quoted(limit)}",
            str(folder / "tokenizer_config.json"),
        )
    if lower_case and tokenizer.is_fast:
        from tokenizers import normalizers

        own = tokenizer.backend_tokenizer.normalizer
        steps: list[Any] = [own] if own else []
        if isinstance(own, normalizers.Sequence):
            steps = list(own)  # type: ignore[call-overload]
        if not any(isinstance(step, normalizers.Lowercase) for step in steps):
            steps = [normalizers.Lowercase(), *steps]
            tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(steps)
    return tokenizer


def terms_of(tokenizer: Any, width: int, place: str) -> tuple[Vocabulary, Int64Array]:
    """The vocabulary of a model, and the column of its logits that each term has.

    Terms are the tokenizer's tokens in id order. Columns without a token (a head padded to a
    round width, an id that the tokenizer leaves out) have no term and are dropped.

    Args:
        width: columns of the logits.
        place: for messages.

    Raises:
        BadInputError: the tokenizer has tokens beyond ``width``.
    """
    tokens = sorted((i, token) for token, i in tokenizer.get_vocab().items() if token)
    if not tokens or tokens[-1][0] >= width:
        last = tokens[-1][0] if tokens else None
        raise BadInputError(
            f"the tokenizer's ids go up to {last}, the model knows {width} tokens: they do not "
            "belong together",
            place,
        )
    columns = np.array([i for i, _ in tokens], dtype=np.int64)
    if len(columns) < width:
        log.info(
            "%s: %d of %d columns have no token and are dropped", place, width - len(columns), width
        )
    return Vocabulary(token for _, token in tokens), columns


def without_surrogates(text: str) -> str:
    """``text`` itself, or a copy in which lone surrogates, which are no characters, are U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = characters = 0
    for i, text in enumerate(texts):
        full = i - start >= CALL_TEXTS or characters + len(text) > CALL_CHARACTERS
        if full and i > start:
            yield texts[start:i]
            start, characters = i, 0
        characters += len(text)
    if start < len(texts):
        yield texts[start:]


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many items two sequences share at their start."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
