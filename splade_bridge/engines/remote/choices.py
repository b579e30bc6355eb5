"""Choices of loading and of asking, in a module that loads nothing heavy."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from splade_bridge.errors import UsageError

if TYPE_CHECKING:
    from splade_bridge.data.vocabulary import Vocabulary

Check = Literal["full", "sample", "count"]
"""What is compared after a load: all documents, some of them, or how many there are."""

FieldType = Literal["keyword", "integer", "number", "boolean"]
"""Of a stored field that filters may ask for: a string as it is, int64, float64, a truth value."""


RANGES = {
    "elasticsearch_frequency_ratio": (1, 100),
    "elasticsearch_weight_ratio": (0, 1),
    "impact_index_alpha": (0.01, 1),
    "impact_index_beta": (0.01, 1),
    "milvus_drop_ratio": (0, 0.99),
    "postgresql_ef_search": (1, 1000),
    "seismic_query_cut": (1, 1_000_000),
    "seismic_heap_factor": (0, 1),
}
"""The least and the largest value of each of these."""

OWNERS = {
    "elasticsearch": "address elasticsearch://",
    "impact-index": "index of engine impact-index",
    "milvus": "address milvus://",
    "postgresql": "address postgresql://",
    "seismic": "index of engine seismic",
}
"""Whose each of these is: a name that they begin with, and that in words."""


@dataclass(frozen=True)
class Approximation:
    """How an engine may answer otherwise than exactly, if it is let; one to one with flags.

    The name of the engine stands before what only that one knows; None is what it does by itself.

    Attributes:
        elasticsearch_frequency_ratio: a term of a query is pruned that is in so many times as many
            documents as the average one, ...
        elasticsearch_weight_ratio: ... if its weight is below this part of the largest.
        impact_index_alpha: of Block-Max Pruning: a block is passed over that promises less than
            the k-th score divided by this.
        impact_index_beta: of the same: the part of a query's terms, the heaviest, that is used.
        milvus_drop_ratio: the part of a query's smallest weights that is left out.
        postgresql_ef_search: candidates of a graph, which are its most hits.
        seismic_query_cut, seismic_heap_factor: see :class:`.SeismicOptions`.

    Raises:
        UsageError: a value out of :data:`RANGES`.
    """

    elasticsearch_frequency_ratio: float | None = None
    elasticsearch_weight_ratio: float | None = None
    impact_index_alpha: float | None = None
    impact_index_beta: float | None = None
    milvus_drop_ratio: float | None = None
    postgresql_ef_search: int | None = None
    seismic_query_cut: int | None = None
    seismic_heap_factor: float | None = None

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} {value:g}: is {least} to {most}")

    def own(self, engine: str) -> dict[str, Any]:
        """What was given for one engine, by names without the engine's.

        Args:
            engine: its name, or the scheme of its addresses.
        """
        start = _start(engine)
        return {
            name.removeprefix(start): value
            for name, value in asdict(self).items()
            if name.startswith(start) and value is not None
        }

    def check(self, asked: Set[str]) -> None:
        """Refuse what was given for engines that are not asked.

        Args:
            asked: names of engines and schemes of addresses.

        Raises:
            UsageError: there is such a thing.
        """
        for name, value in asdict(self).items():
            owner = next(owner for owner in OWNERS if name.startswith(_start(owner)))
            if value is not None and owner not in asked:
                raise UsageError(
                    f"--{name.replace('_', '-')} is for an {OWNERS[owner]}: leave it out"
                )


def _start(engine: str) -> str:
    return f"{engine.replace('-', '_')}_"


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
