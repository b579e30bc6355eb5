"""What only Qdrant can be told; a light module, since flags of ``index`` are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

QdrantDatatype = Literal["float32", "float16", "uint8"]


@dataclass(frozen=True)
class QdrantOptions:
    """One to one with flags and keys of comparisons; see :class:`.registry.Entry`.

    Attributes:
        datatype: of the weights in the index that is searched.
    """

    datatype: QdrantDatatype = field(
        default="float32",
        metadata={
            "help": "Of the weights that are searched; float16 and uint8 with --approximate, since "
            "their scores are approximate.",
            "approximate": True,
        },
    )
