"""Files that could be taken for something else: each test is named after what it prevents."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from bad_input import made
from small import batch_of
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import SourceOptions, open_source
from splade_bridge.conversion.export import export_path
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.queries import (
    write_json_queries,
    write_pisa_queries,
    write_repeated_tokens,
)
from splade_bridge.inspection.kinds import inspect_path
from splade_bridge.retrieval.encode_queries import query_texts
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import CorpusOptions, read_texts

RUN = {"1": {"11": 2.0, "13": 1.0}, "2": {"12": 2.0, "14": 1.0}}


# ---------------------------------------------------------------- judgements


def test_a_cut_line_of_trec_judgements_is_not_read_as_one_of_beir(tmp_path: Path) -> None:
    """``2 0 12`` would be grade 12 of document 0, which no run finds: .3066 instead of .8066."""
    whole = "1 0 11 1\n1 0 99 1\n2 0 12 1\n"
    path = tmp_path / "qrels"
    path.write_text(whole)
    right = evaluate(read_qrels(path), RUN, ["nDCG@10"]).means["nDCG@10"]
    path.write_text(whole[: whole.rindex(" ")])
    wrong = evaluate({"1": {"11": 1, "99": 1}, "2": {"0": 12}}, RUN, ["nDCG@10"]).means["nDCG@10"]
    assert (round(right, 4), round(wrong, 4)) == (0.8066, 0.3066)  # with exit 0, before
    with pytest.raises(BadInputError, match=r"qrels:3: 3 columns, where the first line has 4"):
        read_qrels(path)


@pytest.mark.parametrize("first", ["q1 0 d1 1\n", "q1 d1 1\n"])
def test_two_layouts_are_not_read_from_one_file(first: str, tmp_path: Path) -> None:
    other = {4: "q2 0 d2 1\n", 3: "q2 d2 1\n"}
    path = tmp_path / "qrels"
    path.write_text(first + other[7 - len(first.split())])
    with pytest.raises(BadInputError, match=r"qrels:2: . columns, where the first line has"):
        read_qrels(path)


@pytest.mark.parametrize("blank", ["\u00a0", "\u3000", "\x1f", "\u0085", "\u2028"])
def test_what_is_white_space_for_python_alone_does_not_divide_an_id(
    blank: str, tmp_path: Path
) -> None:
    """C's isspace, as trec_eval calls it, knows blank, \\t, \\n, \\v, \\f and \\r."""
    qrels, run = tmp_path / "qrels", tmp_path / "run"
    qrels.write_text(f"q1 0 a{blank}b 1\n", encoding="utf-8")
    run.write_text(f"q1\vQ0\fa{blank}b 1 2.5 t\n", encoding="utf-8", newline="")
    assert read_qrels(qrels) == {"q1": {f"a{blank}b": 1}}
    assert read_run(run) == {"q1": {f"a{blank}b": 2.5}}


def test_a_comment_is_not_read_as_a_judgement(tmp_path: Path) -> None:
    path = tmp_path / "qrels"
    path.write_text("# made by hand\n301 0 a#1 1\n#301 0 b 1\n# 301 0 c 1\n")
    assert read_qrels(path) == {"301": {"a#1": 1}}
    path.write_text("#q Q0 d 1 2 t\nq Q0 d 1 2 t\n")
    assert read_run(path) == {"q": {"d": 2.0}}


@pytest.mark.shared
def test_comments_are_those_of_trec_eval(shared: Path) -> None:
    """Its own test files: the same judgements with comments and without."""
    folder = shared / "fixtures" / "trec_eval-test"
    lines = [
        line.split()
        for line in (folder / "qrels.test.with-comments").read_text().splitlines()
        if not line.startswith("#")
    ]
    found = read_qrels(folder / "qrels.test.with-comments")
    assert sum(map(len, found.values())) == len(lines)
    assert all(found[q][d] == int(grade) for q, _, d, grade in lines)


@pytest.mark.parametrize(
    "header",
    ["query-id\tcorpus-id\tscore\n", "qid\tdocid\trel\n", "query_id iteration doc_id relevance\n"],
)
def test_a_header_is_no_judgement(header: str, tmp_path: Path) -> None:
    zero = "0 " if len(header.split()) == 4 else ""
    path = tmp_path / "qrels.tsv"
    path.write_text(f"{header}q {zero}d 1\n")
    assert read_qrels(path) == {"q": {"d": 1}}


@pytest.mark.parametrize("indent", [None, 2])
def test_json_judgements_and_runs_are_those_of_columns(indent: int | None, tmp_path: Path) -> None:
    qrels, run = {"q1": {"d 1": 2, "d2": 0}, "q2": {"d1": 1}}, {"q1": {"d2": 3.5, "d1": 2}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(qrels, indent=indent))
    with pytest.raises(BadInputError, match="query q1, document d 1: id 'd 1'"):
        read_qrels(path)
    path.write_text(json.dumps(qrels, indent=indent).replace("d 1", "d9"))
    assert read_qrels(path) == {"q1": {"d9": 2, "d2": 0}, "q2": {"d1": 1}}
    path.write_text(json.dumps(run, indent=indent))
    assert read_run(path) == run
    path.write_text(json.dumps({"q1": {"d1": 0.5}}, indent=indent))
    with pytest.raises(BadInputError, match=r"grade 0\.5 is not an integer"):
        read_qrels(path)


# ---------------------------------------------------------------- runs of three columns


def test_scores_are_not_read_as_ranks(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("q d1 12.5\nq d2 7\nr d1 3\n")
    assert read_run(path) == {"q": {"d1": 12.5, "d2": 7.0}, "r": {"d1": 3.0}}
    path.write_text("q d1 1\nq d2 2\nr d1 1\n")
    assert read_run(path) == {"q": {"d1": -1.0, "d2": -2.0}, "r": {"d1": -1.0}}


@pytest.mark.parametrize(
    "lines",
    [
        ["q a 0", "q b 1", "r c 0"],  # from 0
        ["q b 2", "q a 1", "q c 3"],  # not in their order
        ["q a 11", "q b 12"],  # the second page
    ],
)
def test_ranks_are_not_read_as_scores(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInputError, match="may be a rank or a score"):
        read_run(path)


@pytest.mark.parametrize("lines", [["q a 1", "q b 1"], ["q a 1", "r b 9", "r c 4"]])
def test_scores_that_begin_with_1_are_not_read_as_ranks(lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("\n".join(lines))
    with pytest.raises(BadInputError, match="is a rank by the first line"):
        read_run(path)


# ---------------------------------------------------------------- BEIR folders


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    queries = [{"_id": f"q{i}", "text": f"text {i}"} for i in range(4)]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    head = "query-id\tcorpus-id\tscore\n"
    (folder / "qrels" / "test.tsv").write_text(f"{head}q1\td1\t1\nq3\td1\t2\n")
    (folder / "qrels" / "dev.tsv").write_text(f"{head}q0\td1\t1\n")
    return folder


def test_a_beir_folder_stands_for_its_test_judgements(beir: Path) -> None:
    assert read_qrels(beir) == {"q1": {"d1": 1}, "q3": {"d1": 2}}
    assert read_qrels(beir, split="dev") == {"q0": {"d1": 1}}
    with pytest.raises(BadInputError, match="--split is one of dev, test"):
        read_qrels(beir, split="train")


def test_not_all_queries_are_taken_where_a_split_is_judged(
    beir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [t.id for t in query_texts(str(beir), "test")] == ["q1", "q3"]
    assert [t.id for t in query_texts(str(beir), "dev")] == ["q0"]
    assert caplog.text == ""
    assert len(query_texts(str(beir))) == 4
    assert "the queries of all splits are taken; --split takes those" in caplog.text
    with open(beir / "qrels" / "dev.tsv", "a") as more:
        more.write("q9\td1\t1\n")
    with pytest.raises(BadInputError, match=r"1 of the queries that dev\.tsv judges are not there"):
        query_texts(str(beir), "dev")


@pytest.mark.shared
def test_323_judged_queries_of_nfcorpus_are_not_3237(shared: Path) -> None:
    source = str(shared / "nfcorpus")
    judged = list(read_texts(source, "queries", CorpusOptions(split="test")))
    assert (len(judged), len(list(read_texts(source, "queries")))) == (323, 3237)
    assert {t.id for t in judged} == set(read_qrels(Path(source)))


# ---------------------------------------------------------------- vectors


def test_the_texts_of_an_export_are_not_lost_when_it_is_exported_again(tmp_path: Path) -> None:
    given = made.JSON_LINES.replace('"contents": ""', '"contents": "a text"')
    (tmp_path / "docs.jsonl").write_text(given)
    export_path(tmp_path / "docs.jsonl", tmp_path / "once")
    export_path(tmp_path / "once", tmp_path / "twice")
    part = Path("jsonvector/part-00000.jsonl")
    assert (tmp_path / "once" / part).read_text().count("a text") == 3
    assert (tmp_path / "twice" / part).read_bytes() == (tmp_path / "once" / part).read_bytes()


@pytest.mark.parametrize("write", [write_repeated_tokens, write_pisa_queries])
def test_a_weight_of_300_million_is_not_a_line_in_memory(
    write: Callable[..., Iterator[bytes]],
) -> None:
    matrix = np.array([[300_000_000]])
    tracemalloc.start()
    try:
        with pytest.raises(BadInputError, match="would be a line of 600,000,000 bytes"):
            list(write([batch_of(matrix, ["q"])], Vocabulary(["a"])))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    (line,) = write_json_queries([batch_of(matrix, ["q"])], Vocabulary(["a"]))
    assert json.loads(line) == {"qid": "q", "vector": {"a": 300_000_000}}


@pytest.mark.parametrize("target", ["qdrant", "milvus"])
def test_rows_of_a_vector_database_are_not_read_as_terms_called_indices_and_values(
    target: ConvertFormat, tmp_path: Path
) -> None:
    (tmp_path / "docs.jsonl").write_text(made.JSON_LINES)
    convert(tmp_path / "docs.jsonl", tmp_path / "f", target)
    (part,) = (tmp_path / "f").glob("*-00000*")
    assert inspect_path(part).kind == target
    with pytest.raises(BadInputError, match="is not a number"):
        list(open_source(part).batches())
    source = open_source(part, SourceOptions(target))
    assert sum(len(batch) for batch in source.batches()) == 3


@pytest.mark.parametrize("text", ["3.0", "3e0", "3"])
def test_a_whole_number_written_as_a_float_is_not_scaled_by_100(text: str, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text(f'{{"id": "d", "vector": {{"a": {text}}}}}\n')
    (batch,) = open_source(path).batches()
    assert batch.impacts.tolist() == [3]
    with pytest.raises(UsageError, match="scale"):
        list(open_source(path, quantize=QuantizeOptions(100)).batches())
