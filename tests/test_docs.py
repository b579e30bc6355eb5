"""What the documentation says is so."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from test_architecture import FLOORS, MODULES

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "splade_bridge"
OURS = ("splade_bridge", "tests", "benchmarks", "scripts", "java_conf")
"""Folders whose names mean ours wherever they begin a path; a user has a ``data/``, too."""


def test_the_command_line_reference_is_the_commands_own_help() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = re.findall(r"## splade-bridge ?([\w -]*)\n\n```\n(.*?)```", text, re.DOTALL)
    assert len(sections) > 8
    env = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    listed = {name for name, _ in sections}
    main_help = sections[0][1]
    for name in re.findall(r"^  ([a-z0-9-]+)  ", main_help.split("Commands:")[1], re.MULTILINE):
        assert name in listed, f"run scripts/docs: {name} is new"
    code = (
        "import contextlib, io, json, sys\n"
        "from splade_bridge.cli.app import app\n"
        "said = []\n"
        "for name in json.loads(sys.argv[1]):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        call = [*name.split(), '--help']\n"
        "        app(call, prog_name='splade-bridge', standalone_mode=False)\n"
        "    said.append(out.getvalue())\n"
        "print(json.dumps(said))\n"
    )
    names = json.dumps([name for name, _ in sections])
    done = subprocess.run(
        [sys.executable, "-c", code, names], capture_output=True, text=True, env=env, check=True
    )
    for (name, told), said in zip(sections, json.loads(done.stdout), strict=True):
        assert said == told, f"run scripts/docs: the help of {name!r} has changed"


def test_links_in_the_documentation_lead_somewhere() -> None:
    for page in pages():
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def pages() -> list[Path]:
    found = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]
    return [page for page in found if page.name != "CHANGELOG.md"]  # it tells of what was


def missing(text: str) -> list[str]:
    """What ``text`` names as a place of this repository and is none."""
    known = {p.name for folder in (PACKAGE, ROOT / "tests") for p in folder.rglob("*.py")}
    lost = []
    for name in (found.rstrip(".") for found in re.findall(r"(?<![\w./-])\w[\w./-]*", text)):
        if "NAME" in name or "_assets" in name:  # to be made, and only in a wheel
            continue
        if "/" not in name:
            there = not name.endswith(".py") or name in known
        elif name.endswith(".py") or name.split("/")[0] in OURS:
            there = any((base / name).exists() for base in (ROOT, PACKAGE))
        else:
            continue
        if not there:
            lost.append(name)
    for name in re.findall(r"\bsplade_bridge(?:\.\w+)+", text):
        if name.startswith("splade_bridge.ciff."):  # the schema's own package
            continue
        if not {name, name.rpartition(".")[0]} & MODULES.keys():
            lost.append(name)
    return lost


def test_places_that_the_documentation_names_are_there() -> None:
    gone = "`splade_bridge/prune/`, encode/head.py: topics.py; splade_bridge.encode.head"
    there = "splade_bridge/pruning/, `encoding/head.py`: page.py; splade_bridge.engines.java.java"
    assert missing(gone) == [
        "splade_bridge/prune/", "encode/head.py", "topics.py", "splade_bridge.encode.head",
    ]  # fmt: skip
    assert missing(there) == []
    lost = {page.name: missing(page.read_text()) for page in pages()}
    assert {name: places for name, places in lost.items() if places} == {}


def test_the_house_is_drawn_as_it_stands() -> None:
    floors: list[set[str]] = [set() for _ in FLOORS]
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for floor, room, suffix in re.findall(r"^\| (\d+) \| `(\w+)(/|\.py)` \|", text, re.MULTILINE):
        assert (PACKAGE / f"{room}{suffix}").exists()
        floors[int(floor) - 1].add(room)
    assert floors == FLOORS


def test_each_section_of_the_results_names_the_script_that_measures_it_again() -> None:
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text()
    for section in re.split(r"^## ", results, flags=re.M)[1:]:
        named = re.findall(r"`[^`]*(benchmarks/\w+\.py|scripts/bench-gpu)", section)
        named += [f"benchmarks/{name}.py" for name in re.findall(r"scripts/bench (\w+)", section)]
        assert named, f"no script: {section.splitlines()[0]}"
        assert all((ROOT / name).is_file() for name in named), named
