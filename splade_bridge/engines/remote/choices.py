"""Choices of loading, in a module that loads nothing heavy."""

from __future__ import annotations

from typing import Literal

Check = Literal["full", "sample", "count"]
"""What is compared after a load: all documents, some of them, or how many there are."""

FieldType = Literal["keyword", "integer", "number", "boolean"]
"""Of a stored field that filters may ask for: a string as it is, int64, float64, a truth value."""
