"""How a corpus is encoded: what flags and keywords say, in a module that loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from splade_bridge.data.choices import Side, check_choice
from splade_bridge.errors import UsageError

Pooling = Literal["max", "sum"]
"""Of a term's logits over the positions of a text."""

DType = Literal["auto", "float32", "bfloat16", "float16"]

QueryMode = Literal["model", "bow"]
"""``bow``: each token of the query, the special ones apart, with weight 1 (SPLADE-doc)."""

LongMode = Literal["truncate", "max", "passages"]
"""What becomes of a text beyond the limit; see :mod:`splade_bridge.encoding.passages`."""

Cluster = Literal["ray"]

DEFAULT_PART_ROWS = 8192


@dataclass(frozen=True)
class EncodeChoices:
    """One to one with the flags of ``splade-bridge encode`` that say what is made and by what.

    Attributes:
        max_length, pooling, query_mode, dtype, batch_tokens, threads: see
            :class:`splade_bridge.encoding.encoder.EncodeOptions`.
        long, stride: see :class:`splade_bridge.encoding.passages.LongOptions`.
        devices: see :func:`splade_bridge.encoding.devices.parse_devices`; more than one are a
            process each.
        part_rows: texts of a part.

    Raises:
        UsageError: a choice that there is not, or that does nothing for this side.
    """

    side: Side = "document"
    max_length: int | None = 256
    pooling: Pooling | None = None
    query_mode: QueryMode = "model"
    dtype: DType = "auto"
    batch_tokens: int | None = None
    long: LongMode = "truncate"
    stride: int | None = None
    devices: str = "auto"
    threads: int | None = None
    part_rows: int = DEFAULT_PART_ROWS

    def __post_init__(self) -> None:
        check_choice("side", self.side, Side)
        check_choice("pooling", self.pooling or "max", Pooling)
        check_choice("query-mode", self.query_mode, QueryMode)
        check_choice("dtype", self.dtype, DType)
        check_choice("long", self.long, LongMode)
        if self.query_mode == "bow" and self.side != "query":
            raise UsageError("--query-mode bow has no effect without --side query: leave it out")
