"""Flags that come together, as one parameter of a command: ``asked: QueryFlags``.

``cli/command.py`` shows the fields of a group as flags of the command, in the place of the
parameter, and hands the command the group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from splade_bridge.cli.needs import needs, unless
from splade_bridge.cli.options import (
    AllowMismatch,
    Clip,
    MaxLength,
    PreEncoded,
    Queries,
    QueryModel,
    Rounding,
    Scale,
    Split,
)

if TYPE_CHECKING:
    from splade_bridge.data.quantize import QuantizeOptions
    from splade_bridge.formats.queries import Queries as LoadedQueries


@dataclass(frozen=True, kw_only=True)
class Group:
    """Flags that come together; each field is one, annotated as a parameter would be."""


@dataclass(frozen=True, kw_only=True)
class QuantizeFlags(Group):
    """How float weights become impacts."""

    scale: Scale = None
    rounding: Rounding = None
    clip: Clip = None

    @property
    def options(self) -> QuantizeOptions | None:
        """What was asked for; None for nothing, so that each source takes its default."""
        from splade_bridge.data.quantize import quantize_options

        return quantize_options(self.scale, self.rounding, self.clip)


@dataclass(frozen=True, kw_only=True)
class QueryFlags(Group):
    """Queries, and the model of those that are text."""

    queries: Queries
    model: QueryModel = None
    max_length: Annotated[MaxLength, needs("--model")] = 256
    split: Annotated[Split, needs("--model")] = None
    pre_encoded: Annotated[PreEncoded, unless("--model")] = False
    allow_mismatch: AllowMismatch = False

    def load(self, quantize: QuantizeFlags) -> LoadedQueries:
        """Them, pre-encoded or encoded now.

        Raises:
            BadInputError: the queries or the model cannot be read.
        """
        from splade_bridge.retrieval.encode_queries import load_queries

        return load_queries(
            self.queries,
            self.model,
            quantize.options,
            self.max_length,
            split=self.split,
            pre_encoded=self.pre_encoded,
            allow_mismatch=self.allow_mismatch,
        )
