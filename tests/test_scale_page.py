"""docs/scale.md is what its script writes, from constants that stand in benchmarks/RESULTS.md."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
SCRIPT = ROOT / "scripts" / "scale_page.py"
if not RESULTS.exists():
    pytest.skip("benchmarks are no part of a source distribution", allow_module_level=True)


@pytest.fixture(scope="module")
def made() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("scale_page", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scale_page"] = module
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_script_writes() -> None:
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "scale.md").read_text() == done.stdout, "run scripts/docs"


def test_every_constant_stands_in_the_row_that_it_names(made: Any) -> None:
    text = RESULTS.read_text()
    for name, constant in made.Constants().all.items():
        assert ("row" in constant) != ("source" in constant), name
        if "row" in constant:
            value = constant["value"]
            assert constant["row"] in text, f"{name}: its row is not in RESULTS.md any more"
            written = {f"{value:,}", f"{value:.2f}", f"{value:.3f}"}
            assert any(each in constant["row"] for each in written), name


def test_every_constant_is_used(made: Any) -> None:
    used: set[str] = set()

    class Watched(made.Constants):  # type: ignore[misc, name-defined]
        def __getattr__(self, name: str) -> float:
            used.add(name)
            return float(self.all[name]["value"])

    c = Watched()
    made.page(c)
    by_name = {f"{e}_{rest}" for e in made.ENGINES for rest in ("ms_10", "ms_1000", "gigabytes")}
    assert c.all.keys() - used <= by_name


def test_figures_are_in_proportion_to_what_was_measured(made: Any) -> None:
    """By hand, for the sizes and machines that the page is about."""
    c = made.Constants()
    card = {e.name: e for e in made.encoders(c)}
    assert card["one H200, 12 layers"].measured and not card["one L4, 12 layers"].measured
    assert card["one H200, 12 layers"].hours(made.GIGA) == pytest.approx(1e9 / 15968 / 3600)
    assert card["64 cores, 6 layers, bfloat16"].rate == pytest.approx(67.6 * 32)
    assert card["one H100, 12 layers"].measured and card["one H100, 12 layers"].rate == 14453
    assert card["one A100, 12 layers"].rate == pytest.approx(1_807_324 * 312 / 989 / 75)
    assert made.postings(c, 8_388_608) == pytest.approx(1_423_344_267)
    assert made.layers_ratio(12, 6) == pytest.approx(217_930_752 / 132_996_096)
    assert made.search_ms(c, "lucene", 10, 2 * 8_388_608) == pytest.approx(2 * 26.52)
    assert made.cores_to_search(c, made.MSMARCO_V2) == 5


def test_the_first_step_that_does_not_fit_is_named(made: Any) -> None:
    c = made.Constants()
    fast, slow = made.Encoder("fast", 1e9, True), made.Encoder("slow", 1, True)
    assert made.first_cluster(c, 1_000_000, fast).startswith("none")
    assert "ray" in made.first_cluster(c, 1_000_000, slow)
    assert "OpenSearch" in made.first_cluster(c, made.GIGA, fast)
    assert "building" in made.first_cluster(c, 10 * made.GIGA, fast)


def test_the_page_says_what_is_extrapolated(made: Any) -> None:
    page = made.page(made.Constants())
    for line in page.splitlines():
        if line.startswith("| ") and "cores, 6 layers" in line:
            assert ("| measured |" in line) == line.startswith("| 2 cores"), line
    assert "Nothing of 138 M passages" in page
