"""Float vectors of many texts, wherever they are: a store on disk or batches in memory."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.data.content import Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest, VocabularyInfo
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import MissingToolError

if TYPE_CHECKING:
    import pandas as pd

MEMORY = Path("<memory>")
"""Stands for a path where messages and manifests name what has none."""


class Vectors(abc.ABC):
    """What gives ``(id, {term: number})`` of each text, as often as it is asked."""

    @abc.abstractmethod
    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]: ...

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame with the columns ``id`` (str) and ``vector`` ({term: number}).

        Raises:
            MissingToolError: pandas is not installed.
        """
        return pandas_module().DataFrame(list(self), columns=["id", "vector"])


class VectorSet(Vectors):
    """Float vectors that can be read any number of times.

    Iterating gives ``(id, {term: weight})`` of each text in corpus order, weights as Python floats
    that are exactly the float32 ones; ``len`` is the number of texts.

    Attributes:
        path: of the store; ``<memory>`` where there is none.
        manifest: model, counts and history.
        vocabulary: of the vectors' term ids.
    """

    def __init__(self, path: Path, manifest: Manifest, vocabulary: Vocabulary) -> None:
        self.path = path
        self.manifest = manifest
        self.vocabulary = vocabulary

    @abc.abstractmethod
    def batches(self, rows: int = 4096) -> Iterator[SparseBatch]:
        """All rows in corpus order, at most ``rows`` a batch."""

    def __len__(self) -> int:
        return self.manifest.counts.documents

    def __iter__(self) -> Iterator[tuple[str, dict[str, float]]]:
        for batch in self.batches():
            yield from vectors_of(batch, self.vocabulary)


class VectorsInMemory(VectorSet):
    """Float vectors as a list of batches.

    Args:
        batches: in the term ids of ``vocabulary``; ids must differ.
        encoding: the model behind them, if it is known.
    """

    def __init__(
        self,
        batches: Iterable[SparseBatch],
        vocabulary: Vocabulary,
        encoding: EncodingInfo | None = None,
        *,
        pruning: Sequence[dict[str, Any]] = (),
    ) -> None:
        self._batches = list(batches)
        counts, content = Counts(), Content(vocabulary)
        for batch in self._batches:
            counts.add(batch)
            content.add(batch)
        manifest = Manifest(
            kind="vectors",
            vocabulary=VocabularyInfo.of(vocabulary),
            counts=counts,
            content=str(content),
            encoding=encoding,
            pruning=list(pruning),
        )
        super().__init__(MEMORY, manifest, vocabulary)

    def batches(self, rows: int = 4096) -> Iterator[SparseBatch]:
        """The batches as they were made, whatever ``rows`` says: they are there already."""
        yield from self._batches


def vectors_of(
    batch: SparseBatch | ImpactBatch, vocabulary: Vocabulary
) -> Iterator[tuple[str, dict[str, Any]]]:
    """``(id, {term: number})`` of each row, terms in the order of their ids.

    Numbers are floats of a :class:`SparseBatch`, ints of an :class:`ImpactBatch`.
    """
    values = batch.weights if isinstance(batch, SparseBatch) else batch.impacts
    terms = [vocabulary[i] for i in batch.indices.tolist()]
    numbers, ends = values.tolist(), batch.indptr.tolist()
    for i, text_id in enumerate(batch.ids):
        row = slice(ends[i], ends[i + 1])
        yield text_id, dict(zip(terms[row], numbers[row], strict=True))


def pandas_module() -> Any:
    """The module pandas.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise MissingToolError("a DataFrame needs pandas: pip install pandas") from None
    return pandas
