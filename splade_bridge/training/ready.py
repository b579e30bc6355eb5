"""What a training needs and can be looked for before any work begins."""

from __future__ import annotations

from pathlib import Path

from splade_bridge.errors import BadInputError, require
from splade_bridge.training.hub import model_folder
from splade_bridge.training.recipe import WRITTEN, Recipe, in_work_folder, leaves

MODELS = {
    "model": {"base": "revision", "query_base": "query_revision", "tokenizer": "revision"},
    "mlm": {"base": "revision", "tokenizer": "revision"},
    "mine": {"model": "revision"},
    "score": {"model": "revision"},
}
"""Keys of a recipe that name models, by section, with those of their revisions."""


def check_ready(recipe: Recipe, work: Path) -> None:
    """Look for the libraries, the models and the files that ``recipe`` names.

    Args:
        work: what ``{work}`` stands for; what lies in it is made by the training itself.

    Raises:
        MissingToolError: the extra ``train`` is not installed.
        BadInputError: a model that cannot be had, or a file that is not there.
        UsageError: a revision of a folder.
    """
    require("train", "training")
    placed = in_work_folder(recipe, work)
    _check_models(placed)
    _check_files(placed, work)


def _check_models(recipe: Recipe) -> None:
    made = recipe.mlm.out if recipe.mlm else None
    for section, keys in MODELS.items():
        options = getattr(recipe, section)
        if options is None or (section != "model" and options.out.exists()):
            continue
        for key, revision in keys.items():
            name = getattr(options, key)
            if name and Path(name) != made:
                graph = section in ("mine", "score")
                asked_by = f"{section}.{key}"
                model_folder(name, asked_by, getattr(options, revision), graph=graph)


def _check_files(recipe: Recipe, work: Path) -> None:
    stages = {"mlm": recipe.mlm, "mine": recipe.mine, "score": recipe.score}
    outputs = {name: stage.out for name, stage in stages.items() if stage}
    made = set(outputs.values())
    done = {name for name, out in outputs.items() if out.exists()}
    for key, value in leaves(recipe):
        if key[-1] in WRITTEN or key[0] in done:
            continue
        for path in value if isinstance(value, tuple) else (value,):
            if not isinstance(path, Path) or path in made or work in path.parents:
                continue
            if not path.exists():
                remedy = "; to train without: --set validation=none" * (key[0] == "validation")
                raise BadInputError(f"{'.'.join(key)}: no such file or folder{remedy}", str(path))
