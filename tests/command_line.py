"""The command line, called in this process."""

from __future__ import annotations

import sys

import pytest

from splade_bridge.cli.app import main


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of one command line, run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["splade-bridge", *map(str, arguments)])
        try:
            main()
            status: object = 0
        except SystemExit as end:
            status = end.code or 0
    out, err = capfd.readouterr()
    assert isinstance(status, int)
    return status, out, err
