"""Sparse vectors as two lists, of indices and of values: as Qdrant and Milvus take them in JSON."""

from __future__ import annotations

from typing import Any

from splade_bridge.errors import BadInputError
from splade_bridge.formats.feeds.base import Cells


def columns(cells: Cells) -> bytes:
    """``{"indices":[...],"values":[...]}``."""
    return b'{"indices":[%b],"values":[%b]}' % (
        b",".join([name for name, _ in cells]),
        b",".join([weight for _, weight in cells]),
    )


def column_lists(found: Any, place: str) -> tuple[list[Any], list[Any]]:
    """Names and weights of what :func:`columns` writes.

    Raises:
        BadInputError: it is something else, or names one dimension twice (which Qdrant keeps
            twice).
    """
    indices = found.get("indices") if isinstance(found, dict) else None
    values = found.get("values") if isinstance(found, dict) else None
    if not isinstance(indices, list) or not isinstance(values, list):
        raise BadInputError("no sparse vector: indices and values, a list each", place)
    if len(indices) != len(values):
        raise BadInputError(f"{len(indices):,} indices, but {len(values):,} values", place)
    return indices, values
