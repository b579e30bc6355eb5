"""What an id may be, and that it comes once."""

from __future__ import annotations

import hashlib
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
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        if not -(1 << 63) <= value < 1 << 64:
            raise BadInputError(
                f"an id that is a number of more than 64 bits ({quoted(value)}): make it a string",
                place,
            )
        return str(value)
    if not isinstance(value, str):
        raise BadInputError(f"an id must be a string or an integer, not {quoted(value)}", place)
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
    """Notices an id that was there before, in 8 bytes an id instead of a set of strings.

    Ids are compared by 64 bits of BLAKE2b; among 10 million ids two differ and collide with a
    probability of 3e-6. New digests wait in a small set and are merged into a sorted array.
    """

    MERGE_AT = 1 << 17

    def __init__(self) -> None:
        self._recent: set[int] = set()
        self._sorted = np.empty(0, dtype=np.uint64)

    def check(self, text_id: str, place: str) -> None:
        """Raise BadInputError if ``text_id`` was given before."""
        digest = _digest(text_id)
        if digest in self._recent or self._old({digest}):
            raise BadInputError(
                f"id {quoted(text_id)} was there before: ids must be unique in a collection", place
            )
        self._take({digest})

    def check_all(self, ids: Sequence[str]) -> None:
        """Raise BadInputError, and take none, if one of ``ids`` was given before or stands twice.

        It names no place: :meth:`check` of one after another does.
        """
        digests = set(map(_digest, ids))
        if len(digests) < len(ids) or not self._recent.isdisjoint(digests) or self._old(digests):
            raise BadInputError("an id was there before: ids must be unique in a collection")
        self._take(digests)

    def _take(self, digests: set[int]) -> None:
        self._recent |= digests
        if len(self._recent) >= self.MERGE_AT:
            fresh = np.fromiter(self._recent, np.uint64, len(self._recent))
            self._sorted = np.sort(np.concatenate([self._sorted, fresh]), kind="stable")
            self._recent.clear()

    def _old(self, digests: set[int]) -> bool:
        """Whether one of them is in the sorted array."""
        if not len(self._sorted):
            return False
        keys = np.fromiter(digests, np.uint64, len(digests))
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return bool((self._sorted[at] == keys).any())


def _digest(text_id: str) -> int:
    return int.from_bytes(hashlib.blake2b(text_id.encode(), digest_size=8).digest(), "big")
