"""Whether queries and an index belong together, asked before every search."""

from __future__ import annotations

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.manifest import check_fit, refuse_mismatch
from splade_bridge.engines.base import Searcher
from splade_bridge.errors import MismatchError
from splade_bridge.formats.queries import Queries

MOST_UNKNOWN = 0.1
"""Share of the distinct tokens of queries that an index may not know before they are text."""


def check_queries(searcher: Searcher, queries: Queries) -> None:
    """Refuse queries that would find other things than they ask for.

    Raises:
        MismatchError: other vocabularies, models or sides (see :func:`.manifest.check_fit`);
            queries that look like text; an index that holds text and not impacts.
    """
    place = str(searcher.path)
    allowed = queries.allow_mismatch
    for manifest in searcher.manifests:
        check_fit(manifest, queries.manifest, place, allow_mismatch=allowed)
    check_encoded(searcher, queries)
    if why := searcher.plain_text:
        refuse_mismatch(
            place,
            f"an index of plain text ({why}), where frequencies would be taken for impacts: search "
            "it with BM25 (splade-bridge bm25), or build one from vectors",
            allow_mismatch=allowed,
        )


def check_encoded(searcher: Searcher, queries: Queries) -> None:
    """Refuse queries that look like text, where the index holds a model's vectors.

    They do where every weight is 1 and more than a tenth of the distinct tokens are not in the
    index: a model's own tokens and bags of them are, words with capitals and commas are not.

    Raises:
        MismatchError: they do.
    """
    if (
        queries.allow_mismatch
        or not queries.may_be_text
        or not searcher.knows_terms
        or searcher.manifest is None
        or searcher.manifest.encoding is None
    ):
        return
    tokens = [queries.vocabulary[i] for i in np.unique(queries.batch.indices).tolist()]
    unknown = [token for token in tokens if token not in searcher.vocabulary]
    if len(unknown) > MOST_UNKNOWN * len(tokens):
        examples = ", ".join(quoted(token) for token in unknown[:3])
        raise MismatchError(
            f"{queries.path}: looks like text, every token with weight 1 and {len(unknown):,} of "
            f"{len(tokens):,} not in {searcher.path} (as {examples}), which holds vectors of "
            f"{searcher.manifest.encoding.model}: did you forget -m? --pre-encoded takes the "
            "tokens as they are"
        )
