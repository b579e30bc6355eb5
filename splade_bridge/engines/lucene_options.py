"""Options of the engine ``lucene``, one to one with the flags of ``splade-bridge index``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Route = Literal["helper", "anserini"]


@dataclass(frozen=True)
class LuceneOptions:
    """How a Lucene index is built.

    Attributes:
        route: our helper, or Anserini's own IndexCollection, which is slow and may lose documents
            (and is found out then).
    """

    route: Route = field(
        default="helper",
        metadata={
            "flag": "--route",
            "help": "Our helper, or Anserini's own (slow) IndexCollection.",
        },
    )
