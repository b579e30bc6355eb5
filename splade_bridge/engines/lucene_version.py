"""Versions of Lucene: of a jar, and of what wrote an index."""

from __future__ import annotations

import re
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

from splade_bridge.errors import BadInputError, UsageError

SEGMENTS_MAGIC = 0x3FD76C17
OLDEST_FORMAT = 7
"""Of ``segments_N``: since Lucene 7.0 it says which version created the index."""
VERSION_CLASS = "org/apache/lucene/util/Version.class"


class Version(NamedTuple):
    """A release of Lucene; compares as numbers."""

    major: int
    minor: int
    bugfix: int = 0

    def __str__(self) -> str:
        return ".".join(map(str, self))

    def fits(self, asked: str) -> bool:
        """Whether it is ``asked``, which may leave the third number open.

        Raises:
            UsageError: ``asked`` is no version.
        """
        numbers = parse_version(asked)
        return self[: len(numbers)] == numbers


class IndexVersion(NamedTuple):
    """What an index says of its Lucene.

    Attributes:
        written: the Lucene of the last commit.
        created_major: the major version in which it was begun.
    """

    written: Version
    created_major: int

    def opens_in(self, lucene: Version) -> bool:
        """Whether ``lucene`` opens such an index: it is as new, and at most one major newer.

        A bugfix release brings no new codec, so the third number does not count.
        """
        return self.written[:2] <= lucene[:2] and (
            self.created_major <= lucene.major <= self.created_major + 1
        )


def parse_version(text: str) -> tuple[int, ...]:
    """``10.4`` or ``10.4.0`` as numbers.

    Raises:
        UsageError: it is neither.
    """
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,4}){1,2}", text):
        raise UsageError(f"a version of Lucene is like 10.4 or 10.4.0, not {text!r}")
    return tuple(map(int, text.split(".")))


def jar_version(jar: Path) -> Version | None:
    """The Lucene in ``jar``, which may hold much else; None if there is none, or no jar.

    The class Version has a constant for every release up to its own.
    """
    try:
        with zipfile.ZipFile(jar) as archive:
            content = archive.read(VERSION_CLASS)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None
    found = re.findall(rb"LUCENE_(\d+)_(\d+)_(\d+)", content)
    return max(Version(*map(int, numbers)) for numbers in found) if found else None


def index_version(folder: Path) -> IndexVersion:
    """Read the head of the newest ``segments_N`` of a Lucene index.

    A codec header (magic, "segments", format, all big-endian; 16 bytes of id; a suffix with its
    length), then as vInts three numbers of the version and the major version at creation:
    Lucene's SegmentInfos.

    Raises:
        BadInputError: there is none, or it is damaged, or of a Lucene before 7.0.
    """
    commits = [p for p in folder.glob("segments_*") if re.fullmatch("[0-9a-z]+", p.name[9:])]
    if not commits:
        raise BadInputError("not a Lucene index: it has no segments file", str(folder))
    commit = max(commits, key=lambda p: int(p.name[9:], 36))
    with open(commit, "rb") as stream:
        head = stream.read(64)
    try:
        magic, size = struct.unpack_from(">IB", head)
        (format_version,) = struct.unpack_from(">i", head, 5 + size)
        if magic != SEGMENTS_MAGIC or head[5 : 5 + size] != b"segments":
            raise BadInputError("not a Lucene index: its segments file is not one", str(commit))
        if format_version < OLDEST_FORMAT:
            raise BadInputError("was written by a Lucene before 7.0", str(commit))
        suffix = 5 + size + 4 + 16
        at = suffix + 1 + head[suffix]
        numbers = []
        for _ in range(4):
            value = shift = 0
            while head[at] & 0x80:
                value |= (head[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
            numbers.append(value | head[at] << shift)
            at += 1
    except (IndexError, struct.error):
        raise BadInputError("its segments file is cut: make the index again", str(commit)) from None
    return IndexVersion(Version(*numbers[:3]), numbers[3])
