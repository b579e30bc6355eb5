"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

SourceFormat = Literal["vectors", "jsonvector", "ciff", "forward"]
"""What vectors of documents are read from."""

ExportFormat = Literal["jsonvector", "ciff", "forward", "topics"]
"""What is written for other tools, and for the second of two steps."""

CiffDocids = Literal["gaps", "absolute"]
"""What the postings of a CIFF file hold: gaps, as the format has it, or docids."""
