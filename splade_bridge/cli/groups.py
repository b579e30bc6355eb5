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
    CiffDocids,
    Clip,
    From,
    MaxLength,
    PreEncoded,
    Queries,
    QueryModel,
    Rounding,
    Scale,
    SkipOthers,
    Split,
    Vocabulary,
)

if TYPE_CHECKING:
    from splade_bridge.conversion.detect import SourceOptions
    from splade_bridge.data.quantize import QuantizeOptions
    from splade_bridge.formats.queries import Queries as LoadedQueries


@dataclass(frozen=True, kw_only=True)
class Group:
    """Flags that come together; each field is one, annotated as a parameter would be."""


@dataclass(frozen=True, kw_only=True)
class SourceFlags(Group):
    """How the vectors of documents are read."""

    source_format: From = None
    vocabulary: Vocabulary = None
    skip_others: SkipOthers = False
    ciff_docids: CiffDocids = "gaps"

    @property
    def options(self) -> SourceOptions:
        """The same for the library.

        Raises:
            BadInputError: the vocabulary cannot be read.
        """
        from splade_bridge.conversion.detect import SourceOptions
        from splade_bridge.formats.vocabularies import read_vocabulary

        terms = None if self.vocabulary is None else read_vocabulary(self.vocabulary)
        return SourceOptions(self.source_format, terms, self.skip_others, self.ciff_docids)


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
