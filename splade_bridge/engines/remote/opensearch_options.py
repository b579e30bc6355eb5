"""What only OpenSearch can be told; a light module, since flags of ``index`` are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

OpenSearchQuery = Literal["rank_feature", "neural_sparse"]


@dataclass(frozen=True)
class OpenSearchOptions:
    """One to one with flags and keys of comparisons; see :class:`.registry.Entry`.

    Attributes:
        query: that the index is made for, which decides how its terms are named.
    """

    query: OpenSearchQuery = field(
        default="rank_feature",
        metadata={
            "help": "Query that the index is for: rank_feature, which every OpenSearch has; or "
            "neural_sparse of the plugin neural-search, so that a model in OpenSearch finds the "
            "terms, too."
        },
    )
