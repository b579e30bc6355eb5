"""Choices that options and flags give, in a module that loads nothing."""

from __future__ import annotations

from typing import Literal

FeedTarget = Literal[
    "elasticsearch",
    "elasticsearch-rank-features",
    "opensearch",
    "opensearch-neural-sparse",
    "qdrant",
    "milvus",
    "vespa",
]
"""What search engines and vector databases load."""

ConvertFormat = Literal[
    "vectors", "jsonvector", "ciff", "forward", "pisa-canonical", "npz", "seismic", "hf", FeedTarget
]
"""What vectors of documents are turned into."""

SourceFormat = Literal[ConvertFormat, "tensors"]
"""What vectors of documents are read from, beside indexes."""

ExportFormat = Literal[
    "jsonvector",
    "ciff",
    "forward",
    "topics",
    "topics-jsonl",
    "topics-pisa",
    "pisa-canonical",
    "npz",
    "seismic",
    "hf",
]
"""What is written for other tools, and for the second of two steps."""

CiffDocids = Literal["gaps", "absolute"]
"""What the postings of a CIFF file hold: gaps, as the format has it, or docids."""
