"""Results that notebooks show as tables and bars, and which stay the plain values that they are.

Each is a list, a dict or a dataclass of the library with one method more, ``_repr_html_``, that
Jupyter asks for what ends a cell. So it equals the plain value, prints and pickles as it, goes into
``json.dumps`` and pandas as it, and no caller needs to know of it; a class of its own around the
value would be one thing more to unpack. What draws is loaded when it is asked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Generic, SupportsIndex, TypeVar, overload

from splade_bridge.evaluation.evaluate import Evaluation
from splade_bridge.evaluation.verify import Verification
from splade_bridge.retrieval.explain import Contribution
from splade_bridge.retrieval.terms import Term

T = TypeVar("T")
Score = TypeVar("Score", bound=float)


class _Rows(list[T]):
    """A list whose slices are shown as it is."""

    @overload
    def __getitem__(self, at: SupportsIndex) -> T: ...

    @overload
    def __getitem__(self, at: slice) -> list[T]: ...

    def __getitem__(self, at: SupportsIndex | slice) -> T | list[T]:
        if isinstance(at, slice):
            return self._like(super().__getitem__(at))
        return super().__getitem__(at)

    def _like(self, rows: list[T]) -> list[T]:
        """Some of the rows, with what is known of all."""
        return type(self)(rows)


class TermList(_Rows[Term]):
    """Terms of a text, the heaviest first."""

    def _repr_html_(self) -> str:
        from splade_bridge.report.notebook import bag

        return bag(self)


class ContributionList(_Rows[Contribution]):
    """What each term of a query adds to a document's score, the largest first.

    Attributes:
        held: the terms that the query's text holds, the others are expansions; None where only
            its vector is known.
    """

    def __init__(
        self, rows: Iterable[Contribution] = (), held: Collection[str] | None = None
    ) -> None:
        super().__init__(rows)
        self.held = held

    def _like(self, rows: list[Contribution]) -> list[Contribution]:
        return ContributionList(rows, self.held)

    def _repr_html_(self) -> str:
        from splade_bridge.report.notebook import contributions

        return contributions(self, self.held)


class HitList(_Rows[tuple[str, Score]], Generic[Score]):
    """The documents of one query as ``(document id, score)``, the best first.

    Attributes:
        texts: by document id, to be shown beside; None where none are known.
    """

    def __init__(
        self, rows: Iterable[tuple[str, Score]] = (), texts: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(rows)
        self.texts = texts

    def with_texts(self, texts: Mapping[str, str]) -> HitList[Score]:
        """The same documents, shown with the beginnings of their texts.

        Args:
            texts: by document id; one that is not there is shown without.
        """
        return HitList(self, texts)

    def _like(self, rows: list[tuple[str, Score]]) -> list[tuple[str, Score]]:
        return HitList(rows, self.texts)

    def _repr_html_(self) -> str:
        from splade_bridge.report.notebook import ranking

        return ranking(self, self.texts)


class ShownEvaluation(Evaluation):
    """An evaluation."""

    def _repr_html_(self) -> str:
        from splade_bridge.report.notebook import measures

        return measures(self)


class ShownVerification(Verification):
    """What a verification has found."""

    def _repr_html_(self) -> str:
        from splade_bridge.report.notebook import verification

        return verification(self)
