"""Random collections as sources and dense matrices, for comparing engines with brute force."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.queries import Queries


class MemorySource(ImpactSource):
    """A dense matrix of impacts as a source, in batches of a few rows."""

    def __init__(self, matrix: np.ndarray, ids: Sequence[str], terms: Sequence[str]) -> None:
        super().__init__(Path("memory"), Vocabulary(terms), None)
        self._matrix = matrix
        self._ids = list(ids)

    def _read(self) -> Iterator[ImpactBatch]:
        for start in range(0, len(self._ids), 7):
            yield batch_of(self._matrix[start : start + 7], self._ids[start : start + 7])


def batch_of(matrix: np.ndarray, ids: Sequence[str]) -> ImpactBatch:
    """The non-zero entries of a dense matrix."""
    rows, columns = np.nonzero(matrix)
    lengths = np.bincount(rows, minlength=len(matrix))
    return ImpactBatch(
        list(ids),
        row_pointers(lengths),
        columns.astype(np.int32),
        matrix[rows, columns].astype(np.int32),
    )


def queries_of(matrix: np.ndarray, terms: Sequence[str]) -> Queries:
    """A dense matrix of query weights."""
    ids = [f"q{i}" for i in range(len(matrix))]
    return Queries(Path("queries"), batch_of(matrix, ids), Vocabulary(terms))


def random_matrix(seed: int, rows: int, columns: int, density: float, largest: int) -> np.ndarray:
    """Impacts from 1 to ``largest``, many equal ones, some rows and columns empty."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, largest + 1, (rows, columns))
    matrix = np.where(rng.random((rows, columns)) < density, values, 0)
    matrix[rng.random(rows) < 0.05] = 0
    matrix[:, rng.random(columns) < 0.05] = 0
    return matrix.astype(np.int64)


ODD_TERMS = [
    "[CLS]", "##x", "U.S.", "A", "a", '"', "\\", "two words", "tab\there", "ü", "日本", "\u0085",
    "line\nbreak", "'", "{", ",", ":", "0", "-", "\x00nul", "𝒳", "e\u0301", "é",
]  # fmt: skip


def terms_of(n: int) -> list[str]:
    """So many terms, odd ones first."""
    return (ODD_TERMS + [f"term{i}" for i in range(n)])[:n]


def shuffled_ids(n: int, seed: int) -> list[str]:
    """Ids whose order is not the order of the documents: short, long, upper case, not ASCII."""
    ids = [
        f"{'D' if i % 3 else 'd'}{i * 7919 % 1000}{'é𝒳' if i % 11 == 0 else ''}" for i in range(n)
    ]
    assert len(set(ids)) == n
    return [ids[i] for i in np.random.default_rng(seed).permutation(n)]


def write_json_lines(path: Path, records: Iterable[object]) -> Path:
    """A file with a line of JSON for each record."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_texts(path: Path, texts: Mapping[str, str]) -> Path:
    """Texts by id as BEIR has them."""
    return write_json_lines(path, ({"_id": i, "text": text} for i, text in texts.items()))


def trec_run(ranked: Mapping[str, Iterable[tuple[str, float]]], tag: str = "t") -> str:
    """The (id, score) of each query as a TREC run, ranked as they come."""
    return "".join(
        f"{query_id} Q0 {doc_id} {rank} {score} {tag}\n"
        for query_id, found in ranked.items()
        for rank, (doc_id, score) in enumerate(found, start=1)
    )


def hear_sigint() -> None:
    """For a new process: what a shell starts in the background ignores Ctrl-C, and so we would."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
