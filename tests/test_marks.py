"""What is shown of a text: nothing of it is lost, and the part with the most is found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from small import write_json_lines
from splade_bridge.retrieval.document_texts import DocumentText, DocumentTexts
from splade_bridge.retrieval.marks import LEAD, Run, marked, read_part, read_whole, snippet
from splade_bridge.retrieval.words import WORD, Span
from splade_bridge.text.corpora import CorpusOptions

TERMS = ("a", "bb", "ccc", "dddd")


def spans_of(text: str) -> list[Span]:
    """Words stand for themselves."""
    return [Span(m.start(), m.end(), m.group()) for m in WORD.finditer(text)]


def joined(runs: list[Run]) -> str:
    return "".join(run.text for run in runs)


@given(st.lists(st.sampled_from([*TERMS, "x", " ", "\n", ", "])), st.sets(st.sampled_from(TERMS)))
def test_marked_parts_are_the_text(words: list[str], terms: set[str]) -> None:
    text = "".join(words)
    runs = marked(text, spans_of(text), terms)
    assert joined(runs) == text
    assert [run.term for run in runs if run.term] == [
        span.term for span in spans_of(text) if span.term in terms
    ]
    assert all(run.text == run.term for run in runs if run.term)


def test_blanks_that_a_token_begins_with_are_not_marked() -> None:
    assert marked("the cat", [Span(0, 3, "Ġthe"), Span(3, 7, "Ġcat")], {"Ġcat"}) == [
        Run("the ", None), Run("cat", "Ġcat"),
    ]  # fmt: skip


def test_spans_that_overlap_are_marked_once() -> None:
    spans = [Span(0, 3, "a"), Span(1, 4, "bb"), Span(4, 6, "a")]
    assert joined(marked("abcdefg", spans, {"a", "bb"})) == "abcdefg"
    assert [run.term for run in marked("abcdefg", spans, {"a", "bb"})] == ["a", None, "a", None]


@pytest.mark.parametrize("seed", range(20))
def test_the_snippet_holds_the_most(seed: int) -> None:
    """The oracle tries every window that begins with a found word."""
    rng = np.random.default_rng(seed)
    words = rng.choice([*TERMS, *["filler"] * 12], 200).tolist()
    text = " ".join(words)
    scores = {term: float(rng.integers(1, 50)) for term in TERMS}
    spans = [span for span in spans_of(text) if span.term in scores]
    size = 60
    best = max(
        sum(scores[t] for t in {s.term for s in spans if s.start >= first.start
                                and s.stop <= first.start + size - LEAD})
        for first in spans
    )  # fmt: skip
    runs, starts, ends = snippet(text, spans_of(text), scores, size)
    shown = joined(runs)
    assert shown in text
    assert len(shown) <= size + 2 * LEAD
    assert sum(scores[t] for t in {run.term for run in runs if run.term}) >= best
    assert starts == text.startswith(shown)
    assert ends == text.endswith(shown)
    assert re.fullmatch(r"\w+( \w+)*", shown.strip()), "whole words"


def test_a_text_without_matches_is_shown_from_its_start() -> None:
    text = "one two three " * 50
    runs, starts, ends = snippet(text, spans_of(text), {})
    assert (starts, ends) == (True, False)
    assert text.startswith(joined(runs))
    assert snippet("", [], {}) == ([], True, True)
    assert snippet("short", [], {"a": 1.0}) == ([Run("short", None)], True, True)


def test_title_and_body_are_read_apart() -> None:
    spans = [spans_of("bb"), spans_of("a bb x")]
    assert read_whole("bb", "a bb x", spans, {"bb"}).title == [Run("bb", "bb")]
    part = read_part("bb", "a bb x", spans, {"a": 2.0})
    assert part.title == [Run("bb", None)]
    assert part.text == [Run("a", "a"), Run(" bb x", None)]


def test_texts_are_found_by_id_title_apart(tmp_path: Path) -> None:
    """Titles of any kind; a passage shows the document that it is of, unless it has a text."""
    records = [
        {"_id": "a", "title": "One  title\nof two lines", "text": "its body\nhas lines"},
        {"_id": "b", "title": "", "text": "no title"},
        {"_id": "c", "text": "none at all"},
        {"_id": "d#1", "title": " kept ", "text": "a passage"},
        {"_id": "e", "title": "only a title", "text": ""},
    ]
    write_json_lines(tmp_path / "corpus.jsonl", records)
    (tmp_path / "work").mkdir()
    texts = DocumentTexts(str(tmp_path / "corpus.jsonl"), CorpusOptions(), tmp_path / "work")
    assert texts.get("a") == DocumentText("One title of two lines", "its body\nhas lines")
    assert texts.get("a#7") == texts.get("a")
    assert texts.get("b") == DocumentText("", "no title")
    assert texts.get("c") == DocumentText("", "none at all")
    assert texts.get("d#1") == DocumentText("kept", "a passage")
    assert texts.get("e") == DocumentText("only a title", "")
    assert texts.get("d") is None and texts.get("a#x") is None and texts.get("") is None
