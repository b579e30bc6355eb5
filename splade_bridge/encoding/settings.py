"""Which saved parts make up one side of a model.

Two kinds of folder are read: a plain masked-language-model checkpoint, and what
sentence-transformers saves for a SparseEncoder (``modules.json`` naming Transformer or
MLMTransformer, SpladePooling, SparseStaticEmbedding, and Router, which has its own modules for
queries and documents). Only the files are read; sentence-transformers itself is not needed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.head import Activation, Pooling
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, json_file

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
        if not (folder / "config.json").is_file():
            raise BadInputError(
                "neither config.json nor modules.json in it: not a checkpoint", str(folder)
            )
        return SideSettings(network=folder)
    settings = SideSettings()
    for kind, place in _modules(folder, side):
        settings = _with_module(settings, kind, place, side)
    if not settings.folders:
        raise BadInputError(f"no encoder for the {side} side in modules.json", str(folder))
    saved = _read_json(folder / "config_sentence_transformers.json", default={})
    return replace(settings, prompt=_prompt(saved, side), max_active=saved.get("max_active_dims"))


def _modules(folder: Path, side: Side) -> Iterator[tuple[str, Path]]:
    """Class name and folder of the modules that texts of ``side`` pass, in order."""
    for entry in _read_json(folder / "modules.json"):
        place = folder / entry["path"]
        kind = entry["type"].rpartition(".")[2]
        if kind not in ("Router", "Asym"):
            yield kind, place
            continue
        name = "router_config.json"
        router = _read_json(place / (name if (place / name).is_file() else "config.json"))
        for module in router["structure"][_route(router, side, place)]:
            yield router["types"][module].rpartition(".")[2], place / module


def _route(router: dict[str, Any], side: Side, place: Path) -> str:
    """The route for texts of ``side``, looked for in sentence-transformers' order."""
    parameters = router.get("parameters", {})
    mappings = {
        ast.literal_eval(key): route
        for key, route in (parameters.get("route_mappings") or {}).items()
    }
    for key in ((side, "text"), (side, None), (None, "text"), (None, None)):
        if key in mappings:
            return str(mappings[key])
    for route in (side, "text"):
        if route in router["structure"]:
            return route
    raise BadInputError(
        f"its router has no route for the {side} side, only {', '.join(router['structure'])}",
        str(place),
    )


def _with_module(settings: SideSettings, kind: str, place: Path, side: Side) -> SideSettings:
    if kind in ("Transformer", "MLMTransformer") and not settings.folders:
        saved = _read_json(place / "sentence_bert_config.json", default={})
        default_task = "fill-mask" if kind == "MLMTransformer" else "feature-extraction"
        if saved.get("transformer_task", default_task) != "fill-mask":
            raise BadInputError("a dense encoder without a masked-LM head, not SPLADE", str(place))
        text = saved.get("processing_kwargs", {}).get("text", {})
        limits = (saved.get("max_seq_length"), saved.get(f"{side}_length"), text.get("max_length"))
        return replace(
            settings,
            network=place,
            max_length=min((n for n in limits if n), default=None),
            lower_case=bool(saved.get("do_lower_case")),
        )
    if kind == "SpladePooling" and settings.network:
        saved = _read_json(place / "config.json", default={})
        pooling = saved.get("pooling_strategy", "max")
        activation = saved.get("activation_function", "relu")
        if pooling not in get_args(Pooling) or activation not in get_args(Activation):
            raise BadInputError(
                f"unknown pooling {pooling!r} or activation {activation!r}", str(place)
            )
        return replace(settings, pooling=pooling, activation=activation)
    if kind == "SparseStaticEmbedding" and not settings.static:
        return replace(settings, static=place)
    raise BadInputError(
        f"module {kind} is not part of a SPLADE model that this program can run "
        "(Transformer or MLMTransformer with SpladePooling, SparseStaticEmbedding, Router)",
        str(place),
    )


def _prompt(saved: dict[str, Any], side: Side) -> str:
    prompts = saved.get("prompts") or {}
    names = [name for name in PROMPT_NAMES[side] if name in prompts]
    name = names[0] if names else saved.get("default_prompt_name")
    return prompts.get(name) or ""


def _read_json(path: Path, default: Any = None) -> Any:
    if default is not None and not path.is_file():
        return default
    return json_file(Where(str(path)))
