"""What a property must hold for: terms and ids as vocabularies and corpora have them, batches."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from splade_bridge.data.vectors import ImpactBatch, SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary

MAX_IMPACT = 2**31 - 1

quick = settings(max_examples=40, deadline=None)
"""For properties that write and read files."""

AWKWARD_TERMS = ["##x", '"', "\\", '\\"', "\\u0061", "a b", "\t", "\n", "\r\n", "\0", "\x7f", "'"]
AWKWARD_TERMS += ["é", "e\u0301", "漢", "\U0001f600", "\u2028", "\ufeff", ":", '":', ",", "{", "[]"]
AWKWARD_TERMS += ["null", "1", "\ud7ff", "\ue000", "\uffff", "\U00010000", " ", "\u00a0", "[CLS]"]

terms = st.one_of(
    st.sampled_from(AWKWARD_TERMS),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6),
)

ids = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_./:#\"'\\{}[],%", min_size=1, max_size=8),
    st.text(
        st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8
    ),
    st.integers(0, 10**9).map(str),
)

impacts = st.one_of(
    st.integers(1, 400),
    st.sampled_from([1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, MAX_IMPACT]),
)

weights = st.one_of(
    st.floats(0.0009765625, 50.0, width=32),
    st.integers(0, 300).map(lambda n: (n + 0.5) / 100),  # at a half with scale 100, or beside it
    st.integers(1, 300).map(lambda n: n / 64),  # 64 x 100 / 64: some halves that are exact
).map(lambda w: float(np.float32(w)))


@dataclass(frozen=True)
class Collection:
    """Some vectors, as batches and as plain dictionaries of terms."""

    vocabulary: Vocabulary
    ids: list[str]
    rows: list[dict[str, float]]

    def impact_batches(self, size: int = 3) -> list[ImpactBatch]:
        return [ImpactBatch(*part, np.array(v, np.int32)) for *part, v in self._batches(size)]

    def sparse_batches(self, size: int = 3) -> list[SparseBatch]:
        return [SparseBatch(*part, np.array(v, np.float32)) for *part, v in self._batches(size)]

    def _batches(self, size: int) -> list[tuple]:
        found = []
        for start in range(0, len(self.ids), size):
            rows = [
                sorted((self.vocabulary.get(t), v) for t, v in row.items())
                for row in self.rows[start : start + size]
            ]
            indices = np.array([i for row in rows for i, _ in row], np.int32)
            values = [v for row in rows for _, v in row]
            lengths = row_pointers([len(row) for row in rows])
            found.append((self.ids[start : start + size], lengths, indices, values))
        return found


@st.composite
def collections(draw: st.DrawFn, values: st.SearchStrategy = impacts) -> Collection:
    """1 to 8 vectors over up to 10 terms, of which some may be unused; rows may be empty."""
    vocabulary = draw(st.lists(terms, min_size=1, max_size=10, unique=True))
    doc_ids = draw(st.lists(ids, min_size=1, max_size=8, unique=True))
    row = st.dictionaries(st.sampled_from(vocabulary), values, max_size=len(vocabulary))
    rows = [draw(row) for _ in doc_ids]
    return Collection(Vocabulary(vocabulary), doc_ids, rows)


def as_dictionaries(batches: list[ImpactBatch], vocabulary: Vocabulary) -> list[tuple[str, dict]]:
    """(id, {term: impact}) of every row."""
    return [
        (doc_id, {vocabulary[int(i)]: int(v) for i, v in zip(*batch.row(n), strict=True)})
        for batch in batches
        for n, doc_id in enumerate(batch.ids)
    ]
