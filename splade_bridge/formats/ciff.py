"""CIFF, the Common Index File Format (Lin et al., arXiv 2003.08276; schema of osirrc/ciff).

A stream of varint-delimited protobuf messages: Header, posting lists in byte order of their
terms, DocRecords in docid order. A posting holds the gap to the docid before (the first one its
docid); zeros are left out on the wire. Reading trusts nothing: order, gaps, df, cf, the header's
counts and trailing bytes are checked, and every message names the list or record.
"""

from __future__ import annotations

import logging
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

    Args:
        memory: budget in bytes of the transposition. The ids of all documents come to it.
        temporary: folder for its runs.
    """

    def __init__(
        self,
        path: Path,
        memory: int,
        manifest: Manifest | None = None,
        temporary: Path | None = None,
    ) -> None:
        super().__init__(path, Vocabulary(observed=True), manifest)
        self._memory = memory
        self._temporary = temporary

    def _read(self) -> Iterator[ImpactBatch]:
        with Transposer(self._memory, self._temporary) as transposer:
            with open_reader(self.path) as stream:
                reader = _Reader(stream, self.path, self._memory)
                for term, docs, tfs in reader.lists():
                    self.vocabulary.add(term)
                    transposer.add(np.array([0, len(docs)], dtype=np.int64), docs, tfs)
                ids = reader.doc_ids()
            for block in transposer.columns(np.arange(len(ids), dtype=np.int32)):
                for start in range(0, len(block.ids), 4096):
                    stop = min(start + 4096, len(block.ids))
                    part, indptr = sliced(block.indptr, start, stop)
                    names = [ids[i] for i in block.ids[start:stop].tolist()]
                    yield ImpactBatch(names, indptr, block.rows[part], block.values[part])


class _Reader:
    """One pass over a CIFF stream; checks as it goes."""

    def __init__(self, stream: BinaryIO, path: Path, memory: int) -> None:
        self._stream = stream
        self._path = path
        header = self._parse(messages().Header, self._message("header"), "header")
        if header.version != VERSION:
            raise self._bad(
                "header", f"version {header.version}; only 1 is known: not a CIFF file?"
            )
        if header.num_docs < 1 or header.num_postings_lists < 1:
            raise self._bad("header", "no documents or no posting lists")
        self._num_docs: int = header.num_docs
        self._num_lists: int = header.num_postings_lists
        self._check_claim(memory)

    def _check_claim(self, memory: int) -> None:
        """Refuse more documents than the file or the memory has room for.

        What is allocated for them comes before their records.
        """
        claim = f"{self._num_docs:,} documents are said to be in it"
        if self._path.is_file():
            ratio = UNPACKED_MOST.get(self._path.suffix.lower(), 1)
            most = self._path.stat().st_size * ratio // LEAST_RECORD + 1
            if self._num_docs > most:
                raise self._bad("header", f"{claim}, and it has no room for {most + 1:,}: damaged")
        wanted = BYTES_A_DOCUMENT * self._num_docs
        if wanted > max(memory, DEFAULT_MEMORY):
            raise self._bad(
                "header", f"{claim}, which take {wanted / 1e9:.1f} GB of memory: give it --memory"
            )

    def lists(self) -> Iterator[tuple[str, Int32Array, Int32Array]]:
        """(term, docids int32[df], impacts int32[df]) of each list."""
        last = ""
        for number in range(1, self._num_lists + 1):
            place = f"posting list {number:,} of {self._num_lists:,}"
            term, df, cf, gaps, tfs = self._postings_list(self._message(place), place)
            place = f"{place} (term {term!r})"
            if not term or (term <= last and number > 1):
                raise self._bad(
                    place, f"terms must be there, unique and sorted; {last!r} came before"
                )
            last = term
            if df != len(tfs):
                raise self._bad(place, f"df is {df:,}, but there are {len(tfs):,} postings")
            if not len(tfs):
                raise self._bad(place, "no postings")
            if (tfs < 1).any():
                raise self._bad(place, "an impact below 1")
            if cf != int(tfs.sum(dtype=np.int64)):
                raise self._bad(place, f"cf is {cf:,}, the impacts sum to {int(tfs.sum()):,}")
            if (gaps[1:] < 1).any() or gaps[0] < 0:
                raise self._bad(place, "docids must increase")
            docs = np.cumsum(gaps, dtype=np.int64)
            if docs[-1] >= self._num_docs:
                raise self._bad(place, f"docid {docs[-1]:,} of {self._num_docs:,} documents")
            yield term, docs.astype(np.int32), tfs.astype(np.int32)

    def doc_ids(self) -> list[str]:
        """Collection ids in docid order; then the stream must end."""
        ids = []
        guard = DuplicateGuard()
        for number in range(self._num_docs):
            place = f"document record {number + 1:,} of {self._num_docs:,}"
            record = self._parse(messages().DocRecord, self._message(place), place)
            if record.docid != number:
                raise self._bad(place, f"docid {record.docid} instead of {number}")
            if record.doclength < 0:
                raise self._bad(place, f"doclength {record.doclength}")
            doc_id = checked_id(record.collection_docid, f"{self._path}: {place}")
            guard.check(doc_id, f"{self._path}: {place}")
            ids.append(doc_id)
        if self._stream.read(1):
            raise self._bad("after the last record", "there are more bytes")
        return ids

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
