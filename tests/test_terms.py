"""The terms of a text: the plain formula for the weights, the tokenizer for what the text holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import command_line
import splade_bridge as sb
from checkpoints import (  # noqa: F401
    VOCABULARY,
    one_thread,
    random_model,
    save_checkpoint,
    wordpiece_tokenizer,
)
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.retrieval.encode_queries import QueryEncoder
from splade_bridge.retrieval.terms import readable, spelling_of

pytest.importorskip("torch")
TEXT = "the cat of 42, [SEP]"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("terms") / "model")


def formula(text: str) -> dict[str, float]:
    """log(1 + ReLU) of the largest logit of each term, without any code of ours."""
    import torch

    inputs = wordpiece_tokenizer()(text, return_tensors="pt")
    with torch.no_grad():
        logits = random_model()(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
        ).logits[0]
    weights = torch.log1p(torch.relu(logits.amax(0))).tolist()
    return {VOCABULARY[i]: w for i, w in enumerate(weights) if w > 0}


def test_a_text(model: Path) -> None:
    found = sb.terms(model, TEXT)
    wanted = formula(TEXT)
    assert {t.term for t in found} == wanted.keys()
    for term in found:
        assert term.weight == pytest.approx(wanted[term.term], abs=1e-5)
        assert term.piece == term.term.startswith("##")
        assert term.word == term.term
    assert [(-t.weight, t.term) for t in found] == sorted((-t.weight, t.term) for t in found)
    held = set(wordpiece_tokenizer().tokenize(TEXT))
    assert {"the", "c", "##a", "##t", "of", "4", "##2", ",", "[SEP]"} == held
    assert {t.term for t in found if t.original} == held & wanted.keys()
    assert any(t.original is False for t in found)
    assert sb.terms(model, TEXT, top=4) == found[:4]


def test_a_prompt_is_not_of_the_text(model: Path) -> None:
    plain = {t.term: t for t in sb.terms(model, "cat", side="query")}
    asked = sb.terms(model, "cat", side="query", prompt="the of to in is: ")
    held = {t.term for t in asked if t.original}
    assert held <= {"c", "##a", "##t"}
    assert held
    assert {t.term: t.weight for t in asked} != {t: plain[t].weight for t in plain}


def test_only_what_is_read_of_a_text_is_original(model: Path) -> None:
    for term in sb.terms(model, "the of to", max_length=4):
        assert term.original == (term.term in ("the", "of"))


def test_queries_of_tokens(model: Path) -> None:
    found = sb.terms(model, "the cat the", side="query", query_mode="bow")
    assert [(t.term, t.weight, t.original) for t in found] == [
        (term, 1.0, True) for term in ("##a", "##t", "c", "the")
    ]
    assert sb.terms(model, "") == []


def test_vectors_by_id(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vector store as floats; what is made of it as integers, the same from each."""
    monkeypatch.chdir(tmp_path)
    texts = {"a": "by his with", "b": TEXT, "c": ""}
    sb.encode(texts, model=model, output="v")
    of_text = sb.terms(model, TEXT)
    of_store = sb.terms("v", id="b")
    assert [(t.term, t.word, t.piece) for t in of_store] == [
        (t.term, t.word, t.piece) for t in of_text
    ]
    np.testing.assert_allclose(
        [t.weight for t in of_store], [t.weight for t in of_text], rtol=0, atol=1e-6
    )
    assert all(t.original is None for t in of_store)
    assert sb.terms("v", id="c") == []
    sb.export("v", "x", format=["jsonvector", "ciff", "forward"])
    sb.index("v", "i", engine="exact")
    wanted = {t.term: round(t.weight * 100) for t in of_store if round(t.weight * 100)}
    for place in ("x/jsonvector", "x/index.ciff", "x/forward", "i"):
        found = sb.terms(place, id="b")
        assert {t.term: t.weight for t in found} == wanted
        assert all(isinstance(t.weight, int) for t in found)
    with pytest.raises(BadInputError, match="v: no text 'd' among 3"):
        sb.terms("v", id="d")


def test_the_command(
    model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = command_line.run(capfd, "terms", str(model), TEXT, "--top", "50")
    assert status == 0, err
    found = sb.terms(model, TEXT, top=50)
    lines = [line.split() for line in out.splitlines()]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        (f"{t.weight:.4f}", t.word, "text" if t.original else "expansion") for t in found
    ]
    total = len(sb.terms(model, TEXT))
    held = sum(bool(t.original) for t in sb.terms(model, TEXT))
    assert f"{total} terms, {held} of them in the text; {min(total, 50)} shown" in err
    status, out, _ = command_line.run(capfd, "terms", str(model), TEXT, "--json", "--top", "3")
    printed: dict[str, Any] = json.loads(out)
    assert printed["count"] == total
    assert printed["bag"] == [
        {"term": t.term, "word": t.word, "weight": pytest.approx(t.weight), "piece": t.piece,
         "original": t.original}
        for t in found[:3]
    ]  # fmt: skip


@pytest.mark.parametrize("given", [{}, {"text": "a", "id": "b"}])
def test_a_text_or_an_id(given: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="a text, which a checkpoint encodes, or an id"):
        sb.terms("m", **given)  # type: ignore[arg-type]
    for options in ({"top": 0}, {"side": "both"}, {"query_mode": "bow"}):
        with pytest.raises(UsageError):
            sb.terms("m", "a", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("terms", "shown"),
    [
        (["[CLS]", "the", "##s"], [("[CLS]", False), ("the", False), ("##s", True)]),
        (["<s>", "▁the", "ing"], [("<s>", False), ("the", False), ("##ing", True)]),
        (["Ġcaf", "Ã©", "Ġ"], [("caf", False), ("##é", True), ("Ġ", False)]),
        (["the", "cat"], [("the", False), ("cat", False)]),
    ],
)  # fmt: skip
def test_pieces_of_words(terms: list[str], shown: list[tuple[str, bool]]) -> None:
    assert [readable(term, spelling_of(terms)) for term in terms] == shown


def test_letters_for_bytes_are_those_of_the_tokenizers() -> None:
    from tokenizers import decoders, pre_tokenizers

    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for word in ("naïve", "東京", "🙂", "x\u00ad"):
        ((letters, _),) = [(t, s) for t, s in splitter.pre_tokenize_str(word)][:1]
        text = decoders.ByteLevel().decode([letters])
        assert readable(f"Ġ{letters}", "bytes") == (text, False)


def test_terms_stand_where_they_are_said_to(model: Path) -> None:
    """In order, with the letters that they stand for; a prompt is not of the text."""
    text = "  The cat,\tof 42\u2003the é 漢 x\ud83d\ude00 \ud800"
    encoder = QueryEncoder(str(model), checkpoint=ModelChoices(prompt="the of to: "))
    lower = text.lower().replace("\ud800", "\ufffd")
    spans = encoder.spans(text.replace("\ud83d\ude00", "!"))
    assert [start for start, _, _ in spans] == sorted(start for start, _, _ in spans)
    for start, stop, term in spans:
        if term != "[UNK]":
            letters = lower.replace("\ud83d\ude00", "!")[start:stop]
            assert letters == term.removeprefix("##")
    assert {"c", "##a", "##t", ",", "of", "the", "é", "漢"} <= {term for *_, term in spans}
    assert encoder.held("cat") == {"c", "##a", "##t"}
    assert encoder.spans("") == [] and encoder.held("") == set()
