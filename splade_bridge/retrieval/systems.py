"""An open index with what encodes its queries: asked, and asked why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from splade_bridge.data.closing import Closing
from splade_bridge.data.hits import Hits
from splade_bridge.engines.base import Searcher
from splade_bridge.files.address import Address
from splade_bridge.formats.queries import Queries
from splade_bridge.retrieval.explain import contributions
from splade_bridge.retrieval.fit import check_queries
from splade_bridge.retrieval.terms import Term
from splade_bridge.retrieval.words import Words, queries_of
from splade_bridge.text.corpora import Text

PROBE = "a query"


@dataclass(frozen=True)
class Added:
    """What a term of a query adds to the score of a document.

    Attributes:
        term, word: see :class:`.terms.Term`.
        weight: in the query.
        original: whether the query's text holds it; else the model has added it, or a hand. None
            where only the vector is known.
        impact: in the document, as the index has it; 0 for none.
        score: weight x impact.
        in_text: whether the document's text holds it; None where no text is known.
    """

    term: str
    word: str
    weight: int
    original: bool | None
    impact: float
    score: float
    in_text: bool | None


class System(Closing):
    """An index and what makes terms of its queries.

    Args:
        label: what people call it.
        allow_mismatch: see :class:`.queries.Queries`.

    Raises:
        MismatchError: the two do not belong together.
        ExternalProgramError: the engine cannot answer.
    """

    def __init__(
        self, searcher: Searcher, words: Words, label: str, *, allow_mismatch: bool = False
    ) -> None:
        self.searcher, self.words, self.label = searcher, words, label
        self.allow_mismatch = allow_mismatch
        check_queries(searcher, self.queries([Text("probe", PROBE, "a probe")]))
        self.search(words.bag(PROBE).weights, 1)  # so that a process is there before it is asked

    @property
    def engine(self) -> str:
        """Its name."""
        path, manifest = self.searcher.path, self.searcher.manifest
        if isinstance(path, Address):
            return path.scheme
        return (manifest.engine if manifest else None) or "lucene"

    def queries(self, texts: Sequence[Text]) -> Queries:
        """Texts as this index is asked them."""
        return replace(self.words.queries(texts), allow_mismatch=self.allow_mismatch)

    def search(self, weights: Mapping[str, int], k: int) -> Hits:
        """The best ``k`` documents for terms and their weights.

        Raises:
            ExternalProgramError: the engine died.
        """
        (hits,) = self.ranked(queries_of(weights), k)
        return hits

    def ranked(self, queries: Queries, k: int) -> Iterator[Hits]:
        """The best ``k`` documents for each query; one that the index knows no term of has none.

        Raises:
            ExternalProgramError: the engine died.
        """
        searcher = self.searcher
        searcher.meet(queries.vocabulary)
        known = queries.batch.remap(queries.vocabulary.mapping(searcher.vocabulary))
        return searcher.search(known, k)


def added(
    searcher: Searcher, terms: Sequence[Term], doc_id: str, held: set[str] | None = None
) -> list[Added] | None:
    """What each term of a query adds to a document, the largest share first.

    None where the index has no such document.

    Args:
        terms: of the query, with whole weights; those of weight 0 are left out.
        held: the terms that the document's text holds; None where it is not known.
    """
    known = {term.term: term for term in terms if term.weight}
    if not known:
        return []
    asked = queries_of({name: int(term.weight) for name, term in known.items()})
    found = contributions(searcher, asked, 0, doc_id)
    if found[0].impact is None:
        return None
    rows = [
        Added(
            c.term, known[c.term].word, c.weight, known[c.term].original,
            c.impact or 0, c.score, None if held is None else c.term in held,
        )
        for c in found
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (-row.score, -row.weight, row.term))
