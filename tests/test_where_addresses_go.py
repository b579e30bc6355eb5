"""Every command that reads vectors or an index takes an address for it, or says what does."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from typer.models import ArgumentInfo

from addresses import TERMS, documents, file
from command_line import run
from documented import TABLES
from loaded import rows_of
from splade_bridge.cli.app import COMMANDS as APP
from splade_bridge.cli.command import flag_of, flags_of, is_place, use_of
from splade_bridge.cli.marks import READS
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.load_index import load_index
from splade_bridge.files.address import Address

COMMANDS: dict[str, Callable[..., None]] = dict(TABLES["commands"]())
TAKES = {
    "export": {"source"},
    "index": {"source", "--output"},
    "delete": {"index"},
    "search": {"index", "--check-against"},
    "verify": {"indexes"},
    "convert": {"source"},
    "bench": {"indexes", "--check-against"},
    "explain": {"index", "--against"},
    "inspect": {"artefact"},
    "prune": {"source"},
    "serve": {"indexes"},
}
"""What takes an address, by command."""
SERVER = "opensearch://me:sesame@localhost:9200/passages"
FOLDER = "qdrant:shard"


def raw(name: str) -> dict[str, inspect.Parameter]:
    """The parameters of a command as Typer sees them; texts of Typer may be addresses."""
    return dict(inspect.signature(COMMANDS[name]).parameters)


def title(name: str, parameter: inspect.Parameter) -> str:
    return name if is_argument(parameter) else flag_of(parameter.annotation)


def is_argument(parameter: inspect.Parameter) -> bool:
    marks = getattr(parameter.annotation, "__metadata__", ())
    return any(isinstance(mark, ArgumentInfo) for mark in marks)


def of_files() -> Iterator[Any]:
    """Every parameter that names a file or a folder and takes no address."""
    for command in COMMANDS:
        for name, parameter in raw(command).items():
            told = get_origin(parameter.annotation) is Annotated
            if not told or use_of(parameter.annotation) is None:
                continue
            if title(name, parameter) not in TAKES.get(command, ()):
                yield pytest.param(command, name, id=f"{command} {title(name, parameter)}")


def value_of(annotation: Any) -> str:
    """Something that Typer takes."""
    kind = annotation
    while get_origin(kind) is not None and get_origin(kind) is not Literal:
        kind = next(k for k in get_args(kind) if k is not type(None))
    if get_origin(kind) is Literal:
        return str(get_args(kind)[0])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return str(next(iter(kind)).value)
    return "1" if kind in (int, float) else "x"


def line(command: str, wanted: str, address: str) -> list[str]:
    """A command line with an address for one of its parameters, and what else it must have."""
    words, flags = command.split(), []
    for name, parameter in raw(command).items():
        is_needed = parameter.default is inspect.Parameter.empty
        if name in ("context", "verbose") or not (is_needed or name == wanted):
            continue
        value = address if name == wanted else value_of(parameter.annotation)
        if is_argument(parameter):
            words.append(value)
        else:
            flags += [flag_of(parameter.annotation), value]
    return words + flags


@pytest.mark.parametrize(("command", "name"), list(of_files()))
@pytest.mark.sample(32)
def test_what_is_of_files_refuses_an_address(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    parameter = raw(command)[name]
    remedy = "convert makes files" if use_of(parameter.annotation) is READS else "index is what"
    for address in (SERVER, FOLDER):
        status, _, err = run(capfd, *line(command, name, address))
        assert (status, "sesame" in err) == (2, False), err
        assert "is an address, and" in err and remedy in err, err
        assert address.partition(":")[0] in err
    assert not any(tmp_path.iterdir())


def test_the_others_take_one() -> None:
    found: dict[str, set[str]] = {}
    for module in APP:  # before what is an address becomes a text for Typer
        own = inspect.signature(module.command, eval_str=True).parameters
        for parameter in flags_of(own.values()):
            if is_place(parameter.annotation):
                found.setdefault(module.NAME, set()).add(title(parameter.name, parameter))
    assert found == TAKES


def test_a_file_of_such_a_name_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qdrant:run").write_text("q Q0 d 1 2 x\n")
    (tmp_path / "qrels").write_text("q 0 d 1\n")
    status, out, err = run(capfd, "evaluate", "qrels", "qdrant:run", "-M", "P@1")
    assert (status, "1.0000" in out) == (0, True), err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("export ADDRESS -o x --model m", "SOURCE with --model takes files here"),
        ("convert ADDRESS x --to ciff --from ciff", "--from is for files alone"),
        ("prune ADDRESS -o x --method top-k --value 3 --from ciff", "--from is for files alone"),
        ("prune ADDRESS -o x --method top-k --value 3 --ciff-docids absolute", "is no CIFF"),
    ],
)
def test_flags_of_files(
    address: Address,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    load_index(file(tmp_path / "d.jsonl", {"a": {"a": 1}}), address)
    status, _, err = run(capfd, *words.replace("ADDRESS", str(address)).split())
    assert (status, told in err) == (2, True), err
    assert not (tmp_path / "x").exists()


def test_an_index_behind_an_address_is_pruned(
    address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the file that it was loaded from."""
    some = documents(1, [f"d{i}" for i in range(30)], TERMS[:8])
    path = file(tmp_path / "d.jsonl", some)
    load_index(path, address)
    told = ("--method", "top-k", "--value", 2, "--method", "threshold", "--value", 50)
    for source, out in ((path, "of_file"), (address, "of_address")):
        status, _, err = run(capfd, "prune", source, *told, "-o", tmp_path / out)
        assert status == 0, err
    ours, theirs = (rows_of(open_source(tmp_path / out)) for out in ("of_file", "of_address"))
    assert ours == theirs
    assert 0 < sum(map(len, theirs.values())) < sum(map(len, some.values()))


def test_an_index_behind_an_address_says_what_was_missed(
    address: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--check-against takes the index of the full vectors wherever it is."""
    some = documents(1, [f"d{i}" for i in range(30)], TERMS[:8])
    path = file(tmp_path / "d.jsonl", some)
    load_index(path, address)
    pruned, index = tmp_path / "pruned", tmp_path / "index"
    queries = file(tmp_path / "q.jsonl", {"q1": {"a": 2, "b": 1}, "q2": {"c": 3, "d": 1}})
    for command in (
        ("prune", path, "--method", "top-k", "--value", 1, "-o", pruned),
        ("index", pruned, "-e", "exact", "-o", index),
        ("index", path, "-e", "exact", "-o", tmp_path / "full"),
    ):
        assert run(capfd, *command)[0] == 0
    found = []
    for other in (address, tmp_path / "full"):
        status, out, err = run(
            capfd, "search", index, "-q", queries, "-k", 5, "-o", tmp_path / "run", "--overwrite",
            "--check-against", other, "--json",
        )  # fmt: skip
        assert status == 0, err
        found.append(out.partition('"kept"')[2])
    assert found[0] == found[1] and "share" in found[0]
