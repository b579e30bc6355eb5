"""Terms and their ids."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import Int32Array
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, json_file, typed
from splade_bridge.files.writing import atomic_writer


@dataclass(frozen=True)
class _Saved:
    """What is in the file."""

    terms: list[str]
    observed: bool


class _Ids(dict[str, int]):
    """Term -> id, its position in ``terms``; one that is asked for and new is appended there."""

    def __init__(self, terms: list[str]) -> None:
        super().__init__()
        self._terms = terms

    def __missing__(self, term: str) -> int:
        if not term:
            raise BadInputError("an empty term: no index format can hold one")
        try:
            term.encode()
        except UnicodeEncodeError:
            raise BadInputError(f"term {quoted(term)} is not valid Unicode") from None
        new = self[term] = len(self._terms)
        self._terms.append(term)
        return new


class Vocabulary:
    """An ordered set of terms; the id of a term is its position.

    A vocabulary that came with a model (``observed=False``) is complete. One that was collected
    from the terms of a file (``observed=True``) grows while the file is read and says nothing
    about terms that no document used.

    Raises:
        BadInputError: a term is empty, not valid Unicode, or there twice.
    """

    def __init__(self, terms: Iterable[str] = (), *, observed: bool = False) -> None:
        self.observed = observed
        self._terms: list[str] = []
        self._ids = _Ids(self._terms)
        for term in terms:
            if term in self._ids:
                raise BadInputError(f"term {quoted(term)} stands twice in the vocabulary")
            self.add(term)

    def __len__(self) -> int:
        return len(self._terms)

    def __getitem__(self, term_id: int) -> str:
        return self._terms[term_id]

    def __contains__(self, term: object) -> bool:
        return term in self._ids

    @property
    def terms(self) -> Sequence[str]:
        """All terms in id order; a live view, do not change it."""
        return self._terms

    def get(self, term: str) -> int | None:
        """The id of ``term``, or None."""
        return self._ids.get(term)

    def add(self, term: str) -> int:
        """The id of ``term``, which is appended if it is new."""
        return self._ids[term]

    def add_all(self, terms: Collection[str]) -> Int32Array:
        """int32[len(terms)]: the id of each; those that are new are appended."""
        return np.fromiter(list(map(self._ids.__getitem__, terms)), np.int32, len(terms))

    def forget(self, length: int) -> None:
        """Drop the terms behind the first ``length``."""
        for term in self._terms[length:]:
            del self._ids[term]
        del self._terms[length:]

    def mapping(self, other: Vocabulary) -> Int32Array:
        """int32[len(self)]: the id that each term of ``self`` has in ``other``, -1 for none."""
        get = other._ids.get
        return np.fromiter((get(term, -1) for term in self._terms), np.int32, len(self._terms))

    def bytewise_order(self) -> Int32Array:
        """int32[len(self)]: term ids sorted by the UTF-8 bytes of their terms."""
        # Code point order of str is the byte order of UTF-8.
        return np.array(sorted(range(len(self)), key=self._terms.__getitem__), dtype=np.int32)

    def sha256(self) -> str:
        """Hash of the terms in id order."""
        return hashlib.sha256(orjson.dumps(self._terms)).hexdigest()

    def save(self, path: Path) -> None:
        """Write ``{"observed": bool, "terms": [...]}``."""
        with atomic_writer(path) as out:
            out.write(orjson.dumps({"observed": self.observed, "terms": self._terms}))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what :meth:`save` wrote.

        Raises:
            BadInputError: the file is missing or damaged.
        """
        where = Where(str(path), said="not a vocabulary file ({})")
        saved = typed(_Saved, json_file(where), where)
        try:
            return cls(saved.terms, observed=saved.observed)
        except BadInputError as error:
            where.inside("terms").fail(str(error))
