"""Options of the engine ``lucene``, one to one with the flags of ``splade-bridge index``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Route = Literal["helper", "anserini"]


@dataclass(frozen=True)
class LuceneOptions:
    """How a Lucene index is built.

    Attributes:
        version: the Lucene that writes it, as ``10.4`` or ``10.4.0``, fetched if it is missing;
            None for that of the user's Anserini, or 10.4 where there is none.
        route: our helper, or Anserini's own IndexCollection, which is slow and may lose documents
            (and is found out then).
    """

    version: str | None = field(
        default=None,
        metadata={
            "help": "The Lucene that writes, as 10.4; it and later ones open the index. "
            "Your Anserini's, else 10.4."
        },
    )
    route: Route = field(
        default="helper",
        metadata={
            "flag": "--route",
            "help": "Our helper, or Anserini's own (slow) IndexCollection.",
        },
    )
