"""Reads CIFF, trusting nothing: see :mod:`splade_bridge.formats.ciff`."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Iterator
from io import BufferedReader, RawIOBase
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np

from splade_bridge.data.content import ID, UInt64Array, hashed
from splade_bridge.data.ids import DuplicateGuard, check_ids, checked_id
from splade_bridge.data.invert import DEFAULT_MEMORY
from splade_bridge.data.posting_lists import has_twice
from splade_bridge.data.vectors import Int32Array, Int64Array
from splade_bridge.errors import BadInputError
from splade_bridge.formats.choices import CiffDocids
from splade_bridge.formats.ciff_messages import (
    CUT,
    FIELD_1,
    MAX_MESSAGE,
    READ_AT_ONCE,
    VERSION,
    messages,
    read_varint,
    varint,
)
from splade_bridge.formats.ciff_postings import (
    POSTING,
    TF,
    decode_all,
    decode_postings,
    with_gap,
)

log = logging.getLogger(__name__)

DECODED_TOGETHER = 1 << 19
"""Bytes of lists that are decoded and checked together; a call for each of many takes longer."""
RECORDS_TOGETHER = 4096
LEAST_RECORD = 6
"""Bytes of a document record: its length, a docid, and an id of one character."""
HEAD = 1024
"""Bytes of a list that are looked at where it is passed over."""
UNPACKED_MOST = {".gz": 1032, ".zst": 1 << 15}
"""What a byte of a compressed file stands for at most."""
BYTES_A_DOCUMENT = 8
"""What turning lists into documents takes for each, beside its id."""
TOLD_BITS = 20.0
"""How unlikely chance must be, as a power of 2, before reading warns of absolute docids."""


class RawList(NamedTuple):
    """A posting list as it stands in the file.

    Attributes:
        docids: int64[n], gaps or whatever the writer has put there.
        tfs: int64[n].
    """

    place: str
    term: str
    df: int
    cf: int
    docids: Int64Array
    tfs: Int64Array


class Lists(NamedTuple):
    """Some posting lists, checked.

    Attributes:
        terms: n, each once in a file.
        indptr: int64[n + 1], list i is ``docs[indptr[i]:indptr[i + 1]]``.
        docs: int32[nnz], docids.
        impacts: int32[nnz].
    """

    terms: list[str]
    indptr: Int64Array
    docs: Int32Array
    impacts: Int32Array


class Heads(NamedTuple):
    """What the first bytes of all lists say.

    Attributes:
        in_order: whether their terms rise by their bytes.
        postings: how many there are.
    """

    in_order: bool
    postings: int


class Records(NamedTuple):
    """All document records, by their docids.

    Attributes:
        numbers: int32[n], docids, rising.
        ids: n.
        hashes: uint64[2, n], see :func:`.content.hashed`.
    """

    numbers: Int32Array
    ids: list[str]
    hashes: UInt64Array


class RawRecord(NamedTuple):
    """A document record as it stands in the file."""

    place: str
    docid: int
    doc_id: str
    length: int


class Rising:
    """Whether raw docids rise strictly in every list of two or more: absolute ones do, gaps hardly.

    Attributes:
        lists: of two or more so far.
        bits: -log2 of the chance that numbers in random order would.
    """

    def __init__(self) -> None:
        self.lists = 0
        self.bits = 0.0
        self._all = True

    def add_all(self, raw: Int32Array, indptr: Int64Array) -> None:
        """Look at some more lists: list i is ``raw[indptr[i]:indptr[i + 1]]``."""
        ends = indptr.tolist()
        for start, end in pairwise(ends):
            if not self._all:
                return
            self.add(raw[start:end])

    def add(self, raw: Int64Array | Int32Array) -> None:
        """Look at one more list."""
        if len(raw) > 1 and self._all:
            self.lists += 1
            self.bits += math.lgamma(len(raw) + 1) / math.log(2)
            self._all = bool((raw[1:] > raw[:-1]).all())

    def __bool__(self) -> bool:
        return self._all and self.lists > 0

    @property
    def sure(self) -> bool:
        """Whether chance alone would be strange."""
        return bool(self) and self.bits >= TOLD_BITS


ABSOLUTE = (
    "in every list of two or more the numbers rise strictly, so these may be docids and not gaps, "
    "as an early jsonl2ciff wrote them: read it with --ciff-docids absolute"
)


class CiffReader:
    """One pass over a CIFF stream: first the lists, then the records.

    Attributes:
        header: the message.
        rising: of the lists that were read.
        most: documents that there is memory for.
        size: docids are below it: the header's documents, all where there are records of some.
        length_sum: of the document lengths that were read.

    Raises:
        BadInputError: the header is none, or claims more than there is room for.
    """

    def __init__(
        self, stream: BinaryIO, path: Path, memory: int, docids: CiffDocids = "gaps"
    ) -> None:
        if not hasattr(stream, "peek"):
            stream = BufferedReader(cast(RawIOBase, stream), READ_AT_ONCE)
        self._stream = cast(BufferedReader, stream)
        self._path = path
        self._absolute = docids == "absolute"
        self.most = max(memory, DEFAULT_MEMORY) // BYTES_A_DOCUMENT
        header = self._parse(messages().Header, self._message("header"), "header")
        if header.version != VERSION:
            raise self._bad(
                "header", f"version {header.version}; only 1 is known: not a CIFF file?"
            )
        if header.num_docs < 1 or header.num_postings_lists < 1:
            raise self._bad("header", "no documents or no posting lists")
        self.header = header
        self.rising = Rising()
        self.size = max(header.num_docs, header.total_docs)
        self._sum = self.length_sum = 0
        self._seen = set[str]()
        self._check_claim()

    def _check_claim(self) -> None:
        """Refuse more documents than the file or the memory has room for.

        What is allocated for them comes before their records.
        """
        count: int = self.header.num_docs
        claim = f"{count:,} documents are said to be in it"
        if self._path.is_file():
            ratio = UNPACKED_MOST.get(self._path.suffix.lower(), 1)
            most = self._path.stat().st_size * ratio // LEAST_RECORD + 1
            if count > most:
                raise self._bad("header", f"{claim}, and it has no room for {most + 1:,}: damaged")
        if count > self.most:
            wanted = BYTES_A_DOCUMENT * count
            raise self._bad(
                "header", f"{claim}, which take {wanted / 1e9:.1f} GB of memory: give it --memory"
            )

    def raw_lists(self) -> Iterator[RawList]:
        """All lists as they stand there, unchecked.

        Raises:
            BadInputError: the file is cut off, or what should be a list is none.
        """
        for place, content in self._list_messages():
            yield self._raw_list(place, content)

    def skip_lists(self) -> Heads:
        """Pass over all lists, and look at the first bytes of each.

        Raises:
            BadInputError: the file is cut off.
        """
        plain = self._path.suffix.lower() not in UNPACKED_MOST and self._path.is_file()
        end = self._path.stat().st_size if plain else None
        lists = self.header.num_postings_lists
        in_order, postings, last = True, 0, b""
        for number in range(1, lists + 1):
            place = f"posting list {number:,} of {lists:,}"
            if end is None:
                head = self._message(place)
            else:
                size = self._size(place)
                if self._stream.tell() + size > end:
                    raise self._bad(place, CUT)
                head = self._stream.read(min(size, HEAD))
                self._stream.seek(size - len(head), os.SEEK_CUR)
            term, df = _head(head)
            in_order = in_order and last < term
            postings, last = postings + df, term
        return Heads(in_order, postings)

    def _list_messages(self) -> Iterator[tuple[str, bytes]]:
        lists = self.header.num_postings_lists
        for number in range(1, lists + 1):
            place = f"posting list {number:,} of {lists:,}"
            yield place, self._message(place)

    def blocks(self) -> Iterator[Lists]:
        """All lists, many at a time.

        Raises:
            BadInputError: a list breaks the format, or its term was there before.
        """
        waiting: list[tuple[str, bytes]] = []
        size = 0
        for place, content in self._list_messages():
            waiting.append((place, content))
            size += len(content)
            if size >= DECODED_TOGETHER:
                yield from self._checked_lists(waiting)
                waiting, size = [], 0
        yield from self._checked_lists(waiting)

    def _checked_lists(self, waiting: list[tuple[str, bytes]]) -> Iterator[Lists]:
        """All together where nothing is odd; else one by one, which names what is broken."""
        together = self._usual(waiting) if waiting and not self._absolute else None
        if together is not None:
            yield together
            return
        for place, content in waiting:
            term, docs, tfs = self._checked_list(self._raw_list(place, content))
            yield Lists([term], np.array([0, len(docs)], np.int64), docs, tfs)

    def _usual(self, waiting: list[tuple[str, bytes]]) -> Lists | None:
        """Lists of gaps as most write them; None where :meth:`_checked_list` has to look."""
        from google.protobuf.message import DecodeError

        heads, bodies = [], []
        for _, content in waiting:
            head = _head_length(content)
            try:
                heads.append(messages().PostingsList.FromString(content[:head]))
            except DecodeError:
                return None
            body = memoryview(content)[head:]
            if not head or len(body) < 4 or body[1] > 127:
                return None
            bodies.append(with_gap(body.tobytes()) if body[2] == TF else body)
        terms = [head.term for head in heads]
        sizes = np.cumsum([len(body) for body in bodies])
        found = decode_all(np.frombuffer(b"".join(bodies), np.uint8))
        if found is None or not self._new(terms):
            return None
        gaps, tfs, ends = found
        last = np.searchsorted(ends, sizes)
        indptr = np.concatenate([[0], last + 1])
        if int(indptr[-1]) > len(ends) or (ends[last] != sizes).any():
            return None
        starts = indptr[:-1]
        sums = np.add.reduceat(tfs, starts, dtype=np.int64)
        if (
            int(tfs.min()) < 1
            or (np.diff(indptr) != [head.df for head in heads]).any()
            or (sums != [head.cf for head in heads]).any()
        ):
            return None
        rising = gaps > 0
        rising[starts] = True
        largest = int(np.add.reduceat(gaps, starts, dtype=np.int64).max())
        if not rising.all() or largest >= min(self.size, self.most):
            return None
        docs = np.cumsum(gaps, dtype=np.int32)  # may wrap, and the subtraction wraps back
        docs -= np.repeat(docs[starts] - gaps[starts], np.diff(indptr))
        self._seen.update(terms)
        self._sum += int(sums.sum())
        self.rising.add_all(gaps, indptr)
        return Lists(terms, indptr, docs, tfs)

    def _new(self, terms: list[str]) -> bool:
        """Whether these are terms, and none was there before."""
        own = set(terms)
        return "" not in own and len(own) == len(terms) and own.isdisjoint(self._seen)

    def _checked_list(self, raw: RawList) -> tuple[str, Int32Array, Int32Array]:
        """(term, docids int32[df], impacts int32[df]) of a list."""
        place, term, df, cf, docids, tfs = raw
        place = f"{place} (term {term!r})"
        if not term or term in self._seen:
            why = "an empty term" if not term else "this term has a list already"
            raise self._bad(place, f"{why}: terms must be there, and unique")
        self._seen.add(term)
        if df != len(tfs):
            raise self._bad(place, f"df is {df:,}, but there are {len(tfs):,} postings")
        if not len(tfs):
            raise self._bad(place, "no postings")
        if (tfs < 1).any():
            raise self._bad(place, "an impact below 1")
        found = int(tfs.sum(dtype=np.int64))
        if cf != found:
            raise self._bad(place, f"cf is {cf:,}, the impacts sum to {found:,}")
        self._sum += found
        self.rising.add(docids)
        return term, self._checked(docids, place), tfs.astype(np.int32)

    def _checked(self, raw: Int64Array, place: str) -> Int32Array:
        """The docids that ``raw`` stands for."""
        docs = raw if self._absolute else np.cumsum(raw, dtype=np.int64)
        if (np.diff(docs) < 1).any() or docs[0] < 0:
            hint = (
                "; they are gaps, perhaps: read it without --ciff-docids absolute"
                if self._absolute
                else ""
            )
            raise self._bad(place, f"docids must increase{hint}")
        if docs[-1] >= self.size:
            hint = f"; {ABSOLUTE}" if not self._absolute and self.rising else ""
            raise self._bad(
                place, f"docid {docs[-1]:,} of {self.header.num_docs:,} documents{hint}"
            )
        if docs[-1] >= self.most:
            raise self._bad(
                place,
                f"docid {docs[-1]:,}: so many documents take "
                f"{BYTES_A_DOCUMENT * int(docs[-1]) / 1e9:.1f} GB of memory: give it --memory",
            )
        return docs.astype(np.int32)

    def raw_records(self) -> Iterator[RawRecord]:
        """All document records as they stand there, unchecked; then the stream must end.

        Raises:
            BadInputError: the file is cut off, what should be a record is none, or more follows.
        """
        count = self.header.num_docs
        for number in range(1, count + 1):
            place = _record(number, count)
            record = self._parse(messages().DocRecord, self._message(place), place)
            yield RawRecord(place, record.docid, record.collection_docid, record.doclength)
        self._check_end()

    def documents(self) -> Records:
        """All records.

        Raises:
            BadInputError: a record breaks the format; or its docid or id was there before.
        """
        count = self.header.num_docs
        numbers = np.empty(count, np.int64)
        ids: list[str] = []
        while len(ids) < count:
            first = len(ids)
            docids, names, lengths = self._some_records(first)
            numbers[first : first + len(names)] = docids
            ids += names
            self.length_sum += sum(lengths)
        self._check_end()
        hashes = hashed(ids, ID)
        if has_twice(hashes[0]):
            guard = DuplicateGuard()
            for number, doc_id in enumerate(ids, 1):
                guard.check(doc_id, f"{self._path}: {_record(number, count)}")
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        twice = np.flatnonzero(numbers[1:] == numbers[:-1])
        if len(twice):
            at = int(order[int(twice[0]) + 1]) + 1
            raise self._bad(
                _record(at, count), f"docid {int(numbers[int(twice[0])])} was there before"
            )
        if (order[1:] < order[:-1]).any():
            ids, hashes = [ids[i] for i in order.tolist()], hashes[:, order]
        return Records(numbers.astype(np.int32), ids, hashes)

    def _some_records(self, first: int) -> tuple[list[int], list[str], list[int]]:
        """Docids, ids and lengths of the next records, each of which is checked."""
        count = self.header.num_docs
        docids: list[int] = []
        ids: list[str] = []
        lengths: list[int] = []
        last = min(first + RECORDS_TOGETHER, count)
        framed: list[bytes] = []
        while len(framed) < last - first:
            some = self._framed(last - first - len(framed))
            if not some:  # a record over the end of what lies in the buffer
                content = self._message(_Record((first + len(framed) + 1, count)))
                some = [varint(len(content)) + content]
            framed += some
        for record in self._parsed_records(framed, first):
            docids.append(record.docid)
            ids.append(record.collection_docid)
            lengths.append(record.doclength)
        try:
            check_ids(ids, str(self._path))
            good = min(docids) >= 0 and max(docids) < self.size and min(lengths) >= 0
        except BadInputError:
            good = False
        if not good:
            for number, (docid, doc_id, length) in enumerate(
                zip(docids, ids, lengths, strict=True), first + 1
            ):
                self._check_record(RawRecord(_record(number, count), docid, doc_id, length))
        return docids, ids, lengths

    def _framed(self, most: int) -> list[bytes]:
        """The next messages, each behind its length, as far as they lie in the buffer whole."""
        window = self._stream.peek(READ_AT_ONCE)
        found: list[bytes] = []
        at, end = 0, len(window) - 1
        while len(found) < most and at < end:
            size, start = window[at], at + 1
            if size > 127:
                if window[start] > 127:  # 16 KiB or more
                    break
                size, start = size & 127 | window[start] << 7, start + 1
            if start + size > len(window):
                break
            found.append(window[at : start + size])
            at = start + size
        self._stream.read(at)
        return found

    def _parsed_records(self, framed: list[bytes], first: int) -> Iterable[Any]:
        """The records of these messages: as fields of one message, or one by one to name a bad."""
        from google.protobuf.message import DecodeError

        together = FIELD_1 + FIELD_1.join(framed)
        try:
            return messages().Records.FromString(together).records  # type: ignore[no-any-return]
        except DecodeError:
            kind, count = messages().DocRecord, self.header.num_docs
            return [
                self._parse(kind, content[read_varint(content, 0)[1] :], _Record((number, count)))
                for number, content in enumerate(framed, first + 1)
            ]

    def _check_record(self, record: RawRecord) -> None:
        place, docid, doc_id, length = record
        if not 0 <= docid < self.size:
            raise self._bad(place, f"docid {docid} of {self.size:,} documents")
        if length < 0:
            raise self._bad(place, f"doclength {length}")
        checked_id(doc_id, f"{self._path}: {place}")

    def _check_end(self) -> None:
        if self._stream.read(1):
            raise self._bad("after the last record", "there are more bytes")

    def seen(self, impacts: int, lengths: int) -> None:
        """Say what others found: the sum of all impacts, and of the document lengths."""
        self._sum, self.length_sum = impacts, lengths

    def odd_totals(self) -> list[str]:
        """What the header says of the whole and cannot be; complete after the records.

        Nothing is made from these numbers, and exporters differ in what they count: the sum of
        terms may be that of the impacts or that of the document lengths (Java's writes 1 for each),
        and 0 says nothing. Where lists or records of the whole are missing, no sum is compared.
        """
        header, odd = self.header, []
        for name, own, what in (
            ("total_postings_lists", header.num_postings_lists, "posting lists"),
            ("total_docs", header.num_docs, "documents"),
        ):
            total = getattr(header, name)
            if total and total < own:
                odd.append(f"{name} is {total:,}, and there are {own:,} {what}")
        whole = (
            header.total_docs in (0, header.num_docs)
            and header.total_postings_lists in (0, header.num_postings_lists)
        )  # fmt: skip
        terms = header.total_terms_in_collection
        if whole and terms and terms not in (self._sum, self.length_sum):
            odd.append(
                f"total_terms_in_collection is {terms:,}; the impacts sum to {self._sum:,}, the "
                f"document lengths to {self.length_sum:,}"
            )
        return odd

    def tell_odd_totals(self) -> None:
        """Warn of what :meth:`odd_totals` found, and of docids that seem to be absolute."""
        if odd := self.odd_totals():
            log.warning("%s: the header is odd, and is not used: %s", self._path, "; ".join(odd))
        if self.rising.sure and not self._absolute:
            log.warning("%s: %s", self._path, ABSOLUTE)

    def _message(self, place: object) -> bytes:
        size = self._size(place)
        content = self._stream.read(min(size, READ_AT_ONCE))
        if READ_AT_ONCE <= len(content) < size:
            whole = bytearray(content)
            while len(whole) < size:  # a read of all would take all at once, there or not
                if not (piece := self._stream.read(min(size - len(whole), READ_AT_ONCE))):
                    break
                whole += piece
            content = bytes(whole)
        if len(content) < size:
            raise self._bad(place, CUT)
        return content

    def _size(self, place: object) -> int:
        """Bytes of the next message."""
        size, shift = 0, 0
        while True:
            byte = self._stream.read(1)
            if not byte:
                raise self._bad(place, "the file ends here: it was cut off")
            size |= (byte[0] & 127) << shift
            if byte[0] < 128:
                break
            shift += 7
            if shift > 28:
                raise self._bad(place, "a length beyond 2 GiB: not CIFF, or damaged")
        if size > MAX_MESSAGE:
            raise self._bad(place, "a length beyond 2 GiB: not CIFF, or damaged")
        return size

    def _parse(self, kind: Any, content: bytes, place: object) -> Any:
        from google.protobuf.message import DecodeError

        try:
            return kind.FromString(content)
        except DecodeError as error:
            raise self._bad(place, f"not a {kind.DESCRIPTOR.name} message ({error})") from error

    def _raw_list(self, place: str, content: bytes) -> RawList:
        head = _head_length(content)
        decoded = decode_postings(np.frombuffer(content, np.uint8)[head:]) if head else None
        if decoded is not None:
            message = self._parse(messages().PostingsList, content[:head], place)
            return RawList(place, message.term, message.df, message.cf, *decoded)
        # Legal protobuf may order or repeat fields in other ways; few writers do.
        message = self._parse(messages().PostingsList, content, place)
        gaps = np.array([p.docid for p in message.postings], dtype=np.int64)
        tfs = np.array([p.tf for p in message.postings], dtype=np.int64)
        return RawList(place, message.term, message.df, message.cf, gaps, tfs)

    def _bad(self, place: object, what: str) -> BadInputError:
        return BadInputError(what, f"{self._path}: {place}")


def _head(content: bytes) -> tuple[bytes, int]:
    """The term and df of a list, as far as they stand in their usual places; else nothing and 0."""
    if content[:1] != b"\x0a":
        return b"", 0
    size, at = read_varint(content, 1)
    end = at + size
    if end > len(content):  # a term beyond what is looked at
        return b"", 0
    df = read_varint(content, end + 1)[0] if content[end : end + 1] == b"\x10" else 0
    return content[at:end], df


def _head_length(content: bytes) -> int:
    """Bytes before the first posting if the fields stand in their usual order, else 0."""
    at = 0
    if content[:1] != b"\x0a":
        return 0
    size, at = read_varint(content, 1)
    at += size
    for tag in (0x10, 0x18):
        if content[at : at + 1] == bytes([tag]):
            _, at = read_varint(content, at + 1)
    return at if content[at : at + 1] == bytes([POSTING]) else 0


class _Record(tuple[int, int]):
    """The place of a record, made into words only where it is told."""

    def __str__(self) -> str:
        return _record(*self)


def _record(number: int, count: int) -> str:
    return f"document record {number:,} of {count:,}"
