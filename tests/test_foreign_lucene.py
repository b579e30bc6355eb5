"""Lucene indexes of others: what runs cannot name is refused, what was deleted is not found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import command_line
from bad_input import made
from javac import QUICK, compiled
from ranked import as_pairs
from small import MemorySource, queries_of
from splade_bridge.engines.jars import lucene_for_writing
from splade_bridge.engines.java import HELPER, java
from splade_bridge.engines.lucene_index import LuceneIndex
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.verify import verify
from splade_bridge.files.writing import asset
from splade_bridge.retrieval.document_texts import DocumentText, opened_texts
from splade_bridge.retrieval.explain import explain
from splade_bridge.text.corpora import CorpusOptions

Make = Callable[..., Path]


@pytest.fixture(scope="module")
def make(lucene: None, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes an index by Foreign.java."""
    class_path = compiled(
        Path(__file__).with_name("Foreign.java"),
        lucene_for_writing(),
        tmp_path_factory.mktemp("foreign"),
        asset(HELPER),
    )

    def build(out: Path, *told: str) -> Path:
        lines = []
        for line in told:
            what, *rest = line.split("|")
            if rest:
                rest[0] = rest[0].encode("utf-8", "surrogateescape").hex()
            for at, (field, _, text) in enumerate((part.partition("=") for part in rest[2:]), 2):
                rest[at] = f"{field}={text.encode().hex()}"
            lines.append("|".join([what, *rest]))
        command = [java(), *QUICK, "-cp", class_path, "splade_bridge.Foreign", out, *lines]
        subprocess.run(command, check=True, capture_output=True)
        return out

    return build


TERMS = ["a", "b"]
QUERIES = queries_of(np.array([[1, 0], [2, 3]]), TERMS)


@pytest.mark.long
def test_deleted_and_replaced_documents_are_not_there(make: Make, tmp_path: Path) -> None:
    """The oracle is an index of ours of what is left, in segments that hold what is not."""
    index = make(
        tmp_path / "foreign",
        "add|d1|a=5,b=1", "add|d2|a=9", "add|d2|b=7", "add|d3|b=4", "commit",
        "delete|d2", "update|d1|a=2", "add|d4|a=5", "none|gone|a=3", "commit",
        "update|d4|a=5,b=6", "add|d2|b=8",
    )  # fmt: skip
    with pytest.raises(BadInputError, match="1 without an id"):
        open_index(index)
    index = make(
        tmp_path / "again",
        "add|d1|a=5,b=1", "add|d2|a=9", "add|d2|b=7", "add|d3|b=4", "commit",
        "delete|d2", "update|d1|a=2", "add|d4|a=5", "commit",
        "update|d4|a=5,b=6", "add|d2|b=8",
    )  # fmt: skip
    left = np.array([[2, 0], [0, 8], [0, 4], [5, 6]])
    oracle = tmp_path / "oracle"
    engine("exact").build(MemorySource(left, ["d1", "d2", "d3", "d4"], TERMS), oracle)
    with open_index(index) as theirs, open_index(oracle) as ours:
        assert verify([ours, theirs], QUERIES, 10).equal
        (first, _) = theirs.search(QUERIES.aligned(theirs.vocabulary, index), 10)
        assert as_pairs(first) == [("d4", 5), ("d1", 2)]
        for doc_id in ("d1", "d2", "d3", "d4"):
            for query_id in ("q0", "q1"):
                told = [
                    [(c.term, c.impact) for c in explain(s, QUERIES, query_id, doc_id)]
                    for s in (ours, theirs)
                ]
                assert told[0] == told[1]


def test_texts_that_others_have_stored_are_shown(make: Make, tmp_path: Path) -> None:
    """As Anserini's -storeRaw and -storeContents leave them; one that is no text is none."""
    index = make(
        tmp_path / "texts",
        'add|d1|a=1|raw={"id": "d1", "title": "A cat", "contents": "on the mat"}',
        "add|d2|a=2|raw=plain words|contents=other words",
        'add|d3|a=1|raw={"id": "d3", "vector": {"a": 1}}',
        "add|d4|a=1|contents=what it says",
        "add|d5|a=1",
        "add|d6|a=1|raw=[1, 2]",
    )
    wanted = {
        "d1": DocumentText("A cat", "on the mat"),
        "d1#4": DocumentText("A cat", "on the mat"),
        "d2": DocumentText("", "plain words"),
        "d3": None,
        "d4": DocumentText("", "what it says"),
        "d5": None,
        "d6": DocumentText("", "[1, 2]"),
        "nowhere": None,
    }
    with open_index(index) as searcher, opened_texts(None, CorpusOptions(), [searcher]) as texts:
        assert texts is not None
        assert {doc_id: texts.get(doc_id) for doc_id in wanted} == wanted


@pytest.mark.long
def test_an_index_says_whether_it_stores_texts(make: Make, tmp_path: Path) -> None:
    for told, there in (("contents=words", True), ("other=words", False)):
        index = make(tmp_path / told, f"add|d1|a=1|{told}")
        with open_index(index) as searcher:
            assert searcher.stores_texts is there
            with opened_texts(None, CorpusOptions(), [searcher]) as texts:
                assert (texts is not None) is there


@pytest.mark.parametrize(
    ("told", "says"),
    [
        (("add|d1|a=1", "none||a=1", "none||a=2"), "2 without an id"),
        (("add|d1|a=1", "add||a=1"), "1 without an id"),
        (("add|d1|a=1", "add|x y|a=1"), "1 with an id that a run cannot hold, as 'x y'"),
        (("add|d1|a=1", "add|q1 Q0 d9 1 9 t\nq2|a=1"), "1 with an id that a run cannot hold"),
        (("add|d1|a=1", "add|x\u2028y|a=1"), r"1 with an id that a run cannot hold, as 'x\\u2028y"),
        (("add|d1|a=1", "add|x\u00a0y|a=1", "add|\u3000|a=1"), "2 with an id that a run cannot"),
        (("add|d1|a=1", "add|\udcffA|a=1"), "1 with an id that a run cannot hold"),
        (("add|d1|a=1", "add|A\0B|a=1"), r"1 with an id that a run cannot hold, as 'A\\x00B'"),
        (("add|d1|a=1", "commit", "add|d1|a=1"), "1 with an id that another has, as 'd1'"),
        (("add|d1|a=1", "add|d1|b=1", "add|d1|b=1", "none||a=4"),
         "1 without an id.*, 2 with an id that another has, as 'd1'"),
        (("number|7|a=1",), "1 without an id"),
    ],
)  # fmt: skip
@pytest.mark.sample(2)
def test_ids_that_a_run_cannot_hold_are_refused_by_name(
    make: Make, tmp_path: Path, told: tuple[str, ...], says: str
) -> None:
    index = make(tmp_path / "i", *told)
    with pytest.raises(BadInputError, match=f"{tmp_path}.*{says}"):
        open_index(index)


@pytest.mark.long
def test_the_rule_for_ids_is_the_same_in_both_languages(make: Make, tmp_path: Path) -> None:
    """Every character that Python takes for white space, and those beside them."""
    blanks = [chr(c) for c in range(0x110000) if chr(c).isspace()]
    index = make(tmp_path / "i", *(f"add|x{c}{i}|a=1" for i, c in enumerate(blanks)))
    with LuceneIndex(index) as opened, pytest.raises(BadInputError, match=f" {len(blanks)} with"):
        opened.check_ids()
    others = [chr(ord(c) + step) for c in blanks for step in (-1, 1)]
    others = sorted({c for c in others if not c.isspace() and c not in "|"})
    index = make(tmp_path / "j", *(f"add|x{c}{i}|a=1" for i, c in enumerate(others)))
    with LuceneIndex(index) as opened:
        opened.check_ids()


@pytest.mark.long
def test_commands_refuse_it_and_leave_nothing(
    make: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    index = make(tmp_path / "i", "add|d1|alpha=1", "add|x y|alpha=2")
    queries, run = tmp_path / "q.tsv", tmp_path / "run"
    queries.write_text(made.TOPICS)
    for command in (
        ("search", index, "-q", queries, "-o", run),
        ("verify", index, index, "-q", queries),
        ("explain", index, "q1", "x y", "-q", queries),
        ("bench", index, "-q", queries),
    ):
        status, out, err = command_line.run(capfd, *command)
        assert (status, out) == (4, ""), err
        assert "'x y'" in err
    status, _, err = command_line.run(capfd, "index", index, "-o", run, "-e", "exact")
    assert status == 4
    assert "'x y'" in err
    assert not run.exists()
