"""benchmarks/scale.py: a finished row is not measured again, and growth is what it says."""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
if not BENCHMARKS.exists():
    pytest.skip("benchmarks are no part of a source distribution", allow_module_level=True)
sys.path.append(str(BENCHMARKS))

from growth import curves, draw, growth_table  # noqa: E402
from rows import Rows  # noqa: E402
from test_report import parsed  # noqa: E402


def test_a_row_is_measured_once_and_outlives_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path, calls = tmp_path / "rows.jsonl", []

    def measure(value: int) -> Any:
        return lambda: calls.append(value) or {"seconds": value}

    rows = Rows(path)
    assert rows.of({"k": 10, "step": "a"}, measure(1)) == ({"seconds": 1}, False)
    with pytest.raises(ZeroDivisionError):
        rows.of({"k": 11, "step": "a"}, lambda: {"seconds": 1 / 0})
    with open(path, "a") as file:
        file.write('{"key": {"k": 1000, "step": "a"}, "fou')  # killed here
    again = Rows(path)
    assert again.of({"step": "a", "k": 10}, measure(2)) == ({"seconds": 1}, True)
    assert again.of({"step": "a", "k": 1000}, measure(3)) == ({"seconds": 3}, False)
    assert calls == [1, 3]
    assert [key["k"] for key, _ in Rows(path)] == [10, 1000]
    assert all(json.loads(line) for line in path.read_text().splitlines())


@pytest.fixture
def grown(tmp_path: Path) -> Rows:
    """Three sizes: one step in proportion, one with the square."""
    rows = Rows(tmp_path / "rows.jsonl")
    for size in (10, 100, 1000):
        for name, power in (("pisa", 1), ("lucene 10.4", 2)):
            key = {"step": "index", "documents": size, "index": name}
            rows.of(key, lambda s=size, p=power: {
                "postings": 170 * s, "seconds": s**p / 10, "private": 1e9})  # fmt: skip
        for threads, mean in ((1, size / 10), (2, 1e9)):
            key = {"step": "search", "documents": size, "index": "pisa", "k": 10,
                   "threads": threads}  # fmt: skip
            rows.of(key, lambda s=size, m=mean: {"postings": 170 * s, "mean": m, "private": 2e9})
    return rows


def test_growth_is_told_as_a_power_of_the_postings(grown: Rows, tmp_path: Path) -> None:
    told = "\n".join(growth_table(grown))
    assert told.count("| pisa, built | seconds | ") == 2 and "| 1.7k to 17k | 1.00 |" in told
    powers = [line.split(" | ")[-1].strip("| ") for line in told.splitlines()
              if line.startswith("| lucene 10.4, built | seconds")]  # fmt: skip
    assert powers == ["2.00", "2.00"]
    assert curves(grown, "mean") == {"pisa, k = 10": [(1700, 1), (17000, 10), (170000, 100)]}
    made = draw(grown, tmp_path)
    assert [path.name for path in made] == [
        "growth-seconds.svg", "growth-mean.svg", "growth-private.svg",
    ]  # fmt: skip
    drawing = made[0].read_text()
    parsed(drawing)
    assert drawing.count('class="base"') == 2 and "lucene 10.4, built: " in drawing


def test_what_grows_in_proportion_lies_on_its_dashed_line(grown: Rows, tmp_path: Path) -> None:
    draw(grown, tmp_path)
    drawing = (tmp_path / "growth-seconds.svg").read_text()
    lines = re.findall(r'<path class="base" d="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"/>', drawing)
    paths = re.findall(r'stroke-width="1.6" d="M([\d. L]+)"', drawing)
    ends = [tuple(map(float, path.split("L")[-1].split())) for path in paths]
    (_, _, *proportional), (_, _, *square) = [tuple(map(float, line)) for line in lines]
    assert math.dist(ends[0], proportional) < 0.3
    assert ends[1][1] < square[1] - 10  # higher on the drawing


@pytest.mark.long
@pytest.mark.shared
def test_a_run_that_is_killed_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("pyterrier_pisa")
    data = BENCHMARKS.parents[1] / "shared" / "data"
    if not data.exists():
        pytest.skip("the shared data are not here")
    command = [sys.executable, BENCHMARKS / "scale.py", "--documents", "300", "600", "--work",
               tmp_path, "--queries", "5", "--warm", "2", "-k", "10", "--threads", "1", "--lucene",
               "--verify", "0", "--memory", "100M"]  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while time.monotonic() < until and not (rows.exists() and rows.read_bytes().count(b"\n") > 1):
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = rows.read_text()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert rows.read_text().startswith(before)
    steps = [key["step"] for key, _ in Rows(rows)]
    assert sorted(steps) == ["ciff", "ciff", "index", "index", "search", "search"]
    assert (tmp_path / "growth-seconds.svg").exists() and "| pisa | 300 | maxscore" in done.stdout
    shutil.rmtree(tmp_path / "300")  # a search needs it no more: its rows are there
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout == done.stdout and again.stderr.count("kept") == 4
