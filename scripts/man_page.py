"""The man page, from the commands' own help as docs/cli.md has it: ``scripts/docs`` writes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEAD = """.TH SPLADE-BRIDGE 1 "" "splade-bridge" "User Commands"
.SH NAME
splade\\-bridge \\- SPLADE vectors to Lucene, PISA and search engines, verified"""


def roff(line: str) -> str:
    """A line as it is: no request, no escape."""
    escaped = line.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped


def man_page(commands: str) -> str:
    """The page, of the text of docs/cli.md."""
    found = re.findall(r"^## (.+?)\n\n```\n(.*?)```$", commands, re.MULTILINE | re.DOTALL)
    parts = [HEAD]
    for name, text in found:
        parts += [f".SH {roff(name.upper())}", ".nf", *map(roff, text.rstrip().splitlines()), ".fi"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "splade-bridge.1").write_text(man_page((folder / "cli.md").read_text()))
