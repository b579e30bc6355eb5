"""Training data as their owners write them: a file in each layout, and the rows it must give.

The layouts are those of public documentation:

- OpenSearch: README of zhichao-aws/opensearch-sparse-model-tuning-sample ("Run with infoNCE loss",
  "Run with knowledge distillation (scores pre-computed)"); its data file is a ``datasets.Dataset``.
- FlagEmbedding: README of FlagOpen/FlagEmbedding, examples/finetune/embedder, "Data format".
- sentence-transformers: sbert.net, Training Overview, "Dataset Format", and the docstring of
  MarginMSELoss for what labels may be.
- Tevatron: README of texttron/tevatron, "Training Data".
- DPR: README of facebookresearch/DPR, "Retriever input data format".
- MS MARCO hard negatives: card of sentence-transformers/msmarco-hard-negatives, and, for items that
  are objects, sentence-transformers' examples/training/ms_marco/train_bi-encoder-v3.py.
- Columns: MS MARCO's triples.train.small.tsv; Hofstätter et al. (arXiv:2010.02666) for scores in
  front; naver/splade's pair files for scores at the end.
"""

from __future__ import annotations

import gzip
import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from small import write_json_lines, write_texts
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.training.columns import column_groups
from splade_bridge.training.data import DataOptions, TrainingData, read_training_data
from splade_bridge.training.examples import DataCounts
from splade_bridge.training.records import LAYOUTS, json_groups

pytestmark = pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="needs the extra train"
)
Row = dict[str, Any]

PASSAGES = {"positive": "Berlin is the capital.", "hard": "Paris is a city.", "other": "Bonn."}


def row(query: str, positive: str, *negatives: str, label: list[float] | None = None) -> Row:
    """A row as the trainer takes it."""
    named = {f"negative_{i}": text for i, text in enumerate(negatives, start=1)}
    return {"query": query, "positive": positive, **named, **({"label": label} if label else {})}


# Layout, lines, rows with all negatives, and fields that are not read.
CASES: dict[str, tuple[str, list[Row], list[Row], list[str]]] = {
    "OpenSearch": (
        "OpenSearch",
        [
            {"query": "what is a cat", "pos": "a small animal", "negs": ["a car", "a tree"]},
            {"query": "what is a dog", "pos": "it barks", "negs": ["a house", "a road"]},
        ],
        [
            row("what is a cat", "a small animal", "a car", "a tree"),
            row("what is a dog", "it barks", "a house", "a road"),
        ],
        [],
    ),
    "OpenSearch, distillation": (
        "OpenSearch (distillation)",
        [{"query": "x y", "docs": ["d one", "d two", "d three"], "scores": [1.0, 9.0, 4.5]}],
        [row("x y", "d two", "d one", "d three", label=[9.0, 1.0, 4.5])],
        [],
    ),
    "FlagEmbedding": (
        "queries with lists",
        [
            {
                "query": "five women", "pos": ["five women walk"], "neg": ["a cat", "a man"],
                "prompt": "Represent this sentence: ", "type": "normal",
            }
        ],
        [row("five women", "five women walk", "a cat", "a man")],
        ["prompt", "type"],
    ),
    "FlagEmbedding, distillation": (
        "FlagEmbedding (distillation)",
        [
            {
                "query": "q", "pos": ["p1", "p2"], "neg": ["n1", "n2"],
                "pos_scores": [8.5, 7], "neg_scores": [1, -2.5], "type": "normal",
            }
        ],
        [
            row("q", "p1", "n1", "n2", label=[8.5, 1.0, -2.5]),
            row("q", "p2", "n1", "n2", label=[7.0, 1.0, -2.5]),
        ],
        ["type"],
    ),
    "sentence-transformers, triplets": (
        "sentence-transformers",
        [{"anchor": "a", "positive": "b", "negative": "c"}],
        [row("a", "b", "c")],
        [],
    ),
    "sentence-transformers, n-tuples": (
        "sentence-transformers",
        [{"query": "a", "answer": "b", "negative_2": "d", "negative_1": "c", "negative_10": "e"}],
        [row("a", "b", "c", "d", "e")],
        [],
    ),
    "sentence-transformers, scores": (
        "sentence-transformers",
        [{"query": "a", "positive": "b", "negative_1": "c", "negative_2": "d",
          "label": [9.5, 3.0, 1.0]}],
        [row("a", "b", "c", "d", label=[9.5, 3.0, 1.0])],
        [],
    ),
    "sentence-transformers, a margin": (
        "sentence-transformers",
        [{"query": "a", "positive": "b", "negative": "c", "score": 2.5}],
        [row("a", "b", "c", label=[0.0, -2.5])],
        [],
    ),
    "sentence-transformers, margins": (
        "sentence-transformers",
        [{"anchor": "a", "positive": "b", "negative_1": "c", "negative_2": "d",
          "label": [2.5, -1]}],
        [row("a", "b", "c", "d", label=[0.0, -2.5, 1.0])],
        [],
    ),
    "Tevatron": (
        "Tevatron",
        [
            {
                "query_id": "q1", "query": "capital of Germany",
                "positive_passages": [
                    {"docid": "1", "title": "Berlin", "text": PASSAGES["positive"]}
                ],
                "negative_passages": [
                    {"docid": "2", "title": "", "text": PASSAGES["hard"]},
                    {"docid": "3", "title": "Bonn", "text": PASSAGES["other"]},
                ],
                "answers": ["Berlin"],
            }
        ],
        [row("capital of Germany", f"Berlin {PASSAGES['positive']}", PASSAGES["hard"],
             f"Bonn {PASSAGES['other']}")],
        ["answers"],
    ),
    "DPR": (
        "DPR",
        [
            {
                "dataset": "nq_dev_psgs_w100", "question": "capital of Germany",
                "answers": ["Berlin"],
                "positive_ctxs": [
                    {"title": "Berlin", "text": PASSAGES["positive"], "score": 1000,
                     "title_score": 1, "passage_id": "1"}
                ],
                "negative_ctxs": [
                    {"title": "Bonn", "text": PASSAGES["other"], "score": 0, "passage_id": "3"}
                ],
                "hard_negative_ctxs": [
                    {"title": "Paris", "text": PASSAGES["hard"], "score": "13.327155",
                     "title_score": 0, "passage_id": "2"}
                ],
            },
            {
                "question": "and now", "answers": [], "positive_ctxs": ["a text alone"],
                "negative_ctxs": [{"title": "Bonn", "text": PASSAGES["other"]}],
                "hard_negative_ctxs": [],
            },
        ],
        [
            row("capital of Germany", f"Berlin {PASSAGES['positive']}",
                f"Paris {PASSAGES['hard']}"),
            row("and now", "a text alone", f"Bonn {PASSAGES['other']}"),
        ],
        ["answers", "dataset"],
    ),
    "ours": (
        "queries with lists",
        [{"query_id": "q", "query": "a", "positives": {"b": 1}, "negatives": {"c": 12, "d": 9},
          "scores": {"b": 5, "c": 2.5, "d": 1}}],
        [row("a", "b", "c", "d", label=[5.0, 2.5, 1.0])],
        [],
    ),
}  # fmt: skip


def most(rows: list[Row]) -> int:
    return sum(name.startswith("negative_") for name in rows[0])


@pytest.mark.parametrize("container", ["jsonl", "json array", "parquet", "arrow", "saved"])
@pytest.mark.parametrize("name", CASES)
def test_rows_of_every_layout(tmp_path: Path, name: str, container: str) -> None:
    _, lines, rows, unread = CASES[name]
    if name == "DPR" and container in ("parquet", "arrow", "saved"):
        lines = [lines[0]]  # texts alone beside objects have no type in Arrow
        rows = rows[:1]
    path = written(tmp_path, lines, container)
    form = "jsonl" if container.startswith("json") else "dataset"
    found = read_training_data(
        DataOptions(form, path, negatives=most(rows), choice="first")  # type: ignore[arg-type]
    )
    assert list(found.dataset) == rows
    assert sorted(found.counts.unread) == unread and not found.counts.left_out


def test_every_layout_has_a_case() -> None:
    assert {layout.name for layout in LAYOUTS} == {layout for layout, *_ in CASES.values()}


def written(folder: Path, lines: list[Row], container: str) -> Path:
    """``lines`` in a file or folder of a kind."""
    import datasets

    if container == "jsonl":
        return write_json_lines(folder / "train.jsonl", lines)
    if container == "json array":
        path = folder / "train.json.gz"
        path.write_bytes(gzip.compress(json.dumps(lines, indent=4).encode()))
        return path
    if name := next((k for k, v in lines[0].items() if isinstance(v, dict)), None):
        pytest.skip(f"an object with keys of its own ({name}) is no column")
    table = pa.Table.from_pylist(lines)
    path = folder / f"train.{container}"
    if container == "parquet":
        pq.write_table(table, path)
    elif container == "arrow":
        with pa.ipc.new_file(path, table.schema) as out:
            out.write_table(table)
    else:
        datasets.Dataset(table).save_to_disk(path)
    return path


def test_a_layout_is_said_and_holds_for_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, lines, *_ = CASES["Tevatron"]
    path = write_json_lines(tmp_path / "mixed.jsonl", [*lines, *CASES["OpenSearch"][1]])
    with (
        caplog.at_level(logging.INFO),
        pytest.raises(BadInputError, match=r"mixed.jsonl:2: laid out as OpenSearch, where"),
    ):
        list(json_groups(path, DataCounts(), ids=False))
    assert "mixed.jsonl: read as Tevatron" in caplog.text


# ---------------------------------------------------------------- ids


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    folder.mkdir()
    write_texts(folder / "corpus.jsonl", {str(i): f"text {i}" for i in range(10)})
    write_texts(folder / "queries.jsonl", {"571018": "the query"})
    return folder


def read(path: Path, collection: Path, **options: Any) -> TrainingData:
    texts = {"collection": str(collection), "queries": str(collection)}
    return read_training_data(DataOptions("jsonl", path, choice="first", **texts, **options))


def test_hard_negatives_of_ms_marco(tmp_path: Path, collection: Path) -> None:
    path = tmp_path / "msmarco-hard-negatives.jsonl.gz"
    line = {"qid": 571018, "pos": [7], "neg": {"bm25": [1, 2], "tas-b": [2, 3, 4]}}
    path.write_bytes(gzip.compress(json.dumps(line).encode()))
    rows = [row("the query", "text 7", "text 1", "text 2", "text 3", "text 4")]
    assert list(read(path, collection, negatives=4).dataset) == rows


def test_hard_negatives_that_are_objects(tmp_path: Path, collection: Path) -> None:
    """A ce-score is a teacher's; ``score`` and ``rank`` of a first stage are none."""
    line = {
        "qid": 571018,
        "pos": [{"pid": 7, "ce-score": 9.5}],
        "neg": {
            "bm25": [{"pid": 1, "ce-score": -3.25, "bm25-score": 8.0}],
            "tas-b": [{"pid": 2, "ce-score": 1.5}, {"pid": 1, "ce-score": -3.25}],
        },
    }
    path = write_json_lines(tmp_path / "v6.jsonl", [line])
    rows = [row("the query", "text 7", "text 1", "text 2", label=[9.5, -3.25, 1.5])]
    assert list(read(path, collection, negatives=2).dataset) == rows


def test_ids_of_tevatron_are_looked_up_where_there_is_a_collection(
    tmp_path: Path, collection: Path
) -> None:
    path = write_json_lines(tmp_path / "t.jsonl", CASES["Tevatron"][1])
    (found,) = read(path, collection, negatives=2).dataset
    assert found == row("capital of Germany", "text 1", "text 2", "text 3")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"query": "q", "pos": [7]}, r"x.jsonl:1: an entry of pos is a number \(7\)"),
        (
            {"query": "q", "positive_passages": [{"docid": "1"}]},
            r"x.jsonl:1: an entry of positive_passages has no text",
        ),
        (
            {"sentence1": "a", "sentence2": "b", "score": 0.5},
            r"x.jsonl:1: neither query nor query_id; the line has sentence1, sentence2, score",
        ),
        (
            {"anchor": "a", "positive": "b", "label": 1},
            r"x.jsonl:1: 1 labels for 0 negatives.*pair alone",
        ),
        (
            {"query": "a", "pos": ["b"], "neg": ["c"], "pos_scores": [1, 2], "neg_scores": [1]},
            r"x.jsonl:1: 2 scores in field pos_scores for 1 documents",
        ),
        (
            {"query": "a", "pos": ["b"], "neg": ["c", "d"], "pos_scores": [1]},
            r"x.jsonl:1: 0 scores in field neg_scores for 2 documents",
        ),
        ({"query": "a", "docs": ["b", "c"], "scores": [1]}, r"x.jsonl:1: 1 scores in field"),
        ({"query": "a", "docs": ["b"], "scores": ["high"]}, r"score 'high' is not a finite"),
        ({"query": "a", "pos": [{"title": "b", "text": 3}]}, r"text of an entry of pos is int"),
        ({"query": "a", "pos": [{"title": 3, "text": "b"}]}, r"title of an entry of pos is int"),
        ({"positive_ctxs": ["a"], "question": 3}, r"x.jsonl:1: field query is int"),
        ({"positive_passages": ["a"]}, r"x.jsonl:1: no query"),
    ],
)
def test_lines_that_break_a_layout(tmp_path: Path, line: Row, told: str) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", [line])
    with pytest.raises(BadInputError, match=told):
        read_training_data(DataOptions("jsonl", path))


def test_an_object_without_an_id(tmp_path: Path, collection: Path) -> None:
    path = write_json_lines(tmp_path / "x.jsonl", [{"query": "q", "pos": [{"text": "b"}]}])
    with pytest.raises(BadInputError, match=r"x.jsonl:1: an entry of pos has no id"):
        read(path, collection)


def test_a_repeated_document_is_merged_and_counted(tmp_path: Path) -> None:
    path = write_json_lines(
        tmp_path / "x.jsonl", [{"query": "q", "pos": ["p", "p"], "neg": ["b", "a", "b"]}]
    )
    found = read_training_data(DataOptions("jsonl", path, negatives=2, choice="first"))
    assert list(found.dataset) == [row("q", "p", "b", "a")]
    assert found.counts.left_out == {"documents that stand twice in their line": 2}


def test_a_field_that_is_not_read_is_named_and_refused_where_a_loss_needs_scores(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("accelerate")
    from splade_bridge.training.recipe import read_recipe
    from splade_bridge.training.train import check_columns

    lines = [{"query": q, "positive": "p", "negative": "n", "teacher": [2, 1]} for q in "ab"]
    path = write_json_lines(tmp_path / "x.jsonl", lines)
    found = read_training_data(DataOptions("jsonl", path))
    assert caplog.text.count("not read: teacher") == 1
    contrastive, distilled = read_recipe("splade-max"), read_recipe("splade-mse")
    assert check_columns(found.dataset, contrastive, found.counts)[0] == "query"
    with pytest.raises(UsageError, match=r"have none.*not read of the data: teacher \(.*:1\)"):
        check_columns(found.dataset, distilled, found.counts)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[", "entry 1: not JSON"),
        ('[{"query": "a"}', "not a JSON array: its end where there must be ]"),
        ('[{"query": "a"} {"query": "b"}]', "'{' where there must be ]"),
        ('[{"query": "a"},]', "entry 2: not a JSON object"),
        ('[{"query": "a"}, 3]', "entry 2: not a JSON object"),
        ('[{"query": "a", "query": "b"}]', "entry 1: key 'query' stands twice"),
        ('[{"query": "a"}] x', "something follows the array"),
        ('[{"query": "a", }]', "entry 1: not JSON"),
        ("[]", "hold nothing"),
    ],
)
def test_a_broken_array_is_named(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(BadInputError) as error:
        read_training_data(DataOptions("jsonl", path, negatives=0))
    assert told in str(error.value) and str(path) in str(error.value)


def test_an_array_is_read_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splade_bridge.training.record_files.AT_ONCE", 7)
    lines = [{"query": f"frage {i} über ü", "positive": "é" * i + "."} for i in range(20)]
    path = tmp_path / "x.json"
    path.write_text("\ufeff" + json.dumps(lines, ensure_ascii=False, indent=2), "utf-8")
    found = read_training_data(DataOptions("jsonl", path, negatives=0))
    assert list(found.dataset) == lines


def test_splits_of_a_data_set(tmp_path: Path) -> None:
    """The files of the hub, and what DatasetDict.save_to_disk writes: one split is read."""
    import datasets

    tables = {s: pa.table({"anchor": [s], "positive": ["p"]}) for s in ("train", "test")}
    hub, saved = tmp_path / "hub", tmp_path / "saved"
    (hub / "data").mkdir(parents=True)
    for split, table in tables.items():
        pq.write_table(table, hub / "data" / f"{split}-00000-of-00001.parquet")
    found = {s: datasets.Dataset(table) for s, table in tables.items()}
    datasets.DatasetDict(found).save_to_disk(str(saved))
    for folder in (hub, saved):
        for split in tables:
            options = DataOptions("dataset", folder, negatives=0, split=split)
            assert list(read_training_data(options).dataset) == [row(split, "p")]
        with pytest.raises(BadInputError, match=r"no split 'dev': set data.split to one of "):
            read_training_data(DataOptions("dataset", folder, negatives=0, split="dev"))


@pytest.mark.parametrize(
    ("name", "content", "form", "told"),
    [
        ("x.parquet", b"PAR1 or not", "dataset", r"x.parquet: not a Parquet file"),
        ("x.arrow", b"ARROW1 or not", "dataset", r"x.arrow: not an Arrow file"),
        ("x.jsonl", b"{}", "dataset", r'neither Parquet nor Arrow.*data.format = "jsonl"'),
        ("x.parquet", b"PAR1", "jsonl", r'data.format = "dataset"'),
        ("x/state.json", b'{"_data_files": [{"filename": "../y.arrow"}]}', "dataset",
         r"state.json: _data_files: '../y.arrow' is not a path below"),
        ("x/state.json", b'{"_data_files": []}', "dataset", r"_data_files: names no files"),
        ("x/dataset_dict.json", b'{"splits": ["dev"]}', "dataset", r"one of dev"),
        ("x/README.md", b"", "dataset", r"x: holds neither Parquet nor Arrow"),
    ],
)  # fmt: skip
def test_files_that_are_no_data_set(
    tmp_path: Path, name: str, content: bytes, form: Any, told: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=told):
        read_training_data(DataOptions(form, tmp_path / name.split("/")[0]))


# ---------------------------------------------------------------- columns

TEXTS = [row("a b", "c", "d"), row("e", "f g", "h")]
SCORED = [row("a b", "c", "d", label=[9.5, -1.0]), row("e", "f g", "h", label=[2.0, 1.5])]


@pytest.mark.parametrize(
    ("content", "rows", "told"),
    [
        ("a b\tc\td\ne\tf g\th\n", TEXTS, "columns query, positive, negative"),
        (
            "a b\tc\td\t9.5\t-1\ne\tf g\th\t2\t1.5e0\n",
            SCORED,
            "columns query, positive, negative, score of positive, score of negative",
        ),
        (
            "9.5\t-1\ta b\tc\td\n2\t1.5\te\tf g\th\n",
            SCORED,
            "columns score of positive, score of negative, query, positive, negative",
        ),
        ("query\tpositive\tnegative\na b\tc\td\ne\tf g\th\n", TEXTS, "is a header"),
        ("q\td+\td-\tt+\tt-\na b\tc\td\t9.5\t-1\ne\tf g\th\t2\t1.5\n", SCORED, "is a header"),
        (
            "qid\tnegative\tpositive\tquery\n7\td\tc\ta b\n8\th\tf g\te\n",
            TEXTS,
            "columns (not read), negative, positive, query; the first line is a header",
        ),
        (
            "neg_score\tpos_score\tanchor\tpos\tneg\n-1\t9.5\ta b\tc\td\n1.5\t2\te\tf g\th\n",
            SCORED,
            "columns score of negative, score of positive, query",
        ),
    ],
)
def test_columns_of_texts(
    tmp_path: Path, content: str, rows: list[Row], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with caplog.at_level(logging.INFO):
        found = read_training_data(DataOptions("triples", path))
    assert list(found.dataset) == rows
    assert told in caplog.text
    assert list(found.counts.unread) == ["qid"] * ("qid" in content)


@pytest.mark.parametrize(
    ("content", "scores"),
    [
        ("1\t2\t3\n", None),
        ("qid\tpos_id\tneg_id\n1\t2\t3\n", None),
        ("9.5\t-1\t1\t2\t3\n", {"2": 9.5, "3": -1.0}),
        ("9\t1\t1\t2\t3\n", {"2": 9.0, "3": 1.0}),
        ("1\t2\t3\t9.5\t-1\n", {"2": 9.5, "3": -1.0}),
    ],
)
def test_columns_of_ids(tmp_path: Path, content: str, scores: dict[str, float] | None) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(content)
    (group,) = column_groups(path, "id", DataCounts())
    assert (group.query_id, group.positives, group.scores) == ("1", ["2"], scores)
    assert [c.key for c in group.negatives] == ["3"]


LINES = "a b\tc\td\t9.5\t-1\n" * 150


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a\tb\tc\nd\te\n", r"x.tsv:2: 2 columns, where the file has 3"),
        ("a\tb\tc\n" * 150 + "d\te\tf\tg\n", r"x.tsv:151: 4 columns, where the file has 3"),
        (LINES + "e\tf\tg\thigh\t1\n", r"x.tsv:151: score 'high' is not a number"),
        (LINES + "e\tf\tg\tnan\t1\n", r"x.tsv:151: score 'nan' is not a number"),
        (LINES + "e\t\tg\t2\t1\n", r"x.tsv:151: the positive is empty"),
        ("7\tb\tc\n8\te\tf\n", r"x.tsv:1: 3 columns; column 1 holds numbers; a line must be"),
        ("a\tb\t0.5\n", r"x.tsv:1: 3 columns; column 3 holds numbers"),
        ("1\t2\t3\n", r"ids are of data.format = .id-triples"),
        ("a\n", r"x.tsv:1: 1 column; a line must be"),
    ],
)
def test_columns_that_cannot_be_meant(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(content)
    with pytest.raises(BadInputError, match=told):
        read_training_data(DataOptions("triples", path, negatives=0))
