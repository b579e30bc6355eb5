"""Every row of the table of bad inputs: exit code, words, and nothing left behind."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import command_line
from bad_input import Row, all_rows

ROWS = list(all_rows())


def seen(folder: Path) -> dict[str, str]:
    """What is below a folder: kind and content of each thing by its path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "something else"
    return found


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{m}: {row.title}") for m, row in ROWS])
@pytest.mark.sample(230)
def test_a_bad_input_ends_as_the_table_says(
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    row.lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = seen(tmp_path)
    status, out, err = command_line.run(capfd, *row.arguments)
    assert (status, "Traceback" in err) == (row.code, False), err
    assert [word for word in row.words if word not in err] == [], err
    assert [word for word in row.without if word in err] == [], err
    assert row.code == 0 or out == ""
    after = seen(tmp_path)
    assert {name: after.get(name) for name in before} == before, "what was there is as it was"
    new = after.keys() - before.keys()
    assert {n for n in new if not any(n == m or n.startswith(f"{m}/") for m in row.made)} == set()


def test_a_title_stands_once_in_a_module() -> None:
    names = [(module, row.title) for module, row in ROWS]
    assert len(names) == len(set(names))
