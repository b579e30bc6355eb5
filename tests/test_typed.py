"""The one reader of trees: what is declared comes out, and what is wrong is named with its key."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_lines, text_lines
from splade_bridge.files.typed import Where, checked, json_file, toml_file, typed


@dataclass(frozen=True)
class Inner:
    size: int
    share: float = 0.5
    side: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner = Inner(1)
    many: tuple[Inner, ...] = ()
    pair: tuple[int, str] = (0, "")
    path: Path | None = None
    names: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    number: int | str = 0
    on: bool = False


HERE = Where("file.toml")
WHOLE = {
    "name": "n",
    "inner": {"size": 3, "share": 1, "side": "right"},
    "many": [{"size": 1}, {"size": 2}],
    "pair": [7, "x"],
    "path": "a/b",
    "names": ["p", "q"],
    "sizes": {"a": 1},
    "free": {"k": [1, {"x": None}]},
    "number": "seven",
    "on": True,
}


def test_a_tree_becomes_what_is_declared() -> None:
    found = typed(Outer, WHOLE, HERE)
    assert found == Outer(
        "n",
        Inner(3, 1.0, "right"),
        (Inner(1), Inner(2)),
        (7, "x"),
        Path("a/b"),
        ["p", "q"],
        {"a": 1},
        {"k": [1, {"x": None}]},
        "seven",
        True,
    )
    assert type(found.inner.share) is float
    assert typed(Outer, {"name": "n", "path": None}, HERE) == Outer("n")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": 3}, "name: must be a string, not 3"),
        ({"nmae": "x"}, "unknown key 'nmae'; did you mean name?"),
        ({"zzzzz": 1}, "unknown key 'zzzzz'; known here: name, inner"),
        ({"inner": 3}, "inner: must be a table, not 3"),
        ({"inner": {}}, "inner.size: is missing"),
        ({"inner": {"size": True}}, "inner.size: must be a whole number, not True"),
        ({"inner": {"size": 1.0}}, "inner.size: must be a whole number, not 1.0"),
        ({"inner": {"size": 1, "share": "x"}}, "inner.share: must be a number, not 'x'"),
        ({"inner": {"size": 1, "share": float("inf")}}, "inner.share: must be a finite number"),
        ({"inner": {"size": 1, "side": "up"}}, "inner.side: is 'up'; it can be left, right"),
        ({"inner": {"size": 1, "side": []}}, "inner.side: is []; it can be left, right"),
        ({"many": [{"size": 1}, {"size": "2"}]}, "many[1].size: must be a whole number, not '2'"),
        ({"many": {"size": 1}}, "many: must be a list, not {'size': 1}"),
        ({"pair": [1]}, "pair: must be a list of 2, not [1]"),
        ({"pair": ["x", "y"]}, "pair[0]: must be a whole number, not 'x'"),
        ({"path": 3}, "path: must be a path, not 3"),
        ({"names": "pq"}, "names: must be a list, not 'pq'"),
        ({"names": [None]}, "names[0]: must be a string, not None"),
        ({"sizes": {"a": "b"}}, "sizes.a: must be a whole number, not 'b'"),
        ({"free": []}, "free: must be a table, not []"),
        ({"number": None}, "number: must be a string, not None"),
        ({"on": 1}, "on: must be true or false, not 1"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInputError) as raised:
        typed(Outer, {**WHOLE, **change}, HERE)
    assert str(raised.value).startswith(f"file.toml: {told}")


trees = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*WHOLE, "else"]), trees), st.sampled_from([int, Outer]))
def test_no_tree_is_a_traceback(tree: dict[str, Any], kind: Any) -> None:
    for given_tree in (tree, {**WHOLE, **tree}, list(tree.values())):
        try:
            checked(kind, given_tree, HERE)
        except BadInputError as error:
            assert error.place == "file.toml"


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    where = Where(str(tmp_path / "x"), said="damaged ({}): make it again")
    for content in (None, b"", b"{", b"\xff"):
        if content is not None:
            (tmp_path / "x").write_bytes(content)
        with pytest.raises(BadInputError, match=r"x: damaged \(.*\): make it again"):
            json_file(where)
    (tmp_path / "x").write_bytes(orjson.dumps([1]))
    assert json_file(where) == [1]
    for content in (b"=", b"\xff"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(BadInputError, match="x: not a profile "):
            toml_file(tmp_path / "x", "a profile")
    with pytest.raises(BadInputError, match="cannot be read"):
        toml_file(tmp_path / "none")


def test_lines_have_their_places(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\xef\xbb\xbfa\tb \r\n\n \n\xc3\xa9")
    assert list(text_lines(path)) == [
        ("a\tb ", f"{path}:1"),
        (" ", f"{path}:3"),
        ("é", f"{path}:4"),
    ]
    assert [line for line, _ in text_lines(path, empty=True)] == ["a\tb ", "", " ", "é"]
    path.write_bytes(b"a\n\xe9\n")
    with pytest.raises(BadInputError, match=r"x:2: not UTF-8"):
        list(text_lines(path))
    path.write_bytes(b'{"a": 1}\n \n{"b": 2}')
    assert list(json_lines(path)) == [({"a": 1}, f"{path}:1"), ({"b": 2}, f"{path}:3")]
    path.write_bytes(b'{"a": 1}\n[]\n')
    with pytest.raises(BadInputError, match=r"x:2: not a JSON object"):
        list(json_lines(path))
