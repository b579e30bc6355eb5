"""Pages of docs/engines, run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from command_line import run

PAGES = Path(__file__).parents[1] / "docs" / "engines"


def run_page(page: Path, address: str, capfd: pytest.CaptureFixture[str]) -> None:
    """All commands of all blocks but the first, which installs, in order; each must do its work.

    ``MODEL`` stands for a folder ``model``, and ``ADDRESS`` for ``address``.
    """
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)[1:]:
        for line in block.splitlines():
            made = line.replace("MODEL", "model").replace("ADDRESS", address)
            program, *words = made.split()
            assert program == "splade-bridge", line
            status, _, err = run(capfd, *words)
            assert status == 0, (made, err)
