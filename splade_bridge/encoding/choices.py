"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

Pooling = Literal["max", "sum"]
"""Of a term's logits over the positions of a text."""

DType = Literal["auto", "float32", "bfloat16", "float16"]

QueryMode = Literal["model", "bow"]
"""``bow``: each token of the query, the special ones apart, with weight 1 (SPLADE-doc)."""

LongMode = Literal["truncate", "max", "passages"]
"""What becomes of a text beyond the limit; see :mod:`splade_bridge.encoding.passages`."""

Cluster = Literal["ray"]
