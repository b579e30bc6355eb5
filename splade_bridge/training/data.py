"""Training data from the files that people have, as one kind of data set.

Every format ends as a ``datasets.Dataset`` with the columns ``query``, ``positive``,
``negative_1`` .. ``negative_n`` and, where there are teacher scores, ``label``: a list of n + 1
floats, the positive's first. That is what the trainers of sentence-transformers take.

| format | files |
|---|---|
| ``triples`` | TSV of texts: query, positive, negative and perhaps more negatives |
| ``id-triples`` | TSV of ids: query, positive, negative (MS MARCO), or with two teacher scores in front (Hofstätter et al., arXiv:2010.02666); needs ``collection`` and ``queries`` |
| ``jsonl`` | an object a line; see :mod:`splade_bridge.training.pairs` |
| ``judged`` | queries, collection and qrels, with hard negatives and scores from files |
| ``beir`` | the same from a BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv |
| ``docstrings`` | documentation strings of Python and its packages, for the demo's model |
"""  # noqa: E501 - a table

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from splade_bridge.corpora import corpus_files
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files import folder_lock, write_error
from splade_bridge.training.examples import Choice, DataCounts, Example

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

log = logging.getLogger(__name__)

DataFormat = Literal["triples", "id-triples", "jsonl", "judged", "beir", "docstrings"]
FORMATS: tuple[DataFormat, ...] = (
    "triples", "id-triples", "jsonl", "judged", "beir", "docstrings",
)  # fmt: skip

BATCH_ROWS = 1000


@dataclass(frozen=True)
class DataOptions:
    """The ``[data]`` section of a recipe.

    Attributes:
        format: see the module's table.
        path: the file, or the folder of ``beir``; for ``docstrings`` a folder with OpenStax files
            (``glossary-pairs.jsonl.gz``), or nothing.
        collection: texts of the document ids, whatever ``encode`` takes.
        queries: texts of the query ids.
        qrels: which documents answer; TREC, BEIR, or JSON ``{query: {document: grade}}``.
        hard_negatives: candidates by query: JSON lines of ``mine``, a TREC run or a score file.
            Without it the documents of ``scores`` that are no positives are candidates.
        scores: teacher scores, ``{query: {document: score}}`` as JSON, JSON lines, Parquet, an
            old pickle, or a TREC run; see :mod:`splade_bridge.training.score_files`.
        split: of the qrels of a ``beir`` folder.
        negatives: how many of each row; 0 leaves it to the other rows of a batch.
        choice: ``random`` (seeded), ``first`` of the file or ``hardest`` (highest score).
        positives: ``each`` positive makes a row, or ``one`` of each query, drawn.
        min_grade: from which grade on a document answers.
        max_rows: only the first so many.
        seed: of what is drawn.
        cache: folder for tables and the data set, which are then mapped from disk and used
            again by the next run with the same options and files. Without it the data set is
            held in memory.
        packages: of ``docstrings``: further installed packages to read.
    """

    format: DataFormat
    path: Path | None = None
    collection: str | None = None
    queries: str | None = None
    qrels: Path | None = None
    hard_negatives: Path | None = None
    scores: Path | None = None
    split: str = "train"
    negatives: int = 1
    choice: Choice = "random"
    positives: Literal["each", "one"] = "each"
    min_grade: int = 1
    max_rows: int | None = None
    seed: int = 0
    cache: Path | None = None
    packages: tuple[str, ...] = ()


class TrainingData(NamedTuple):
    """The rows and the account of what did not become one."""

    dataset: datasets.Dataset
    counts: DataCounts


def load_training_data(options: DataOptions) -> datasets.Dataset:
    """The data set of :func:`read_training_data`; what was left out is logged as a warning."""
    return read_training_data(options).dataset


def read_training_data(options: DataOptions) -> TrainingData:
    """Rows of texts with the columns of this module's description.

    Raises:
        UsageError: options that do not go together.
        BadInputError: a file is missing or broken (file:line), or not one row could be made.
        MissingToolError: the extra ``train`` is not installed.
    """
    raise NotImplementedError
