"""CIFF, the Common Index File Format (Lin et al., arXiv 2003.08276; schema of osirrc/ciff).

A stream of varint-delimited protobuf messages: Header, posting lists, DocRecords. A posting holds
the gap to the docid before (the first one its docid); zeros are left out on the wire. The format
fixes no order of terms, and ``ciff``'s own tools sort after reading, so lists and records are taken
in any; what is written here is sorted, by the bytes of the terms and by docid. Records may be those
of a part of the collection (``num_docs`` below ``total_docs``). Reading trusts nothing: doubles,
gaps, df, cf, the header's counts and trailing bytes are checked, and every message names the list
or record; docs/formats.md says it all.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from splade_bridge.data.counts import Counts
from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.data.invert import DEFAULT_MEMORY, Transposer
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, Int32Array, Int64Array, sliced
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import open_reader
from splade_bridge.files.writing import atomic_writer
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.choices import CiffDocids

log = logging.getLogger(__name__)

VERSION = 1
MAX_MESSAGE = 2**31 - 1
ENCODE_CHUNK = 1 << 16
"""Postings that are encoded at once: their columns stay in the cache."""
DECODE_CHUNK = 1 << 22
"""Bytes of postings that are decoded at once: what that takes is 30 times as much."""
READ_AT_ONCE = 1 << 20
LEAST_RECORD = 6
"""Bytes of a document record: its length, a docid, and an id of one character."""
UNPACKED_MOST = {".gz": 1032, ".zst": 1 << 15}
"""What a byte of a compressed file stands for at most."""
BYTES_A_DOCUMENT = 8
"""What turning lists into documents takes for each, beside its id."""
TOLD_BITS = 20.0
"""How unlikely chance must be, as a power of 2, before reading warns of absolute docids."""
POSTING, GAP, TF = 0x22, 0x08, 0x10  # tags: field 4 of a list; fields 1 and 2 of a posting


class Messages(NamedTuple):
    """The four message classes."""

    Header: Any
    PostingsList: Any
    DocRecord: Any


@cache
def messages() -> Messages:
    """The schema, under a package name of our own.

    Two modules that register ``io.osirrc.ciff`` in one process raise TypeError; the wire format
    carries no package name, so another one reads and writes the same bytes.
    """
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    field = descriptor_pb2.FieldDescriptorProto
    schema: dict[str, list[tuple[str, int]]] = {
        "Header": [
            ("version", field.TYPE_INT32),
            ("num_postings_lists", field.TYPE_INT32),
            ("num_docs", field.TYPE_INT32),
            ("total_postings_lists", field.TYPE_INT32),
            ("total_docs", field.TYPE_INT32),
            ("total_terms_in_collection", field.TYPE_INT64),
            ("average_doclength", field.TYPE_DOUBLE),
            ("description", field.TYPE_STRING),
        ],
        "Posting": [("docid", field.TYPE_INT32), ("tf", field.TYPE_INT32)],
        "PostingsList": [
            ("term", field.TYPE_STRING),
            ("df", field.TYPE_INT64),
            ("cf", field.TYPE_INT64),
            ("postings", field.TYPE_MESSAGE),
        ],
        "DocRecord": [
            ("docid", field.TYPE_INT32),
            ("collection_docid", field.TYPE_STRING),
            ("doclength", field.TYPE_INT32),
        ],
    }
    package = "splade_bridge.ciff"
    file = descriptor_pb2.FileDescriptorProto(
        name="splade_bridge_ciff.proto", package=package, syntax="proto3"
    )
    for name, fields in schema.items():
        message = file.message_type.add(name=name)
        for number, (field_name, kind) in enumerate(fields, start=1):
            added = message.field.add(
                name=field_name, number=number, type=kind, label=field.LABEL_OPTIONAL
            )
            if kind == field.TYPE_MESSAGE:
                added.label, added.type_name = field.LABEL_REPEATED, f".{package}.Posting"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return Messages(
        *(
            message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in Messages._fields
        )
    )


def write_ciff(
    path: Path,
    batches: Iterable[ImpactBatch],
    vocabulary: Vocabulary,
    *,
    description: str,
    memory: int,
    expected: int | None = None,
) -> Counts:
    """Write documents as CIFF, gzip by suffix; returns what was written.

    ``doclength`` is the sum of a document's impacts.

    Args:
        memory: budget of sorting, in bytes.
        expected: postings to come, if known: the disk is asked for room before.

    Raises:
        ExternalProgramError: the disk is too full.
        BadInputError: a list or a length beyond what the format holds.
    """
    counts = Counts()
    # Documents come last in the file: their records wait on disk.
    with (
        Transposer(memory, path.parent, expected) as transposer,
        tempfile.TemporaryFile(dir=path.parent) as records,
    ):
        for batch in batches:
            _write_documents(records, batch, counts.documents)
            counts.add(batch)
            transposer.add(batch.indptr, batch.indices, batch.impacts)
        df = transposer.column_counts(len(vocabulary))
        order = vocabulary.bytewise_order()
        order = order[df[order] > 0]
        with atomic_writer(path) as out:
            header = messages().Header(
                version=VERSION,
                num_postings_lists=len(order),
                num_docs=counts.documents,
                total_postings_lists=len(order),
                total_docs=counts.documents,
                total_terms_in_collection=counts.impact_sum,
                average_doclength=counts.impact_sum / max(1, counts.documents),
                description=description,
            )
            _write_message(out, header.SerializeToString())
            for block in transposer.columns(order):
                _write_lists(out, block.ids, block.indptr, block.rows, block.values, vocabulary)
            records.seek(0)
            shutil.copyfileobj(records, out, 1 << 20)
    return counts


def _write_documents(out: BinaryIO, batch: ImpactBatch, first: int) -> None:
    lengths = batch.row_sums()
    if lengths.size and lengths.max() > MAX_MESSAGE:
        raise BadInputError(
            f"document {batch.ids[int(lengths.argmax())]!r}: its impacts sum to more than "
            "2^31 - 1, which CIFF cannot hold: use a smaller --scale"
        )
    record = messages().DocRecord
    for number, (doc_id, length) in enumerate(zip(batch.ids, lengths.tolist(), strict=True), first):
        message = record(docid=number, collection_docid=doc_id, doclength=length)
        _write_message(out, message.SerializeToString())


def _write_lists(
    out: BinaryIO,
    ids: Int32Array,
    indptr: Int64Array,
    docs: Int32Array,
    impacts: Int32Array,
    vocabulary: Vocabulary,
) -> None:
    gaps = np.diff(docs, prepend=0)
    gaps[indptr[:-1]] = docs[indptr[:-1]]
    encoded, ends = encode_postings(gaps, impacts)
    starts = np.concatenate([[0], ends])[indptr].tolist()
    content = encoded.tobytes()
    sums = np.add.reduceat(impacts, indptr[:-1], dtype=np.int64).tolist()
    make = messages().PostingsList
    for i, term_id in enumerate(ids.tolist()):
        df = int(indptr[i + 1] - indptr[i])
        head = make(term=vocabulary[term_id], df=df, cf=sums[i]).SerializeToString()
        body = content[starts[i] : starts[i + 1]]
        if len(head) + len(body) > MAX_MESSAGE:
            raise BadInputError(
                f"term {vocabulary[term_id]!r}: its {df:,} postings are over 2 GiB, the limit of "
                "one CIFF message"
            )
        out.write(_varint(len(head) + len(body)))
        out.write(head)
        out.write(body)


def encode_postings(gaps: Int32Array, tfs: Int32Array) -> tuple[np.ndarray, Int64Array]:
    """Postings as field 4 of a PostingsList: ``22 len [08 gap] 10 tf``, a gap of 0 left out.

    Returns:
        uint8[m] bytes and int64[n] end offsets of each posting in them.
    """
    parts, sizes = [np.empty(0, np.uint8)], [np.empty(0, np.int64)]
    for start in range(0, len(gaps), ENCODE_CHUNK):
        part = slice(start, start + ENCODE_CHUNK)
        content, size = _encode_chunk(gaps[part], tfs[part])
        parts.append(content)
        sizes.append(size)
    return np.concatenate(parts), np.cumsum(np.concatenate(sizes))


def _encode_chunk(gaps: Int32Array, tfs: Int32Array) -> tuple[np.ndarray, Int64Array]:
    """Bytes, and how many each posting takes.

    All postings are laid out in columns that are wide enough for the largest; a mask then takes
    out the bytes that are not there, row by row.
    """
    gap_bytes, tf_bytes = _varint_width(gaps), _varint_width(tfs)
    rows = np.empty((len(gaps), 4 + gap_bytes + tf_bytes), dtype=np.uint8)
    there = np.ones(rows.shape, dtype=bool)
    rows[:, 0] = POSTING
    rows[:, 2] = GAP
    there[:, 2] = gaps > 0
    _lay_out(gaps, rows[:, 3 : 3 + gap_bytes], there[:, 3 : 3 + gap_bytes])
    there[:, 3] = gaps > 0
    rows[:, 3 + gap_bytes] = TF
    _lay_out(tfs, rows[:, 4 + gap_bytes :], there[:, 4 + gap_bytes :])
    sizes = there.sum(axis=1)
    rows[:, 1] = sizes - 2
    return rows[there], sizes


def _varint_width(values: Int32Array) -> int:
    """Bytes of the longest varint among ``values``, 1 or more."""
    return max(1, -(-int(values.max(initial=0)).bit_length() // 7))


def _lay_out(values: Int32Array, rows: np.ndarray, there: np.ndarray) -> None:
    """Varints of ``values`` in the columns of ``rows``; ``there`` says which bytes are used."""
    last = rows.shape[1] - 1
    for byte in range(last + 1):
        rest = values >> (7 * byte)
        there[:, byte] = (rest > 0) if byte else True
        rows[:, byte] = rest & 127
        if byte < last:
            rows[:, byte] |= np.where(rest >= 128, 128, 0).astype(np.uint8)


class CiffSource(ImpactSource):
    """A CIFF file, turned back into documents with a bounded-memory transposition.

    Documents come in the order of their docids.

    Args:
        memory: budget in bytes of the transposition. The ids of all documents come to it.
        temporary: folder for its runs.
        docids: ``absolute`` where postings hold docids and not gaps, as an early jsonl2ciff wrote.
    """

    path: Path

    def __init__(
        self,
        path: Path,
        memory: int,
        manifest: Manifest | None = None,
        temporary: Path | None = None,
        docids: CiffDocids = "gaps",
    ) -> None:
        super().__init__(path, Vocabulary(observed=True), manifest)
        self._memory = memory
        self._temporary = temporary
        self._docids = docids

    def _read(self) -> Iterator[ImpactBatch]:
        with Transposer(self._memory, self._temporary) as transposer:
            with open_reader(self.path) as stream:
                reader = CiffReader(stream, self.path, self._memory, self._docids)
                for term, docs, tfs in reader.lists():
                    self.vocabulary.add(term)
                    transposer.add(np.array([0, len(docs)], dtype=np.int64), docs, tfs)
                numbers, ids = reader.documents()
            self._check_records(transposer, numbers)
            reader.tell_odd_totals()
            start = 0
            for block in transposer.columns(numbers):
                for first in range(0, len(block.ids), 4096):
                    last = min(first + 4096, len(block.ids))
                    part, indptr = sliced(block.indptr, first, last)
                    names = ids[start + first : start + last]
                    yield ImpactBatch(names, indptr, block.rows[part], block.values[part])
                start += len(block.ids)

    def _check_records(self, transposer: Transposer, numbers: Int32Array) -> None:
        """Refuse postings of documents that have no record, whose ids nobody knows."""
        width = int(numbers.max(initial=-1)) + 1
        counts = transposer.column_counts(max(width, transposer.width))
        counts[numbers] = 0
        if counts.any():
            missing = np.flatnonzero(counts)
            raise BadInputError(
                f"{len(missing):,} documents have {int(counts.sum()):,} postings and no record, so "
                f"that their ids are unknown; the first is docid {int(missing[0]):,}",
                str(self.path),
            )


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

    def add(self, raw: Int64Array) -> None:
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

    Raises:
        BadInputError: the header is none, or claims more than there is room for.
    """

    def __init__(
        self, stream: BinaryIO, path: Path, memory: int, docids: CiffDocids = "gaps"
    ) -> None:
        self._stream = stream
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
        self._sum = self._length_sum = 0
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
        lists = self.header.num_postings_lists
        for number in range(1, lists + 1):
            place = f"posting list {number:,} of {lists:,}"
            yield RawList(place, *self._postings_list(self._message(place), place))

    def skip_lists(self) -> None:
        """Pass over all lists.

        Raises:
            BadInputError: the file is cut off.
        """
        lists = self.header.num_postings_lists
        for number in range(1, lists + 1):
            self._message(f"posting list {number:,} of {lists:,}")

    def lists(self) -> Iterator[tuple[str, Int32Array, Int32Array]]:
        """(term, docids int32[df], impacts int32[df]) of each list.

        Raises:
            BadInputError: a list breaks the format, or its term was there before.
        """
        seen = set[str]()
        for place, term, df, cf, raw, tfs in self.raw_lists():
            place = f"{place} (term {term!r})"
            if not term or term in seen:
                why = "an empty term" if not term else "this term has a list already"
                raise self._bad(place, f"{why}: terms must be there, and unique")
            seen.add(term)
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
            self.rising.add(raw)
            yield term, self._checked(raw, place), tfs.astype(np.int32)

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
            place = f"document record {number:,} of {count:,}"
            record = self._parse(messages().DocRecord, self._message(place), place)
            yield RawRecord(place, record.docid, record.collection_docid, record.doclength)
        if self._stream.read(1):
            raise self._bad("after the last record", "there are more bytes")

    def documents(self) -> tuple[Int32Array, list[str]]:
        """The docids of all records, rising, and the collection id of each.

        Raises:
            BadInputError: a record breaks the format; or its docid or id was there before.
        """
        numbers = np.empty(self.header.num_docs, np.int64)
        ids: list[str] = []
        guard = DuplicateGuard()
        for place, docid, doc_id, length in self.raw_records():
            if not 0 <= docid < self.size:
                raise self._bad(place, f"docid {docid} of {self.size:,} documents")
            if length < 0:
                raise self._bad(place, f"doclength {length}")
            checked_id(doc_id, f"{self._path}: {place}")
            guard.check(doc_id, f"{self._path}: {place}")
            numbers[len(ids)] = docid
            ids.append(doc_id)
            self._length_sum += length
        order = np.argsort(numbers, kind="stable")
        numbers = numbers[order]
        twice = np.flatnonzero(numbers[1:] == numbers[:-1])
        if len(twice):
            at = int(order[int(twice[0]) + 1]) + 1
            raise self._bad(
                f"document record {at:,} of {len(ids):,}",
                f"docid {int(numbers[int(twice[0])])} was there before",
            )
        if (order[1:] < order[:-1]).any():
            ids = [ids[i] for i in order.tolist()]
        return numbers.astype(np.int32), ids

    def seen(self, impacts: int, lengths: int) -> None:
        """Say what others found: the sum of all impacts, and of the document lengths."""
        self._sum, self._length_sum = impacts, lengths

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
        if whole and terms and terms not in (self._sum, self._length_sum):
            odd.append(
                f"total_terms_in_collection is {terms:,}; the impacts sum to {self._sum:,}, the "
                f"document lengths to {self._length_sum:,}"
            )
        return odd

    def tell_odd_totals(self) -> None:
        """Warn of what :meth:`odd_totals` found, and of docids that seem to be absolute."""
        if odd := self.odd_totals():
            log.warning("%s: the header is odd, and is not used: %s", self._path, "; ".join(odd))
        if self.rising.sure and not self._absolute:
            log.warning("%s: %s", self._path, ABSOLUTE)

    def _message(self, place: str) -> bytes:
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
        content = bytearray()
        while len(content) < size:  # a read of all would take all at once, there or not
            piece = self._stream.read(min(size - len(content), READ_AT_ONCE))
            if not piece:
                raise self._bad(place, "the file ends inside it: it was cut off")
            content += piece
        return bytes(content)

    def _parse(self, kind: Any, content: bytes, place: str) -> Any:
        from google.protobuf.message import DecodeError

        try:
            return kind.FromString(content)
        except DecodeError as error:
            raise self._bad(place, f"not a {kind.DESCRIPTOR.name} message ({error})") from error

    def _postings_list(
        self, content: bytes, place: str
    ) -> tuple[str, int, int, Int64Array, Int64Array]:
        head = _head_length(content)
        decoded = decode_postings(np.frombuffer(content, np.uint8)[head:]) if head else None
        if decoded is not None:
            message = self._parse(messages().PostingsList, content[:head], place)
            return message.term, message.df, message.cf, *decoded
        # Legal protobuf may order or repeat fields in other ways; few writers do.
        message = self._parse(messages().PostingsList, content, place)
        gaps = np.array([p.docid for p in message.postings], dtype=np.int64)
        tfs = np.array([p.tf for p in message.postings], dtype=np.int64)
        return message.term, message.df, message.cf, gaps, tfs

    def _bad(self, place: str, what: str) -> BadInputError:
        return BadInputError(what, f"{self._path}: {place}")


def _head_length(content: bytes) -> int:
    """Bytes before the first posting if the fields stand in their usual order, else 0."""
    at = 0
    if content[:1] != b"\x0a":
        return 0
    size, at = _read_varint(content, 1)
    at += size
    for tag in (0x10, 0x18):
        if content[at : at + 1] == bytes([tag]):
            _, at = _read_varint(content, at + 1)
    return at if content[at : at + 1] == bytes([POSTING]) else 0


def decode_postings(content: np.ndarray) -> tuple[Int64Array, Int64Array] | None:
    """Gaps and impacts from the bytes of :func:`encode_postings`, or None if written otherwise."""
    if len(content) < 4:
        return None
    found = [(np.empty(0, np.int32), np.empty(0, np.int32))]
    if content[0] == POSTING and content[2] == TF and content[1] < 128:
        # docid 0 is left out: put it in, so that all postings look alike
        first = np.array([POSTING, content[1] + 2, GAP, 0], dtype=np.uint8)
        content = np.concatenate([first, content[2:]])
    start = 0
    while start < len(content):
        chunk = content[start : start + DECODE_CHUNK]
        ends = np.flatnonzero(chunk < 128)
        ends = ends[: len(ends) // 6 * 6]  # a posting is six varints
        if not len(ends):
            return None
        some = _decode_chunk(chunk[: ends[-1] + 1], ends)
        if some is None:
            return None
        found.append(some)
        start += int(ends[-1]) + 1
    gaps, tfs = (np.concatenate(column, dtype=np.int64) for column in zip(*found, strict=True))
    return gaps, tfs


def _decode_chunk(content: np.ndarray, ends: Int64Array) -> tuple[Int32Array, Int32Array] | None:
    """Gaps and impacts of whole postings; ``ends`` are the last bytes of their varints."""
    lengths = np.diff(ends, prepend=-1)
    starts = ends - lengths + 1
    if lengths.max() > 5:
        return None
    fields = lengths.reshape(-1, 6), starts.reshape(-1, 6)
    for column, tag in ((0, POSTING), (2, GAP), (4, TF)):
        if (fields[0][:, column] != 1).any() or (content[fields[1][:, column]] != tag).any():
            return None
    body = fields[0][:, 2:].sum(axis=1)
    if (fields[0][:, 1] != 1).any() or (content[fields[1][:, 1]] != body).any():
        return None
    gaps, tfs = (_varints(content, fields[1][:, c], fields[0][:, c]) for c in (3, 5))
    if max(gaps.max(), tfs.max()) > MAX_MESSAGE:  # more than an int32: protobuf cuts it
        return None
    return gaps.astype(np.int32), tfs.astype(np.int32)


def _varints(content: np.ndarray, starts: Int64Array, lengths: Int64Array) -> Int64Array:
    values = (content[starts] & 127).astype(np.int64)
    for byte in range(1, 5):
        longer = np.flatnonzero(lengths > byte)
        if not len(longer):
            break
        values[longer] |= (content[starts[longer] + byte] & 127).astype(np.int64) << (7 * byte)
    return values


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
    return value, at


def _write_message(out: BinaryIO, content: bytes) -> None:
    out.write(_varint(len(content)))
    out.write(content)
