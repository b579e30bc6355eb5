"""Where the files that people tune without touching code are: java_conf/, pisa/, training/."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.errors import MissingToolError


def asset(name: str) -> Path:
    """Path of ``name`` (as ``java_conf/jvm.options``), from the wheel or from a checkout.

    Raises:
        MissingToolError: the installation lacks it.
    """
    package = Path(__file__).parent
    for root in (package / "_assets", package.parent):
        if (root / name).exists():
            return root / name
    raise MissingToolError(f"{name} is missing from this installation: install splade-bridge again")
