"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

Method = Literal[
    "top-k", "threshold", "max-share", "mass-share", "term-quantile", "list-cap", "postings",
    "bytes", "drop-terms",
]  # fmt: skip
"""Names of the policies of :mod:`splade_bridge.pruning.methods`."""
