"""What only PostgreSQL can be told; a light module, since flags of ``index`` are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field

IF_BUILT = "; with --approximate, since what it finds is approximate"


@dataclass(frozen=True)
class PostgreSQLOptions:
    """One to one with flags and keys of comparisons; see :class:`.registry.Entry`.

    Attributes:
        hnsw: build a graph after the load, which ``search --approximate`` asks.
        hnsw_m, hnsw_ef_construction: of the graph; None for what pgvector does by itself.
    """

    hnsw: bool = field(
        default=False,
        metadata={
            "help": f"Build an index of type HNSW after the load{IF_BUILT}; 1,000 terms of a "
            "document at most.",
            "approximate": True,
        },
    )
    hnsw_m: int | None = field(
        default=None,
        metadata={
            "help": "Of that index: links of a document, 2 to 100 (pgvector: 16).",
            "approximate": True,
        },
    )
    hnsw_ef_construction: int | None = field(
        default=None,
        metadata={
            "help": "Of that index: candidates while it is built, at least twice the links "
            "(pgvector: 64).",
            "approximate": True,
        },
    )
