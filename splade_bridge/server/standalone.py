"""An explanation as one HTML file that needs nothing else, drawn by the page's own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

import orjson
from jinja2 import Environment, StrictUndefined

from splade_bridge.server.answers import Explanation
from splade_bridge.server.page_files import STYLES, asset_text

SCRIPTS = ("render.js", "explanation.js")


def explanation_page(explanation: Explanation, labels: Sequence[str]) -> str:
    """The page; its policy lets no script run but its own.

    Args:
        labels: of the explanation's indexes, in its order.
    """
    scripts = [asset_text(name) for name in SCRIPTS]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    numbered = {str(s.index): label for s, label in zip(explanation.systems, labels, strict=True)}
    held = orjson.dumps({"explanation": explanation, "labels": numbered}).decode()
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(asset_text("explanation.html.jinja")).render(
        title=f"{explanation.doc_id}: {explanation.query}",
        hashes=" ".join(f"'sha256-{each}'" for each in hashes),
        style=asset_text(STYLES),
        # No text in it can end the script that it stands in.
        data=held.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        scripts=scripts,
    )
