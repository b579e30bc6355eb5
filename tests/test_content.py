"""The hash of a content: the same for the same documents in any order, another for others."""

from __future__ import annotations

import ast
import hashlib
import re
import struct

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from documented import ROOT
from splade_bridge.data.content import ID, Content, hashed
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from strategies import Collection, collections, weights

U64 = (1 << 64) - 1


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & U64
    x = (x ^ x >> 27) * 0x94D049BB133111EB & U64
    return x ^ x >> 31


def lanes(text: str, kind: bytes) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode(), digest_size=16, person=kind).digest()
    return struct.unpack("<2Q", digest)


def plain(rows: list[tuple[str, dict[str, float]]]) -> str:
    """The definition, in Python's integers."""
    total = 0
    for doc_id, row in rows:
        ids = lanes(doc_id, b"splade-bridge-id")
        total += sum(mix(ids[i] ^ 0xD1B54A32D192ED03) << 64 * i for i in range(2))
        for term, value in row.items():
            v = value
            if isinstance(value, float):
                v = (1 << 32) + struct.unpack("<I", struct.pack("<f", value))[0]
            terms = lanes(term, b"splade-bridge-t")
            for i in range(2):
                inner = mix((ids[i] + (v + 1) * 0x9E3779B97F4A7C15) & U64)
                total += mix((inner + terms[i]) & U64) << 64 * i
    return f"{total % (1 << 128):032x}"


def of(collection: Collection, batches: list) -> Content:
    content = Content(collection.vocabulary)
    for batch in batches:
        content.add(batch)
    return content


@given(collections())
def test_impacts_have_the_hash_of_the_definition(collection: Collection) -> None:
    rows = list(zip(collection.ids, collection.rows, strict=True))
    assert str(of(collection, collection.impact_batches())) == plain(rows)


@given(collections(weights))
def test_weights_have_the_hash_of_the_definition(collection: Collection) -> None:
    rows = list(zip(collection.ids, collection.rows, strict=True))
    assert str(of(collection, collection.sparse_batches())) == plain(rows)


@given(collections(), st.randoms(use_true_random=False))
def test_order_of_documents_and_of_terms_is_nothing(collection: Collection, random) -> None:  # type: ignore[no-untyped-def]
    pairs = list(zip(collection.ids, collection.rows, strict=True))
    random.shuffle(pairs)
    terms = list(collection.vocabulary.terms)
    random.shuffle(terms)
    other = Collection(Vocabulary(terms), [i for i, _ in pairs], [row for _, row in pairs])
    assert str(of(collection, collection.impact_batches())) == str(
        of(other, other.impact_batches(1))
    )


@given(collections())
def test_posting_lists_have_the_hash_of_their_documents(collection: Collection) -> None:
    content = Content(collection.vocabulary)
    ids = hashed(collection.ids, ID)
    content.add_documents(ids)
    for term_id, term in enumerate(collection.vocabulary.terms):
        docs = [n for n, row in enumerate(collection.rows) if term in row]
        impacts = [collection.rows[n][term] for n in docs]
        for part in (slice(0, 1), slice(1, None)):  # a list may come in parts
            content.add_list(
                ids, term_id, np.array(docs[part], np.int32), np.array(impacts[part], np.int32)
            )
    assert str(content) == str(of(collection, collection.impact_batches()))


def test_every_difference_shows() -> None:
    vocabulary = Vocabulary(["a", "b"])

    def hashed_as(ids: list[str], indptr: list[int], indices: list[int], values: list) -> str:
        kind, dtype = (
            (SparseBatch, np.float32) if isinstance(values[0], float) else (ImpactBatch, np.int32)
        )
        content = Content(vocabulary)
        content.add(
            kind(
                ids,
                np.array(indptr, np.int64),
                np.array(indices, np.int32),
                np.array(values, dtype),  # type: ignore[arg-type]
            )
        )
        return str(content)

    found = {
        hashed_as(["x", "y"], [0, 1, 2], [0, 1], [1, 2]),
        hashed_as(["x", "y"], [0, 1, 2], [0, 1], [2, 1]),  # values exchanged
        hashed_as(["x", "y"], [0, 1, 2], [1, 0], [1, 2]),  # terms exchanged
        hashed_as(["x", "z"], [0, 1, 2], [0, 1], [1, 2]),  # another id
        hashed_as(["x"], [0, 2], [0, 1], [1, 2]),
        hashed_as(["x", "y"], [0, 2, 2], [0, 1], [1, 2]),  # an empty document
        hashed_as(["x", "y", "y"], [0, 1, 2, 3], [0, 1, 1], [1, 2, 2]),  # a double one
        hashed_as(["x", "y"], [0, 1, 2], [0, 1], [1.0, 2.0]),  # weights
    }
    assert len(found) == 8


def test_vectors_of_docs() -> None:
    """Those that docs/formats.md gives to whoever writes this anew."""
    page = (ROOT / "docs" / "formats.md").read_text()
    told = re.findall(r"^\| `(\[.*?\])` \| `([0-9a-f]{32})` \|$", page, re.MULTILINE)
    assert len(told) == 5
    for rows, expected in told:
        assert plain(ast.literal_eval(rows)) == expected
