"""CIFF files: every fault is counted, and nothing is refused that can be told."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import BoolArray, Int64Array
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import open_reader
from splade_bridge.formats.ciff_reader import ABSOLUTE, CiffReader, RawList
from splade_bridge.inspection.found import Inspection, InspectOptions
from splade_bridge.inspection.tally import Tally
from splade_bridge.inspection.vectors import Ids, finish

MAKE_AGAIN = "make the file again"


def describe(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Two passes: the records, which come last, and then the lists.

    Raises:
        BadInputError: the file is cut off, or damaged so that nothing follows from it.
    """
    with open_reader(path) as stream:
        reader = CiffReader(stream, path, options.memory)
        header = reader.header
        found.facts["header"] = {
            field.name: getattr(header, field.name) for field in header.DESCRIPTOR.fields
        }
        found.facts["docids"] = options.ciff_docids
        found.facts["records_of_a_part"] = reader.size > header.num_docs
        if options.quick:
            return
        reader.skip_lists()
        ids = Ids(found)
        rows, lengths = _records(reader, ids, found)
    tally = Tally(Vocabulary(observed=True))
    tally.begin_lists(ids.count, ids.hashed(), ids.first)
    with open_reader(path) as stream:
        reader = CiffReader(stream, path, options.memory)
        lists = _Lists(reader, rows, tally, found, absolute=options.ciff_docids == "absolute")
        lists.read()
        for _ in reader.raw_records():
            pass
    if reader.rising and options.ciff_docids == "gaps":
        found.fault(
            "docids that may be absolute",
            f"{path}: {reader.rising.lists:,} lists of two or more; in random order that would "
            f"happen once in 2^{reader.rising.bits:.0f} files",
            ABSOLUTE,
        )
    reader.seen(lists.sum, lengths)
    for odd in reader.odd_totals():
        found.fault("header totals that cannot be", odd, "nothing is made from them")
    found.facts["sorted_terms"] = lists.in_order
    names = set(tally.empty_rows().tolist())
    tally.end_lists([ids.first[n] for n in sorted(names) if n < len(ids.first)])
    if lists.lost:
        tally.content = None
        found.unknown.append("content: some postings are of no document or have no impact")
    finish(tally, found, options, "impacts")


def _records(reader: CiffReader, ids: Ids, found: Inspection) -> tuple[Int64Array | None, int]:
    """The row of each docid, None where they count from 0; and the sum of the lengths."""
    docids = np.empty(reader.header.num_docs, np.int64)
    total = 0
    for place, docid, doc_id, length in reader.raw_records():
        ids.add(doc_id, place)
        if not 0 <= docid < reader.size:
            found.fault("document records with a docid that cannot be", f"{place}: {docid}",
                        MAKE_AGAIN)  # fmt: skip
            docid = -1
        if length < 0:
            found.fault("document lengths below 0", f"{place}: {length}", MAKE_AGAIN)
        total += length
        docids[ids.count - 1] = docid
    if (docids == np.arange(len(docids))).all():
        return None, total
    found.facts["sorted_records"] = bool((np.diff(docids) > 0).all())
    used = np.sort(docids[docids >= 0])
    if twice := used[1:][used[1:] == used[:-1]].tolist():
        found.fault("docids with two records", f"docid {twice[0]:,}", MAKE_AGAIN, len(twice))
    most = int(used[-1]) if len(used) else -1
    if most >= reader.most:
        raise BadInputError(
            f"docid {most:,}: so many documents take more memory than --memory has",
            "document records",
        )
    rows = np.full(most + 1, -1, np.int64)
    for row, docid in enumerate(docids.tolist()):
        if docid >= 0:
            rows[docid] = row
    return rows, total


class _Lists:
    """What is found in the lists.

    Attributes:
        sum: of all impacts.
        lost: postings that cannot be counted in.
        in_order: whether the terms rise by their bytes.
    """

    def __init__(
        self,
        reader: CiffReader,
        rows: Int64Array | None,
        tally: Tally,
        found: Inspection,
        *,
        absolute: bool,
    ) -> None:
        self._reader, self._rows, self._tally, self._found = reader, rows, tally, found
        self._absolute = absolute
        self.sum = self.lost = 0
        self.in_order = True

    def read(self) -> None:
        """All of them."""
        last = ""
        for raw in self._reader.raw_lists():
            self._reader.rising.add(raw.docids)
            self.in_order &= raw.term > last
            last = raw.term
            self._add(raw)

    def _fault(self, fault: str, place: str, count: int = 1, remedy: str = MAKE_AGAIN) -> None:
        self._found.fault(fault, place, remedy, count)

    def _add(self, raw: RawList) -> None:
        place = f"{raw.place} (term {quoted(raw.term)})"
        vocabulary = self._tally.vocabulary
        if not raw.term or raw.term in vocabulary:
            what = "terms with two lists" if raw.term else "lists without a term"
            self._fault(what, place)
            self.lost += len(raw.tfs)
            return
        total = int(raw.tfs.sum(dtype=np.int64))
        self.sum += total
        if raw.df != len(raw.tfs):
            self._fault(
                "lists whose df is not their length", f"{place}: {raw.df:,}, not {len(raw.tfs):,}"
            )
        if raw.cf != total:
            self._fault("lists whose cf is not their sum", f"{place}: {raw.cf:,}, not {total:,}")
        if not len(raw.tfs):
            self._fault("lists without a posting", place)
            return
        docs = raw.docids if self._absolute else np.cumsum(raw.docids, dtype=np.int64)
        if (np.diff(docs) < 1).any() or docs[0] < 0:
            self._fault("lists whose docids do not rise", place)
            self.lost += len(docs)
            return
        good = self._good(raw, docs, place)
        rows = self._rows_of(docs[good], place)
        term = vocabulary.add(raw.term)
        kept = rows >= 0
        order = np.argsort(rows[kept], kind="stable")
        impacts = raw.tfs[good][kept][order]
        self._tally.add_list(term, rows[kept][order].astype(np.int32), impacts.astype(np.int32))

    def _good(self, raw: RawList, docs: Int64Array, place: str) -> BoolArray:
        low, high = raw.tfs < 1, docs >= self._reader.size
        if low.any():
            self._fault("impacts of 0 or below", f"{place}: {int(raw.tfs.min())}", int(low.sum()))
        if high.any():
            size = self._reader.size
            self._fault(
                "postings of documents that are not there",
                f"{place}: docid {int(docs[-1]):,} of {size:,}",
                int(high.sum()),
            )
        good: BoolArray = ~(low | high)
        self.lost += int((~good).sum())
        return good

    def _rows_of(self, docs: Int64Array, place: str) -> Int64Array:
        if self._rows is None:
            count = self._tally.counts.documents
            rows = np.where(docs < count, docs, -1)
        else:
            rows = np.full(len(docs), -1, np.int64)
            there = docs < len(self._rows)
            rows[there] = self._rows[docs[there]]
        if missing := int((rows < 0).sum()):
            first = int(docs[rows < 0][0])
            self._fault(
                "postings of documents without a record", f"{place}: docid {first:,}", missing
            )
            self.lost += missing
        return rows
