"""Whether an object is what docs/json.md says."""

from __future__ import annotations

import dataclasses
import runpy
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, is_typeddict

ROOT = Path(__file__).parents[1]
TABLES = runpy.run_path(str(ROOT / "scripts" / "docs_tables.py"))


def faults(value: Any, kind: Any, place: str = "") -> Iterator[str]:
    """Where ``value`` is not what ``kind`` says."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from faults(value, inside[0], place)
    elif kind is Any:
        return
    elif origin in (Union, UnionType):
        if all(list(faults(value, each)) for each in inside):
            yield f"{place}: {value!r} is none of {inside}"
    elif origin is Literal:
        if value not in inside:
            yield f"{place}: {value!r} is none of {inside}"
    elif origin is dict:
        if not isinstance(value, dict):
            yield f"{place}: no object"
            return
        for key, each in value.items():
            yield from faults(each, inside[1], f"{place}.{key}")
    elif origin is list or (origin is tuple and inside[-1] is ...):
        if not isinstance(value, list):
            yield f"{place}: no list"
            return
        for i, each in enumerate(value):
            yield from faults(each, inside[0], f"{place}[{i}]")
    elif origin is tuple:
        if not isinstance(value, list) or len(value) != len(inside):
            yield f"{place}: {value!r} is not a list of {len(inside)}"
            return
        for i, each in enumerate(value):
            yield from faults(each, inside[i], f"{place}[{i}]")
    elif is_typeddict(kind) or dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            yield f"{place}: no object"
            return
        known = {key: (hint, optional) for key, hint, _, optional in TABLES["keys"](kind)}
        if extra := set(value) - set(known):
            yield f"{place}: keys that are not documented: {sorted(extra)}"
        for key, (hint, optional) in known.items():
            if key in value:
                yield from faults(value[key], hint, f"{place}.{key}")
            elif not optional:
                yield f"{place}: no {key}"
    else:
        fits = {str: str, int: int, float: int | float, bool: bool, NoneType: NoneType, Path: str}
        if not isinstance(value, fits[kind]) or (isinstance(value, bool) and kind is not bool):
            yield f"{place}: {value!r} is not {kind.__name__}"
