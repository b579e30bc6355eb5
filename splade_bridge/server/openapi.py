"""The API described for programs: OpenAPI 3.1, from the paths and the classes of their answers."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from splade_bridge import __version__
from splade_bridge.server.answers import Refusal
from splade_bridge.server.parameters import Parameter
from splade_bridge.server.paths import PATHS, Path

PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
REFUSALS = {
    "400": "A parameter that cannot be meant.",
    "404": "No such index, document or judged query.",
    "500": "The engine failed.",
}


def document() -> dict[str, Any]:
    """The whole document."""
    schemas: dict[str, Any] = {}
    paths = {f"/{path.name}": {"get": _operation(path, schemas)} for path in PATHS}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "splade-bridge serve",
            "version": __version__,
            "description": "Searches open indexes and explains what they find. Read only.",
        },
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(path: Path, schemas: dict[str, Any]) -> dict[str, Any]:
    refusals = {
        status: _response(meaning, Refusal, schemas) for status, meaning in REFUSALS.items()
    }
    return {
        "operationId": path.name,
        "summary": path.meaning,
        "parameters": [_parameter(parameter) for parameter in path.parameters],
        "responses": {"200": _response("The answer.", path.answer, schemas), **refusals},
    }


def _response(meaning: str, kind: type[Any], schemas: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema_of(kind, schemas)}}
    return {"description": meaning, "content": content}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    told: dict[str, Any] = {"name": parameter.name, "in": "query", "required": parameter.required,
            "description": parameter.meaning}  # fmt: skip
    if parameter.kind == "weights":
        schema = {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}}
        return {**told, "content": {"application/json": {"schema": schema}}}
    kinds: dict[str, dict[str, Any]] = {
        "text": {"type": "string", "maxLength": parameter.longest},
        "number": {"type": "integer", "minimum": parameter.least, "maximum": parameter.most},
        "flag": {"type": "boolean"},
    }
    value = kinds[parameter.kind]
    if parameter.many > 1:
        value = {"type": "array", "items": value, "maxItems": parameter.many}
    if parameter.default is not None:
        value["default"] = parameter.default
    return {**told, "schema": value}


def schema_of(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of a type; those of dataclasses are put into ``schemas``, by their names."""
    origin, inside = get_origin(kind), get_args(kind)
    if kind is Any:
        return {}
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if origin in (Union, UnionType):
        return {"anyOf": [schema_of(each, schemas) for each in inside]}
    if origin is Literal:
        return {"enum": list(inside)}
    if origin is list:
        return {"type": "array", "items": schema_of(inside[0], schemas)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema_of(inside[1], schemas)}
    assert is_dataclass(kind) and isinstance(kind, type)
    name = kind.__name__
    if name not in schemas:
        schemas[name] = {}  # one that holds itself finds it
        hints = get_type_hints(kind)
        required = [f.name for f in fields(kind) if f.default is MISSING]
        schemas[name] = {
            "type": "object",
            "description": inspect.getdoc(kind) or "",
            "properties": {f.name: schema_of(hints[f.name], schemas) for f in fields(kind)},
            "required": required,
            "additionalProperties": False,
        }
    return {"$ref": f"#/components/schemas/{name}"}
