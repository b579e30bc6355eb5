"""Steps of a comparison are done once, and what a damaged file costs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from splade_bridge.comparison.steps import ASIDE, BEGUN, NOTE, VERSIONS, Hashes, Step, Steps


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


def by(torch: str) -> dict[str, Any]:
    return {"text": ["x", Path("b")], VERSIONS: {"torch": torch, "dtype": "float32"}}


def test_a_step_of_other_versions_is_made_again_and_stays(tmp_path: Path) -> None:
    said: list[str] = []
    steps = Steps(tmp_path, said.append)
    old = steps.run("encode", "vectors", by("2.6"), lambda _: {"by": "2.6"})
    assert said == ["vectors"]
    new = steps.run("encode", "vectors", by("2.7"), lambda _: {"by": "2.7"})
    assert new.key != old.key and new.outcome == {"by": "2.7"}
    assert said == ["vectors", "vectors", "vectors: made again (torch 2.6 -> 2.7)"]
    again = steps.run("encode", "vectors", by("2.6"), lambda _: {"by": "nobody"})
    assert again.outcome == {"by": "2.6"}  # whoever goes back finds what was made
    assert {p.name for p in (tmp_path / "encode").iterdir()} == {old.key, new.key}
    assert not list(tmp_path.rglob(BEGUN))


def test_what_other_versions_left_undone_is_set_aside(tmp_path: Path) -> None:
    said: list[str] = []

    def stopped(folder: Path) -> dict[str, Any]:
        assert not (folder / "half").exists() or said
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    def whole(folder: Path) -> dict[str, Any]:
        return {"went on": (folder / "half").exists()}

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            Steps(tmp_path, said.append).run("encode", "vectors", by("2.6"), stopped)
    first = next((tmp_path / "encode").iterdir())
    said.clear()
    for torch in ("2.7", "2.8"):  # the second finds what the first has set aside, and leaves it
        with pytest.raises(KeyboardInterrupt):
            Steps(tmp_path, said.append).run("encode", "vectors", by(torch), stopped)
    aside = {p.name for p in (tmp_path / "encode").iterdir() if p.suffix == ASIDE}
    assert len(aside) == 2 and f"{first.name}{ASIDE}" in aside
    assert (tmp_path / "encode" / f"{first.name}{ASIDE}" / "half").read_text() == "x"
    assert f"vectors: begun again (torch 2.6 -> 2.7); what was begun is in {first}{ASIDE}" in said
    done = Steps(tmp_path, said.append).run("encode", "vectors", by("2.8"), whole)
    assert done.outcome == {"went on": True}  # the same versions go on
    assert len(said) == 5


def test_other_inputs_are_no_other_version(tmp_path: Path) -> None:
    said: list[str] = []
    steps = Steps(tmp_path, said.append)
    steps.run("encode", "vectors", by("2.6"), lambda _: {})
    (tmp_path / "encode" / "damaged").mkdir()
    for name, content in ((NOTE, b"[]"), (BEGUN, b"{")):
        (tmp_path / "encode" / "damaged" / name).write_bytes(content)
    steps.run("encode", "others", {**by("2.7"), "text": ["y"]}, lambda _: {})
    assert said == ["vectors", "others"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"a": 3}', b'{"a": [1, 2]}', b'{"a": [1, 2, 3]}']
)
def test_damaged_hashes_are_computed_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data").write_bytes(b"x")
    wanted = Hashes(tmp_path / "hashes").of(tmp_path / "data")
    assert Hashes(tmp_path / "hashes").of(tmp_path / "data") == wanted
    (tmp_path / "hashes").write_bytes(content)
    assert Hashes(tmp_path / "hashes").of(tmp_path / "data") == wanted
