"""Runs in memory: what a search or a fusion gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from splade_bridge.data.hits import Hits
from splade_bridge.data.vector_set import pandas_module
from splade_bridge.library.keywords import Running
from splade_bridge.retrieval.runs import RunFormat
from splade_bridge.retrieval.search import SearchOptions, SearchSummary

if TYPE_CHECKING:
    import pandas as pd


class RankedRun(dict[str, dict[str, float]]):
    """A run, ``{query id: {document id: score}}``, documents best first.

    Queries without results are in it, with no documents.
    """

    def filled_by(self, stream: Iterable[Hits]) -> Iterator[Hits]:
        """The same results, which become part of this run as they pass."""
        for hits in stream:
            self[hits.query_id] = dict(
                zip(hits.doc_ids, map(float, hits.scores.tolist()), strict=True)
            )
            yield hits

    def to_pandas(self) -> pd.DataFrame:
        """A DataFrame as PyTerrier has it: ``qid``, ``docno``, ``score``, ``rank`` (from 0).

        Raises:
            MissingToolError: pandas is not installed.
        """
        rows = [
            (query_id, doc_id, score, rank)
            for query_id, found in self.items()
            for rank, (doc_id, score) in enumerate(found.items())
        ]
        return pandas_module().DataFrame(rows, columns=["qid", "docno", "score", "rank"])

    def _repr_html_(self) -> str:
        """What a notebook shows of it."""
        from splade_bridge.report import notebook

        return notebook.run(self)


class SearchRun(RankedRun):
    """What a search has found; scores are whole numbers, or similarities of dense vectors.

    Attributes:
        summary: counts, the algorithm, mean milliseconds a query, queries without results.
    """

    summary: SearchSummary


def search_options(
    running: Running, *, algorithm: str | None = None, ef_search: int | None = None
) -> SearchOptions:
    """Keywords of a search as the library takes them.

    Raises:
        UsageError: one that cannot be meant.
    """
    return SearchOptions(
        k=running["k"],
        algorithm=algorithm,
        threads=running["threads"],
        run_format=cast(RunFormat, running["output_format"]),
        tag=running["tag"],
        remove_query=running["remove_query"],
        max_passage=running["max_passage"],
        ef_search=ef_search,
    )
