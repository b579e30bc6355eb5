"""What an id may be, and that it comes once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splade_bridge.errors import BadInputError

MAX_TERM_BYTES = 32_766
"""Lucene's limit on one term, and so on a stored id; ids beyond it vanish in Anserini."""

SHOWN = 60
"""Characters of a value that a message quotes."""


def quoted(value: object) -> str:
    """``value`` as a message shows it: its ``repr``, cut where it is long."""
    if isinstance(value, str | bytes) and len(value) > SHOWN:
        return f"{value[:SHOWN]!r}..."
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= 2 * SHOWN else f"{text[: 2 * SHOWN]}..."


def checked_id(value: object, place: str) -> str:
    """A document or query id as the string that every format here can hold.

    Integers become their decimal string, within 64 bits: beyond, readers of JSON differ in what
    they make of one. Raises BadInputError for what a TREC run or a Lucene term cannot hold: empty,
    with white space or NUL, not encodable, or over 32,766 bytes of UTF-8.
    """
    if not isinstance(value, str):
        return _of_number(value, place)
    if not value or value.split() != [value]:
        raise BadInputError(
            f"id {quoted(value)} is empty or holds white space, which run files cannot hold: "
            "rename it",
            place,
        )
    if "\0" in value:
        raise BadInputError(
            f"id {quoted(value)} holds NUL, where C programs cut it: rename it", place
        )
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise BadInputError(f"id {quoted(value)} is not valid Unicode", place) from None
    if size > MAX_TERM_BYTES:
        raise BadInputError(f"an id of {size:,} bytes; the limit is {MAX_TERM_BYTES:,}", place)
    return value


def _of_number(value: object, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise BadInputError(f"an id must be a string or an integer, not {quoted(value)}", place)
    if not -(1 << 63) <= value < 1 << 64:
        raise BadInputError(
            f"an id that is a number of more than 64 bits ({quoted(value)}): make it a string",
            place,
        )
    return str(value)


def check_size(doc_id: str, most: int, engine: str) -> None:
    """Raise BadInputError for an id of more than ``most`` bytes, which ``engine`` does not take."""
    if (size := len(doc_id.encode())) > most:
        raise BadInputError(
            f"document {quoted(doc_id)}: an id of {size:,} bytes, and {engine} takes {most:,} at "
            "most: rename it"
        )


def check_ids(ids: Sequence[str], place: str) -> None:
    """Raise BadInputError for the first of ``ids`` that :func:`checked_id` refuses.

    All together in a few calls: for the many ids that come from files in columns.
    """
    try:
        text = " ".join(ids)
        good = (
            text.split() == list(ids)
            and "\0" not in text
            and 4 * max(map(len, ids), default=0) <= MAX_TERM_BYTES
        )
        text.encode()
    except (TypeError, UnicodeEncodeError):
        good = False
    if not good:
        for value in ids:
            checked_id(value, place)


class DuplicateGuard:
    """Notices an id that was there before, in 10 to 12 bytes an id instead of a set of strings.

    Ids are compared by the 64 bits of Python's hash (SipHash with a key of this process); among 10
    million ids two differ and collide with a probability of 3e-6. New hashes wait in a small set
    and are merged into a sorted array, which is searched only where a bit says that it may help.
    """

    MERGE_AT = 1 << 17
    BITS_AN_ID = 16
    """At least; so that one look in sixteen, at most, is for nothing."""

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted = np.empty(0, dtype=np.int64)
        self._bits = bytearray(1)
        self._last_bits = 7
        """Those of a hash that say which bit is its own."""

    def check(self, text_id: str, place: str) -> None:
        """Raise BadInputError if ``text_id`` was given before."""
        digest = hash(text_id)
        if digest in self._recent or self._held(digest):
            raise BadInputError(
                f"id {quoted(text_id)} was there before: ids must be unique in a collection", place
            )
        self._recent.add(digest)
        self._merge_many()

    def check_all(self, ids: Sequence[str]) -> None:
        """Raise BadInputError, and take none, if one of ``ids`` was given before or stands twice.

        It names no place: :meth:`check` of one after another does.
        """
        digests = set(map(hash, ids))
        if (
            len(digests) < len(ids)
            or not self._recent.isdisjoint(digests)
            or any(map(self._held, digests))
        ):
            raise BadInputError("an id was there before: ids must be unique in a collection")
        self._recent |= digests
        self._merge_many()

    def _held(self, digest: int) -> bool:
        """Whether it is in the sorted array."""
        bit = digest & self._last_bits
        if not self._bits[bit >> 3] >> (bit & 7) & 1:
            return False
        place = self._sorted.searchsorted(digest)
        return bool(place < len(self._sorted) and self._sorted[place] == digest)

    def _merge_many(self) -> None:
        if len(self._recent) < self.MERGE_AT:
            return
        fresh = np.fromiter(self._recent, np.int64, len(self._recent))
        self._recent.clear()
        self._sorted = np.sort(np.concatenate([self._sorted, fresh]), kind="stable")
        if (wanted := self.BITS_AN_ID * len(self._sorted)) > 8 * len(self._bits):
            self._last_bits = (1 << wanted.bit_length()) - 1
            self._bits = bytearray((self._last_bits + 1) // 8)
            fresh = self._sorted
        bits = fresh & self._last_bits
        marks = np.left_shift(1, bits & 7).astype(np.uint8)
        np.bitwise_or.at(np.frombuffer(self._bits, dtype=np.uint8), bits >> 3, marks)
