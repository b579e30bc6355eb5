"""Options of the engine ``seismic``, one to one with the flags of ``splade-bridge index``."""

from __future__ import annotations

from dataclasses import dataclass, field

from splade_bridge.errors import UsageError


@dataclass(frozen=True)
class SeismicOptions:
    """How a Seismic index is built, and how it is searched where a search says nothing else.

    The names, defaults and meanings are those of Seismic (Bruch, Nardini, Rulli and Venturini,
    SIGIR 2024, arXiv 2404.18812), but for ``max_fraction``, which its own guidelines set to 6.

    Attributes:
        n_postings: postings that a list keeps on average: those of the largest impacts.
        max_fraction: times ``n_postings`` that a list keeps at most.
        centroid_fraction: blocks of a list, as a part of its postings.
        min_cluster_size: documents of a block at least.
        summary_energy: part of a block's sum of maxima that its summary keeps.
        query_cut: terms of a query, the heaviest, whose lists are looked at.
        heap_factor: a block is passed over whose summary promises less than the k-th score
            divided by this; 0 passes over none.

    Raises:
        UsageError: a value that Seismic cannot work with.
    """

    n_postings: int = field(
        default=3500,
        metadata={"help": "Postings that a list keeps on average, those of the largest impacts."},
    )
    max_fraction: float = field(
        default=6.0, metadata={"help": "Times that number that a list keeps at most."}
    )
    centroid_fraction: float = field(
        default=0.1, metadata={"help": "Blocks of a list, as a part of its postings."}
    )
    min_cluster_size: int = field(default=2, metadata={"help": "Documents of a block at least."})
    summary_energy: float = field(
        default=0.4, metadata={"help": "Part of a block's sum of maxima that its summary keeps."}
    )
    query_cut: int = field(
        default=10,
        metadata={"help": "Query terms, the heaviest, whose lists a search looks at."},
    )
    heap_factor: float = field(
        default=0.7,
        metadata={"help": "How readily a search passes over a block, 0 (never) to 1."},
    )

    def __post_init__(self) -> None:
        for name, least in (("n_postings", 1), ("min_cluster_size", 1), ("query_cut", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"seismic {name} must be {least} or more")
        for name in ("centroid_fraction", "summary_energy"):
            if not 0 < getattr(self, name) <= 1:
                raise UsageError(f"seismic {name} must lie between 0 and 1, 0 left out")
        if not self.max_fraction >= 1:
            raise UsageError("seismic max_fraction must be 1 or more")
        if not 0 <= self.heap_factor <= 1:
            raise UsageError("seismic heap_factor must lie between 0 and 1")
