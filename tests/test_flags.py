"""A flag means one thing, wherever it is; the table of docs/flags.md says which."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

import pytest
from typer.models import ArgumentInfo

from documented import ROOT, TABLES
from splade_bridge.cli.command import use_of
from splade_bridge.cli.marks import ADDS_TO, READS, WRITES
from splade_bridge.encoding.choices import DType
from splade_bridge.encoding.encoder import DTYPES
from splade_bridge.engines.registry import NAMES, EngineName
from splade_bridge.errors import UsageError
from splade_bridge.files.sizes import size_in_bytes
from splade_bridge.pruning.choices import Method
from splade_bridge.pruning.methods import METHODS

FLAGS: list[Any] = list(TABLES["flags"]())
COMMANDS: dict[str, Callable[..., None]] = dict(TABLES["commands"]())

TOLD_APART = set(TABLES["MEANS"])
"""Flags whose help says more in one command than in another; the table has what is common."""

TAKES = {
    ("train score", "--dtype"): "a teacher has no auto",
    ("rerank", "--dtype"): "nor has a reranker",
    ("convert", "--to"): "a kind of file, and no runtime as export-model",
}
"""Where a flag takes something else than elsewhere, and why."""

REPEATED = {
    ("bench", "--hits"): "measures several depths",
    ("bench", "--algorithm"): "measures several algorithms",
    ("beir", "--model"): "measures several models",
    ("serve", "--model"): "takes one for each index",
    ("serve", "--measure"): "takes one",
    ("terms", "--id"): "shows one, where delete deletes several",
    ("quantize-study", "--scale"): "tries several",
    ("quantize-study", "--rounding"): "tries both",
}
"""Where a flag may be given again that elsewhere may not, and why."""

NAME_PLACES = ("MODEL", "QUERIES", "CORPUS", "RUN", "INDEX", "FORWARD")
"""What stands for something that is read."""

OLD = {("evaluate", "-m")}
"""Flags that are only understood, and hidden."""


def by_name() -> dict[str, list[Any]]:
    found = defaultdict(list)
    for flag in FLAGS:
        for name in flag.names:
            if (flag.command, name) not in OLD:
                found[name].append(flag)
    return found


def test_a_flag_takes_and_means_the_same_everywhere() -> None:
    wrong = []
    for name, flags in by_name().items():
        usual = flags[0]
        for flag in flags[1:]:
            place = (flag.command, flag.name)
            takes = flag.metavar or flag.kind, usual.metavar or usual.kind
            if takes[0] != takes[1] and place not in TAKES:
                wrong.append(f"{name}: {takes[0]} in {flag.command}, {takes[1]} in {usual.command}")
            if flag.many != usual.many and place not in REPEATED and usual.name not in REPEATED:
                wrong.append(f"{name}: repeatable in one of {flag.command} and {usual.command}")
            if flag.help != usual.help and not {flag.name, usual.name} & TOLD_APART:
                wrong.append(f"{name}: {flag.help!r} in {flag.command}, {usual.help!r} before")
    assert wrong == []


def test_a_flag_has_one_short_form_and_a_short_form_one_flag() -> None:
    short: dict[str, set[str]] = defaultdict(set)
    of: dict[str, set[str]] = defaultdict(set)
    for flag in FLAGS:
        for name in flag.names:
            if not name.startswith("--") and (flag.command, name) not in OLD:
                short[name].add(flag.name)
                of[flag.name].add(name)
    assert short["-m"] == {"--model"} and short["-M"] == {"--measure"}
    assert {name: flags for name, flags in short.items() if len(flags) > 1} == {}
    assert {flag: names for flag, names in of.items() if len(names) > 1} == {}
    for flag in FLAGS:  # whoever knows the short form may use it everywhere
        assert of[flag.name] <= set(flag.names), (flag.command, flag.name)


def test_every_command_can_be_verbose_and_print_json() -> None:
    for command in COMMANDS:
        names = {name for flag in FLAGS if flag.command == command for name in flag.names}
        assert {"-v", "--verbose", "--json"} <= names, command


def test_what_is_read_and_what_is_written_is_marked() -> None:
    for flag in FLAGS:
        if flag.name in ("--output", "--latencies", "--html", "--frontier"):
            assert flag.use is (ADDS_TO if flag.command in ("compare", "beir") else WRITES), flag
        elif flag.metavar in NAME_PLACES or flag.kind == "path":
            assert flag.use is READS, flag
        else:
            assert flag.use is None or flag.name in ("--corpus", "--collection"), flag
    texts = {
        "convert": {"output"},
        "explain": {"query_id", "doc_id"},
        "help": {"page"},
        "search": {"words"},
        "terms": {"text"},
        "train recipe": {"recipe"},
    }
    for command, function in COMMANDS.items():
        for name, parameter in inspect.signature(function).parameters.items():
            if get_origin(parameter.annotation) is Annotated and any(
                isinstance(info, ArgumentInfo) for info in get_args(parameter.annotation)[1:]
            ):
                read = use_of(parameter.annotation) is READS
                assert read or name in texts.get(command, ()), (command, name)


def test_choices_are_those_that_are_there() -> None:
    assert get_args(EngineName) == NAMES
    assert get_args(Method) == tuple(METHODS)
    assert get_args(DType) == ("auto", *DTYPES)


def test_the_table_of_flags_is_made_from_the_commands() -> None:
    assert (ROOT / "docs" / "flags.md").read_text() == TABLES["flags_page"](), "run scripts/docs"


@pytest.mark.parametrize(
    ("text", "size"),
    [("500M", 500 * 10**6), ("2G", 2 * 10**9), ("1.5GB", 1_500_000_000), ("512MiB", 2**29),
     ("1gib", 2**30), ("1048576", 2**20), (" 3 m ", 3 * 10**6)],
)  # fmt: skip
def test_sizes_are_read_as_they_are_meant(text: str, size: int) -> None:
    assert size_in_bytes(text) == size


@pytest.mark.parametrize(
    "text", ["inf", "nan", "2KM", "2GG", "", "M", "-2G", "1e9", "2G2", "2IB", "999K", "0", "2 G B"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a size|at least 1M"):
        size_in_bytes(text)
