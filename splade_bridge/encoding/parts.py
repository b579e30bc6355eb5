"""A corpus as numbered parts, and the folder that collects the encoded ones in any order.

A part is a run of ``part_rows`` texts of the corpus, the last one shorter. What its file holds
depends on its own texts only, so parts may be encoded by anybody in any order, and the store comes
out the same. Each file remembers a digest of its texts and one of all texts before them: so every
process that walks the corpus notices where it is not the one that an earlier run, another shard or
another machine has read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from splade_bridge.data.beside import Beside
from splade_bridge.data.content import Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest
from splade_bridge.data.parts import part_files, part_name, read_note, read_part
from splade_bridge.data.store import PART_ROWS, SHARD, VectorStoreWriter
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.shards import Shard
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.inputs import check_file, fingerprint
from splade_bridge.files.typed import Where, typed
from splade_bridge.text.corpora import Text


class CorpusChangedError(BadInputError):
    """The texts are not those that finished parts were made from."""


@dataclass(frozen=True)
class PartNote:
    """What the metadata of a part's file say of its texts.

    Attributes:
        texts: how many.
        digest: over their ids and contents.
        before: digest over all texts before them.
        truncated: texts that were cut to the limit.
        split: texts that were longer and were encoded in several windows.
        replaced: texts that held lone surrogates.
    """

    texts: int
    digest: str
    before: str
    truncated: int = 0
    split: int = 0
    replaced: int = 0


@dataclass(frozen=True)
class Part:
    """Texts that become one file of the store."""

    number: int
    texts: list[Text]
    digest: str
    before: str


@dataclass(frozen=True)
class CorpusEnd:
    """What a walk through the whole corpus found, equal for all who walked through the same."""

    parts: int
    texts: int
    digest: str


class CorpusWalk:
    """Goes through a corpus and yields the parts that are still to be encoded.

    Args:
        texts: the whole corpus, also what is finished.
        part_rows: texts of a part.
        notes: of the parts that are finished.
        shard: yield only its parts.
        out: what the output is called in messages.

    Attributes:
        end: known when the walk has come to its end.
    """

    def __init__(
        self,
        texts: Iterable[Text],
        part_rows: int,
        notes: Mapping[int, PartNote],
        shard: Shard | None,
        out: str,
    ) -> None:
        self._texts = texts
        self._part_rows = part_rows
        self._notes = dict(notes)
        self._shard = shard
        self._out = out
        self.end: CorpusEnd | None = None

    def __iter__(self) -> Iterator[Part]:
        """One pass.

        Raises:
            CorpusChangedError: finished parts were made from other texts, or from more.
        """
        stream = iter(self._texts)
        number, count, before = 0, 0, ""
        while group := list(islice(stream, self._part_rows)):
            digest = texts_digest(group)
            note = self._notes.get(number)
            if note is None:
                if self._shard is None or self._shard.has(number):
                    yield Part(number, group, digest, before)
            elif (note.digest, note.before) != (digest, before):
                raise self._changed(number, group[0].place)
            number, count = number + 1, count + len(group)
            before = chained(before, digest)
        if beyond := [n for n in self._notes if n >= number]:
            raise self._changed(min(beyond), None)
        self.end = CorpusEnd(number, count, before)

    def _changed(self, number: int, place: str | None) -> CorpusChangedError:
        return CorpusChangedError(
            f"the corpus is not the one that {self._out} was begun with: part {number + 1} was "
            "made from other texts. Bring the old corpus back, or pass --overwrite to start anew",
            place,
        )


class PartStore(VectorStoreWriter):
    """The store of a corpus that is being encoded; each part remembers its texts.

    A part is read back as soon as it is there, whoever has made it, while the next is encoded: all
    of them in the end would take another tenth of the time in which one GPU makes them.

    Raises:
        BadInputError: a part that is there is damaged, or is no part of an encoding.
    """

    notes: dict[int, PartNote]

    def __init__(self, folder: Path, vocabulary: Vocabulary) -> None:
        self._content = Content(vocabulary)
        self._reading_back = Beside()
        super().__init__(folder, vocabulary)

    def written(self, number: int, note: Any, counts: Counts) -> None:
        """See :class:`.VectorStoreWriter`.

        Raises:
            BadInputError: a part before this one is damaged.
        """
        super().written(number, note, counts)
        self._reading_back.call(self._read_back, self.folder / part_name(number))

    def _read_back(self, part: Path) -> None:
        for batch in read_part(part, PART_ROWS):
            self._content.add(batch)

    def _note_of(self, part: Path) -> PartNote:
        return note_of(part)

    @property
    def texts(self) -> int:
        """Texts whose parts are whole."""
        return sum(note.texts for note in self.notes.values())

    def complete(
        self,
        encoding: EncodingInfo,
        options: dict[str, Any],
        end: CorpusEnd,
        shard: Shard | None = None,
    ) -> Manifest:
        """Write the vocabulary and the manifest.

        Args:
            encoding: with ``truncated`` still to be counted.
            end: of the corpus; all its parts, or all of the shard, must be there.

        Raises:
            BadInputError: parts are missing or damaged.
        """
        notes = self.notes.values()
        options = {**options, "replaced": sum(n.replaced for n in notes)}
        if encoding.long != "truncate":
            options["split"] = sum(n.split for n in notes)
        if shard is not None:
            options |= {"shard": str(shard), "corpus_end": dataclasses.asdict(end)}
        self._reading_back.finish()
        return self.finish(
            dataclasses.replace(encoding, truncated=sum(n.truncated for n in notes)),
            options,
            kind="vectors" if shard is None else SHARD,
            parts=[n for n in range(end.parts) if shard is None or shard.has(n)],
            content=str(self._content),
        )


def check_texts(out: Path, texts: Iterable[Text], part_rows: int, shard: Shard | None) -> None:
    """Whether the finished store ``out`` was made from these very texts, all of which are read.

    Raises:
        UsageError: it was made from others.
    """
    notes = {number: note_of(part) for number, part in part_files(out).items()}
    same = True
    try:
        same = not any(True for _ in CorpusWalk(texts, part_rows, notes, shard, str(out)))
    except CorpusChangedError:
        same = False
    if not same:
        raise UsageError(
            f"{out}: exists already, made from other texts; name another output or pass --overwrite"
        )


def note_of(part: Path) -> PartNote:
    """What the file of a part says of its texts.

    Raises:
        BadInputError: it is damaged, or no part of an encoding.
    """
    hint = "not a part of an encoding of this version ({}): pass --overwrite to start anew"
    return typed(PartNote, read_note(part), Where(str(part), said=hint))


def texts_digest(texts: Sequence[Text]) -> str:
    """A hash over ids and texts in order."""
    digest = hashlib.blake2b(digest_size=16)
    for text in texts:
        for field in (text.id, text.text):
            content = field.encode("utf-8", "surrogatepass")
            digest.update(len(content).to_bytes(8, "little"))
            digest.update(content)
    return digest.hexdigest()


def chained(before: str, digest: str) -> str:
    """The digest over all texts up to and with a part, from those before it and its own."""
    return hashlib.blake2b((before + digest).encode(), digest_size=16).hexdigest()


def files_content(files: Sequence[Path]) -> dict[str, str]:
    """Sizes of corpus files and a digest of their first and last MiB, by name below their folder.

    This is cheap, and notices a file that grew, shrank or was replaced before a text of it is
    encoded; a change in its middle is noticed by the parts themselves.

    Raises:
        BadInputError: a file cannot be read.
    """
    found = {}
    place = os.path.commonpath([file.parent for file in files])
    for file in files:
        check_file(file)
        try:
            found[file.relative_to(place).as_posix()] = fingerprint(file)
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror})", str(file)) from error
    return found
