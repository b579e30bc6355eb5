"""ciff-toolkit's writer on posting lists in memory; run by engines.py in a venv of its own.

ciff-toolkit needs protobuf < 5, which cannot stand beside ours.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from ciff_toolkit.ciff_pb2 import DocRecord, Header, Posting, PostingsList
from ciff_toolkit.write import CiffWriter


def main() -> None:
    data = np.load(sys.argv[1])
    indptr, docs, impacts = data["indptr"], data["docs"], data["impacts"]
    documents = int(data["documents"])
    started = time.perf_counter()
    with CiffWriter(sys.argv[2]) as writer:
        writer.write_header(
            Header(version=1, num_postings_lists=len(indptr) - 1, num_docs=documents)
        )
        writer.write_postings_lists(lists(indptr, docs, impacts))
        writer.write_documents(
            DocRecord(docid=i, collection_docid=str(i), doclength=1) for i in range(documents)
        )
    print(time.perf_counter() - started)


def lists(indptr, docs, impacts):  # type: ignore[no-untyped-def]
    for i in range(len(indptr) - 1):
        part = slice(indptr[i], indptr[i + 1])
        gaps = np.diff(docs[part], prepend=0).tolist()
        tfs = impacts[part].tolist()
        postings = [Posting(docid=g, tf=t) for g, t in zip(gaps, tfs)]  # noqa: B905
        yield PostingsList(term=f"{i:08d}", df=len(tfs), cf=sum(tfs), postings=postings)


if __name__ == "__main__":
    main()
