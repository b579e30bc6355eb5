"""PISA profiles: those that are shipped work, and broken ones are named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ranked import brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines.pisa_options import PisaOptions
from splade_bridge.engines.pisa_profile import algorithm_for, load_profile
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files.writing import asset

SHIPPED = sorted(p.stem for p in asset("pisa").glob("*.toml"))
GOOD = 'encoding = "block_simdbp"\nblock_size = 64\n[algorithm]\n10 = "wand"\n1000 = "maxscore"\n'
DOCUMENTS = random_matrix(3, 300, 40, 0.3, 50)
IDS, TERMS = [f"d{i}" for i in range(300)], [f"t{i}" for i in range(40)]


def check_exact(index: Path) -> None:
    queries = random_matrix(4, 10, 40, 0.2, 9)
    with open_index(index) as searcher:
        for row, hits in zip(queries, searcher.search(queries_of(queries, TERMS).batch, 20),
                             strict=True):  # fmt: skip
            expected = brute_force(DOCUMENTS, IDS, row, 20)
            assert list(zip(hits.doc_ids, hits.scores.tolist(), strict=True)) == expected


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_builds_and_searches_exactly(tmp_path: Path, name: str) -> None:
    profile = load_profile(name)
    try:
        engine("pisa").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    source = MemorySource(DOCUMENTS, IDS, TERMS)
    engine("pisa", PisaOptions(profile=name)).build(source, tmp_path / "i")
    with open_index(tmp_path / "i") as searcher:
        for k in (10, 1000, 5000):
            assert searcher.default_algorithm(k) == algorithm_for(k, profile.algorithms)
    check_exact(tmp_path / "i")


def test_the_algorithm_goes_by_k(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    profile = load_profile(str(tmp_path / "mine.toml"))
    found = [algorithm_for(k, profile.algorithms) for k in (1, 10, 11, 1000, 9999)]
    assert found == ["wand", "wand", "maxscore", "maxscore", "maxscore"]


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("encoding =", "encodding =", "encodding"),
        ('encoding = "block_simdbp"\n', "", "encoding: is missing"),
        ("block_simdbp", "zip", "no PISA encoding 'zip'"),
        ("64", "4", "8 to 1024 postings, not 4"),
        ("64", '"64"', "block_size: must be a whole number, not '64'"),
        ('"wand"', '"ranked_or_taat"', "no PISA algorithm 'ranked_or_taat' for k = 10"),
        ("10 =", "ten =", "a k must be a number"),
        ('10 = "wand"\n1000 = "maxscore"\n', "", "must be a table"),
        ("[algorithm]", "[algorithm", "not a PISA profile"),
    ],
)
def test_a_broken_profile_is_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(BadInputError, match=f"mine.toml: .*{named}"):
        load_profile(str(path))


def test_an_unknown_profile_names_those_that_exist() -> None:
    with pytest.raises(UsageError, match=f"there are {', '.join(SHIPPED)}"):
        load_profile("fast")


def test_reordering_needs_ones_own_programs(tmp_path: Path) -> None:
    source = MemorySource(np.ones((2, 1)), ["a", "b"], ["x"])
    with pytest.raises(UsageError, match="needs your own PISA programs"):
        engine("pisa", PisaOptions(reorder=True)).build(source, tmp_path / "i")
    with pytest.raises(MissingToolError, match="reorder-docids"):
        engine("pisa", PisaOptions(reorder=True, bin=tmp_path)).build(source, tmp_path / "i")


def test_an_index_with_reordered_documents_is_exact(tmp_path: Path) -> None:
    if "PISA_BIN" not in os.environ:
        pytest.skip("PISA_BIN is not set: reordering needs PISA's own programs")
    programs = Path(os.environ["PISA_BIN"])
    source = MemorySource(DOCUMENTS, IDS, TERMS)
    engine("pisa", PisaOptions(reorder=True, bin=programs)).build(source, tmp_path / "i")
    check_exact(tmp_path / "i")
