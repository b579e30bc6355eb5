"""Code in Rust that fails on a damaged file is told as other damage: by an error that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from checkpoints import one_thread, save_bert, save_checkpoint, save_dense  # noqa: F401
from splade_bridge.encoding.choices import ScorerOptions
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.scorers import load_scorer
from splade_bridge.errors import BadInputError, is_panic

FIRST = {"Sequence": {"id": "A", "type_id": 0}}
NONE_LISTED = {
    "type": "TemplateProcessing",
    "single": [
        {"SpecialToken": {"id": "[XX]", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {},
}
"""It names a token that it does not list: tokenizers reads it, and panics at the first text."""


def damaged(folder: Path) -> Path:
    """The checkpoint in ``folder`` with such a tokenizer."""
    (place,) = folder.rglob("tokenizer.json")
    content = json.loads(place.read_text())
    content["post_processor"] = NONE_LISTED
    place.write_text(json.dumps(content))
    return folder


def test_it_is_a_panic(tmp_path: Path) -> None:
    """Else the tests below say nothing."""
    from tokenizers import Tokenizer

    folder = damaged(save_checkpoint(tmp_path / "model"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with pytest.raises(BaseException, match="no entry found for key") as raised:
        tokenizer.encode("a")
    assert is_panic(raised.value) and not isinstance(raised.value, Exception)


LOADS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object]]] = {
    "encode": (
        save_checkpoint,
        lambda model: load_encoder(str(model), "document", EncodeOptions(device="cpu")),
    ),
    "cross-encoder": (
        lambda folder: save_bert(folder, "cross-encoder"),
        lambda model: load_scorer(str(model), "cross-encoder", ScorerOptions(device="cpu")),
    ),
    "dense": (
        save_dense,
        lambda model: load_scorer(str(model), "dense", ScorerOptions(device="cpu")),
    ),
}


@pytest.mark.parametrize("name", LOADS)
def test_a_panic_is_an_error_that_names_the_checkpoint(name: str, tmp_path: Path) -> None:
    make, load = LOADS[name]
    folder = damaged(make(tmp_path / "model"))
    with pytest.raises(BadInputError, match="no entry found for key") as raised:
        load(folder)
    assert str(folder) in str(raised.value)
