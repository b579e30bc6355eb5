"""Recipes: TOML files that say all of how a model is trained.

A recipe is read into frozen dataclasses; a key that they do not have is an error that names the
file and the key. ``extends = "name"`` starts from another recipe and changes what stands in this
one; a ``[data]`` section with a format of its own replaces the other's, and ``validation = "none"``
leaves a section out that need not be there (so also mlm, mine and score). ``section.key=value``
overrides from the command line come last. The result is what is saved as ``recipe.toml`` in the
checkpoint; reading that again gives the same recipe.

``{work}`` in any path or text stands for the folder in which the training keeps what it needs
while it runs, so that one stage can use what another left there.
"""

from __future__ import annotations

import json
import tomllib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_origin

from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files.inputs import is_there
from splade_bridge.files.typed import Where, toml_file, typed
from splade_bridge.files.writing import asset
from splade_bridge.training.data import DataOptions
from splade_bridge.training.mine import MineOptions
from splade_bridge.training.options import (
    LossOptions,
    MlmOptions,
    ModelOptions,
    RegularizerOptions,
    RerankerOptions,
    SideRegularizer,
    TrainOptions,
    ValidationOptions,
)
from splade_bridge.training.score import ScoreOptions

WORK = "{work}"
FOLDER = "training"
READ = {
    "base", "query_base", "tokenizer", "idf", "collection", "queries", "corpus", "corpora", "model",
}  # fmt: skip
"""Keys of texts that may name a file; keys of paths do so anyway."""
WRITTEN = {"out", "cache"}
OPTIONAL = ("validation", "mlm", "mine", "score")
"""Sections that a recipe need not have."""
LEAST = {
    "train.batch_size": 1, "train.gradient_accumulation": 1, "train.log_every": 1,
    "train.save_every": 1, "train.mini_batch": 0, "train.workers": 0, "train.warmup_steps": 0,
    "regularizer.ramp_steps": 0, "model.query_length": 3, "model.document_length": 3,
    "model.calibrate": 0, "data.negatives": 0, "validation.every": 1, "validation.batch_size": 1,
    "validation.patience": 0, "validation.count_documents": 0,
}  # fmt: skip
"""The least that a number can be meant as; two tokens of a text are its marks."""


@dataclass(frozen=True)
class Recipe:
    """All of a training.

    Attributes:
        title: what comes out.
        source: whose settings these are.
        cost: hardware and time.
        expected: figures that it should reach.
        reranker: train a cross-encoder instead of a sparse encoder.
        mlm: a stage before all others: a masked language model to start from.
        mine: the stage after that: hard negatives.
        score: the stage after that: teacher scores.
    """

    title: str
    data: DataOptions
    source: str = ""
    cost: str = ""
    expected: str = ""
    model: ModelOptions = ModelOptions()
    loss: LossOptions = LossOptions()
    regularizer: RegularizerOptions = RegularizerOptions()
    train: TrainOptions = TrainOptions()
    validation: ValidationOptions | None = None
    reranker: RerankerOptions | None = None
    mlm: MlmOptions | None = None
    mine: MineOptions | None = None
    score: ScoreOptions | None = None


def recipe_file(name: str | Path) -> Path:
    """The file ``name``, or the recipe of that name that comes with splade-bridge.

    Raises:
        BadInputError: there is neither.
    """
    path = Path(name)
    if is_there(path) and path.is_file():
        return path
    if path.suffix not in ("", ".toml") or len(path.parts) > 1:
        raise BadInputError("no such recipe file", str(name))
    known = shipped_recipes()
    if path.stem not in known:
        raise BadInputError(
            f"neither a file nor a recipe that comes with splade-bridge: {', '.join(known)}",
            str(name),
        )
    return known[path.stem]


def shipped_recipes() -> dict[str, Path]:
    """Name and file of the recipes that come with splade-bridge."""
    try:
        return {path.stem: path for path in sorted(asset(FOLDER).glob("*.toml"))}
    except MissingToolError:
        return {}


def read_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in file ``name`` (or of that name), changed by ``section.key=value`` overrides.

    Raises:
        BadInputError: not TOML, an unknown key, a value of the wrong type, or settings that do
            not go together; names file and key.
        UsageError: an override that is not ``section.key=value``.
    """
    file = recipe_file(name)
    tree = _read_tree(file, ())
    for section in [s for s in OPTIONAL if tree.get(s) == "none"]:
        del tree[section]
    for override in overrides:
        _override(tree, override)
    recipe = typed(Recipe, tree, Where(str(file)), _meant)
    _check(recipe, str(file))
    return recipe


def in_work_folder(recipe: Recipe, work: Path) -> Recipe:
    """``recipe`` with ``{work}`` replaced in all its texts and paths."""
    placed: Recipe = _placed(recipe, str(work))
    return placed


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML that reads back equal; nothing is left to a default."""
    return "\n".join(_sections(recipe, ())) + "\n"


def differing_keys(one: Recipe, other: Recipe) -> list[str]:
    """The keys in which two recipes differ, as ``train.steps``."""
    a, b = (dict(leaves(r)) for r in (one, other))
    return sorted(".".join(k) for k in a.keys() | b.keys() if a.get(k) != b.get(k))


def input_files(recipe: Recipe) -> list[Path]:
    """The files and folders on this disk that ``recipe`` reads: texts, judgements, models.

    What its own stages write, and caches, are none.
    """
    given = {key: value for key, value in leaves(recipe) if value}
    written = {Path(value) for key, value in given.items() if key[-1] in WRITTEN}
    paths: dict[Path, None] = {}
    for key, value in given.items():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Path) or key[-1] in READ:
                paths[Path(one)] = None
    there = [path for path in paths if path not in written and is_there(path)]
    files: list[Path] = []
    for path in there:
        if any(path in other.parents for other in written):  # a cache beside the data
            inside = (f for f in sorted(path.rglob("*")) if f.is_file())
            files += [f for f in inside if written.isdisjoint(f.parents)]
        else:
            files.append(path)
    return files


# --- reading ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Typed:
    """The text of an override, whose type the key decides."""

    text: str


def _read_tree(file: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if file.resolve() in seen:
        raise BadInputError("extends itself", str(file))
    tree = toml_file(file)
    parent = tree.pop("extends", None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise BadInputError("extends must be the name of a recipe", str(file))
    beside = file.parent / (parent if parent.endswith(".toml") else f"{parent}.toml")
    base = _read_tree(beside if beside.is_file() else recipe_file(parent), (*seen, file.resolve()))
    data = tree.get("data")
    if isinstance(data, dict) and "format" in data:
        base.pop("data", None)  # its other keys are of its own format
    return _merged(base, tree)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _merged(below, value) if both and isinstance(below, dict) else value
    return merged


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise UsageError(f"--set {override!r}: must be section.key=value, as train.steps=1000")
    *sections, leaf = parts
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UsageError(f"--set {override!r}: {section} is a value and has no keys")
    tree[leaf] = _Typed(text.strip())


def _meant(kind: Any, value: Any) -> Any:
    """The value of an override, now that it is known of what type it should be."""
    if isinstance(value, dict):
        return {key: _meant(Any, v) for key, v in value.items()} if _is_free(kind) else value
    if not isinstance(value, _Typed):
        return value
    if kind is types.NoneType:
        return None if value.text.lower() == "none" else value
    return _parsed(value.text, kind)


def _is_free(kind: Any) -> bool:
    """Whether the keys of a table are the user's own."""
    return kind is Any or (get_origin(kind) or kind) is dict


def _parsed(text: str, kind: Any) -> Any:
    """The value of an override: TOML where that is what the key wants, else the text itself."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str) or kind not in (str, Path) else text


def _check(recipe: Recipe, place: str) -> None:
    """What no type can say.

    Raises:
        BadInputError: settings that do not go together.
    """

    def refuse(problem: str) -> None:
        raise BadInputError(problem, place)

    model, loss, train, data = recipe.model, recipe.loss, recipe.train, recipe.data
    if bool(model.base) == bool(model.config):
        refuse("model.base or model.config must say what to train, one of them")
    if model.query_revision and not model.query_base:
        refuse("model.query_revision is of model.query_base: name that")
    for section in ("mlm", "mine", "score"):
        stage = getattr(recipe, section)
        if stage is not None and stage.trust_remote_code:
            refuse(
                f"{section}.trust_remote_code: no recipe lets a checkpoint's code run, for it may "
                "be a stranger's: give --trust-remote-code to train"
            )
    if model.config and not model.tokenizer:
        refuse("model.config needs model.tokenizer")
    if (model.query_base or model.query_config) and model.query != "separate":
        refuse('model.query_base and model.query_config need model.query = "separate"')
    if model.lora.rank and (model.config or model.query_config):
        refuse("model.lora is for a model that is trained already, not for a new network")
    ranking = (loss.contrastive, loss.pairwise, loss.margin_mse, loss.kl)
    if recipe.reranker:
        _check_reranker(recipe, refuse)
    elif min(*ranking, loss.base_scores, loss.anti_zero) < 0 or not max(ranking):
        refuse("loss: a weight of contrastive, pairwise, margin_mse or kl must be above 0")
    if not data.negatives and (loss.pairwise or loss.margin_mse or loss.kl):
        refuse("loss.pairwise, margin_mse and kl need data.negatives of 1 or more")
    if data.mask_positives and not loss.contrastive:
        refuse("data.mask_positives is for loss.contrastive, which compares with other rows")
    if sum(ranking) == loss.contrastive and not data.negatives and train.batch_size == 1:
        refuse(
            "loss.contrastive has nothing to compare with: a batch of one row without negatives; "
            "set train.batch_size or data.negatives"
        )
    if loss.base_scores and model.config:
        refuse("loss.base_scores is for a model that is trained already, not for a new network")
    if (train.steps > 0) == (train.epochs > 0):
        refuse("train.steps or train.epochs must be above 0, one of them")
    for key, least in LEAST.items():
        section, _, name = key.partition(".")
        options = getattr(recipe, section)
        if options is not None and getattr(options, name) < least:
            refuse(f"{key} is {getattr(options, name)}, but must be {least} or more")
    if not (loss.kl_temperature > 0 and train.learning_rate >= 0):
        refuse("loss.kl_temperature must be above 0, and train.learning_rate not below 0")
    if loss.contrastive_temperature < 0:
        refuse("loss.contrastive_temperature must not be below 0")
    if not loss.contrastive_temperature and (model.config or not loss.contrastive):
        refuse(
            "loss.contrastive_temperature of 0 is for loss.contrastive of a model that is trained "
            "already"
        )
    shares = recipe.validation.interpolate if recipe.validation else ()
    if shares and not (recipe.validation and recipe.validation.at_start):
        refuse("validation.interpolate needs validation.at_start")
    if shares and (model.lora.rank or not all(0 < share < 1 for share in shares)):
        refuse("validation.interpolate: shares lie between 0 and 1, and not with model.lora")
    if train.document_length and train.document_length < LEAST["model.document_length"]:
        refuse("train.document_length must be 0, or 3 or more")
    if model.dropout is not None and not 0 <= model.dropout < 1:
        refuse("model.dropout must be 0 or more, and below 1")
    for side in ("query", "document"):
        sparse: SideRegularizer = getattr(recipe.regularizer, side)
        if sparse.penalty != "none" and sparse.weight < 0:
            refuse(f"regularizer.{side}.weight must not be below 0")
        for key in ("target_terms", "base_terms"):
            value = getattr(sparse, key)
            if value is None:
                continue
            if sparse.penalty == "none" or min(value, sparse.weight) <= 0:
                refuse(f"regularizer.{side}.{key} needs a penalty, and values above 0")
        if sparse.base_terms is not None and (
            sparse.target_terms is not None or model.config or model.calibrate
        ):
            refuse(
                f"regularizer.{side}.base_terms is for a model that is trained already, and stands "
                "without target_terms"
            )
    if model.query in ("bow", "idf") and recipe.regularizer.query.penalty != "none":
        refuse(f"regularizer.query: queries of model.query = {model.query!r} are not trained")


def _check_reranker(recipe: Recipe, refuse: Callable[[str], None]) -> None:
    """What a cross-encoder has not."""
    model, usual = recipe.model, ModelOptions()
    other = {
        "loss": recipe.loss != LossOptions(),
        "regularizer": recipe.regularizer != RegularizerOptions(),
        "validation": recipe.validation is not None,
        "model.config": bool(model.config),
        "model.lora": model.lora.rank > 0,
        "model.calibrate": model.calibrate > 0,
        "train.document_length": recipe.train.document_length > 0,
    } | {
        f"model.{key}": getattr(model, key) != getattr(usual, key)
        for key in (
            "query",
            "idf",
            "pooling",
            "activation",
            "dropout",
            "query_length",
            "document_length",
        )
    }
    for key, given in other.items():
        if given:
            refuse(f"{key} is of a sparse encoder, and [reranker] trains a cross-encoder")
    if recipe.data.negatives < 1:
        refuse("a reranker needs data.negatives of 1 or more")
    if recipe.reranker and recipe.reranker.max_length < 4:
        refuse("reranker.max_length must be 4 or more")


# --- writing ---------------------------------------------------------------------------------


def _placed(value: Any, work: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        changed = {f.name: _placed(getattr(value, f.name), work) for f in fields(value)}
        return replace(value, **changed)
    if isinstance(value, Path):
        return Path(str(value).replace(WORK, work))
    if isinstance(value, str):
        return value.replace(WORK, work)
    return value


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Key and value of everything in a recipe, or in a section of it at ``path``."""
    for f in fields(value):
        inner = getattr(value, f.name)
        if is_dataclass(inner):
            yield from leaves(inner, (*path, f.name))
        else:
            yield (*path, f.name), inner


def _sections(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    inner = {f.name: getattr(value, f.name) for f in fields(value)}
    if path:
        yield f"\n[{'.'.join(path)}]"
    for name, leaf in inner.items():
        if not is_dataclass(leaf) and leaf is not None:
            yield f"{name} = {_toml(leaf)}"
    for name, section in inner.items():
        if is_dataclass(section):
            yield from _sections(section, (*path, name))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # JSON's escapes are TOML's, but TOML knows no surrogate pairs and wants DEL escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
