"""Every row of the table of bad inputs: exit code, words, and nothing left behind."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import command_line
from bad_input import Row, ServerRow, all_rows, server_rows
from servers.server import Server
from splade_bridge.engines import registry

ROWS = list(all_rows())
SERVER_ROWS = list(server_rows())


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
@pytest.mark.sample(150)
def test_a_bad_input_ends_as_the_table_says(
    row: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for module in row.imports:  # found and not imported: some belong into processes of their own
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    monkeypatch.setattr(registry, "FIRST_ANSWER", 0.5)
    row.lay_out(tmp_path)
    capfd.readouterr()  # what the libraries that made the input said is not the command's
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


@pytest.mark.server
@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{row.server}: {row.title}") for _, row in SERVER_ROWS]
)
def test_a_bad_input_for_a_server(
    row: ServerRow,
    server_of: Callable[[str], Server],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = server_of(row.server)
    row.before(server)
    there = replace(row, command=row.command.replace("{at}", f"{server.host}:{server.port}"))
    test_a_bad_input_ends_as_the_table_says(there, tmp_path, monkeypatch, capfd)


def test_a_title_stands_once_in_a_module() -> None:
    names = [(module, row.title) for module, row in (*ROWS, *SERVER_ROWS)]
    assert len(names) == len(set(names))
