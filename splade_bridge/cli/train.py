"""``splade-bridge train``: a recipe by default, and the stages before it as commands of their own.

The commands of the stages are made from their dataclasses, so that flag and option cannot differ.
"""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from splade_bridge.cli.command import complete
from splade_bridge.cli.examples import shown
from splade_bridge.cli.groups import NORMALIZE, QUERY_MODE, prompt_flag, prompt_name_flag
from splade_bridge.cli.marks import WRITES, Use
from splade_bridge.cli.needs import Needs, needs, unless
from splade_bridge.cli.options import (
    AllowMismatch,
    Engine,
    Json,
    MaxLength,
    Model,
    Overwrite,
    Queries,
    RemoveQuery,
    Revision,
    Threads,
    TrustRemoteCode,
    output_flag,
)
from splade_bridge.cli.telling import note, print_json
from splade_bridge.encoding.choices import PairChoices, QueryMode
from splade_bridge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "train"
DEFAULT = "recipe"
STAGES = {
    "mine": ("mine", "MineOptions", "mine"),
    "score": ("score", "ScoreOptions", "score"),
    "mlm": ("mlm", "MlmOptions", "train_mlm"),
}
"""Command: module of splade_bridge.training, its options, its function."""
SAID = {
    "mine": "Write hard negatives of all judged queries.",
    "score": "Write a teacher's scores beside queries and documents.",
    "mlm": "Train a masked language model on texts, from scratch or from a base.",
}
"""Of the stages, for their help."""
TRAINS = (unless("--list", name="listed"), unless("--show"))
SEARCHED = unless("--run")
BY_MODEL = unless("--bm25")
COMPUTED = unless("--teacher", "run")
NEW = unless("--base")
READ = needs("--model")
ENCODES = needs("--teacher", "dense", "sparse")
NO_BOW = unless("--query-mode", "bow")
NEEDS: dict[str, dict[str, tuple[Needs, ...]]] = {
    "mine": {
        "engine": (Needs(
            "without --documents or --corpus, which it indexes",
            "add one of them",
            lambda given: bool(given["documents"] or given["corpus"]),
        ), BY_MODEL),
        "algorithm": (SEARCHED, BY_MODEL),
        "bm25": (needs("--corpus"),),
        "threads": (SEARCHED,),
        "model": (SEARCHED, BY_MODEL),
        "query_vectors": (SEARCHED, BY_MODEL),
        **dict.fromkeys(
            ("max_length", "revision", "trust_remote_code", "query_mode", "normalize"), (READ,)
        ),
        "query_prompt": (READ, NO_BOW),
        "query_prompt_name": (READ, NO_BOW, unless("--query-prompt")),
        "document_prompt": (READ, needs("--corpus")),
        "document_prompt_name": (READ, needs("--corpus"), unless("--document-prompt")),
        "seed": (unless("--choice", "hardest"),),
    },
    "score": {
        "collection": (COMPUTED,),
        "queries": (COMPUTED,),
        "batch_size": (needs("--teacher", "cross-encoder", "dense"),),
        "max_length": (COMPUTED,),
        "dtype": (COMPUTED,),
        "device": (COMPUTED,),
        **dict.fromkeys(("model", "revision", "trust_remote_code"), (COMPUTED,)),
        "query_prompt": (ENCODES, NO_BOW),
        "query_prompt_name": (ENCODES, NO_BOW, unless("--query-prompt")),
        "document_prompt": (ENCODES,),
        "document_prompt_name": (ENCODES, unless("--document-prompt")),
        "query_mode": (needs("--teacher", "sparse"),),
        "normalize": (ENCODES,),
        "run": (needs("--teacher", "run"),),
        "allow_missing": (needs("--teacher", "run"),),
    },
    "mlm": {
        "packages": (needs("--docstrings"),),
        "tokenizer": (NEW,),
        **dict.fromkeys(
            ("revision", "trust_remote_code"),
            (Needs(
                "without --base or --tokenizer",
                "add one of them",
                lambda given: bool(given["base"] or given["tokenizer"]),
            ),),
        ),
        "vocab_size": (NEW, unless("--tokenizer")),
        "split_names": (NEW, unless("--tokenizer")),
        **dict.fromkeys(
            ("layers", "hidden", "heads", "intermediate", "dropout", "word_vectors"), (NEW,)
        ),
        "flops_ramp": (needs("--flops"),),
    },
}  # fmt: skip
"""What the options of a stage need, each beside its flag; see ``cli/needs.py``."""


class _Commands(TyperGroup):
    """A group whose first command is meant where none is named, and which loads lazily."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = [*self.commands, *STAGES, *ctx.help_option_names]
        if args and args[0] not in known:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return [DEFAULT, *STAGES]

    def get_command(self, ctx: Any, name: str) -> Any:
        if name in STAGES and name not in self.commands:
            self.commands[name] = _stage(name)
        return super().get_command(ctx, name)


app = typer.Typer(
    name=NAME,
    cls=_Commands,
    help="""Train a SPLADE model by a recipe, and make its data.

    --list names the recipes that come along, --show prints all keys of one as TOML to start from,
    --set changes keys; `train recipe --help` has all flags. Data formats and keys are described in
    training/README.md.""",
    epilog=shown(NAME),
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command(
    recipe: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a recipe that comes with us: --list.")
    ] = "",
    output: Annotated[
        Path | None, output_flag("Folder of the checkpoint."), WRITES, *TRAINS
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SECTION.KEY=VALUE",
            help="Change the recipe, as train.steps=1000; may be given again.",
        ),
        unless("--list", name="listed"),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Name the recipes that come with splade-bridge.")
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Print the whole recipe as TOML, and do nothing."),
        unless("--list", name="listed"),
    ] = False,
    trust_remote_code: Annotated[TrustRemoteCode, *TRAINS] = False,
    overwrite: Annotated[Overwrite, *TRAINS] = False,
    json: Json = False,
) -> None:
    """Train a recipe, or go on where the same command was stopped.

    While it trains, OUTPUT.training holds checkpoints, log.jsonl and a log for TensorBoard.
    """
    from splade_bridge.training.recipe import read_recipe, shipped_recipes, to_toml

    if listed:
        titles = {name: read_recipe(path).title for name, path in shipped_recipes().items()}
        if json:
            return print_json({"recipes": titles})
        for name, title in titles.items():
            typer.echo(f"{name:24} {title}")
        return None
    if not recipe:
        raise UsageError("name a recipe, or list those that come with splade-bridge: --list")
    read = read_recipe(recipe, settings or ())
    if show:
        if json:
            raise UsageError("--show prints TOML: leave --json out")
        return typer.echo(to_toml(read), nl=False)
    if output is None:
        raise UsageError("--output is missing: name the folder of the checkpoint")
    from splade_bridge.training.train import train

    trained = train(
        read, output, overwrite=overwrite, trust_remote_code=trust_remote_code, say=note
    )
    if os.environ.get("RANK", "0") != "0":  # one of several processes of torchrun
        return None
    if json:
        own = {k: v for k, v in asdict(trained).items() if k != "out"}
        return print_json({"output": str(output), **own})
    note(f"{output}: the model of step {trained.best_step:,} of {trained.steps:,}")
    return None


app.command(DEFAULT, epilog=shown(f"{NAME} {DEFAULT}"))(complete(command))


def _stage(name: str) -> Any:
    """The command of a stage."""
    stage = typer.Typer(rich_markup_mode=None, add_completion=False)
    settings = {"help_option_names": ["-h", "--help"]}
    epilog = shown(f"{NAME} {name}")
    stage.command(name, context_settings=settings, epilog=epilog)(stage_function(name))
    return typer.main.get_command(stage)


def stage_function(name: str) -> Callable[..., None]:
    """What the command of a stage calls; its parameters are the attributes of its options."""
    from importlib import import_module

    module_name, options_name, function_name = STAGES[name]
    module = import_module(f"splade_bridge.training.{module_name}")
    options, function = getattr(module, options_name), getattr(module, function_name)

    said = {"say": note} if "say" in inspect.signature(function).parameters else {}

    def run(*, json: bool, **given: Any) -> None:
        chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        content = asdict(function(options(**chosen), **said))
        if json:
            return print_json({"output": str(given["out"]), **content})
        for key, value in content.items():
            note(f"{key}: {value}")
        return None

    run.__doc__ = f"{SAID[name]}\n\nWhat the same options have made already is left as it is."
    _give_flags(run, options, NEEDS[name])
    return complete(run)


def plain(docstring: str) -> str:
    """A docstring without its marks for code: as ``--help`` shows it."""
    return re.sub(r"(?::\w+:)?`+~?\.*([^`]*)`+", r"\1", docstring)


SHARED = {
    "overwrite": Overwrite,
    "queries": Queries,
    "model": Model,
    "engine": Engine,
    "threads": Threads,
    "max_length": MaxLength,
    "remove_query": RemoveQuery,
    "allow_mismatch": AllowMismatch,
    "revision": Revision,
    "trust_remote_code": TrustRemoteCode,
    "query_prompt": Annotated[str | None, prompt_flag("query-")],
    "query_prompt_name": Annotated[str | None, prompt_name_flag("query-")],
    "document_prompt": Annotated[str | None, prompt_flag("document-")],
    "document_prompt_name": Annotated[str | None, prompt_name_flag("document-")],
    "query_mode": Annotated[QueryMode, QUERY_MODE],
    "normalize": Annotated[bool, NORMALIZE],
}
"""Options that are flags of other commands, too, and are given as there."""
SAME = (
    "overwrite", "threads", "max_length", "remove_query", "allow_mismatch",
    *(field.name for field in fields(PairChoices)),
)  # fmt: skip
"""Those of them that are described as there."""


def _give_flags(
    run: Callable[..., None], options: Any, needed: dict[str, tuple[Needs, ...]]
) -> None:
    told = attributes(options.__doc__)
    hints = get_type_hints(options)
    parameters = []
    for field in sorted(fields(options), key=lambda field: field.kw_only is True):
        default = field.default
        if default is MISSING and field.default_factory is not MISSING:
            default = field.default_factory()
        kind = hints[field.name]
        if get_origin(kind) is tuple:
            kind = list[get_args(kind)[0]]  # type: ignore[misc]
            default = list(default) if isinstance(default, tuple) else default
        uses = [m for m in get_args(SHARED.get(field.name)) if isinstance(m, Use)]
        if field.name == "out":
            uses = [WRITES]
        rules = needed.get(field.name, ())
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
                annotation=Annotated[kind, _flag(field.name, kind, default, told), *uses, *rules],
            )
        )
    parameters.append(
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    )
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}


def _flag(name: str, kind: Any, default: Any, told: dict[str, str]) -> Any:
    """How an option of a stage is given."""
    help = plain(told.get(name, ""))
    if name == "out":
        return output_flag(help)
    if shared := next((m for m in get_args(SHARED.get(name)) if hasattr(m, "param_decls")), None):
        names = (shared.default, *shared.param_decls)  # where Typer has them before it looks
        known = {"metavar": shared.metavar, "help": shared.help if name in SAME else help}
        return typer.Option(*names, min=shared.min, **known)
    flag = f"--{name.replace('_', '-')}"
    if kind is bool and default is True:
        flag = f"{flag}/--no-{flag[2:]}"
    return typer.Option(flag, help=help)


def attributes(doc: str) -> dict[str, str]:
    """Name and description of the attributes that a docstring tells of."""
    listed = inspect.cleandoc(doc).partition("Attributes:\n")[2]
    found = re.findall(r"^    ([\w, ]+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    told: dict[str, str] = {}
    for names, text in found:
        said = re.sub(r":\w+:`[~.]?([\w.]+)`", r"\1", " ".join(text.split()))
        if re.match(r"[a-z]+\W", said):  # a word; names of things stay as they are
            said = said[0].upper() + said[1:]
        told |= dict.fromkeys(names.split(", "), said.replace("``", ""))
    return told
