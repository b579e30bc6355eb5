"""PISA's worker: nothing that lies about or is printed gets in its way, nor many threads."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines import kept_lists, pisa
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import MissingToolError

ROOT = Path(__file__).parents[1]
TERMS = [f"t{i}" for i in range(30)]
DOC_IDS = [f"d{i}" for i in range(100)]
DOCUMENTS = random_matrix(1, 100, 30, 0.3, 9)
WEIGHTS = random_matrix(2, 12, 30, 0.3, 9)
BATCH = queries_of(WEIGHTS, TERMS).batch
EXPECTED = [brute_force(DOCUMENTS, DOC_IDS, query, 10) for query in WEIGHTS]

SEARCH = """
import sys
from pathlib import Path
from splade_bridge.engines.registry import open_index
from test_pisa_worker import BATCH, EXPECTED
from ranked import as_pairs
with open_index(Path(sys.argv[1])) as searcher:
    found = [as_pairs(hits) for hits in searcher.search(BATCH, 10)]
sys.stderr.write("right" if found == EXPECTED else "wrong")
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pisa") / "index"
    try:
        engine("pisa").build(MemorySource(DOCUMENTS, DOC_IDS, TERMS), path)
    except MissingToolError as error:
        pytest.skip(str(error))
    return path


def search_elsewhere(
    index: Path, folder: Path, *path: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Search from the working directory ``folder``, which -P keeps off the parent's own path."""
    there = os.pathsep.join(map(str, (*path, ROOT, ROOT / "tests")))
    return subprocess.run(
        [sys.executable, "-P", "-c", SEARCH, index],
        cwd=folder, env={**os.environ, "PYTHONPATH": there, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_modules_in_the_working_directory_are_neither_run_nor_in_the_way(
    index: Path, tmp_path: Path
) -> None:
    for name in ("random", "numpy", "pickle", "sitecustomize", "splade_bridge", "struct"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n1 / 0\n")
    done = search_elsewhere(index, tmp_path)
    assert done.stderr.endswith("right"), done.stderr
    assert not (tmp_path / "run").exists()


def test_what_python_prints_at_its_start_does_not_matter(index: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "print('good morning ' * 20_000, flush=True)\n"  # more than a pipe holds
        "sys.stdin.read()\n"
    )
    done = search_elsewhere(index, tmp_path, tmp_path, PYTHONVERBOSE="1", PYTHONINSPECT="1")
    assert done.stdout.startswith("good morning"), "it was run, here at least"
    assert "right" in done.stderr.splitlines()[-1] or "\nright" in done.stderr


def test_calls_of_many_threads_do_not_mix(index: Path) -> None:
    with open_index(index) as searcher:

        def ask(seed: int) -> bool:
            for n in range(len(WEIGHTS)):
                (hits,) = searcher.search(BATCH.rows(n, n + 1), 10)
                assert as_pairs(hits) == EXPECTED[n]
                assert searcher.impacts(DOC_IDS[seed], [n]) == [DOCUMENTS[seed, n]]
            half_read = searcher.search(BATCH, 10, threads=2)
            assert as_pairs(next(half_read)) == EXPECTED[0]
            return True

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask, range(8)))


@pytest.mark.parametrize("kept", [1, 1 << 25])
def test_what_terms_add_is_the_same_with_lists_kept_and_without(
    index: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(kept_lists, "LISTS_KEPT", kept)
    with open_index(index) as searcher:
        terms = list(range(DOCUMENTS.shape[1]))
        for _ in range(2):
            for number, doc_id in enumerate(DOC_IDS):
                assert searcher.impacts(doc_id, terms) == DOCUMENTS[number].tolist()
        assert isinstance(searcher, pisa.PisaSearcher)
        assert len(searcher._lists) == (1 if kept == 1 else int(DOCUMENTS.any(axis=0).sum()))
