"""Which saved parts make up one side of a model.

Two kinds of folder are read: a plain masked-language-model checkpoint, and what
sentence-transformers saves for a SparseEncoder (``modules.json`` naming Transformer or
MLMTransformer, SpladePooling, SparseStaticEmbedding, and Router, which has its own modules for
queries and documents). Only the files are read; sentence-transformers itself is not needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.head import Activation, Pooling
from splade_bridge.errors import BadInputError
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import Where, as_table, checked, json_file, value_of

PROMPT_NAMES = {"query": ("query",), "document": ("document", "passage", "corpus")}


@dataclass(frozen=True)
class SideSettings:
    """How one side turns tokens into weights.

    Attributes:
        network: folder of the masked language model; None for a side without one.
        static: folder of a fixed weight for each token. Alone it gives each token of the text its
            weight (inference-free queries); after a network it multiplies the network's weights
            and so masks them to the text's own tokens (lexical models).
        pooling: over positions.
        activation: of logits.
        max_length: the limit that was saved with the model, in tokens.
        lower_case: whether texts are lower-cased before the tokenizer's own rules.
        prompt: put in front of every text.
        max_active: keep only so many of the heaviest terms.
    """

    network: Path | None = None
    static: Path | None = None
    pooling: Pooling = "max"
    activation: Activation = "relu"
    max_length: int | None = None
    lower_case: bool = False
    prompt: str = ""
    max_active: int | None = None

    @property
    def tokenizer(self) -> Path:
        """The folder whose tokenizer reads the texts of this side."""
        folder = self.network or self.static
        assert folder is not None
        return folder

    @property
    def folders(self) -> list[Path]:
        """All folders that this side loads weights from."""
        return [f for f in (self.network, self.static) if f is not None]


def read_settings(folder: Path, side: Side) -> SideSettings:
    """The settings of ``side`` in a checkpoint folder.

    Raises:
        BadInputError: no ``config.json`` or ``modules.json``, or modules that are not SPLADE's.
    """
    if not (folder / "modules.json").is_file():
        if not any((folder / name).is_file() for name in ("config.json", "adapter_config.json")):
            raise BadInputError(
                "neither config.json nor modules.json in it: not a checkpoint", str(folder)
            )
        return SideSettings(network=folder)
    settings = SideSettings()
    for kind, place in _modules(folder, side):
        settings = _with_module(settings, kind, place, side)
    if not settings.folders:
        raise BadInputError(f"no encoder for the {side} side in modules.json", str(folder))
    name = "config_sentence_transformers.json"
    saved, where = _table(folder / name)
    most = value_of(saved, "max_active_dims", int | None, where, None)
    if most is not None and most < 1:
        where.inside("max_active_dims").fail(f"is {most}, and must be 1 or more")
    return replace(settings, prompt=_prompt(saved, side, where), max_active=most)


def _modules(folder: Path, side: Side) -> Iterator[tuple[str, Path]]:
    """Class name and folder of the modules that texts of ``side`` pass, in order."""
    where = Where(str(folder / "modules.json"))
    for number, entry in enumerate(checked(list[dict[str, Any]], json_file(where), where)):
        at = where.item(number)
        name = value_of(entry, "path", str, at)
        place = inside(folder, name, at.inside("path"), itself=True)
        kind = value_of(entry, "type", str, at).rpartition(".")[2]
        if kind not in ("Router", "Asym"):
            yield kind, place
            continue
        yield from _routed(place, side)


def _routed(place: Path, side: Side) -> Iterator[tuple[str, Path]]:
    """The modules of the router in folder ``place``."""
    name = "router_config.json"
    if not (place / name).is_file():
        name = "config.json"
    router, where = _table(place / name, must=True)
    structure = value_of(router, "structure", dict[str, list[str]], where)
    types = value_of(router, "types", dict[str, str], where)
    route = _route(router, structure, side, place, where)
    for number, module in enumerate(structure[route]):
        at = where.inside("structure").inside(route).item(number)
        below = inside(place, module, at)
        yield value_of(types, module, str, where.inside("types")).rpartition(".")[2], below


def _route(
    router: dict[str, Any], structure: Mapping[str, Any], side: Side, place: Path, where: Where
) -> str:
    """The route for texts of ``side``, looked for in sentence-transformers' order."""
    parameters = value_of(router, "parameters", dict[str, Any], where, {})
    where = where.inside("parameters")
    saved = value_of(parameters, "route_mappings", dict[str, str] | None, where, None) or {}
    where = where.inside("route_mappings")
    mappings = {_sides(key, where): (key, route) for key, route in saved.items()}
    for wanted in ((side, "text"), (side, None), (None, "text"), (None, None)):
        if wanted in mappings:
            key, route = mappings[wanted]
            if route not in structure:
                where.inside(key).fail(f"there is no route {route!r}")
            return str(route)
    for name in (side, "text"):
        if name in structure:
            return name
    raise BadInputError(
        f"its router has no route for the {side} side, only {', '.join(structure)}",
        str(place),
    )


def _sides(key: str, where: Where) -> tuple[Any, ...]:
    """A key of a router's mappings, which is a tuple written as Python has it."""
    try:
        found = ast.literal_eval(key)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, tuple) or not all(isinstance(s, str | None) for s in found):
        where.fail(f"key {key!r} is not a pair like ('query', 'text')")
    return found


def _with_module(settings: SideSettings, kind: str, place: Path, side: Side) -> SideSettings:
    if kind in ("Transformer", "MLMTransformer") and not settings.folders:
        saved, where = _table(place / "sentence_bert_config.json")
        default_task = "fill-mask" if kind == "MLMTransformer" else "feature-extraction"
        if value_of(saved, "transformer_task", str, where, default_task) != "fill-mask":
            raise BadInputError("a dense encoder without a masked-LM head, not SPLADE", str(place))
        return replace(
            settings,
            network=place,
            max_length=min(_limits(saved, side, where), default=None),
            lower_case=bool(value_of(saved, "do_lower_case", bool | None, where, None)),
        )
    if kind == "SpladePooling" and settings.network:
        saved, where = _table(place / "config.json")
        pooling = value_of(saved, "pooling_strategy", Pooling, where, "max")
        activation = value_of(saved, "activation_function", Activation, where, "relu")
        return replace(settings, pooling=pooling, activation=activation)
    if kind == "SparseStaticEmbedding" and not settings.static:
        return replace(settings, static=place)
    raise BadInputError(
        f"module {kind} is not part of a SPLADE model that this program can run "
        "(Transformer or MLMTransformer with SpladePooling, SparseStaticEmbedding, Router)",
        str(place),
    )


def _limits(saved: dict[str, Any], side: Side, where: Where) -> Iterator[int]:
    """The limits in tokens that are saved with a Transformer, in any of three places."""
    kwargs = value_of(saved, "processing_kwargs", dict[str, Any] | None, where, None) or {}
    deeper = where.inside("processing_kwargs")
    text = value_of(kwargs, "text", dict[str, Any] | None, deeper, None) or {}
    for table, key, at in (
        (saved, "max_seq_length", where),
        (saved, f"{side}_length", where),
        (text, "max_length", deeper.inside("text")),
    ):
        limit = value_of(table, key, int | None, at, None)
        if limit is not None and limit < 0:
            at.inside(key).fail(f"is {limit}, and must not be below 0")
        if limit:
            yield limit


def _prompt(saved: dict[str, Any], side: Side, where: Where) -> str:
    prompts = value_of(saved, "prompts", dict[str, str | None] | None, where, None) or {}
    names = [name for name in PROMPT_NAMES[side] if name in prompts]
    default = value_of(saved, "default_prompt_name", str | None, where, None)
    return prompts.get(names[0] if names else default or "") or ""


def _table(path: Path, *, must: bool = False) -> tuple[dict[str, Any], Where]:
    """The object in a JSON file; an empty one where there is no file and need not be one."""
    where = Where(str(path))
    if not must and not path.is_file():
        return {}, where
    return as_table(json_file(where), where), where
