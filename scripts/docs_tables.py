"""Tables of the documentation that are made from the code: flags of all commands, and --json.

``scripts/docs`` writes docs/flags.md and docs/json.md with it; the tests compare.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from typer.models import OptionInfo

from splade_bridge.cli import train
from splade_bridge.cli.app import COMMANDS
from splade_bridge.cli.command import complete, use_of
from splade_bridge.cli.marks import Use
from splade_bridge.cli.schemas import MEANINGS, RESULTS, Error

COMMON = ("verbose", "json")

MEANS = {
    "--output": "What is written: a file or a folder; `-` is stdout for a run.",
    "--queries": "Queries: text where a model encodes it, else vectors.",
    "--model": "Checkpoint that encodes text: a folder or a hub name; in train score the teacher.",
    "--engine": "Engine of the index that is built.",
    "--algorithm": "How an index is searched: a name of its engine, or auto; in bench also all.",
    "--threads": "Threads to use; in bench for queries/s only.",
    "--scale": "Impact = weight x scale, rounded; 100 for a vector store if nothing is said.",
    "--memory": "Budget for sorting, as 500M, 2G, 512MiB; of an open Lucene index its JVM's heap.",
    "--rounding": "nearest is half to even.",
    "--clip": "Cut impacts to this, and count it.",
    "--id": "Which document, or which of the vectors.",
    "--qrels": "Judgements.",
    "--hits": "Documents a query.",
    "--depth": "Documents of a list that count; in train mine the last rank that is taken.",
    "--max-length": "Tokens of a text that are read; in rerank of query and document together.",
    "--part-queries": "Queries of a part of the work: what a kill loses.",
    "--seed": "Of what is drawn.",
    "--device": "Where a model runs: cpu, cuda, cuda:1; encode takes several, or auto.",
    "--devices": "Where a model runs: auto, a number of GPUs, cpu, cpu:2, cuda:0,cuda:1.",
    "--run": "A run that is read.",
    "--dtype": "Of the network.",
    "--batch-size": "Of what is computed at once.",
    "--corpus": "Texts, whatever encode takes.",
    "--measure": "By ir_measures' or trec_eval's names; repeatable, but in serve.",
    "--with-contents": "The corpus that was encoded: its texts are stored beside the vectors.",
    "--allow-loss": "Write or load though the engine will change some weights.",
    "--side": "Whether what is read are documents or queries; of a model, which side.",
    "--to": "What is made: a kind of file, or a model for a runtime.",
    "--query-model": "Checkpoint of queries, where it is not that of documents.",
}
"""What flags mean whose help tells more in one command than in another."""


@dataclass(frozen=True)
class Flag:
    """One flag of one command.

    Attributes:
        parameter: of the Python function.
        names: all of them, as declared.
        kind: its type or its choices.
        many: whether it may be given again.
    """

    command: str
    parameter: str
    names: tuple[str, ...]
    kind: str
    metavar: str | None
    help: str
    many: bool
    hidden: bool
    use: Use | None

    @property
    def name(self) -> str:
        """The first long name."""
        return next((n for n in self.names if n.startswith("--")), self.names[0])


def commands() -> Iterator[tuple[str, Any]]:
    """Name of every command, and the function that it calls, in the order of --help."""
    for module in COMMANDS:
        yield module.NAME, complete(module.command)
    yield f"{train.NAME} {train.DEFAULT}", complete(train.command)
    for stage in train.STAGES:
        yield f"{train.NAME} {stage}", train.stage_function(stage)


def flags() -> Iterator[Flag]:
    """All flags of all commands, from the annotations of their parameters."""
    for command, function in commands():
        for name, parameter in inspect.signature(function).parameters.items():
            if get_origin(parameter.annotation) is not Annotated:
                continue
            kind, *told = get_args(parameter.annotation)
            for info in (i for i in told if isinstance(i, OptionInfo)):
                kinds = {k for k in (kind, *get_args(kind)) if k is not NoneType}
                listed = [k for k in kinds if get_origin(k) is list]
                names = [n for d in (info.default, *info.param_decls) for n in d.split("/")]
                yield Flag(
                    command,
                    name,
                    tuple(names),
                    _kind(get_args(listed[0])[0] if listed else kind),
                    info.metavar,
                    info.help or "",
                    bool(listed),
                    bool(info.hidden),
                    use_of(parameter.annotation),
                )


def _kind(kind: Any) -> str:
    """A type as the table shows it."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(choice.value for choice in kind)
    if get_origin(kind) is Literal:
        return ", ".join(map(str, get_args(kind)))
    some = [k for k in get_args(kind) if k is not NoneType]
    if some:
        return _kind(some[0])
    known = {str: "text", int: "integer", float: "number", bool: "", Path: "path"}
    return known[kind]


def flags_page() -> str:
    """docs/flags.md."""
    rows: dict[str, list[Flag]] = {}
    for flag in flags():
        if not flag.hidden and flag.parameter not in COMMON:
            rows.setdefault(flag.name, []).append(flag)
    everywhere = (
        "Every command has `-v/--verbose`, `--json` (docs/json.md) and `-h/--help`; the first two "
        "may stand before the command, too."
    )
    lines = [
        "# Flags",
        "",
        "Written by `scripts/docs` from the commands. A flag means the same wherever it is.",
        everywhere,
        "",
        "| flag | what it takes | meaning | commands |",
        "|---|---|---|---|",
    ]
    for name in sorted(rows, key=lambda n: n.strip("-")):
        same = rows[name]
        names = ", ".join(f"`{n}`" for n in sorted({n for f in same for n in f.names}, key=len))
        kinds = " or ".join(dict.fromkeys(_taken(f) for f in same))
        meaning = MEANS.get(name, same[0].help)
        where = ", ".join(dict.fromkeys(f.command for f in same))
        lines.append(f"| {names} | {kinds} | {meaning} | {where} |")
    return "\n".join(lines) + "\n"


def _taken(flag: Flag) -> str:
    return (flag.metavar or flag.kind) + (", repeatable" if flag.many else "")


def json_page() -> str:
    """docs/json.md."""
    lines = [
        "# --json",
        "",
        "Written by `scripts/docs` from `splade_bridge/cli/schemas.py`; a test runs every command",
        "and holds what it prints against it. With `--json`, before or after the command's name, a",
        "command prints one object on stdout and nothing else. All keys are there, but for those",
        "called optional. A key means the same in every command. Paths are as they were given.",
        "",
        "A command that fails prints nothing on stdout, but for `verify` and `doctor`, whose",
        "result tells of it. The last line of stderr is then one object; warnings stand before:",
        "",
        '    {"error": {"message": "a.jsonl:7: ...", "type": "BadInputError", "exit_code": 4, '
        '"place": "a.jsonl:7"}}',
        "",
        "`-o -` together with `--json` is refused, as both would write to stdout.",
    ]
    named: dict[str, Any] = {}
    for command, result in RESULTS.items():
        lines += ["", f"## {command}", "", *_about(result), *_table(result, named)]
    lines += ["", "## Errors", "", *_about(Error), *_table(Error, named)]
    lines += ["", "# Objects inside"]
    done: set[str] = set()
    while rest := [name for name in named if name not in done]:
        for name in sorted(rest):
            done.add(name)
            lines += ["", f"## {name}", "", *_about(named[name]), *_table(named[name], named)]
    return "\n".join(lines) + "\n"


def keys(kind: Any) -> Iterator[tuple[str, Any, str, bool]]:
    """Key, type, meaning, and whether it may be missing, of a TypedDict or a dataclass."""
    told = {} if is_typeddict(kind) else train.attributes(kind.__doc__)
    hints = get_type_hints(kind, include_extras=True)
    names = hints if is_typeddict(kind) else [f.name for f in dataclasses.fields(kind)]
    for name in names:
        hint, meaning, optional = hints[name], told.get(name) or MEANINGS.get(name, ""), False
        if get_origin(hint) is NotRequired:
            hint, optional = get_args(hint)[0], True
        if get_origin(hint) is Annotated:
            hint, meaning = get_args(hint)
        yield name, hint, meaning, optional


def _about(kind: Any) -> list[str]:
    first = (kind.__doc__ or "").strip().partition("\n\n")[0]
    told = " ".join(first.split()).replace("``", "`")
    named = is_typeddict(kind) and re.fullmatch(r"`[\w -]+`\.", told)
    return [] if named else [told, ""]


def _table(kind: Any, named: dict[str, Any]) -> list[str]:
    lines = ["| key | type | meaning |", "|---|---|---|"]
    for name, hint, meaning, optional in keys(kind):
        shown = type_name(hint, named).replace("|", "\\|")
        meaning = re.sub(r"\bNone\b", "null", meaning).replace("|", "\\|")
        lines.append(f"| `{name}`{' (optional)' if optional else ''} | {shown} | {meaning} |")
    return lines


def type_name(hint: Any, named: dict[str, Any]) -> str:
    """A type in words; objects are collected in ``named``."""
    simple = {str: "text", int: "integer", float: "number", bool: "true or false", Any: "anything"}
    if hint in simple:
        return simple[hint]
    if hint is Path:
        return "text"
    if hint is NoneType:
        return "null"
    if get_origin(hint) is Annotated:
        return type_name(get_args(hint)[0], named)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(type_name(each, named) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(hint))
    if get_origin(hint) is list or (get_origin(hint) is tuple and get_args(hint)[-1] is ...):
        return f"list of {type_name(get_args(hint)[0], named)}"
    if get_origin(hint) is tuple:
        return "list of " + ", ".join(type_name(each, named) for each in get_args(hint))
    if get_origin(hint) is dict:
        return f"object of {type_name(get_args(hint)[1], named)}"
    name = hint.__name__
    if named.setdefault(name, hint) is not hint:
        name = f"{hint.__module__.rpartition('.')[2]}.{name}"
        named[name] = hint
    return f"[{name}](#{name.lower().replace('.', '')})"


def command_names() -> str:
    """All commands for docs/cli.md; ``train`` stands before its own."""
    names = dict.fromkeys(n for name, _ in commands() for n in (name.partition(" ")[0], name))
    return "\n".join(names) + "\n"


if __name__ == "__main__":
    pages = {"flags": flags_page, "json": json_page, "commands": command_names}
    print(pages[sys.argv[1]](), end="")
