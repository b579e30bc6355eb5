"""BM25: index and run are Anserini's, and our vectors of it rank alike in every engine."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splade_bridge.cli.app import main
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.bm25 import (
    INDEX,
    Bm25Options,
    Bm25Summary,
    TermStatistics,
    Weights,
    analyze,
    build_bm25,
    stored_lengths,
)
from splade_bridge.engines.jars import users_anserini
from splade_bridge.engines.java import environment, java_command
from splade_bridge.engines.lucene_index import LuceneIndex
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.formats.base import StoreSource
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.runs import Run, read_run
from splade_bridge.text.corpora import Text, read_texts

WORDS = ["running", "runs", "cats", "Cat's", "naïve", "漢字", "the", "of", "3.14", "U.S.A.", "a_b"]


def texts(contents: Iterable[str], prefix: str = "d") -> list[Text]:
    return [Text(f"{prefix}{i}", t, f"here:{i}") for i, t in enumerate(contents)]


def collection() -> list[str]:
    """Texts of 0 to 400 words, and what breaks line formats and trim()."""
    rng = np.random.default_rng(4)
    words = [*WORDS, *(f"word{i}" for i in range(60))]
    lengths = [1, 2, 3, 23, 24, 25, 39, 40, 41, 42, 43, 55, 100, 255, 400, *rng.integers(1, 90, 40)]
    drawn = [" ".join(words[i] for i in rng.zipf(1.3, n) % len(words)) for n in lengths]
    odd = ["", "the of", "\x01\x02", "cats\ttab\nline\r\u2028 \u0000nul cats", '{"id": "x"} cats']
    return [*drawn, *odd, "cats " * 3, "x" * 300 + " cats"]


ASKED = [
    "cats",
    "Running naïve cats cats",
    "漢字\tU.S.A.\nword3",
    "",
    "the of",
    "unheardof",
    "3.14",
]


@pytest.fixture(scope="module")
def baseline(lucene: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Bm25Summary]:
    out = tmp_path_factory.mktemp("bm25") / "baseline"
    return out, build_bm25(texts(collection()), texts(ASKED, "query/"), out)


def our_run(out: Path, folder: Path, name: str, scale: float, k: int = 1000) -> Run:
    """The run of an engine over the stores in ``out``, with scores scaled back."""
    source = StoreSource(out / "documents", QuantizeOptions(scale))
    engine(name).build(source, folder)
    queries = read_queries(out / "queries", QuantizeOptions(1))
    with open_index(folder) as searcher:
        aligned = queries.aligned(searcher.vocabulary, folder)
        return {
            hits.query_id: dict(zip(hits.doc_ids, (hits.scores / scale).tolist(), strict=True))
            for hits in searcher.search(aligned, k)
            if hits.doc_ids
        }


def assert_same_ranking(ours: Run, anserini: Run, tolerance: float) -> int:
    """Rank by rank our score of the document there is the score of Anserini's, but for ties.

    Anserini writes four decimals, and takes 1e-6 off for every tie in a row.
    """
    assert ours.keys() == anserini.keys()
    compared = 0
    for query_id, found in anserini.items():
        mine = ours[query_id]
        assert len(mine) == len(found), query_id
        ranked = list(mine.values())
        for rank, (doc_id, score) in enumerate(found.items()):
            assert mine.get(doc_id, ranked[-1]) == pytest.approx(ranked[rank], abs=tolerance)
            assert score == pytest.approx(ranked[rank], abs=tolerance + 5.1e-5 + 1e-6 * rank)
        compared += len(found)
    return compared


@pytest.mark.sample(1, of="pisa")
def test_every_engine_ranks_the_vectors_as_anserini_ranks_the_text(
    baseline: tuple[Path, Bm25Summary], tmp_path: Path, engine_name: str
) -> None:
    out, _ = baseline
    run = read_run(out / "run.trec")
    # Half a unit is lost for each of up to 4 query terms, on either side of a comparison.
    ours = our_run(out, tmp_path / "index", engine_name, 10_000)
    assert assert_same_ranking(ours, run, 5 / 10_000) > 100


def test_nothing_is_lost_and_what_finds_nothing_is_told(
    baseline: tuple[Path, Bm25Summary],
) -> None:
    out, summary = baseline
    documents = VectorStore(out / "documents")
    ids = [doc_id for batch in documents.batches() for doc_id in batch.ids]
    assert ids == [t.id for t in texts(collection())]
    assert summary.documents == len(collection())
    assert summary.empty == 3  # "", "the of", control characters
    assert summary.without_results == ["query/3", "query/4", "query/5"]
    queries = VectorStore(out / "queries")
    batch = SparseBatch.concat(list(queries.batches()))
    assert batch.ids == [f"query/{i}" for i in range(len(ASKED))]
    second = slice(*batch.indptr[1:3].tolist())
    terms = [queries.vocabulary[i] for i in batch.indices[second]]
    assert dict(zip(terms, batch.weights[second].tolist(), strict=True)) == {
        "cat": 2, "run": 1, "naïv": 1,
    }  # fmt: skip


def test_analysis_is_that_of_a_plain_reading(lucene: None) -> None:
    """Possessives, case, stop words, Porter stems; tokens over 255 characters are split."""
    vocabulary = Vocabulary(observed=True)
    found = SparseBatch.concat(
        list(analyze(texts(["The Cat's running; cats RUN", "x" * 300]), vocabulary))
    )
    assert list(vocabulary.terms) == ["cat", "run", "x" * 255, "x" * 45]
    assert found.indices.tolist() == [0, 1, 2, 3]
    assert found.weights.tolist() == [2, 2, 1, 1]


def small_float(length: int) -> int:
    """SmallFloat.intToByte4 and back, bit by bit as Lucene describes the format."""
    if length < 24:
        return length
    over, shift = length - 24, 0
    while over >> shift > 15:
        shift += 1
    return 24 + (over >> shift << shift)


@given(st.lists(st.integers(0, 2**31 - 1), max_size=20))
@settings(deadline=None, max_examples=40)
def test_stored_lengths(lengths: list[int]) -> None:
    lengths += range(300)
    found = stored_lengths(np.array(lengths, np.int64))
    assert found.tolist() == [small_float(n) for n in lengths]


@given(
    st.lists(st.dictionaries(st.integers(0, 5), st.integers(1, 60), max_size=6), min_size=1),
    st.floats(0, 3),
    st.floats(0, 1),
)
@settings(deadline=None, max_examples=60)
def test_weights_are_the_formula(rows: list[dict[int, int]], k1: float, b: float) -> None:
    if not any(rows):
        rows = [{0: 1}]
    flat = [(term, row[term]) for row in rows for term in sorted(row)]
    batch = SparseBatch(
        [str(i) for i in range(len(rows))],
        row_pointers([len(row) for row in rows]),
        np.array([term for term, _ in flat], np.int32),
        np.array([tf for _, tf in flat], np.float32),
    )
    statistics = TermStatistics()
    statistics.add(batch)
    n = sum(1 for row in rows if row)
    mean = sum(tf for _, tf in flat) / n
    expected = []
    for row in rows:
        length = small_float(sum(row.values()))
        for term in sorted(row):
            df = sum(1 for other in rows if term in other)
            idf = math.log(1 + (n - df + 0.5) / (df + 0.5))
            norm = k1 * (1 - b + b * length / mean)
            expected.append(idf * row[term] / (row[term] + norm))
    found = Weights(statistics, k1, b)(batch).weights
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.long
def test_real_collection_reaches_the_published_figure(
    shared: Path, lucene: None, tmp_path: Path
) -> None:
    """BEIR's flat BM25 baseline in Anserini: nDCG@10 .3218 on NFCorpus (k1 .9, b .4)."""
    data = shared / "nfcorpus"
    qrels = read_qrels(data / "qrels" / "test.tsv")
    queries = [q for q in read_texts(str(data / "queries.jsonl"), "queries") if q.id in qrels]
    out = tmp_path / "bm25"
    build_bm25(read_texts(str(data)), queries, out, Bm25Options(k=100))
    run = read_run(out / "run.trec")
    assert evaluate(qrels, run, ["nDCG@10"]).means["nDCG@10"] == pytest.approx(0.3218, abs=5e-5)
    ours = our_run(out, tmp_path / "index", "exact", 1e7, k=100)
    assert assert_same_ranking(ours, run, 3e-6) > 15_000
    # trec_eval would break ties of equal scores in another order than Anserini does.
    untied = {q: {d: -float(r) for r, d in enumerate(found)} for q, found in ours.items()}
    same = evaluate(qrels, untied, ["nDCG@10"]).means["nDCG@10"]
    assert same == pytest.approx(0.3218, abs=1e-4)


def test_the_command(
    tmp_path: Path, lucene: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus, queries, out = tmp_path / "corpus.jsonl", tmp_path / "queries.tsv", tmp_path / "out"
    lines = [{"id": f"d{i}", "text": t} for i, t in enumerate(["red cats", "red dogs", "blue"])]
    corpus.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    queries.write_text("d0\tred cat\n7\tgreen\n")
    arguments = ["bm25", str(corpus), "-q", str(queries), "-o", str(out)]

    def run(*more: str) -> int:
        monkeypatch.setattr("sys.argv", ["splade-bridge", *arguments, *more])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    assert run("--remove-query", "-k", "1", "--json") == 0
    said = orjson.loads(capfd.readouterr().out)
    assert (said["counts"]["documents"], said["counts"]["postings"], said["results"]) == (3, 5, 1)
    assert said["without_results"] == ["7"]
    (line,) = (out / "run.trec").read_text().splitlines()
    assert line.split()[:4] == ["d0", "Q0", "d1", "1"]
    assert run() == 2  # the output is there
    corpus.write_text("the\n")
    assert run("--overwrite") == 4
    assert "corpus.jsonl:1" in capfd.readouterr().err
    assert (out / "run.trec").read_text().split()[:4] == ["d0", "Q0", "d1", "1"]
    assert {p.name for p in tmp_path.iterdir()} == {"corpus.jsonl", "queries.tsv", "out"}


@pytest.mark.long
def test_what_anserini_loses_is_held_and_found(lucene: None, tmp_path: Path) -> None:
    """A document of over 20 M characters, one of white space, a query of over 1,024 terms."""
    documents = texts(["cats", "word " * 4_100_000, "dogs", " \n"])
    asked = texts([" ".join(f"w{i}" for i in range(1100)) + " cats", "words"], "q")
    summary = build_bm25(documents, asked, tmp_path / "out")
    assert (summary.documents, summary.empty, summary.postings) == (4, 1, 3)
    run = read_run(tmp_path / "out" / "run.trec")
    assert {q: list(found) for q, found in run.items()} == {"q0": ["d0"], "q1": ["d1"]}
    with LuceneIndex(tmp_path / "out" / INDEX) as index:
        assert index.statistics().documents == 4


def test_an_id_that_stands_twice_is_found_out(lucene: None, tmp_path: Path) -> None:
    with pytest.raises(ExternalProgramError, match="ids 1 instead of 2"):
        build_bm25([*texts(["cats"]), *texts(["dogs"])], None, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def run_java(main_class: str, *arguments: str | Path) -> None:
    anserini = users_anserini()
    assert anserini is not None
    command = java_command(
        main_class, *arguments, class_path=anserini.class_path, heap_megabytes=1000
    )
    subprocess.run(command, check=True, capture_output=True, env=environment())


def anserinis_index(documents: Iterable[Text], folder: Path) -> Path:
    (folder / "texts").mkdir(parents=True)
    lines = [orjson.dumps({"id": t.id, "contents": t.text}) for t in documents]
    (folder / "texts" / "docs.jsonl").write_bytes(b"\n".join(lines))
    run_java(
        "io.anserini.index.IndexCollection", "-collection", "JsonCollection",
        "-generator", "DefaultLuceneDocumentGenerator", "-input", folder / "texts",
        "-index", folder / "index", "-threads", "1", "-optimize",
    )  # fmt: skip
    return folder / "index"


def anserinis_run(index: Path, queries: list[Text], out: Path, *options: str) -> bytes:
    """Its TREC run, with our tag; numbers stand for ids, which it takes as integers only."""
    topics = "".join(f"{i}\t{' '.join(q.text.split())}\n" for i, q in enumerate(queries))
    out.with_suffix(".tsv").write_text(topics)
    run_java(
        "io.anserini.search.SearchCollection", "-index", index, "-topics", out.with_suffix(".tsv"),
        "-topicReader", "TsvInt", "-output", out, "-bm25", "-runtag", "bm25", *options,
    )  # fmt: skip
    lines = (line.split(b" ", 1) for line in out.read_bytes().splitlines(keepends=True))
    return b"".join(queries[int(number)].id.encode() + b" " + rest for number, rest in lines)


def assert_like_anserini(
    documents: list[Text], queries: list[Text], out: Path, folder: Path, *options: str
) -> None:
    """Tokens, statistics and the run are those of Anserini, which opens our index as well."""
    theirs = anserinis_index(documents, folder)
    run = (out / "run.trec").read_bytes()
    assert run == anserinis_run(theirs, queries, folder / "theirs", *options)
    assert run == anserinis_run(out / INDEX, queries, folder / "ours", *options)
    with LuceneIndex(theirs) as their_index, LuceneIndex(out / INDEX) as our_index:
        terms = list(their_index.terms())
        assert list(our_index.terms()) == terms
        one, other = their_index.document_frequencies(terms), our_index.document_frequencies(terms)
        assert one.tolist() == other.tolist()
        encoded = [term.encode() for term in terms]
        for text in documents[:: max(1, len(documents) // 10)]:
            held = their_index.impacts(text.id, encoded)
            assert our_index.impacts(text.id, encoded) == held or held is None
            assert our_index.stored(text.id) == {"id": text.id}


@pytest.mark.long
def test_index_and_run_are_anserinis_on_odd_texts(
    baseline: tuple[Path, Bm25Summary], anserini: Path, tmp_path: Path
) -> None:
    found = [q for q in texts(ASKED, "query/") if q.id not in baseline[1].without_results]
    assert_like_anserini(texts(collection()), found, baseline[0], tmp_path, "-hits", "1000")


@pytest.mark.long
def test_index_and_run_are_anserinis_on_real_texts(
    shared: Path, anserini: Path, tmp_path: Path
) -> None:
    documents = list(read_texts(str(shared / "scifact")))[:1000]
    queries = list(read_texts(str(shared / "scifact" / "queries.jsonl"), "queries"))[:100]
    build_bm25(documents, queries, tmp_path / "out", Bm25Options(k1=1.2, b=0.75, k=200, threads=2))
    options = ("-bm25.k1", "1.2", "-bm25.b", "0.75", "-hits", "200")
    assert_like_anserini(documents, queries, tmp_path / "out", tmp_path / "anserini", *options)


def test_bad_input_is_refused(lucene: None, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="none of the 2 documents has a term"):
        build_bm25(texts(["the", "of"]), None, tmp_path / "a")
    with pytest.raises(BadInputError, match="none of the 0 documents"):
        build_bm25([], None, tmp_path / "b")
    with pytest.raises(UsageError, match="k1 >= 0"):
        build_bm25(texts(["cats"]), None, tmp_path / "c", Bm25Options(b=1.5))
    assert not list(tmp_path.iterdir())
