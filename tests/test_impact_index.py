"""impact-index beyond what all engines are tested for: Block-Max Pruning, a panic, licence."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import numpy as np
import pytest

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix, shuffled_ids, terms_of
from splade_bridge.engines.impact_index_options import ImpactIndexOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.engines.remote.choices import Approximation, Asking
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MissingToolError,
    UsageError,
)

ROOT = Path(__file__).parents[1]
DOCUMENTS = random_matrix(21, 500, 50, 0.2, 60)
DOC_IDS, TERMS = shuffled_ids(500, 21), terms_of(50)
WEIGHTS = random_matrix(22, 20, 50, 0.2, 60)
BATCH = queries_of(WEIGHTS, TERMS).batch
EXPECTED = [brute_force(DOCUMENTS, DOC_IDS, query, 10) for query in WEIGHTS]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("impact-index") / "index"
    own = ImpactIndexOptions(bmp=True)
    try:
        engine("impact-index", own).build(MemorySource(DOCUMENTS, DOC_IDS, TERMS), path)
    except MissingToolError as error:
        pytest.skip(str(error))
    return path


def test_it_answers_exactly_unless_it_is_asked_otherwise(index: Path) -> None:
    with open_index(index) as searcher:
        assert not searcher.approximate
        assert searcher.exact() is searcher
        for algorithm in searcher.algorithms:
            assert [
                as_pairs(h) for h in searcher.search(BATCH, 10, algorithm=algorithm)
            ] == EXPECTED


def test_block_max_pruning_finds_most_and_scores_exactly(index: Path) -> None:
    shares = []
    for alpha in (1.0, 0.5):
        asking = Asking(approximation=Approximation(impact_index_alpha=alpha))
        with open_index(index, asking) as searcher:
            assert searcher.approximate
            assert searcher.algorithms == (f"bmp alpha={alpha:g} beta=1",)
            found = [as_pairs(h) for h in searcher.search(BATCH, 10)]
            assert [as_pairs(h) for h in searcher.search(BATCH, 10, threads=2)] == found
            assert [as_pairs(h) for h in searcher.exact().search(BATCH, 10)] == EXPECTED
            row = DOCUMENTS[DOC_IDS.index(found[0][0][0])]
            assert searcher.impacts(found[0][0][0], range(50)) == row.tolist()
        kept = 0
        for hits, query in zip(found, WEIGHTS, strict=True):
            wanted = brute_force(DOCUMENTS, DOC_IDS, query, len(DOC_IDS))
            assert hits == [pair for pair in wanted if pair in hits], "exact, and in order"
            kept += len(set(hits) & set(wanted[:10]))
        shares.append(kept / sum(map(len, EXPECTED)))
    assert 0.5 < shares[1] <= shares[0]
    assert shares[0] > 0.9


def test_what_is_not_there_cannot_be_asked_for(index: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    engine("impact-index").build(MemorySource(DOCUMENTS[:40], DOC_IDS[:40], TERMS), plain)
    with pytest.raises(UsageError, match="--impact-index-bmp"):
        open_index(plain, Asking(approximation=Approximation()))
    with pytest.raises(UsageError, match="is for an index of engine seismic"):
        open_index(index, Asking(approximation=Approximation(seismic_query_cut=2)))
    with pytest.raises(UsageError, match=r"impact_index_alpha 0: is 0\.01 to 1"):
        Approximation(impact_index_alpha=0)
    with pytest.raises(UsageError, match="bmp_block_size"):
        ImpactIndexOptions(bmp_block_size=0)
    wide = np.zeros((2, 2**16 + 1), dtype=np.int64)
    wide[:, -1] = 1
    source = MemorySource(wide, ["a", "b"], [f"t{i}" for i in range(wide.shape[1])])
    with pytest.raises(BadInputError, match=r"65,537 terms.*leave --impact-index-bmp out"):
        engine("impact-index", ImpactIndexOptions(bmp=True)).build(source, tmp_path / "wide")
    assert not (tmp_path / "wide").exists()


@pytest.mark.usefixtures("index")  # skips where it is not installed
def test_lists_that_do_not_fit_into_memory(tmp_path: Path) -> None:
    engine("impact-index").build(MemorySource(DOCUMENTS, DOC_IDS, TERMS), tmp_path / "i")
    sizes = []
    from splade_bridge.engines.base import BuildOptions

    for memory in (1, 2_000_000_000):
        path = tmp_path / f"{memory}"
        source = MemorySource(DOCUMENTS, DOC_IDS, TERMS)
        engine("impact-index").build(source, path, BuildOptions(memory=memory))
        sizes.append(sum(p.stat().st_size for p in path.rglob("*") if p.is_file()))
        with open_index(path) as searcher:
            for algorithm in searcher.algorithms:
                found = searcher.search(BATCH, 10, algorithm=algorithm)
                assert [as_pairs(h) for h in found] == EXPECTED
    assert sizes[0] > sizes[1], "more pages"


@pytest.mark.usefixtures("index")  # skips where it is not installed
def test_impacts_that_float32_rounds_are_refused(tmp_path: Path) -> None:
    source = MemorySource(np.array([[2**24 + 1, 1]]), ["a"], ["x", "y"])
    with pytest.raises(BadInputError, match=r"1 of 2 impacts are over 2\^24.*impact-index"):
        engine("impact-index").build(source, tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_a_panic_of_the_library_is_told(index: Path) -> None:
    """A weight of 0, which it panics on, never gets so far; here it is sent past our checks."""
    with open_index(index) as searcher:
        pool = searcher.pool  # type: ignore[attr-defined]
        with pytest.raises(ExternalProgramError, match="impact-index ended with status 1"):
            pool.call("postings", 10**6)
        assert [as_pairs(h) for h in searcher.search(BATCH, 10)] == EXPECTED


def test_gpl_code_is_imported_in_its_own_process_alone(index: Path) -> None:
    """By what is written, and by what has happened in this process, which used all of it."""
    with open_index(index) as searcher:
        list(searcher.search(BATCH, 10))
    assert not [name for name in sys.modules if name.partition(".")[0] == "impact_index"]
    named = {}
    for path in sorted((ROOT / "splade_bridge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                names = [node.value]
            if any(name.partition(".")[0] == "impact_index" for name in names):
                named.setdefault(path.name, []).append(type(node).__name__)
    # One to look whether it is there, one that imports it.
    assert named == {"impact_index.py": ["Constant"], "impact_index_worker.py": ["Constant"]}


def test_no_extra_brings_it_but_its_own() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    bringing = {name for name, needed in extras.items() if "impact-index" in " ".join(needed)}
    assert bringing <= {"impact-index", "dev"}, "dev is what this is worked on with"
