"""Which modules of a folder of sentence-transformers the texts of a side pass.

``modules.json`` names them in order, and a Router among them has an order of its own for queries
and documents, in which there may be Routers again. Only the files are read; sentence-transformers
is not needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Side
from splade_bridge.errors import BadInputError
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import (
    Where,
    as_table,
    checked,
    json_file,
    refuse_unknown,
    shown,
    value_of,
)

MODULES = "modules.json"
OWNER = "sentence_transformers."
"""What the name of each class begins with that is not custom code."""
ROUTERS = ("Router", "Asym")
MOST_NESTED = 16
PARAMETERS = ("default_route", "allow_empty_key", "route_mappings")


class NoRouteError(BadInputError):
    """A router that has no way for the texts of a side."""


@dataclass(frozen=True)
class Module:
    """A module that texts pass.

    Attributes:
        kind: its class, without the package.
        folder: what it is loaded from.
    """

    kind: str
    folder: Path


def modules_of(folder: Path, side: Side) -> Iterator[Module]:
    """The modules that texts of ``side`` pass, in order; routers are followed.

    Raises:
        NoRouteError: a router does not know the side.
        BadInputError: a broken file, or a class that is not sentence-transformers' own.
    """
    where = Where(str(folder / MODULES))
    for number, entry in enumerate(checked(list[dict[str, Any]], json_file(where), where)):
        at = where.item(number)
        name = value_of(entry, "path", str, at)
        place = inside(folder, name, at.inside("path"), itself=True)
        kind = _kind(value_of(entry, "type", str, at), at.inside("type"))
        yield from _followed(Module(kind, place), side, 0)


def _kind(name: str, at: Where) -> str:
    if not name.startswith(OWNER):
        at.fail(
            f"{shown(name)} is a class of the checkpoint's own, whose code is not run: only those "
            "of sentence-transformers are known"
        )
    return name.rpartition(".")[2]


def _followed(module: Module, side: Side, depth: int) -> Iterator[Module]:
    """The module itself, or those that its router sends ``side`` through."""
    if module.kind not in ROUTERS:
        yield module
        return
    place = module.folder
    if depth > MOST_NESTED:
        raise BadInputError(f"over {MOST_NESTED} routers in one another", str(place))
    where = _router_file(place)
    router = as_table(json_file(where), where)
    structure = value_of(router, "structure", dict[str, list[str]], where)
    types = value_of(router, "types", dict[str, str], where)
    route = _route(router, structure, side, where)
    for number, name in enumerate(structure[route]):
        below = inside(place, name, where.inside("structure").inside(route).item(number))
        at = where.inside("types")
        kind = _kind(value_of(types, name, str, at), at.inside(name))
        yield from _followed(Module(kind, below), side, depth + 1)


def _router_file(place: Path) -> Where:
    """``router_config.json`` that is not empty, or the older ``config.json``."""
    where = Where(str(place / "router_config.json"))
    if Path(where.file).is_file() and json_file(where) != {}:
        return where
    return Where(str(place / "config.json"))


def _route(
    router: Mapping[str, Any], structure: Mapping[str, Any], side: Side, where: Where
) -> str:
    """The route for texts of ``side``, looked for in sentence-transformers' order."""
    at = where.inside("parameters")
    parameters = value_of(router, "parameters", dict[str, Any], where, {})
    refuse_unknown(parameters, PARAMETERS, at)
    default = value_of(parameters, "default_route", str | None, at, None)
    if default is not None and default not in structure:
        at.inside("default_route").fail(f"there is no route {shown(default)}")
    saved = value_of(parameters, "route_mappings", dict[str, str] | None, at, None) or {}
    at = at.inside("route_mappings")
    mappings: dict[tuple[Any, Any], str] = {}
    for key, route in saved.items():
        if route not in structure:
            at.inside(key).fail(f"there is no route {shown(route)}")
        mappings[_task_and_modality(key, at)] = route
    for wanted in ((side, "text"), (side, None), (None, "text"), (None, None)):
        if wanted in mappings:
            return mappings[wanted]
    for name in (side, "text"):
        if name in structure:
            return name
    raise NoRouteError(
        f"its router has no route for the {side} side, only {', '.join(structure)}", where.file
    )


def _task_and_modality(key: str, where: Where) -> tuple[Any, Any]:
    """A key of a router's mappings, which is a pair written as Python has it.

    The second of the pair may be several modalities, which no text is.
    """
    try:
        found = ast.literal_eval(key)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], str | None):
        several = isinstance(found[1], tuple) and all(isinstance(m, str) for m in found[1])
        if several or isinstance(found[1], str | None):
            return found
    where.fail(f"key {key!r} is not a pair like ('query', 'text')")
