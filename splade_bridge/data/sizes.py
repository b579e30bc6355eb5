"""Sizes as people write them."""

from __future__ import annotations

import re

from splade_bridge.errors import UsageError

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
LEAST = 10**6


def parse_size(text: str) -> int:
    """Bytes of ``500M``, ``2G``, ``1.5GB`` (decimal), ``512MiB`` (binary) or ``1048576``.

    Raises:
        UsageError: not a size, or less than 1M.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(I?)B?", text.strip().upper())
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{text!r} is not a size like 500M, 2G or 512MiB")
    size = int(float(found[1]) * (BINARY_UNITS if found[3] else UNITS)[found[2]])
    if size < LEAST:
        raise UsageError(f"{text!r}: at least 1M is needed")
    return size
