"""Pruned impacts as a source like any other, so that an index needs no file in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from splade_bridge.data.counts import Counts
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.manifest import (
    EncodingInfo,
    Manifest,
    QuantizationInfo,
    Side,
    VocabularyInfo,
)
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.base import BatchSource, ImpactSource
from splade_bridge.formats.queries import Queries
from splade_bridge.pruning.policy import Policy, PruneOptions
from splade_bridge.pruning.pruning import Pruning


class PrunedSource(ImpactSource):
    """The impacts of another source after one or more policies, in order.

    Policies that look at the whole collection open the source once more for each of them (``bytes``
    and ``postings`` perhaps twice), when the first batch is asked for. After the last batch
    ``manifest.pruning`` holds the source's history and an entry a policy.

    Args:
        open_source: opens the same impacts anew for each pass.
        policy: one, or several that are applied one after the other.
        min_terms: see :class:`PruneOptions`.
        side: for the manifest; by default what the source's manifest says, else ``document``.
        memory: budget in bytes of the passes that gather statistics.
        temporary: folder for what does not fit into it.

    Raises:
        UsageError: a value that cannot be meant for impacts (when made), or a target out of reach
            (when read).
    """

    def __init__(
        self,
        open_source: Callable[[], ImpactSource],
        policy: Policy | Sequence[Policy],
        *,
        min_terms: int = 1,
        side: Side | None = None,
        memory: int = DEFAULT_MEMORY,
        temporary: Path | None = None,
    ) -> None:
        self._open = open_source
        self._policies = [policy] if isinstance(policy, Policy) else list(policy)
        self._options = PruneOptions(min_terms, memory, temporary)
        self._side = side
        self._begin()
        quantization = self._source.quantization
        self._pruning = Pruning(
            self._passed,
            self._policies,
            "impact",
            self._options,
            scale=quantization.scale if quantization else None,
        )

    def _begin(self) -> None:
        self._source = self._open()
        super().__init__(self._source.path, self._source.vocabulary, None)
        known = self._source.manifest
        self.manifest = known or Manifest("jsonvector", self.vocabulary_info, Counts())

    def again(self) -> PrunedSource:
        """The same impacts anew, with the decisions that were made already."""
        twin = PrunedSource.__new__(PrunedSource)
        twin.__dict__.update(self.__dict__)
        twin._begin()
        return twin

    def _passed(self) -> tuple[Iterator[ImpactBatch], Vocabulary]:
        source = self._open()
        return source.batches(), source.vocabulary

    def _read(self) -> Iterator[ImpactBatch]:
        steps = self._pruning.steps()
        yield from self._pruning.run(self._source.batches(), self.vocabulary, steps)
        assert self.manifest is not None
        side = self._side or (self.encoding.side if self.encoding else "document")
        history = self._source.manifest.pruning if self._source.manifest else []
        self.manifest = dataclasses.replace(
            self.manifest,
            vocabulary=self.vocabulary_info,
            counts=self.counts,
            quantization=self.quantization,
            pruning=[*history, *(s.entry(side, "impact") for s in steps)],
        )

    @property
    def _quantized(self) -> QuantizationInfo | None:
        return self._source.quantization

    @property
    def vocabulary_info(self) -> VocabularyInfo:
        """The source's."""
        return self._source.vocabulary_info

    @property
    def encoding(self) -> EncodingInfo | None:
        """The source's."""
        return self._source.encoding

    @property
    def parent(self) -> dict[str, Any]:
        """The source's: what is pruned has no file of its own."""
        return self._source.parent


class QuerySource(BatchSource):
    """Queries that are in memory, as a source."""

    def __init__(self, queries: Queries) -> None:
        super().__init__(queries.path, [queries.batch], queries.vocabulary, queries.manifest)


def pruned_queries(
    queries: Queries, policy: Policy | Sequence[Policy], *, min_terms: int = 1
) -> Queries:
    """``queries`` after one or more policies; their manifest holds the history.

    Raises:
        UsageError: see :class:`PrunedSource`.
    """
    source = PrunedSource(lambda: QuerySource(queries), policy, min_terms=min_terms, side="query")
    batch = ImpactBatch.concat(source.batches())
    return dataclasses.replace(queries, batch=batch, manifest=source.manifest)
