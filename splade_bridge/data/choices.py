"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

Side = Literal["document", "query"]
Rounding = Literal["nearest", "down"]
