"""Steps of a comparison are done once, and what a damaged file costs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from splade_bridge.comparison.steps import NOTE, Hashes, Step, Steps


def done(folder: Path, made: list[int]) -> Step:
    def make(_: Path) -> dict[str, Any]:
        made.append(1)
        return {"found": [1, {"x": None}]}

    return Steps(folder, lambda _: None).run("kind", "what", {"a": Path("b")}, make)


def test_a_step_is_done_once(tmp_path: Path) -> None:
    made: list[int] = []
    first, again = done(tmp_path, made), done(tmp_path, made)
    assert (first.key, first.outcome, first.seconds) == (again.key, again.outcome, again.seconds)
    assert again.outcome == {"found": [1, {"x": None}]}
    assert made == [1]


def note(**changed: Any) -> bytes:
    """A note with some values that are not what they were."""
    whole = {"what": "w", "inputs": {}, "outcome": {}, "seconds": 1.0, "sha256": "00"}
    return json.dumps({**whole, **changed}).encode()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a table"),
        (b'{"what": "w", "inputs": {}, "outcome": {}, "sha256": ""}', "seconds: is missing"),
        (note(outcome=3), "outcome: must be a table"),
        (note(seconds="1"), "seconds: must be a number"),
        (note(outcome={"found": [2, {"x": None}]}), "it was changed after it was written"),
        (note(outcome={"found": ["1", {"x": None}]}), "it was changed after it was written"),
    ],
)
def test_a_damaged_note_is_named_and_the_step_done_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes, told: str
) -> None:
    step = done(tmp_path, [])
    (step.folder / NOTE).write_bytes(content)
    made: list[int] = []
    assert done(tmp_path, made).outcome == step.outcome and made == [1]
    assert re.search(rf"step\.json: damaged \(.*{told}.*done again", caplog.text)
    assert done(tmp_path, made).outcome == step.outcome and made == [1]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"a": 3}', b'{"a": [1, 2]}', b'{"a": [1, 2, 3]}']
)
def test_damaged_hashes_are_computed_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").write_bytes(b"x")
    wanted = Hashes(tmp_path / "hashes").of(tmp_path / "data")
    assert Hashes(tmp_path / "hashes").of(tmp_path / "data") == wanted
    (tmp_path / "hashes").write_bytes(content)
    assert Hashes(tmp_path / "hashes").of(tmp_path / "data") == wanted
