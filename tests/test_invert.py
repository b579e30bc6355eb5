"""The external transposition against scipy, under budgets so small that everything is spilled."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.invert import BYTES_WHILE_GATHERING, Transposer
from strategies import quick


def random_csr(rows: int, columns: int, density: float, seed: int) -> scipy.sparse.csr_matrix:
    rng = np.random.default_rng(seed)
    matrix = scipy.sparse.random(
        rows, columns, density, "csr", rng=rng,
        data_rvs=lambda size: rng.integers(1, 2**31 - 1, size),
    )  # fmt: skip
    matrix.sort_indices()
    return matrix.astype(np.int64)


def add(transposer: Transposer, matrix: scipy.sparse.csr_matrix, rows: int) -> None:
    """Add the rows of ``matrix``, ``rows`` at a time."""
    for start in range(0, matrix.shape[0], rows):
        part = matrix[start : start + rows]
        transposer.add(
            part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data.astype(np.int32)
        )


@quick
@given(
    shape=st.tuples(st.integers(0, 30), st.integers(1, 25)),
    density=st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    seed=st.integers(0, 1000),
    rows=st.integers(1, 7),
    memory=st.sampled_from([1, 100, 500, 3000, 10**9]),
)
def test_columns_are_those_of_scipy(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int],
    density: float,
    seed: int,
    rows: int,
    memory: int,
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    matrix = random_csr(*shape, density, seed)
    expected = matrix.tocsc()
    expected.sort_indices()
    order = np.random.default_rng(seed).permutation(shape[1]).astype(np.int32)
    with Transposer(memory, folder) as transposer:
        add(transposer, matrix, rows)
        assert transposer.row_count == shape[0]
        df = transposer.column_counts(shape[1])
        assert df.tolist() == np.diff(expected.indptr).tolist()
        seen = []
        for block in transposer.columns(order):
            assert block.rows.dtype == block.values.dtype == np.int32
            if len(block.ids) > 1:
                assert len(block.rows) * BYTES_WHILE_GATHERING <= max(memory, BYTES_WHILE_GATHERING)
            for i, column in enumerate(block.ids.tolist()):
                part = slice(int(block.indptr[i]), int(block.indptr[i + 1]))
                whole = slice(expected.indptr[column], expected.indptr[column + 1])
                assert block.rows[part].tolist() == expected.indices[whole].tolist()
                assert block.values[part].tolist() == expected.data[whole].tolist()
                seen.append(column)
        assert seen == order.tolist()
    assert list(folder.iterdir()) == []


def test_more_runs_than_a_process_may_open_files(tmp_path: Path) -> None:
    matrix = random_csr(400, 50, 0.2, seed=1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        with Transposer(1, tmp_path) as transposer:
            add(transposer, matrix, 1)
            (block,) = Transposer.columns(transposer, np.array([7], np.int32))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert block.rows.tolist() == matrix[:, [7]].nonzero()[0].tolist()


def test_wide_columns_beyond_16_bits_are_sorted_too(tmp_path: Path) -> None:
    matrix = random_csr(40, 200_000, 0.0005, seed=2)
    used = np.unique(matrix.indices).astype(np.int32)
    with Transposer(20_000, tmp_path) as transposer:
        add(transposer, matrix, 3)
        blocks = list(transposer.columns(used))
    rebuilt = scipy.sparse.csc_matrix(matrix.shape, dtype=np.int64).tolil()
    for block in blocks:
        for i, column in enumerate(block.ids.tolist()):
            part = slice(int(block.indptr[i]), int(block.indptr[i + 1]))
            rebuilt[block.rows[part], column] = block.values[part].reshape(-1, 1)
    assert (rebuilt.tocsr() != matrix).nnz == 0


def test_nothing_added_gives_empty_columns() -> None:
    with Transposer() as transposer:
        (block,) = transposer.columns(np.arange(3, dtype=np.int32))
        assert block.indptr.tolist() == [0, 0, 0, 0]
        assert transposer.column_counts(3).tolist() == [0, 0, 0]


def test_an_exception_leaves_no_temporary_file(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Transposer(1, tmp_path) as transposer:
        add(transposer, random_csr(20, 20, 0.5, 3), 2)
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
