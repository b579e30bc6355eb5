"""A first look at a path, from which every kind is recognised: names, first bytes, first lines."""

from __future__ import annotations

import codecs
import json
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Manifest
from splade_bridge.errors import BadInputError
from splade_bridge.files.folders import members
from splade_bridge.files.lines import open_reader, plain_suffix
from splade_bridge.files.outputs import manifest_file
from splade_bridge.formats.base import export_manifest
from splade_bridge.text.corpora import JSON_SUFFIXES

SPLIT = " \t\n\v\f\r"
"""White space as trec_eval takes it: of ASCII alone."""
HEAD = 1 << 22
BY_PAIR = re.compile(rb'\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\{\s*"(?:[^"\\]|\\.)*"\s*:\s*-?[0-9]')
NUMBER = re.compile(rb'"\s*:\s*(-?[0-9.eE+-]+)')
HIGHEST_GRADE = 20
LINES = 200


class Look:
    """What is seen of ``path`` without reading it.

    Args:
        anew: hash files of ours, whatever is remembered of them.
    """

    def __init__(self, path: Path, *, anew: bool = False) -> None:
        self.path = path
        self.is_dir = path.is_dir()
        self.suffix = "" if self.is_dir else plain_suffix(path)
        self._anew = anew

    def has(self, *patterns: str) -> bool:
        """Whether a folder has a file of each name."""
        return self.is_dir and all(any(self.path.glob(pattern)) for pattern in patterns)

    @cached_property
    def manifest(self) -> Manifest | None:
        """That of the folder, whose files are compared with it; or of the export around it.

        Raises:
            BadInputError: something is not as it was written.
        """
        if self.is_ours:
            return Manifest.load(self.path, anew=self._anew)
        return export_manifest(self.path)

    @property
    def is_ours(self) -> bool:
        """Whether it has a manifest of its own."""
        return self.is_dir and manifest_file(self.path).is_file()

    @cached_property
    def first_file(self) -> Path | None:
        """The file itself, or the first JSON of a folder."""
        if not self.is_dir:
            return self.path
        try:
            taken = members(self.path, JSON_SUFFIXES, without="qrels").taken
        except BadInputError:
            return None
        return taken[0] if taken else None

    @cached_property
    def head(self) -> bytes:
        """The first bytes, decompressed; none where that cannot be done."""
        if self.first_file is None:
            return b""
        try:
            with open_reader(self.first_file) as stream:
                found = b""
                while len(found) < HEAD and (block := stream.read(HEAD - len(found))):
                    found += block
                return found.removeprefix(codecs.BOM_UTF8)
        except (BadInputError, OSError):
            return b""

    @cached_property
    def lines(self) -> list[str]:
        """The first lines that are neither blank nor a comment; none of what is no text."""
        head = self.head
        if len(head) == HEAD:
            head = head[: head.rfind(b"\n") + 1]
        try:
            text = head.decode()
        except UnicodeDecodeError:
            return []
        found = [x for x in text.split("\n", LINES * 2)[: LINES * 2] if x.strip()]
        return [] if "\0" in text else [x for x in found if not x.startswith("#")][:LINES]

    @cached_property
    def columns(self) -> list[list[str]]:
        """The same lines, cut at white space."""
        blanks = {ord(c): " " for c in SPLIT}
        return [[c for c in x.translate(blanks).split(" ") if c] for x in self.lines]

    @cached_property
    def numbers_by_pair(self) -> list[float] | None:
        """The first numbers of ``{query: {document: number}}``; None for anything else."""
        if self.is_dir or not BY_PAIR.match(self.head.lstrip()):
            return None
        try:
            return [float(n) for n in NUMBER.findall(self.head[: HEAD >> 4])]
        except ValueError:
            return None

    @property
    def judgements(self) -> bool:
        """Whether those numbers look like grades, and not like scores."""
        return all(n == int(n) and abs(n) <= HIGHEST_GRADE for n in self.numbers_by_pair or [])

    @cached_property
    def first_object(self) -> dict[str, Any]:
        """The first object of JSON, in an array or not; empty where there is none."""
        text = self.head.decode(errors="ignore").lstrip().removeprefix("[").lstrip()
        if not text.startswith("{"):
            return {}
        try:
            found, _ = json.JSONDecoder().raw_decode(text)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
