"""Policies by their names, as flags and comparisons give them."""

from __future__ import annotations

from splade_bridge.errors import UsageError
from splade_bridge.pruning.by_collection import Bytes, ListCap, Postings, TermQuantile
from splade_bridge.pruning.by_row import MassShare, MaxShare, Threshold, TopK
from splade_bridge.pruning.policy import Policy
from splade_bridge.pruning.terms import DropTerms

METHODS: dict[str, type[Policy]] = {
    kind.method: kind
    for kind in (
        TopK, Threshold, MaxShare, MassShare, TermQuantile, ListCap, Postings, Bytes, DropTerms,
    )
}  # fmt: skip


def policy(method: str, value: float | str) -> Policy:
    """The policy called ``method`` with a value.

    Raises:
        UsageError: no such method, or the value is not of its kind or out of range.
        BadInputError: a file of terms cannot be read.
    """
    if method not in METHODS:
        raise UsageError(f"pruning method is one of {', '.join(METHODS)}, not {method!r}")
    return METHODS[method].of(value)
