"""Queries of a dense index: text as the query side of a model encodes it, or vectors.

Recognised as vectors: a dense index (of ``dense --side query``), whose vectors are taken; JSON
lines ``{"id": ..., "vector": [0.1, ...]}``; Parquet with the columns ``id`` and ``vector``. All
queries of a set are held in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, checked_id, quoted
from splade_bridge.data.manifest import EncodingInfo, Manifest, VocabularyInfo, check_fit
from splade_bridge.data.parts import part_files
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.embeddings.choices import KIND, Similarity
from splade_bridge.embeddings.index import DenseIndex, is_dense_index
from splade_bridge.embeddings.vectors import DenseBatch, read_dense_part
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.errors import BadInputError, UsageError, require
from splade_bridge.files.inputs import check_file, is_there
from splade_bridge.files.lines import STDIO, json_lines, plain_suffix
from splade_bridge.retrieval.encode_queries import query_texts
from splade_bridge.text.corpora import JSON_SUFFIXES, QUERY_ID_FIELDS, Text


@dataclass(frozen=True)
class DenseQueries:
    """A set of queries.

    Attributes:
        path: where they come from, for messages.
        encoding: how text became these vectors; None where that is not known.
        allow_mismatch: search with them, too, what does not belong to them.
    """

    path: Path
    batch: DenseBatch
    encoding: EncodingInfo | None = None
    allow_mismatch: bool = False

    def check(self, index: DenseIndex) -> None:
        """Refuse an index that other queries belong to.

        Raises:
            MismatchError: documents or queries of another model, or of the other side.
        """
        manifest = Manifest(
            kind=KIND,
            vocabulary=VocabularyInfo.of(Vocabulary()),
            counts=Counts(documents=len(self.batch)),
            encoding=self.encoding,
        )
        check_fit(index.manifest, manifest, str(index.path), allow_mismatch=self.allow_mismatch)


class DenseQueryEncoder:
    """The query side of a model, loaded once. Calls from several threads wait for one another.

    Args:
        model: of sentence-transformers, a folder or a hub name.
        similarity: of the index that is searched.
        max_length: in tokens.
        checkpoint: how it is read.

    Raises:
        BadInputError: the model cannot be read.
        UsageError: a query mode, or vectors of length 1 beside what the index has.
        MissingToolError: the extra ``dense`` is not installed.
    """

    def __init__(
        self,
        model: str,
        similarity: Similarity,
        max_length: int = 256,
        checkpoint: ModelChoices = ModelChoices(),
    ) -> None:
        if checkpoint.query_mode != "model" or checkpoint.normalize:
            raise UsageError(
                f"{model}: --query-mode and --normalize are for weights of terms, and the index "
                "holds dense vectors: leave them out"
            )
        require("dense", "encoding queries")
        from splade_bridge.encoding.dense_encoder import DenseEncoder

        self._encoder = DenseEncoder(
            model, "query", similarity=similarity, max_length=max_length, checkpoint=checkpoint
        )
        self._lock = Lock()

    def __call__(self, texts: Sequence[Text], source: Path) -> DenseQueries:
        """The vectors of ``texts``.

        Args:
            source: where the texts come from, for messages.

        Raises:
            BadInputError: a text whose vector is not finite.
        """
        with self._lock:
            found = self._encoder.encode([text.text for text in texts])
        batch = DenseBatch([text.id for text in texts], found.vectors)
        batch.refuse_endless(str(source))
        return DenseQueries(source, batch, self._encoder.info(found.truncated))


def load_dense_queries(
    source: str,
    index: DenseIndex,
    model: str | None = None,
    max_length: int = 256,
    *,
    checkpoint: ModelChoices = ModelChoices(),
    split: str | None = None,
    allow_mismatch: bool = False,
) -> DenseQueries:
    """Queries from text, if there is a ``model`` to encode it, or else from vectors.

    Args:
        index: that is searched.
        checkpoint: how the model is read.
        split: of the texts of a BEIR folder.
        allow_mismatch: see :class:`DenseQueries`.

    Raises:
        BadInputError: the queries or the model cannot be read.
    """
    if model is None:
        return replace(read_dense_queries(Path(source)), allow_mismatch=allow_mismatch)
    texts = query_texts(source, split)  # before a model is loaded for nothing
    found = DenseQueryEncoder(model, index.similarity, max_length, checkpoint)(texts, Path(source))
    return replace(found, allow_mismatch=allow_mismatch)


def read_dense_queries(path: Path) -> DenseQueries:
    """Vectors of queries from ``path``.

    Raises:
        BadInputError: not a set of vectors, a broken one, or an id that comes twice.
    """
    if path == STDIO or not is_there(path):
        raise BadInputError("no such file or folder", str(path))
    encoding = None
    if is_dense_index(path):
        encoding = Manifest.load(path).encoding
    if path.is_dir() and (parts := part_files(path)):
        batches = [batch for part in parts.values() for batch in read_dense_part(part)]
    elif not path.is_dir() and plain_suffix(path) == ".parquet":
        check_file(path)
        batches = list(read_dense_part(path))
    elif not path.is_dir() and plain_suffix(path) in JSON_SUFFIXES:
        batches = [_from_lines(path)]
    else:
        raise BadInputError(
            "no vectors (a dense index, .jsonl with arrays, .parquet with id and vector): to "
            "encode text, name the model with --model",
            str(path),
        )
    if not sum(map(len, batches)):
        raise BadInputError("holds no queries", str(path))
    if len({batch.vectors.shape[1] for batch in batches}) > 1:
        raise BadInputError("vectors of several lengths", str(path))
    ids = [query_id for batch in batches for query_id in batch.ids]
    guard = DuplicateGuard()
    for query_id in ids:
        guard.check(query_id, str(path))
    vectors = np.concatenate([batch.vectors for batch in batches])
    return DenseQueries(path, DenseBatch(ids, vectors), encoding)


def _from_lines(path: Path) -> DenseBatch:
    check_file(path)
    ids: list[str] = []
    rows: list[list[float]] = []
    for record, place in json_lines(path):
        query_id, vector = _record(record, place)
        if rows and len(vector) != len(rows[0]):
            raise BadInputError(
                f"a vector of {len(vector):,} numbers, where the first has {len(rows[0]):,}", place
            )
        ids.append(query_id)
        rows.append(vector)
    if not ids:
        raise BadInputError("holds no queries", str(path))
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        batch = DenseBatch(ids, np.array(rows, dtype=np.float64).astype(np.float32))
    batch.refuse_endless(str(path))
    return batch


def _record(record: Any, place: str) -> tuple[str, list[float]]:
    """Id and vector of a line."""
    if not isinstance(record, dict):
        raise BadInputError("not a JSON object: one is needed for each query", place)
    name = next((field for field in QUERY_ID_FIELDS if field in record), None)
    if name is None:
        raise BadInputError(f"no field {' or '.join(QUERY_ID_FIELDS)} (id)", place)
    vector = record.get("vector")
    if not isinstance(vector, list) or not vector:
        what = "is text" if any(f in record for f in ("text", "query", "contents")) else "has none"
        raise BadInputError(
            f"no field vector with an array of numbers: this {what}; to encode text, name the "
            "model with --model",
            place,
        )
    for value in vector:
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
            raise BadInputError(f"{quoted(value)} in a vector is not a number", place)
    return checked_id(record[name], place), vector
