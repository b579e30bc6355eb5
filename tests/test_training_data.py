"""Training data from every format: rows against what stands in the files, none lost silently."""

from __future__ import annotations

import contextlib
import gzip
import json
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from small import trec_run, write_json_lines, write_texts
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.text import text_table
from splade_bridge.text.corpora import Text, read_texts
from splade_bridge.text.text_table import TextTable
from splade_bridge.training.data import DataOptions, load_training_data, read_training_data
from splade_bridge.training.documentation import (
    PairCounts,
    TestSet,
    _library,
    contents,
    docstring_groups,
    documentation,
    package_passages,
    words_of,
)
from splade_bridge.training.examples import DataCounts
from splade_bridge.training.pair_scores import PairScores
from splade_bridge.training.records import json_groups
from splade_bridge.training.score_files import read_score_pickle, read_scores

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="needs the extra train"
)
DOCS = {f"d{i}": f"text of document {i}" for i in range(8)}
QUERIES = {f"q{i}": f"question {i}" for i in range(4)}
SCORES = {
    "q0": {"d0": 9.5, "d1": 3.0, "d2": 5.25},
    "q1": {"d1": 7.0, "d3": 8.0, "d4": -1.5, "d5": 2.0},
}


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    write_texts(folder / "corpus.jsonl", DOCS)
    write_texts(folder / "queries.jsonl", QUERIES)
    (folder / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq0\td0\t2\nq0\td6\t1\nq1\td1\t1\nq1\td5\t0\nq9\td1\t1\n"
    )
    return folder


def rows(options: DataOptions) -> list[dict[str, Any]]:
    return list(load_training_data(options))


# ---------------------------------------------------------------- formats


def test_triples_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "triples.tsv"
    path.write_text("how\tthus\tnot so\twrong\nwhy\tbecause\tno\tnever\n")
    assert rows(DataOptions("triples", path, negatives=2, choice="first")) == [
        {"query": "how", "positive": "thus", "negative_1": "not so", "negative_2": "wrong"},
        {"query": "why", "positive": "because", "negative_1": "no", "negative_2": "never"},
    ]


@pytest.mark.parametrize("teacher", [False, True])
def test_triples_of_ids(tmp_path: Path, beir: Path, teacher: bool) -> None:
    path = tmp_path / "ids.tsv"
    front = ("8.5\t2.25\t", "1e1\t-3\t") if teacher else ("", "")
    path.write_text(f"{front[0]}q0\td0\td3\n{front[1]}q1\td1\td99\n{front[1]}q1\td1\td2\n")
    found = read_training_data(
        DataOptions("id-triples", path, collection=str(beir), queries=str(beir))
    )
    expected: list[dict[str, Any]] = [
        {"query": QUERIES["q0"], "positive": DOCS["d0"], "negative_1": DOCS["d3"]},
        {"query": QUERIES["q1"], "positive": DOCS["d1"], "negative_1": DOCS["d2"]},
    ]
    if teacher:
        expected[0]["label"], expected[1]["label"] = [8.5, 2.25], [10.0, -3.0]
    assert list(found.dataset) == expected
    assert found.counts.left_out == {
        "negatives that the collection lacks": 1,
        "rows with fewer than 1 negatives": 1,
    }
    assert "ids.tsv:2 q1 d99" in found.counts.examples["negatives that the collection lacks"][0]


def test_json_lines_of_texts_with_scores(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "a.jsonl",
        [
            {"query": "a", "positive": "yes", "negatives": ["no", "nope"], "scores": [3, 1, 2.5]},
            {"query": "b", "pos": ["si", "ja"], "neg": ["x", "y"], "scores": [4, 5, 0, 1]},
        ],
    )
    assert rows(DataOptions("jsonl", path, choice="hardest")) == [
        {"query": "a", "positive": "yes", "negative_1": "nope", "label": [3.0, 2.5]},
        {"query": "b", "positive": "si", "negative_1": "y", "label": [4.0, 1.0]},
        {"query": "b", "positive": "ja", "negative_1": "y", "label": [5.0, 1.0]},
    ]


def test_negatives_by_system_are_taken_in_turn(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "a.jsonl",
        [{"qid": 5, "pos": [1], "neg": {"bm25": [2, 3, 4], "dense": [3, 9]}}],
    )
    (group,) = json_groups(path, DataCounts(), ids=True)
    assert (group.query_id, group.positives) == ("5", ["1"])
    assert [c.key for c in group.negatives] == ["2", "3", "9", "4"]


def test_beir_without_negatives(beir: Path) -> None:
    found = read_training_data(DataOptions("beir", beir, negatives=0))
    assert [(r["query"], r["positive"]) for r in found.dataset] == [
        (QUERIES["q0"], DOCS["d0"]),
        (QUERIES["q0"], DOCS["d6"]),
        (QUERIES["q1"], DOCS["d1"]),
    ]
    assert found.counts.left_out == {"queries without a text": 1}
    two = read_training_data(DataOptions("beir", beir, negatives=0, min_grade=2))
    assert [r["positive"] for r in two.dataset] == [DOCS["d0"]]


def written(folder: Path, kind: str) -> Path:
    """SCORES as a file of each kind."""
    path = folder / f"scores.{kind}"
    if kind == "json":
        path.write_text(json.dumps(SCORES))
    elif kind == "jsonl":
        write_json_lines(path, [{"query_id": q, "scores": s} for q, s in SCORES.items()])
    elif kind == "plain.jsonl":
        write_json_lines(path, [{q: s} for q, s in SCORES.items()])
    elif kind == "parquet":
        flat = [(q, d, s) for q, scores in SCORES.items() for d, s in scores.items()]
        names = ("query_id", "doc_id", "score")
        pq.write_table(pa.table(dict(zip(names, zip(*flat, strict=True), strict=True))), path)
    elif kind == "pkl.gz":
        path.write_bytes(gzip.compress(pickle.dumps(SCORES)))
    else:
        ranked = {q: sorted(s.items(), key=lambda x: -x[1]) for q, s in SCORES.items()}
        path.write_text(trec_run(ranked))
    return path


KINDS = ("json", "jsonl", "plain.jsonl", "parquet", "pkl.gz", "trec")


@pytest.mark.parametrize("kind", KINDS)
def test_score_files_of_every_kind(tmp_path: Path, beir: Path, kind: str) -> None:
    path = written(tmp_path, kind)
    assert {q: s for q, s, _ in read_scores(path)} == SCORES
    found = read_training_data(
        DataOptions("beir", beir, scores=path, negatives=2, choice="hardest")
    )
    # d6 answers q0 and has no score; d5 is judged 0, which makes it a negative; d1 answers q1.
    assert list(found.dataset) == [
        {
            "query": QUERIES["q0"], "positive": DOCS["d0"],
            "negative_1": DOCS["d2"], "negative_2": DOCS["d1"], "label": [9.5, 5.25, 3.0],
        },
        {
            "query": QUERIES["q1"], "positive": DOCS["d1"],
            "negative_1": DOCS["d3"], "negative_2": DOCS["d5"], "label": [7.0, 8.0, 2.0],
        },
    ]  # fmt: skip
    assert found.counts.left_out["positives without a score"] == 1
    assert found.counts.left_out["judged queries without hard negatives or scores"] == 1


def test_hard_negatives_joined_with_scores(tmp_path: Path, beir: Path) -> None:
    """Candidates of one file, teacher scores of another; what has none is left out and counted."""
    run = tmp_path / "bm25.trec"
    run.write_text("q1 Q0 d4 1 9 t\nq1 Q0 d7 2 8 t\nq1 Q0 d3 3 7 t\nq1 Q0 d1 4 6 t\n")
    options = DataOptions(
        "beir", beir, hard_negatives=run, scores=written(tmp_path, "json"), choice="first"
    )
    found = read_training_data(options)
    assert list(found.dataset) == [
        {
            "query": QUERIES["q1"], "positive": DOCS["d1"],
            "negative_1": DOCS["d4"], "label": [7.0, -1.5],
        }
    ]  # fmt: skip
    assert found.counts.left_out["negatives without a score"] == 1


def test_one_of_several_teachers(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "a.jsonl", [{"qid": "q", "scores": {"a": {"x": 1, "y": 2}, "b": {"x": 3}}}]
    )
    assert next(read_scores(path, "y")).scores == {"a": 2.0}
    with pytest.raises(BadInputError, match=r"a.jsonl:1: query q: several scores .* x, y"):
        list(read_scores(path))


# ---------------------------------------------------------------- pickles


class _Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "evil.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps({"q": {"d": _Evil(mark)}}))
    with pytest.raises(BadInputError, match=r"evil.pkl: this pickle asks for pathlib"):
        read_score_pickle(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())  # the same bytes do harm where nobody is careful
    assert mark.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_old_pickles_with_integer_ids(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "old.pkl.gz"
    path.write_bytes(gzip.compress(pickle.dumps({7: {12: 1.5, 13: 2}}, protocol)))
    assert [tuple(s)[:2] for s in read_scores(path)] == [("7", {"12": 1.5, "13": 2.0})]


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2]),
        pickle.dumps({"q": {"d": np.float64(1)}}),
        pickle.dumps({"q": {"d": {1}}}),
        pickle.dumps({"q": {"d": float("nan")}}),
        pickle.dumps({"q": {"d": True}}),
        pickle.dumps(SCORES)[:-9],
        b"cos\nsystem\n(S'true'\ntR.",
        b"not a pickle",
        b"",
    ],
)
def test_other_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scores.pkl"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"scores\.pkl"):
        list(read_scores(path))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(tmp_path_factory: Any, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.pkl"
    path.write_bytes(content)
    with contextlib.suppress(BadInputError):
        assert isinstance(read_score_pickle(path), dict)


# ---------------------------------------------------------------- choice, counts, cache


def many(tmp_path: Path) -> Path:
    return write_json_lines(
        tmp_path / "many.jsonl",
        [
            {"query": f"q{i}", "positives": ["p", "r"], "negatives": [f"n{j}" for j in range(20)]}
            for i in range(30)
        ],
    )


def test_drawn_negatives_depend_on_the_seed_alone(tmp_path: Path) -> None:
    path = many(tmp_path)
    options = DataOptions("jsonl", path, negatives=5, positives="one", seed=3)
    found = rows(options)
    assert len(found) == 30 and {r["positive"] for r in found} == {"p", "r"}
    assert all(len({r[f"negative_{i}"] for i in range(1, 6)}) == 5 for r in found)
    # A query keeps its negatives when others come before it.
    text = path.read_text().splitlines(keepends=True)
    path.write_text("".join(reversed(text)))
    assert rows(options) == found[::-1]
    assert rows(DataOptions("jsonl", path, negatives=5, positives="one", seed=4)) != found[::-1]


def test_max_rows_and_cache(tmp_path: Path) -> None:
    path, cache = many(tmp_path), tmp_path / "cache"
    plain = DataOptions("jsonl", path, negatives=2, max_rows=7)
    cached = DataOptions("jsonl", path, negatives=2, max_rows=7, cache=cache)
    first = read_training_data(cached)
    assert len(first.dataset) == first.counts.rows == 7
    assert list(first.dataset) == rows(plain)
    (place,) = cache.iterdir()
    before = (place / "rows.arrow").stat().st_mtime_ns
    again = read_training_data(cached)
    assert list(again.dataset) == list(first.dataset) and again.counts == first.counts
    assert (place / "rows.arrow").stat().st_mtime_ns == before
    path.write_text(path.read_text().replace('"p"', '"other"'))
    assert "other" in {r["positive"] for r in rows(cached)}


def test_cached_counts_and_texts(tmp_path: Path, beir: Path) -> None:
    cache = tmp_path / "cache"
    options = DataOptions("beir", beir, scores=written(tmp_path, "json"), cache=cache)
    found, again = read_training_data(options), read_training_data(options)
    assert found.counts.left_out and found.counts == again.counts
    plain = DataOptions("beir", beir, scores=written(tmp_path, "json"))
    assert list(again.dataset) == rows(plain)


def test_two_ids_of_one_hash_are_no_table_of_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them would be found with the text of the other."""
    monkeypatch.setattr(text_table, "id_key", lambda text_id: len(text_id))
    TextTable.build([Text("a", "1", "f:1"), Text("bb", "2", "f:2")], tmp_path)
    with pytest.raises(BadInputError, match="the same hash"):
        TextTable.build([Text("a", "1", "f:1"), Text("b", "2", "f:2")], tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.text("abé漢", min_size=1), st.text(), min_size=1))
def test_a_text_table_is_the_dictionary(tmp_path_factory: Any, texts: dict[str, str]) -> None:
    folder = tmp_path_factory.mktemp("table")
    given_texts = [Text(i, t.encode("utf-8", "replace").decode(), "") for i, t in texts.items()]
    if not any(t.text for t in given_texts):
        return
    table = TextTable.build(given_texts, folder)
    assert {t.id: table[t.id] for t in given_texts} == {t.id: t.text for t in given_texts}
    assert list(table) == [t.text for t in given_texts]
    assert all(table.size(t.id) == len(t.text.encode()) for t in given_texts)
    assert "zzz" not in table and table.size("zzz") is None


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(st.text("ab ", max_size=3), st.text("ab ", max_size=3)), st.floats(width=32, allow_nan=False)))  # fmt: skip  # noqa: E501
def test_pair_scores_are_the_dictionary(pairs: dict[tuple[str, str], float]) -> None:
    held = PairScores(((q, d, s) for (q, d), s in pairs.items()), "here")
    assert {key: held.get(*key) for key in pairs} == pairs
    assert held.get("c", "c") is None


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "a", "positive": "b"}\n{"query": ""}\n', r"x.jsonl:2: field query is empty"),
        ('{"positive": "b"}\n', r"x.jsonl:1: neither query nor query_id"),
        ('{"query": "a", "positive": 3.5}\n', r"x.jsonl:1: an entry of positive is float"),
        (
            '{"query": "a", "positive": "b", "scores": [1, 2]}\n',
            r"x.jsonl:1: 2 scores in field scores",
        ),
        ('{"query": "a", "positive": "b", "scores": [NaN]}\n', r"x.jsonl:1: not a line of JSON"),
        (
            '{"query": "a", "positives": ["b", "b"], "scores": [1, 2]}\n',
            r"x.jsonl:1: a document that stands twice has two scores, 1 and 2: 'b'",
        ),
        ("[1]\n", r"x.jsonl:1: not a JSON object"),
        ("", r"x.jsonl: not one row .*files hold nothing"),
        ('{"query": "a"}\n', r"not one row .*1 queries without a positive: .*x.jsonl:1"),
        (
            '{"query": "a", "positive": "b", "scores": [1]}\n{"query": "c", "positive": "d"}\n',
            r"x.jsonl:2: no teacher scores, unlike .*x.jsonl:1",
        ),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        load_training_data(DataOptions("jsonl", path, negatives=0))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("q0\td0\n", "ids.tsv:1: 2 columns"),
        ("x\t1\tq0\td0\td1\n", "ids.tsv:1: score 'x' is not a number"),
        ("q0\td0\t\n", "ids.tsv:1: id '' is empty"),
    ],
)
def test_broken_triples_are_named(tmp_path: Path, beir: Path, content: str, message: str) -> None:
    path = tmp_path / "ids.tsv"
    path.write_text(content)
    with pytest.raises(BadInputError, match=message):
        load_training_data(DataOptions("id-triples", path, collection=str(beir), queries=str(beir)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (DataOptions("triples"), r"data\.path must be given"),
        (DataOptions("id-triples", Path("x")), r"data\.collection must be given"),
        (DataOptions("beir", Path("x")), r"hard_negatives or scores"),
        (DataOptions("jsonl", Path("x"), negatives=-1), r"data\.negatives must be 0 or more"),
        (DataOptions("jsonl", Path("x"), max_rows=0), r"data\.max_rows"),
        (DataOptions("nothing"), r"data\.format 'nothing': there are"),  # type: ignore[arg-type]
    ],
)
def test_options_that_do_not_go_together(options: DataOptions, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_training_data(options)


def test_scores_that_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    for content, message in (
        ('{"q": {"d": 1}, "q": {"e": 1}}', "key 'q' stands twice"),
        ('{"q": {"d": "x"}}', "query q, document d: score 'x' is not a finite number"),
        ('{"q": [1]}', "query q: list, not an object"),
        ("[", "not JSON"),
    ):
        path.write_text(content)
        with pytest.raises(BadInputError, match=message):
            list(read_scores(path))
    twice = write_json_lines(tmp_path / "s.jsonl", [{"q": {"d": 1.0}}, {"q": {"e": 1.0}}])
    with pytest.raises(BadInputError, match=r"s.jsonl:2: id 'q' was there before"):
        list(read_scores(twice))


# ---------------------------------------------------------------- real files


def test_mined_negatives_of_scifact(shared: Path) -> None:
    folder = shared / "scifact"
    mined = folder / "train.bm25neg.jsonl.gz"
    found = read_training_data(DataOptions("beir", folder, hard_negatives=mined, negatives=3))
    qrels = read_qrels(folder / "qrels" / "train.tsv")
    assert len(found.dataset) == sum(len(judged) for judged in qrels.values()) == 919
    assert not found.counts.left_out
    texts = {t.id: t.text for t in read_texts(str(folder))}
    ids: dict[str, set[str]] = {}
    for key, text in texts.items():
        ids.setdefault(text, set()).add(key)
    queries: dict[str, set[str]] = {}
    for query in read_texts(str(folder), "queries"):
        queries.setdefault(query.text, set()).add(query.id)
    with gzip.open(mined, "rt") as file:
        candidates = {r["qid"]: r["negatives"] for r in map(json.loads, file)}
    for row in found.dataset:
        negatives = [ids[row[f"negative_{number}"]] for number in (1, 2, 3)]
        assert any(  # some claims stand there twice, with other answers
            ids[row["positive"]] & qrels.get(query_id, {}).keys()
            and all(n & candidates[query_id].keys() - qrels[query_id].keys() for n in negatives)
            for query_id in queries[row["query"]]
        )


def test_teacher_scores_of_a_published_run(shared: Path) -> None:
    folder = shared / "msmarco-dl1920"
    path = shared / "train" / "msmarco-dl-teacher" / "scores.jsonl.gz"
    options = DataOptions(
        "judged", collection=str(folder), queries=str(folder),
        qrels=sorted((folder / "qrels").iterdir())[0], scores=path, score_name="tas-b",
        min_grade=2, negatives=2,
    )  # fmt: skip
    found = read_training_data(options)
    with gzip.open(path, "rt") as file:
        teacher = {r["query"]: r["scores"] for r in map(json.loads, file)}
    texts: dict[str, list[str]] = {}
    for text in read_texts(str(folder)):
        texts.setdefault(text.text, []).append(text.id)
    assert len(found.dataset) > 1000
    for row in list(found.dataset)[:200]:
        columns = ("positive", "negative_1", "negative_2")
        for column, label in zip(columns, row["label"], strict=True):
            held = [teacher[row["query"]].get(d, {}).get("tas-b") for d in texts[row[column]]]
            assert any(s is not None and np.float32(s) == label for s in held)


# ---------------------------------------------------------------- documentation strings


@pytest.mark.long
def test_nothing_of_the_demo_is_in_the_training_data() -> None:
    """Neither a question nor an answer, as query, positive, negative or text of the MLM."""
    from splade_bridge.demo import collection

    questions = {
        " ".join(words_of(json.loads(line)["text"]))
        for line in collection.queries_path().read_text().splitlines()
    }
    judged = {line.split("\t")[1] for line in collection.qrels_path().read_text().splitlines()[1:]}
    answers = [p for p in _library() if p.id in judged]
    assert len(answers) == len(judged)
    forbidden = {" ".join(words_of(p.text)) for p in answers}
    counts = DataCounts()
    groups = list(docstring_groups(None, (), PairCounts(1), 0, counts))
    seen = {group.query for group in groups}
    texts = {text for g in groups for text in (*g.positives, *(c.key for c in g.negatives))}
    known = list(documentation())
    assert not judged & {p.id for p in known}
    assert texts <= {t for p in known for t in _parts(p)}
    long = [text for text in forbidden if len(text.split()) >= 12]
    for passage in known:
        text = " ".join(words_of(passage.text))
        assert text not in forbidden
        assert not any(answer in text for answer in long)
    assert not {" ".join(words_of(q or "")) for q in seen} & questions
    assert len(known) > 5000 and len(groups) > 5000
    assert counts.left_out["passages that are or quote an answer of the demo"] >= len(judged)


def _parts(passage: Any) -> set[str]:
    """What a positive may be: with or without title and summary."""
    from splade_bridge.training.documentation import first_sentence

    rest = first_sentence(passage.text)[1]
    whole = {contents(passage), passage.text.strip(), f"{passage.title} {rest}".strip(), rest}
    return {text.strip() for text in whole}


@pytest.mark.long
def test_the_test_set_recognises_quotes() -> None:
    held = TestSet()
    assert held.asks("Make a TEMPORARY folder, that removes itself!")
    assert not held.asks("make a folder")
    import tempfile

    text = tempfile.TemporaryDirectory.__doc__ or ""
    assert held.quotes("Something else. " + text) and not held.quotes(text[:40])


def test_packages_are_parsed_and_not_imported(tmp_path: Path, monkeypatch: Any) -> None:
    package = tmp_path / "strange_package"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('"""A module."""\nraise SystemExit("imported")\n')
    (package / "deep.py").write_text(
        'class Thing:\n    """A thing."""\n    def act(self, how=1):\n        """Act."""\n'
    )
    (package / "tests" / "test_it.py").write_text('"""A test."""\n')
    (package / "old.py").write_text('print "no"\n')
    monkeypatch.syspath_prepend(tmp_path)
    counts = DataCounts()
    found = list(package_passages(("strange_package", "not_there_at_all"), counts))
    assert [tuple(p) for p in found] == [
        ("strange_package", "strange_package", "A module."),
        ("strange_package.deep.Thing", "strange_package.deep.Thing", "A thing."),
        ("strange_package.deep.Thing.act", "strange_package.deep.Thing.act(self, how=1)", "Act."),
    ]
    assert counts.left_out == {"packages that are not installed": 1}


@pytest.mark.long
def test_pairs_are_made_as_often_as_wanted(tmp_path: Path, monkeypatch: Any) -> None:
    names = [f"def name_{i}():\n    'Does thing {i}. Then it is done, {i}.'" for i in range(200)]
    (tmp_path / "many_names.py").write_text("\n".join(names))
    monkeypatch.syspath_prepend(tmp_path)

    def made(pairs: PairCounts) -> tuple[int, int, int]:
        groups = list(docstring_groups(None, ("many_names",), pairs, 0, DataCounts()))
        package = sum("many_names" in g.place for g in groups)
        written = sum("training_questions" in g.place for g in groups)
        return len(groups) - package - written, package, written

    library, package, written = made(PairCounts(1, 0.5, 1))
    assert 70 < package < 130 and written > 500
    twice, whole, thrice = made(PairCounts(2, 1, 3))
    assert whole == 200 and thrice == 3 * written and 1.5 * library < twice <= 2 * library


@pytest.mark.long
def test_docstrings_as_a_data_format(shared: Path) -> None:
    options = DataOptions(
        "docstrings", shared / "openstax", negatives=2, library_pairs=1, max_rows=3000
    )
    found, again = rows(options), rows(options)
    assert found == again and len(found) == 3000
    assert all(r["positive"] not in (r["negative_1"], r["negative_2"]) for r in found)
