"""What is found out about an artefact, one to one with what ``inspect --json`` prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.formats.choices import CiffDocids

PLACES = 5
"""Places that a fault names."""

Numbers = Literal["impacts", "weights", "frequencies"]


@dataclass(frozen=True)
class InspectOptions:
    """One to one with the flags of ``splade-bridge inspect``.

    Attributes:
        corpus: texts of the documents, for the share of expansion terms.
        source_format: what the path is, where that cannot be seen.
        quick: tell only what can be told without reading all of it.
        anew: hash files of ours, whatever is remembered of them.
        memory: bytes that documents of a CIFF file may take.
        vocabulary: what the term ids of a matrix or a table stand for, if nothing beside it says.
        field: that holds the vectors, of an index that others made in an engine.
    """

    corpus: str | None = None
    source_format: str | None = None
    ciff_docids: CiffDocids = "gaps"
    quick: bool = False
    anew: bool = False
    memory: int = 2_000_000_000
    vocabulary: Vocabulary | None = None
    field: str | None = None


@dataclass(frozen=True)
class Distribution:
    """Of some numbers; quantiles are numbers that are there (nearest rank).

    Attributes:
        exact: whether the quantiles are; else they are at most 1/2048 of themselves too low.
    """

    least: float
    p25: float
    p50: float
    p75: float
    p95: float
    p99: float
    most: float
    mean: float
    exact: bool


@dataclass(frozen=True)
class Scale:
    """What weights were multiplied with to become these numbers, or would be.

    Attributes:
        scale: None where it is not known.
        origin: ``manifest``, ``guess`` or ``unknown``.
        reason: what speaks for it.
    """

    scale: float | None
    origin: Literal["manifest", "guess", "unknown"]
    reason: str


@dataclass(frozen=True)
class LongList:
    """A posting list, one of the longest.

    Attributes:
        share: of all documents.
        sum: of its values.
        most: the largest of them.
    """

    term: str
    documents: int
    share: float
    sum: float
    most: float


@dataclass(frozen=True)
class Expansion:
    """Terms of documents that their texts do not have.

    Attributes:
        documents: that were looked at, the first ones.
        spelled: share of the words of their texts that the terms here can spell.
        postings: share of the postings whose term the text lacks.
        values: the same as a share of the sum of all values.
    """

    documents: int
    spelled: float
    postings: float
    values: float


@dataclass
class Fault:
    """Something that a reader refuses or misreads.

    Attributes:
        places: the first ones.
    """

    fault: str
    count: int
    places: list[str]
    remedy: str


@dataclass(frozen=True)
class ContentHash:
    """See docs/formats.md.

    Attributes:
        manifest: what the manifest says; None where there is none, or an old one.
        computed: of what was read; None where not all of it was, or it cannot be.
        equal: whether both are the same; None where one is missing.
    """

    manifest: str | None
    computed: str | None
    equal: bool | None


@dataclass
class Inspection:
    """All that is known of an artefact; None and empty lists stand for what it does not have.

    Attributes:
        bytes: of all its files; None where an engine holds it and does not say.
        kind: its name in :mod:`.kinds`.
        what: the same in words.
        reason: how that was recognised.
        numbers: what its numbers are.
        facts: what only this kind of thing has.
        unknown: what cannot be told, and why.
    """

    path: str
    kind: str
    what: str
    reason: str
    ours: bool
    bytes: int | None
    engine: str | None = None
    manifest: Manifest | None = None
    counts: Counts | None = None
    distinct_terms: int | None = None
    content: ContentHash | None = None
    numbers: Numbers | None = None
    scale: Scale | None = None
    values: Distribution | None = None
    lengths: Distribution | None = None
    longest: list[LongList] = field(default_factory=list)
    expansion: Expansion | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def fault(self, fault: str, place: str, remedy: str, count: int = 1) -> None:
        """Count a fault in; the first places of each kind are kept."""
        known = next((f for f in self.faults if f.fault == fault), None)
        if known is None:
            known = Fault(fault, 0, [], remedy)
            self.faults.append(known)
        known.count += count
        if len(known.places) < PLACES:
            known.places.append(place)

    def check_terms(self, vocabulary: Vocabulary, start: int = 0) -> None:
        """Count terms that are lost or torn on the way to some formats."""
        for term in vocabulary.terms[start:]:
            if term.split() != [term]:
                self.fault(
                    "terms with white space",
                    repr(term),
                    "topics and JsonVectorCollections cannot hold them: prune --method drop-terms "
                    "--value @white-space",
                )


def completed(
    found: Inspection, options: InspectOptions, describe: Callable[[], None]
) -> Inspection:
    """``found``, after ``describe`` has filled it, and with what is the same for every kind.

    Raises:
        BadInputError: it is ours and damaged, or nothing could be found out.
    """
    try:
        describe()
    except BadInputError as error:
        if found.ours or (found.counts is None and not found.facts):
            raise  # nothing was found out
        found.fault("what ended reading", str(error), "mend it: what follows is unknown")
        found.unknown.append("counts, distributions and content: reading ended at a fault")
    if options.quick:
        found.unknown.append("what reading all of it would tell: leave --quick out")
        if found.manifest is not None:
            found.counts = found.manifest.counts
    if found.content is None and found.manifest is not None and found.manifest.content:
        found.content = ContentHash(found.manifest.content, None, None)
    content = found.content
    if content is not None and content.equal is False:
        found.fault(
            "content that is not what the manifest says",
            f"{content.computed}, not {content.manifest}",
            "make it again: what it holds was changed, or read otherwise",
        )
    return found
