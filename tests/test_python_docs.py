"""Every block of docs/python.md runs and prints what the page says; every public name is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import splade_bridge
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "python.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
FIRST = "From text to a measure"
"""The section whose index later ones search."""
NEEDS = {
    "In a Pyserini session": "pyserini", "PyTerrier transformers": "pyterrier",
    "Indexes behind an address": "qdrant_edge",
}  # fmt: skip


def blocks(section: str) -> list[tuple[str, str]]:
    """Code, and what it prints by the page, where it tells."""
    found = re.findall(
        r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", SECTIONS[section], re.DOTALL
    )
    assert len(found) == SECTIONS[section].count("```python")
    return found


END = "=== end of a block ==="


def run(folder: Path, *sections: str) -> None:
    """Run each block in a namespace of its own, all in one process that is new."""
    there = [(section, *block) for section in sections for block in blocks(section)]
    lines = [f"exec({code!r}, {{'__name__': '__main__'}}); print({END!r})" for _, code, _ in there]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    printed = done.stdout.split(f"{END}\n")
    for (section, code, told), said in zip(there, printed, strict=False):
        assert said == told, f"{section}\n{code}"
    assert len(printed) == len(there) + 1


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory in which the sections that need nothing more were run."""
    pytest.importorskip("torch", reason="the page encodes text")
    folder = tmp_path_factory.mktemp("session")
    run(folder, FIRST, *(name for name in SECTIONS if name not in (FIRST, *NEEDS)))
    return folder


@pytest.mark.long
def test_from_text_to_a_measure_is_twenty_lines_and_all_sections_run(session: Path) -> None:
    ((code, _),) = blocks(FIRST)
    assert len([line for line in code.splitlines() if line]) <= 20


@pytest.mark.long
@pytest.mark.parametrize("section", NEEDS)
def test_a_section_runs_and_prints_what_it_says(session: Path, section: str) -> None:
    pytest.importorskip(NEEDS[section])
    if section == "In a Pyserini session":
        try:
            engine("lucene").check_installed()
        except MissingToolError as error:
            pytest.skip(str(error))
    run(session, section)


def test_all_code_of_the_page_is_in_these_sections() -> None:
    assert sum(len(blocks(name)) for name in SECTIONS) == PAGE.count("```python") > 6


def test_every_public_name_is_on_the_page_and_no_other() -> None:
    table = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert sorted(table) == sorted(splade_bridge.__all__)
