"""Choices of loading, in a module that loads nothing heavy."""

from __future__ import annotations

from typing import Literal

Check = Literal["full", "sample", "count"]
"""What is compared after a load: all documents, some of them, or how many there are."""
