"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

RunFormat = Literal["trec", "msmarco"]

Fusion = Literal["rrf", "combsum", "combmnz"]
"""How lists are made into one."""

Normalization = Literal["min-max", "z-score"]
"""How scores of different lists come to one scale."""

FusingEngine = Literal["elasticsearch", "opensearch", "milvus"]
"""What fuses lists itself."""
