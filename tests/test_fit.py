"""Queries and indexes that do not belong together are not searched without a word."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import command_line
from small import MemorySource, batch_of
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.content import Content
from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import EncodingInfo, Manifest, QuantizationInfo, VocabularyInfo
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import MismatchError
from splade_bridge.evaluation.bench import BenchOptions, bench
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.evaluation.verify import verify
from splade_bridge.formats.base import BatchSource
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.retrieval.explain import explain
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions, search_to_run
from splade_bridge.text.corpora import CorpusOptions, read_texts
from strategies import as_dictionaries

TERMS = [f"t{i}" for i in range(40)]
ASKED = batch_of(np.eye(2, 40, dtype=np.int64) * 3, ["q1", "q2"])
DOCUMENTS = EncodingInfo("m", None, "a" * 64, "document", "max", 256, "float32", partner="a" * 64)
QUERIES = replace(DOCUMENTS, side="query")


def described(encoding: EncodingInfo | None) -> Manifest:
    info, scaled = VocabularyInfo.of(Vocabulary(TERMS)), QuantizationInfo(100)
    return Manifest("vectors", info, Counts(), encoding=encoding, quantization=scaled)


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., Path]:
    """Makes an index of documents that were encoded so."""

    def make(encoding: EncodingInfo | None = DOCUMENTS) -> Path:
        batch = batch_of(np.ones((2, 40), np.int64), ["d1", "d2"])
        path = tmp_path / "index"
        source = BatchSource(Path("memory"), [batch], Vocabulary(TERMS), described(encoding))
        engine("exact").build(source, path, overwrite=True)
        return path

    return make


def queries(encoding: EncodingInfo | None = QUERIES, **more: bool) -> Queries:
    return Queries(Path("q"), ASKED, Vocabulary(TERMS), described(encoding), **more)


OTHER = {"sha256": "b" * 64, "partner": "b" * 64, "model": "n"}


@pytest.mark.parametrize(
    ("documents", "asked", "says"),
    [
        (DOCUMENTS, replace(QUERIES, **OTHER), "documents were encoded by m .*queries by n"),
        (DOCUMENTS, replace(QUERIES, **OTHER | {"partner": None}), "encoded by m .*by n"),
        (replace(DOCUMENTS, partner=None), replace(QUERIES, **OTHER), "encoded by m .*by n"),
        (DOCUMENTS, DOCUMENTS, "the queries were encoded as documents"),
        (QUERIES, QUERIES, "the index holds vectors of queries"),
        (QUERIES, DOCUMENTS, "the index holds vectors of queries"),
        (None, DOCUMENTS, "the queries were encoded as documents"),
    ],
)
@pytest.mark.sample(3)
def test_vectors_of_other_weights_or_of_the_other_side_are_not_searched(
    index: Callable[..., Path],
    documents: EncodingInfo | None,
    asked: EncodingInfo,
    says: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = index(documents)
    with open_index(path) as searcher:
        for does in (
            lambda q: search_to_run(searcher, q, tmp_path / "run", SearchOptions()),
            lambda q: verify([searcher, searcher], q, 10),
            lambda q: bench([searcher], q, BenchOptions((1,), repeat=1)),
            lambda q: explain(searcher, q, "q1", "d1"),
        ):
            with pytest.raises(MismatchError, match=rf"index: .*{says}.*--allow-mismatch"):
                does(queries(asked))
            caplog.clear()
            assert does(queries(asked, allow_mismatch=True))
            assert "index" in caplog.text


@pytest.mark.parametrize(
    ("documents", "asked"),
    [
        (DOCUMENTS, QUERIES),
        (DOCUMENTS, None),
        (None, QUERIES),
        # Two encoders of one checkpoint: each side knows the other's weights, or one does.
        (replace(DOCUMENTS, partner="b" * 64), replace(QUERIES, sha256="b" * 64)),
        (replace(DOCUMENTS, partner=None), replace(QUERIES, sha256="b" * 64)),
        (replace(DOCUMENTS, partner="b" * 64), replace(QUERIES, sha256="b" * 64, partner=None)),
        # As they were written before partners were known.
        (replace(DOCUMENTS, partner=None), replace(QUERIES, sha256="b" * 64, partner=None)),
    ],
)
def test_partners_and_the_unknown_are_searched_without_a_word(
    index: Callable[..., Path],
    documents: EncodingInfo | None,
    asked: EncodingInfo | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_index(index(documents)) as searcher:
        search_to_run(searcher, queries(asked), None, SearchOptions())
    assert caplog.text == ""


def test_another_max_length_is_told_as_another_scale_is(
    index: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with open_index(index()) as searcher:
        search_to_run(searcher, queries(replace(QUERIES, max_length=64)), None, SearchOptions())
    assert "documents were read to 256 tokens, queries to 64" in caplog.text


# ---------------------------------------------------------------- text for tokens

TEXT = "q1\tWhat is t1, really?\nq2\tHow about the t2 and the others\n"


def test_text_is_not_searched_as_tokens(
    index: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    index()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.tsv").write_text(TEXT + "q3\tt3\n")
    asked = ("-q", "text.tsv")
    for words in (
        ("search", "index", *asked, "-o", "run"),
        ("verify", "index", "index", *asked),
        ("bench", "index", *asked, "-k", "1", "--repeat", "1"),
        ("explain", "index", "q3", "d1", *asked),
    ):
        status, _, said = command_line.run(capfd, *words)
        assert status == 5 and "did you forget -m?" in said, said
        assert command_line.run(capfd, *words, "--pre-encoded")[0] == 0
    with_header = tmp_path / "header.tsv"
    with_header.write_text(f"id\ttext\n{TEXT}")
    assert [t.id for t in read_texts(str(with_header), "queries")] == ["q1", "q2"]
    assert read_queries(with_header).batch.ids == ["q1", "q2"]


def test_tokens_and_bags_of_them_raise_no_alarm(index: Callable[..., Path], tmp_path: Path) -> None:
    path = tmp_path / "bag.tsv"
    path.write_text("q1\tt1 t2 t3\nq2\tt4 t5 t6 t7 t8 t9 t10 unheard\n")
    weighted = tmp_path / "weighted.tsv"
    weighted.write_text("q1\tt1 t1 t1 x x x y y z z\n")
    with open_index(index()) as searcher:
        for file in (path, weighted):
            search_to_run(searcher, read_queries(file), None, SearchOptions())
    with open_index(index(None)) as searcher:  # of no model that is known
        (tmp_path / "text.tsv").write_text(TEXT + "q3\tt3\n")
        search_to_run(searcher, read_queries(tmp_path / "text.tsv"), None, SearchOptions())


@pytest.mark.shared
@pytest.mark.long
def test_texts_of_nfcorpus_are_refused_and_its_topics_are_not(shared: Path, tmp_path: Path) -> None:
    """Words for word pieces: nDCG@10 is .0879 instead of .3624, and the exit status was 0."""
    folder = shared / "splade-v3-nfcorpus"
    source = open_source(folder / "docs.jsonl.gz")
    vocabulary = VocabularyInfo(30522, "0" * 64, observed=True)
    source.manifest = Manifest("jsonvector", vocabulary, Counts(), encoding=DOCUMENTS)
    source.manifest = replace(source.manifest, counts=Counts(postings=998_259))
    engine("exact").build(source, tmp_path / "i")
    texts = list(read_texts(str(shared / "nfcorpus"), "queries", CorpusOptions(split="test")))
    text, bags = tmp_path / "text.tsv", tmp_path / "bags.tsv"
    text.write_text("".join(f"{t.id}\t{t.text}\n" for t in texts))
    with open_index(tmp_path / "i") as searcher:
        known = [[w for w in t.text.lower().split() if w in searcher.vocabulary] for t in texts]
        bags.write_text(
            "".join(f"{t.id}\t{' '.join(ws)}\n" for t, ws in zip(texts, known, strict=True))
        )
        with pytest.raises(MismatchError, match="did you forget -m"):
            search_to_run(searcher, read_queries(text), None, SearchOptions())
        topics = sorted(folder.glob("topics.*.tsv.gz"))
        assert len(topics) == 4
        for path in (*topics, bags):
            search_to_run(searcher, read_queries(path), None, SearchOptions(k=1))
        found = {}
        for path in (text, folder / "topics.nfcorpus.test.splade-v3.tsv.gz"):
            run = tmp_path / f"{path.name}.run"
            search_to_run(searcher, read_queries(path, pre_encoded=True), run, SearchOptions())
            judged = read_qrels(folder / "qrels.nfcorpus.test.trec")
            found[path] = evaluate(judged, read_run(run), ["nDCG@10"]).means["nDCG@10"]
    wrong, right = found.values()
    assert (round(wrong, 4), round(right, 4)) == (0.0879, 0.3624)


# ---------------------------------------------------------------- an index of plain text


@pytest.mark.long
def test_an_index_of_plain_text_is_not_searched_as_impacts(
    lucene: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(f'{{"id": "d{i}", "text": "red cat {i}"}}\n' for i in range(9)))
    assert command_line.run(capfd, "bm25", str(corpus), "-o", str(tmp_path / "b"))[0] == 0
    (tmp_path / "q.jsonl").write_text(json.dumps({"qid": "q", "vector": {"red": 3}}))
    words = ("search", str(tmp_path / "b" / "anserini"), "-q", str(tmp_path / "q.jsonl"), "-o", "-")
    status, out, said = command_line.run(capfd, *words)
    assert (status, out) == (5, "")
    assert "an index of plain text (it has norms, and its frequencies are 1.00 on average)" in said
    status, out, said = command_line.run(capfd, *words, "--allow-mismatch")
    assert (status, len(out.splitlines())) == (0, 9)
    assert "an index of plain text" in said


@pytest.mark.shared
def test_anserinis_impact_index_is_no_plain_text(lucene: None, shared: Path) -> None:
    with open_index(shared / "splade-v3-nfcorpus" / "index.lucene-9.9.1") as searcher:
        assert searcher.plain_text is None


# ---------------------------------------------------------------- queries in every form


@pytest.mark.parametrize("name", ["topics", "topics-jsonl", "topics-pisa"])
@pytest.mark.parametrize("compress", [False, True])
def test_queries_come_back_from_every_form(name: str, compress: bool, tmp_path: Path) -> None:
    matrix = np.array([[3, 0, 1], [0, 0, 0], [0, 2, 0]])
    source = MemorySource(matrix, ["q1", "q2", "q3"], ["##a", "[CLS]", "ü"])
    export(lambda: source, tmp_path / "out", ExportOptions((name,), compress=compress))
    found = read_queries(tmp_path / "out")  # the folder will do
    content = Content(found.vocabulary)
    content.add(found.batch)
    assert found.batch.ids == ["q1", "q2", "q3"]
    assert str(content) == found.manifest.content if found.manifest else False


def test_ids_of_terms_are_read_by_the_lexicon_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "queries.txt"
    path.write_text("7:2 0 2 2\n8:\n9:1\n")
    (tmp_path / "queries.txt.terms").write_text("a\nb\nc\n")
    found = read_queries(path)
    rows = [row for _, row in as_dictionaries([found.batch], found.vocabulary)]
    assert found.batch.ids == ["7", "8", "9"]
    assert rows == [{"c": 3, "a": 1}, {}, {"b": 1}]


@pytest.mark.parametrize("field", ["qid", "query_id", "id", "_id"])
def test_json_queries_may_call_their_id_as_others_do(field: str, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps({field: 7, "vector": {"a": 2}}))
    assert read_queries(path).batch.ids == ["7"]


def test_nothing_is_logged_for_sound_artefacts(
    index: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), open_index(index()) as searcher:
        search_to_run(searcher, queries(), None, SearchOptions())
    assert caplog.text == ""
