"""Amounts of memory as people write them."""

from __future__ import annotations

import re

from splade_bridge.errors import UsageError

LEAST = 10**6
"""Bytes below which nothing here can work."""

_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?(?:([KMGT])(IB?|B)?|B)?", re.IGNORECASE | re.ASCII)


def size_in_bytes(text: str, flag: str = "--memory ") -> int:
    """Bytes of ``1048576``, ``500M`` or ``500MB`` (of 1,000,000) and ``2GiB`` (of 1024 cubed).

    Args:
        flag: what an error begins with.

    Raises:
        UsageError: not such a size, or less than a million bytes.
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{flag}{text!r} is not a size like 500M, 2G or 2GiB")
    number, unit, kind = found.groups()
    base = 1024 if kind and kind[0] in "iI" else 1000
    size = int(float(number) * base ** (" KMGT".index(unit.upper()) if unit else 0))
    if size < LEAST:
        raise UsageError(f"{flag}{text!r}: at least 1M is needed")
    return size
