"""docs/reliability.md shows all rows of the table of bad inputs; Anserini and PISA are not run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bad_input import all_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"


def shown() -> set[tuple[str, str]]:
    """(module, title) of each row that the page has."""
    found, module = set(), ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("### "):
            module = line[4:]
        elif line.startswith("| ") and module:
            found.add((module, line[2:].partition(" | ")[0]))
    return found


def test_the_page_has_every_row_and_no_other() -> None:
    rows = {(module, escaped(row.title)) for module, row in all_rows()}
    heads = {(module, "what is wrong") for module, _ in rows}
    assert shown() - heads == rows, "run scripts/reliability"


def escaped(title: str) -> str:
    """A title as it stands in a table."""
    return re.sub(r"([|`\\])", r"\\\1", title).replace("<", "&lt;")


def test_what_the_page_links_to_is_there() -> None:
    links = re.findall(r"\]\((\.\.[^)#]+)\)", PAGE.read_text())
    assert len(links) > 10
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_what_others_say_is_of_rows_that_are_there() -> None:
    import json

    saved = json.loads((ROOT / "tests" / "bad_input" / "others.json").read_text())
    known = {f"{module}: {row.title}" for module, row in all_rows()}
    assert saved.keys() <= known, "run scripts/reliability --others"


def test_the_script_says_how_it_is_used() -> None:
    assert subprocess.run(["bash", "-n", str(ROOT / "scripts" / "reliability")]).returncode == 0
