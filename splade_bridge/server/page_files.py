"""The files of the page, which lie in ``page/``: no build step makes them."""

from __future__ import annotations

from importlib.resources import files

from splade_bridge.report.style import COLOURS

STYLES = "page.css"


def asset_text(name: str) -> str:
    """A file of the page; of its style with the colours that the report has, too."""
    text = (files("splade_bridge.server") / "page" / name).read_text(encoding="utf-8")
    return COLOURS + text if name == STYLES else text
