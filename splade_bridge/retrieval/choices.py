"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

RunFormat = Literal["trec", "msmarco"]
