"""How each engine names a term, and back again.

==========  =====================================  ==============================================
``term``    the term itself                        Elasticsearch's ``sparse_vector``, OpenSearch's
                                                   ``neural_sparse``, Vespa's tensors
``escaped`` ``.`` becomes ``%2E``, ``%`` ``%25``   ``rank_features``, whose queries take what stands
                                                   behind the last dot for the feature's name
``number``  the term's id in the vocabulary,       Qdrant, Milvus
            which travels with the vectors
==========  =====================================  ==============================================

OpenSearch stores a feature with a dot and never finds it; Elasticsearch refuses the document. An
escaped name is the only one of its term, so whatever is read that is none was not written so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from splade_bridge.data.ids import MAX_TERM_BYTES, quoted
from splade_bridge.data.vectors import Int32Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.term_limits import Problem, lucene_term

Naming = Literal["term", "escaped", "number"]

ESCAPED = re.compile(r"(?:[^.%]|%2E|%25)+", re.DOTALL)

NOT_TEXT = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufddf"
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(17))
    + "]"
)
"""Characters that Vespa takes for no text (its ``com.yahoo.text.Text``)."""


def escaped(term: str) -> str:
    """The name of a feature that stands for ``term``."""
    return term.replace("%", "%25").replace(".", "%2E")


def unescaped(name: str, place: str) -> str:
    """The term that the feature ``name`` stands for.

    Raises:
        BadInputError: :func:`escaped` makes no such name.
    """
    if not ESCAPED.fullmatch(name):
        raise BadInputError(
            f"{quoted(name)} is not the name of a feature as it is escaped here (%2E for a dot, "
            "%25 for a percent sign)",
            place,
        )
    return name.replace("%2E", ".").replace("%25", "%")


def feature_name(term: str) -> str | None:
    """A :data:`.term_limits.Problem` for ``rank_features``."""
    if len(term) <= MAX_TERM_BYTES // 4 or len(name := escaped(term).encode()) <= MAX_TERM_BYTES:
        return None
    return f"has {len(name):,} bytes as the name of a feature, of {MAX_TERM_BYTES:,} at most"


def vespa_label(term: str) -> str | None:
    """A :data:`.term_limits.Problem` for the label of a tensor's cell."""
    if NOT_TEXT.search(term):
        return "holds a control character or a code point that is no character"
    return None


def any_term(term: str) -> str | None:
    """A :data:`.term_limits.Problem` for what numbers stand for: there is none."""
    return None


PROBLEMS: Mapping[Naming, Problem] = {
    "term": lucene_term,
    "escaped": feature_name,
    "number": any_term,
}
"""What an engine cannot hold under each naming, but for what one engine alone cannot."""


class Names:
    """The names of the terms of a vocabulary, which may grow, as JSON.

    Args:
        naming: how terms are named.
    """

    def __init__(self, vocabulary: Vocabulary, naming: Naming) -> None:
        self._vocabulary = vocabulary
        self._naming = naming
        self._ready: npt.NDArray[np.object_] = np.empty(0, dtype=object)

    def __call__(self, indices: Int32Array) -> list[bytes]:
        """The name of each of the term ids ``indices``: a string, or a number."""
        start = len(self._ready)
        if new := self._vocabulary.terms[start:]:
            made = [named(term, start + i, self._naming) for i, term in enumerate(new)]
            # Copied, since what orjson makes of a name lies in kilobytes as long as it is kept.
            ready = np.array([b"%b" % orjson.dumps(name) for name in made], dtype=object)
            self._ready = np.concatenate([self._ready, ready])
        found: list[bytes] = self._ready[indices].tolist()
        return found


def named(term: str, number: int, naming: Naming) -> str | int:
    """The name of a term.

    Args:
        number: its id in the vocabulary.
    """
    if naming == "number":
        return number
    return escaped(term) if naming == "escaped" else term


def reader_of(naming: Naming, vocabulary: Vocabulary) -> Callable[[Any, str], str]:
    """What turns a name, and the place where it was found, into a term.

    It raises BadInputError for a name that stands for none.
    """
    if naming == "number":

        def numbered(name: Any, place: str) -> str:
            if type(name) is not int or not 0 <= name < len(vocabulary):
                raise BadInputError(
                    f"dimension {quoted(name)}, but the vocabulary beside it has "
                    f"{len(vocabulary):,} terms, from 0 on",
                    place,
                )
            return vocabulary[name]

        return numbered
    return unescaped if naming == "escaped" else lambda name, place: str(name)
