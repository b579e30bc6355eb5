"""Run files and judgements: what is written is read back, and what is broken has a line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.data.hits import Hits
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.retrieval.runs import read_run, without_document, write_hits
from strategies import ids, quick


@st.composite
def results(draw: st.DrawFn) -> Hits:
    doc_ids = draw(st.lists(ids, unique=True, min_size=1, max_size=6))
    scores = draw(st.lists(st.integers(1, 2**40), min_size=len(doc_ids), max_size=len(doc_ids)))
    query_id = draw(ids.filter(lambda i: not i.startswith("#")))
    return Hits(query_id, doc_ids, np.array(sorted(scores, reverse=True), np.int64), 0)


@quick
@given(found=st.lists(results(), max_size=4, unique_by=lambda h: h.query_id))
@pytest.mark.parametrize("run_format", ["trec", "msmarco"])
def test_a_run_comes_back_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, found: list[Hits], run_format
) -> None:
    out = io.BytesIO()
    for hits in found:
        write_hits(out, hits, run_format, "tag")
    path = tmp_path_factory.mktemp("run") / "a.run.gz"
    path.write_bytes(gzip.compress(out.getvalue()))
    run = read_run(path)
    assert list(run) == [hits.query_id for hits in found]
    for hits in found:
        assert list(run[hits.query_id]) == hits.doc_ids
        scores = list(run[hits.query_id].values())
        if run_format == "trec":
            assert scores == hits.scores.tolist()
        else:
            assert scores == [-float(rank) for rank in range(1, len(scores) + 1)]


def test_the_lines_are_those_of_trec_and_ms_marco() -> None:
    hits = Hits("q", ["b", "a"], np.array([7, 7]), 0)
    trec, msmarco = io.BytesIO(), io.BytesIO()
    write_hits(trec, hits, "trec", "tag")
    write_hits(msmarco, hits, "msmarco")
    assert trec.getvalue() == b"q Q0 b 1 7 tag\nq Q0 a 2 7 tag\n"
    assert msmarco.getvalue() == b"q\tb\t1\nq\ta\t2\n"


@quick
@given(results(), st.integers(1, 7), st.data())
def test_a_querys_own_document_is_left_out_before_the_cut(
    hits: Hits, k: int, data: st.DataObject
) -> None:
    own = data.draw(st.sampled_from([*hits.doc_ids, "elsewhere"]))
    left = without_document(hits, own, k)
    pairs = list(zip(hits.doc_ids, hits.scores.tolist(), strict=True))
    expected = [pair for pair in pairs if pair[0] != own][:k]
    assert list(zip(left.doc_ids, left.scores.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"q Q0 d 1", "4 columns"),
        (b"q Q0 d 1 2.5 tag more", "7 columns"),
        (b"q Q0 d 1 high tag", "'high' is not a number"),
        (b"q Q0 d 1 nan tag", "a score must be finite"),
        (b"q Q0 d 1 inf tag", "a score must be finite"),
        (b"q Q0 d 1 1e999 tag", "a score must be finite"),
        (b"q\td\t2", "3 columns, where the first line has 6"),
        (b"q1 Q0 d1 2 1 tag", "document d1 stands twice for query q1"),
        (b"q Q0 \xff 1 2 tag", "not UTF-8"),
    ],
)
def test_a_broken_line_of_a_run_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.run"
    path.write_bytes(b"\xef\xbb\xbfq1 Q0 d1 1 2.5 tag\r\n\n" + line + b"\n")
    with pytest.raises(BadInputError, match=rf"a\.run:3: .*{message}"):
        read_run(path)


def test_runs_of_other_writers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    path.write_bytes(
        b"\xef\xbb\xbf301\tQ0\tFR94-1\t104\t  2.129133\tSTANDARD\r\n301 Q0 x 1 -1e-3 t"
    )
    assert read_run(path) == {"301": {"FR94-1": 2.129133, "x": -0.001}}


def test_judgements_of_trec_and_beir_are_read(tmp_path: Path) -> None:
    expected = {"q1": {"d1": 2, "d2": 0}, "q2": {"d1": -1}}
    trec, beir = tmp_path / "a.qrels", tmp_path / "a.tsv.gz"
    trec.write_bytes(b"\xef\xbb\xbfq1 0 d1 2\r\nq1 Q0 d2 0\n\nq2 0 d1 -1\nq1 0 d1 2")
    header = b"query-id\tcorpus-id\tscore\n"
    beir.write_bytes(gzip.compress(header + b"q1\td1\t2\nq1\td2\t0\nq2\td1\t-1\n"))
    assert read_qrels(trec) == read_qrels(beir) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"q d", "2 columns"),
        (b"q 0 d 1 more", "5 columns"),
        (b"q 0 d high", "grade 'high' is not an integer"),
        (b"q 0 d 1.5", "grade '1.5' is not an integer"),
        (b"q1 0 d1 1", "document d1 was graded 2 before"),
        (b"q 0 \xff 1", "not UTF-8"),
    ],
)
def test_a_broken_judgement_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    path = tmp_path / "a.qrels"
    path.write_bytes(b"q1 0 d1 2\n\n" + line + b"\n")
    with pytest.raises(BadInputError, match=rf"a\.qrels:3: .*{message}"):
        read_qrels(path)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"query-id\tcorpus-id\tscore\n"])
def test_no_judgements_are_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.qrels"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.qrels: holds no judgements"):
        read_qrels(path)


@pytest.mark.parametrize("read", [read_run, read_qrels])
def test_a_cut_gzip_file_and_a_missing_one_are_refused(tmp_path: Path, read) -> None:
    path = tmp_path / "a.gz"
    whole = gzip.compress(b"".join(b"q d%d %d\n" % (i, i * i % 9973) for i in range(5000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="cut off"):
        read(path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read(tmp_path / "missing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInputError, match=r"cannot be read|no qrels/test\.tsv in this folder"):
        read(tmp_path / "folder")
