"""A flag for each option of each engine, made from the registry."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from splade_bridge.engines.registry import ENGINES, REMOTE_OPTIONS, flag, options_of
from splade_bridge.engines.registry import key as key_of
from splade_bridge.errors import UsageError
from splade_bridge.files.address import Address

PARAMETER = "engine_options"


def takes_engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let ``command(engine=..., engine_options=...)`` take the flags of all engines.

    It gets an instance of the chosen engine's options, or None where it has none; an output that is
    an address has chosen. A flag of another engine is refused, because it would do nothing.
    """
    flags = {key_of(name, option): (name, option) for name, option in _all()}
    own = inspect.signature(command, eval_str=True).parameters
    parameters = [p for name, p in own.items() if name != PARAMETER]
    for key, (name, option) in flags.items():
        hint = get_type_hints(options_of(name))[option.name]
        shown = flag(name, option)
        told = typer.Option(
            f"{shown}/--no-{shown[2:]}" if hint is bool and option.default else shown,
            help=f"{name}: {option.metadata['help']}",
            show_default=str(option.default) if option.default not in (None, False) else False,
        )
        parameters.append(
            inspect.Parameter(
                key, inspect.Parameter.KEYWORD_ONLY, default=None,
                annotation=Annotated[hint | None, told],
            )
        )  # fmt: skip

    @functools.wraps(command)
    def run(*arguments: Any, **given: Any) -> None:
        named = {key: given.pop(key) for key in flags if given.get(key) is not None}
        for key in flags:
            given.pop(key, None)
        output = given.get("output")
        chosen_engine = output.scheme if isinstance(output, Address) else given["engine"]
        options = options_of(chosen_engine or "")
        for key in named:
            name, option = flags[key]
            if name != chosen_engine:
                of = f"--engine {name}" if name in ENGINES else f"an address {name}://"
                raise UsageError(f"{flag(name, option)} is for {of}")
        chosen = {flags[key][1].name: value for key, value in named.items()}
        command(*arguments, **given, **{PARAMETER: options(**chosen) if options else None})

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run


def _all() -> Iterator[tuple[str, Field[Any]]]:
    for name in (*ENGINES, *REMOTE_OPTIONS):
        for option in fields(kind) if (kind := options_of(name)) else ():
            assert option.default is not MISSING
            yield name, option
