"""Choices of loading and of asking, in a module that loads nothing heavy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from splade_bridge.errors import UsageError

if TYPE_CHECKING:
    from splade_bridge.data.vocabulary import Vocabulary
    from splade_bridge.files.address import Scheme

Check = Literal["full", "sample", "count"]
"""What is compared after a load: all documents, some of them, or how many there are."""

FieldType = Literal["keyword", "integer", "number", "boolean"]
"""Of a stored field that filters may ask for: a string as it is, int64, float64, a truth value."""


RANGES = {
    "elasticsearch_frequency_ratio": (1, 100),
    "elasticsearch_weight_ratio": (0, 1),
    "milvus_drop_ratio": (0, 0.99),
    "postgresql_ef_search": (1, 1000),
}
"""The least and the largest value of each of these."""


@dataclass(frozen=True)
class Approximation:
    """How an engine may answer otherwise than exactly, if it is let; one to one with flags.

    The name of the engine stands before what only that one knows; None is what it does by itself.

    Attributes:
        elasticsearch_frequency_ratio: a term of a query is pruned that is in so many times as many
            documents as the average one, ...
        elasticsearch_weight_ratio: ... if its weight is below this part of the largest.
        milvus_drop_ratio: the part of a query's smallest weights that is left out.
        postgresql_ef_search: candidates of a graph, which are its most hits.

    Raises:
        UsageError: a value out of :data:`RANGES`.
    """

    elasticsearch_frequency_ratio: float | None = None
    elasticsearch_weight_ratio: float | None = None
    milvus_drop_ratio: float | None = None
    postgresql_ef_search: int | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} {value:g}: is {least} to {most}")

    def own(self, scheme: Scheme) -> dict[str, Any]:
        """What was given for one engine, by names without the engine's."""
        start = f"{scheme}_"
        return {
            name.removeprefix(start): value
            for name, value in asdict(self).items()
            if name.startswith(start) and value is not None
        }

    def check(self, schemes: set[Scheme]) -> None:
        """Refuse what was given for engines that are not asked.

        Raises:
            UsageError: there is such a thing.
        """
        for name, value in asdict(self).items():
            scheme = name.partition("_")[0]
            if value is not None and scheme not in schemes:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} is for an address {scheme}://: leave it out")


@dataclass(frozen=True)
class Asking:
    """How an index is asked that an engine holds; one to one with flags.

    Attributes:
        field: that holds the vectors, where others have made several.
        vocabulary: what dimensions that are numbers stand for, where nothing beside them says.
        approximation: None for exact answers.
        only: find no other documents than these; a filter as the engine takes it.
    """

    field: str | None = None
    vocabulary: Vocabulary | None = None
    approximation: Approximation | None = None
    only: str | None = None
