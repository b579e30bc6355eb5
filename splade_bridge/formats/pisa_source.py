"""PISA's canonical files as a source: as its ``invert``, ciff2pisa and this tool write them.

A collection is BASE.docs, BASE.freqs and BASE.sizes (see :mod:`.pisa`); its names are lexicons
(``.termlex``, ``.doclex``) or lines (``.terms``, ``.documents``), of the same base or, as
``parse_collection`` leaves them, of the forward index beside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.formats.postings import PostingList, PostingListSource

DOCS, FREQS, SIZES = ".docs", ".freqs", ".sizes"
TERM_NAMES, DOCUMENT_NAMES = (".termlex", ".terms"), (".doclex", ".documents")
MAX_IMPACT = 2**31 - 1

UInt32Array = npt.NDArray[np.uint32]


def collection_at(path: Path) -> Path | None:
    """The base name of the collection at ``path``: a folder, one of its files, or the base itself.

    Raises:
        BadInputError: a folder holds several.
    """
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError:  # a name too long: whoever opens it says so
        return None
    if path.is_dir():
        bases = [p.with_suffix("") for p in sorted(path.glob(f"*{DOCS}")) if _is_base(p)]
        if len(bases) > 1:
            names = ", ".join(base.name for base in bases)
            raise BadInputError(f"several PISA collections ({names}): name one of them", str(path))
        return bases[0] if bases else None
    if path.suffix in (DOCS, FREQS, SIZES) and _is_base(path):
        return path.with_suffix("")
    return path if _is_base(path.with_name(path.name + DOCS)) else None


def _is_base(docs: Path) -> bool:
    return all(docs.with_suffix(suffix).is_file() for suffix in (DOCS, FREQS, SIZES))


class CanonicalSource(PostingListSource):
    """A collection of canonical files; every number in them is checked.

    Args:
        base: as :func:`collection_at` gives it.
    """

    def __init__(
        self, base: Path, memory: int = DEFAULT_MEMORY, temporary: Path | None = None
    ) -> None:
        self._base = base
        super().__init__(base, Vocabulary(_names(base, TERM_NAMES)), None, memory, temporary)
        self.vocabulary.observed = True
        self._documents = _names(base, DOCUMENT_NAMES)

    def lists(self) -> Iterator[PostingList]:
        """Those of all terms."""
        docs, freqs = self._mapped(DOCS), self._mapped(FREQS)
        count = self._document_count(docs)
        terms = len(self.vocabulary)
        at = 2
        for term in itertools.count():
            if at == len(docs):
                break
            place = f"{self._base}{DOCS}: list {term:,}"
            if term == terms:
                raise BadInputError(f"there are names for {terms:,} terms only", place)
            length = int(docs[at])
            part = slice(at + 1, at + 1 + length)
            if part.stop > len(docs) or part.stop - 2 > len(freqs):
                raise BadInputError("the file ends inside it: it was cut off", place)
            if int(freqs[at - 2]) != length:
                raise BadInputError(
                    f"{length:,} documents, but {int(freqs[at - 2]):,} frequencies", place
                )
            impacts = freqs[part.start - 2 : part.stop - 2]
            yield self._checked(term, docs[part], impacts, count, place)
            at = part.stop
        if term < terms:
            raise BadInputError(
                f"{term:,} lists, but names for {terms:,} terms", f"{self._base}{DOCS}"
            )
        if at - 2 != len(freqs):
            raise BadInputError("more frequencies than documents", f"{self._base}{FREQS}")

    def _checked(
        self, term: int, docs: UInt32Array, impacts: UInt32Array, count: int, place: str
    ) -> PostingList:
        if len(docs) and int(docs.max()) >= count:
            raise BadInputError(f"document {int(docs.max()):,} of {count:,}", place)
        found = docs.astype(np.int32)
        if (np.diff(found) < 1).any():
            raise BadInputError("documents must rise", place)
        if len(impacts) and (int(impacts.min()) < 1 or int(impacts.max()) > MAX_IMPACT):
            raise BadInputError("a frequency must be from 1 to 2^31 - 1", place)
        return PostingList(term, found, impacts.astype(np.int32))

    def document_ids(self) -> Iterator[tuple[str, str]]:
        """The lexicon or the lines of the documents."""
        for number, name in enumerate(self._documents):
            yield name, f"{self._base}: document {number:,}"

    def _document_count(self, docs: UInt32Array) -> int:
        sizes = self._mapped(SIZES)
        if len(docs) < 2 or int(docs[0]) != 1 or not len(sizes):
            raise BadInputError("not PISA's canonical format", f"{self._base}{DOCS}")
        counts = {int(docs[1]), int(sizes[0]), len(sizes) - 1, len(self._documents)}
        if len(counts) != 1:
            raise BadInputError(
                f"{int(docs[1]):,} documents in {DOCS}, {int(sizes[0]):,} (and {len(sizes) - 1:,} "
                f"lengths) in {SIZES}, {len(self._documents):,} names",
                str(self._base),
            )
        return int(docs[1])

    def _mapped(self, suffix: str) -> UInt32Array:
        path = Path(f"{self._base}{suffix}")
        if path.stat().st_size % 4:
            raise BadInputError("not a whole number of 32-bit integers: cut off?", str(path))
        if not path.stat().st_size:
            return np.empty(0, np.uint32)
        return np.memmap(path, dtype="<u4", mode="r")


class Lexicon(Sequence[str]):
    """PISA's payload vector: uint64 count, uint64 offsets[count + 1], bytes.

    Raises:
        BadInputError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = np.memmap(path, dtype=np.uint8, mode="r") if path.stat().st_size else None
        if content is None or len(content) < 16:
            raise BadInputError("not a lexicon of PISA: too short", str(path))
        count = int(content[:8].view("<u8")[0])
        start = 8 * (count + 2)
        if count > len(content) // 8 or start > len(content):
            raise BadInputError(f"says that it has {count:,} names: cut off?", str(path))
        self._offsets = content[8:start].view("<u8")
        self._names = content[start:]
        if (
            int(self._offsets[0])
            or (self._offsets[1:] < self._offsets[:-1]).any()
            or int(self._offsets[-1]) != len(self._names)
        ):
            raise BadInputError("its offsets do not fit its names: damaged", str(path))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> str:  # type: ignore[override]
        if not 0 <= number < len(self):
            raise IndexError(number)
        name = self._names[int(self._offsets[number]) : int(self._offsets[number + 1])].tobytes()
        try:
            return name.decode()
        except UnicodeDecodeError as error:
            raise BadInputError(
                f"name {number:,} is not UTF-8 ({error})", str(self._path)
            ) from None


def _names(base: Path, suffixes: tuple[str, str]) -> Sequence[str]:
    """The names of a collection's terms or documents.

    Raises:
        BadInputError: there are none, or several.
    """
    lexicon, lines = suffixes
    own = [Path(f"{base}{suffix}") for suffix in suffixes]
    there = [p for p in own if p.is_file()]
    if not there:
        others = {s: sorted(base.parent.glob(f"*{s}")) for s in suffixes}
        there = next((found for found in others.values() if len(found) == 1), [])
        if not there:
            several = "several" if any(others.values()) else "no"
            raise BadInputError(f"{several} {lexicon} or {lines} beside it", str(base))
    if there[0].suffix == lexicon:
        return Lexicon(there[0])
    return [line for line, _ in text_lines(there[0], empty=True)]
