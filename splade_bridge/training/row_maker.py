"""Groups of ids or texts to rows of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from splade_bridge.training.examples import (
    Candidate,
    Choice,
    DataCounts,
    Example,
    choose,
    generator,
)
from splade_bridge.training.groups import Group
from splade_bridge.training.texts import PairScores, TextTable, text_key


@dataclass(frozen=True)
class RowOptions:
    """How rows are made of a group; see :class:`splade_bridge.training.data.DataOptions`."""

    negatives: int
    choice: Choice
    positives: Literal["each", "one"]
    seed: int
    mask_positives: bool = False


class RowMaker:
    """Looks texts and scores up, chooses negatives, and counts what does not become a row.

    Attributes:
        queries: texts by id; None where groups hold the text.
        table: texts of documents by id; None where groups hold the texts.
        teacher: scores by id; None where groups hold scores, or there are none.
    """

    def __init__(self, options: RowOptions, counts: DataCounts) -> None:
        self._options = options
        self._counts = counts
        self.queries: dict[str, str] | None = None
        self.table: TextTable | None = None
        self.teacher: PairScores | None = None

    def rows(self, groups: Iterable[Group]) -> Iterator[Example]:
        """One row for each positive of each group, or one of each group."""
        for group in groups:
            yield from self._of_group(group)

    def _of_group(self, group: Group) -> Iterator[Example]:
        options, counts, name = self._options, self._counts, group.query_id or ""
        place = f"{group.place} {name}".rstrip()
        if group.repeated:
            counts.leave_out("documents that stand twice in their line", place, group.repeated)
        query = group.query or (self.queries or {}).get(name)
        if not query:
            counts.leave_out("queries without a text", place)
            return
        positives = self._known(group.positives, "positives", place)
        if not positives:
            counts.leave_out("queries without a positive", place)
            return
        answers = None
        if options.mask_positives:
            graded = [d for d in group.graded if self.table is None or self.table.size(d)]
            answers = sorted({text_key(self._text(d)) for d in (*positives, *graded)})
        taken = {*group.positives, *group.graded}
        own = [c for c in group.negatives if c.key not in taken]
        if len(own) < len(group.negatives):
            lost = len(group.negatives) - len(own)
            counts.leave_out("negatives that are positives of their query", place, lost)
        there = set(self._known([c.key for c in own], "negatives", place))
        scores = self._scores(group, [*positives, *there])
        pool = [self._ranked(c, scores) for c in own if c.key in there]
        if scores is not None:
            known = [c for c in pool if c.key in scores]
            if len(known) < len(pool):
                counts.leave_out("negatives without a score", place, len(pool) - len(known))
            pool = known
        if options.positives == "one":
            positives = [generator(options.seed, name, query).choice(positives)]
        for positive in positives:
            if scores is not None and positive not in scores:
                counts.leave_out("positives without a score", f"{place} {positive}")
                continue
            rng = generator(options.seed, name, query, positive)
            chosen = choose(pool, options.negatives, options.choice, rng)
            if chosen is None:
                counts.leave_out(
                    f"rows with fewer than {options.negatives} negatives", f"{place} {positive}"
                )
                continue
            labels = [scores[key] for key in (positive, *chosen)] if scores is not None else None
            texts = [self._text(key) for key in (positive, *chosen)]
            yield Example(query, texts[0], texts[1:], labels, place, answers)

    def _known(self, keys: list[str], what: str, place: str) -> list[str]:
        """Those of ``keys`` that have a text; the others are counted."""
        if self.table is None:
            return keys
        found = []
        for key in keys:
            size = self.table.size(key)
            if size:
                found.append(key)
            else:
                why = "that the collection lacks" if size is None else "whose text is empty"
                self._counts.leave_out(f"{what} {why}", f"{place} {key}")
        return found

    def _text(self, key: str) -> str:
        return key if self.table is None else self.table[key]

    def _scores(self, group: Group, keys: list[str]) -> dict[str, float] | None:
        if self.teacher is None:
            return group.scores
        found = ((key, self.teacher.get(group.query_id or "", key)) for key in keys)
        return {key: score for key, score in found if score is not None}

    @staticmethod
    def _ranked(candidate: Candidate, scores: dict[str, float] | None) -> Candidate:
        """With the teacher's score, which tells better than the first stage what is hard."""
        return candidate if scores is None else Candidate(candidate.key, scores.get(candidate.key))
