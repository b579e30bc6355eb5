"""Every block of docs/neighbours/ runs and prints what its page says.

A block of ``sh`` or ``python`` may be followed by one of ``text``: all that it prints, or what it
prints last where the first line is ``...``. A section whose package is missing is skipped.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from splade_bridge.engines.jars import anserini_jar
from splade_bridge.engines.java import java
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError

ROOT = Path(__file__).parents[1]
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs" / "neighbours").glob("*.md")}
START = PAGES.pop("README")
BLOCK = re.compile(r"```(sh|python)\n(.*?)```(?:\n\n```text\n(.*?)```)?", re.DOTALL)
PACKAGES = {
    "pyserini": "pyserini",
    "pyterrier": "pyterrier",
    "ciff-toolkit": "ciff_toolkit",
    "seismic": "seismic",
    "impact-index": "impact_index",
    "DuckDB": "duckdb",
    "Polars": "polars",
    "pandas": "pandas",
    "huggingface": "datasets",
}
"""What a page, or a section of one, imports beside splade_bridge."""
ENGINES = {"anserini": "lucene", "pyserini": "lucene", "The wheel": "pisa"}
PROGRAMS = "PISA's programs"


def sections(page: str) -> list[tuple[str, str]]:
    """Headings and what is below them; what stands before the first has the page's name."""
    parts = re.split(r"^## (.+)\n", PAGES[page], flags=re.MULTILINE)
    return [(page, parts[0]), *zip(parts[1::2], parts[2::2], strict=True)]


def lacking(name: str) -> str | None:
    """Why the page or section ``name`` cannot be run here."""
    package = PACKAGES.get(name)
    if package and importlib.util.find_spec(package) is None:
        return f"{package} is not installed"
    if name == PROGRAMS and "PISA_BIN" not in os.environ:
        return "PISA_BIN names no PISA build"
    try:
        if name in ENGINES:
            engine(ENGINES[name]).check_installed()
        if name == "anserini":
            anserini_jar()
    except MissingToolError as error:
        return str(error)
    return None


def environment(page: str, folder: Path) -> dict[str, str]:
    """With ``splade-bridge`` and ``python`` of this checkout first on the path."""
    tools = folder.parent / "bin"
    tools.mkdir(exist_ok=True)
    command = tools / "splade-bridge"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m splade_bridge "$@"\n')
    command.chmod(0o755)
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = [str(tools), str(Path(sys.executable).parent)]
    found = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "PATH": os.pathsep.join([*own, os.environ["PATH"]]),
    }
    if page == "anserini":
        found |= {"ANSERINI": str(anserini_jar()), "JAVA": str(java())}
    return found


def run(page: str, text: str, folder: Path) -> None:
    """Run the blocks of ``text`` one after the other in ``folder``."""
    blocks = BLOCK.findall(text)
    assert len(blocks) == len(re.findall(r"^```(?!text|$)", text, re.MULTILINE))
    for language, code, told in blocks:
        shell = ["bash", "-euo", "pipefail", "-c", code]
        done = subprocess.run(
            shell if language == "sh" else [sys.executable, "-c", code],
            cwd=folder,
            env=environment(page, folder),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
        if told.startswith("...\n"):
            assert done.stdout.endswith(f"\n{told[4:]}"), code
        else:
            assert done.stdout == told, f"{code}\n{done.stderr}"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all pages begin with."""
    pytest.importorskip("torch", reason="the pages encode text")
    folder = tmp_path_factory.mktemp("neighbours") / "start"
    folder.mkdir()
    run("README", START, folder)
    return folder


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_and_prints_what_it_says(started: Path, tmp_path: Path, page: str) -> None:
    if reason := lacking(page):
        pytest.skip(reason)
    folder = tmp_path / "session"
    shutil.copytree(started, folder)
    left = []
    for name, text in sections(page):
        if reason := lacking(name):
            left.append(f"{name}: {reason}")
        else:
            run(page, text, folder)
    if left:
        pytest.skip("all but: " + "; ".join(left))


def test_every_page_is_in_the_list_and_begins_alike() -> None:
    assert set(re.findall(r"^\| \[.+\]\((.+)\.md\) \|", START, re.MULTILINE)) == set(PAGES)
    for page, text in PAGES.items():
        assert "(README.md#what-all-pages-begin-with)" in text, page


def test_the_names_of_what_is_needed_are_those_of_pages_and_sections() -> None:
    known = {name for page in PAGES for name, _ in sections(page)}
    assert {*PACKAGES, *ENGINES, PROGRAMS} <= known
