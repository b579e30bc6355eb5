"""What the documentation says is so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_command_line_reference_is_the_commands_own_help() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    sections = re.findall(r"## splade-bridge ?([\w -]*)\n\n```\n(.*?)```", text, re.DOTALL)
    assert len(sections) > 8
    env = {**os.environ, "COLUMNS": "100", "TERMINAL_WIDTH": "100", "NO_COLOR": "1"}
    listed = {name for name, _ in sections}
    main_help = sections[0][1]
    for name in re.findall(r"^  ([a-z0-9-]+)  ", main_help.split("Commands:")[1], re.MULTILINE):
        assert name in listed, f"run scripts/docs: {name} is new"
    for name, told in sections:
        command = [sys.executable, "-m", "splade_bridge", *name.split(), "--help"]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=True)
        said = done.stdout.replace("python -m splade_bridge", "splade-bridge")
        assert said == told, f"run scripts/docs: the help of {name!r} has changed"


def test_links_in_the_documentation_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
