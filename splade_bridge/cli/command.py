"""What every command has: ``-v``, a check of its places, and a Ctrl-C that is an error of ours."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from splade_bridge.cli import signals
from splade_bridge.cli.groups import Group
from splade_bridge.cli.interrupted import states, what_is_left
from splade_bridge.cli.marks import READS, WRITES, Use
from splade_bridge.cli.needs import Needs
from splade_bridge.cli.options import Verbose
from splade_bridge.errors import Interrupted, UsageError
from splade_bridge.files.address import Address, place_of, refuse_address
from splade_bridge.files.checks import unchecked
from splade_bridge.files.shown import MOST_SHOWN, shown


def complete(command: Callable[..., None]) -> Callable[..., None]:
    """``command`` with ``-v``, the program's own ``--json`` and ``-v``, and its places checked.

    Its groups of flags are taken apart for Typer, and put together for it.

    A flag that was given and would do nothing is refused, by what the parameter says it needs. An
    output that is or contains what another argument names, read or written, is refused before
    anything is done.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups = {n: p.annotation for n, p in own.items() if group_of(p.annotation)}
    parameters = {p.name: p for p in flags_of(own.values())}
    for name, p in parameters.items():
        parameters[name] = p.replace(annotation=_asked(p.annotation, parameters))
    uses = {name: use_of(p.annotation) for name, p in parameters.items()}
    choices = {n for n, p in parameters.items() if choice_of(p.annotation) is not None}
    for name in choices:
        parameters[name] = parameters[name].replace(annotation=_enum(parameters[name].annotation))
    places = {name for name, p in parameters.items() if is_place(p.annotation)}
    for name in places:
        parameters[name] = parameters[name].replace(annotation=_text(parameters[name].annotation))
    rules = {n: found for n, p in parameters.items() if (found := needs_of(p.annotation))}
    takes_context = "context" in parameters
    for name, annotation, default in (
        ("verbose", Verbose, False),
        ("context", typer.Context, inspect.Parameter.empty),
    ):
        parameters[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )

    @functools.wraps(command)
    def run(*, context: typer.Context, verbose: bool, **given: Any) -> None:
        program = context.find_root().params
        log_to_stderr(verbose=verbose or bool(program.get("verbose")))
        given["json"] = given["json"] or bool(program.get("json"))
        for name in choices & given.keys():
            given[name] = given[name] and [choice.value for choice in given[name]]
        for name in places & given.keys():
            if isinstance(value := given[name], list):
                given[name] = list(map(place_of, value))
            elif value is not None:
                given[name] = place_of(value)
        for name, use in uses.items():
            if use is not None and name not in places:
                _refuse_addresses(parameters[name], given[name], written=use is not READS)
        for name, needed in rules.items():
            source = context.get_parameter_source(name)
            if source is not None and source.name != "DEFAULT":
                _check_needs(flag_of(parameters[name].annotation), needed, given)
        if takes_context:
            given["context"] = context
        signals.begin()
        before = states(
            place for name, use in uses.items() if use is WRITES for place in _places(given, name)
        )
        try:
            _check_numbers(given)
            _check_places(given, uses)
            for name, group in groups.items():
                given[name] = group(**{f.name: given.pop(f.name) for f in fields(group)})
            with unchecked(given.get("no_check", False)):
                command(**given)
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(what_is_left(before)) from None
        except Exception:
            if signals.times():  # what an import, or a library, has made of it
                raise Interrupted(what_is_left(before)) from None
            raise

    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters.values()}
    return run


def group_of(annotation: Any) -> type[Group] | None:
    """The group that a parameter is; None for any other parameter."""
    is_group = isinstance(annotation, type) and issubclass(annotation, Group)
    return annotation if is_group else None


def flags_of(own: Iterable[inspect.Parameter]) -> Iterator[inspect.Parameter]:
    """The parameters of a command with each group taken apart, in its place."""
    for parameter in own:
        group = group_of(parameter.annotation)
        if group is None:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        hints = get_type_hints(group, include_extras=True)
        for field in fields(group):
            default = inspect.Parameter.empty if field.default is MISSING else field.default
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=default,
                annotation=hints[field.name],
            )


def log_to_stderr(*, verbose: bool) -> None:
    """Warnings as lines of stderr; with ``verbose`` what is done, too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Shown("%(levelname)s: %(message)s"))
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # The space that sorting takes is stated before it is taken; what was fetched or was there
    # already, that a long comparison of files goes on, and what data are taken for, always.
    for name in ("data.invert", "engines.jars", "files.checks", "files.finished",
                 "training.columns", "training.records"):  # fmt: skip
        logging.getLogger(f"splade_bridge.{name}").setLevel(logging.INFO)
    logging.addLevelName(logging.WARNING, "warning")
    logging.addLevelName(logging.INFO, "info")


class _Shown(logging.Formatter):
    """Messages as a terminal may show them; other packages' may have several lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        ours = record.name.partition(".")[0] == __name__.partition(".")[0]
        return shown(super().formatMessage(record), "" if ours else "\n\t", MOST_SHOWN)


def use_of(annotation: Any) -> Use | None:
    """Whether a parameter names what is read or what is written; None for neither.

    A path is read if its annotation does not say otherwise.
    """
    if get_origin(annotation) is Annotated:
        marks = [m for m in annotation.__metadata__ if isinstance(m, Use)]
        return marks[0] if marks else use_of(get_args(annotation)[0])
    if annotation is Path or Path in get_args(annotation) or is_place(annotation):
        return READS
    return None


def needs_of(annotation: Any) -> list[Needs]:
    """What a parameter says that its flag needs."""
    if get_origin(annotation) is not Annotated:
        return []
    return [m for m in annotation.__metadata__ if isinstance(m, Needs)]


def _asked(annotation: Any, parameters: Mapping[str, inspect.Parameter]) -> Any:
    """``annotation`` without the needs that are not asked in a command of these parameters."""
    if get_origin(annotation) is not Annotated:
        return annotation
    kept = []
    for mark in annotation.__metadata__:
        if isinstance(mark, Needs) and mark.of:
            there = [parameters[name] for name in mark.of if name in parameters]
            if not there or any(p.default is inspect.Parameter.empty for p in there):
                continue
        kept.append(mark)
    return Annotated[(annotation.__origin__, *kept)]


def flag_of(annotation: Any) -> str:
    """The long name of a parameter's flag."""
    found = (m for m in annotation.__metadata__ if isinstance(m, OptionInfo))
    names = [str(name) for m in found for name in (m.default, *(m.param_decls or ()))]
    return next(name for name in names if name.startswith("--")).partition("/")[0]


def _check_needs(flag: str, needed: Iterable[Needs], given: dict[str, Any]) -> None:
    for need in needed:
        if not need.met(given):
            raise UsageError(
                f"{flag} has no effect {need.lacking}: {need.remedy}, or leave {flag} out"
            )


def _refuse_addresses(parameter: inspect.Parameter, value: Any, *, written: bool) -> None:
    """Refuse the address of an index where a parameter is of files."""
    is_flag = any(isinstance(mark, OptionInfo) for mark in parameter.annotation.__metadata__)
    told = flag_of(parameter.annotation) if is_flag else parameter.name.upper()
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, str | Path):
            refuse_address(each, told, written=written)


def choice_of(annotation: Any) -> Any:
    """The Literal of a parameter that is a list of choices; None for any other parameter."""
    if get_origin(annotation) is not Annotated:
        return None
    kinds = [annotation.__origin__, *get_args(annotation.__origin__)]
    listed = [get_args(kind)[0] for kind in kinds if get_origin(kind) is list]
    return listed[0] if listed and get_origin(listed[0]) is Literal else None


def _enum(annotation: Any) -> Any:
    """The same parameter as a list of members of an Enum: Typer takes no list of Literals."""
    values = get_args(choice_of(annotation))
    enum: Any = Enum("Choice", {value: value for value in values})  # type: ignore[misc]
    return Annotated[list[enum] | None, *annotation.__metadata__]


def is_place(annotation: Any) -> bool:
    """Whether a parameter is a path or an address, or a list of them."""
    if get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    return any(kind is Address or is_place(kind) for kind in get_args(annotation))


def _text(annotation: Any) -> Any:
    """The same parameter as text, which Typer takes."""
    kind = annotation.__origin__
    texts: Any = list[str] if get_origin(kind) is list else str
    if type(None) in get_args(kind):
        texts = texts | None
    marked = () if any(isinstance(m, Use) for m in annotation.__metadata__) else (READS,)
    return Annotated[texts, *annotation.__metadata__, *marked]


def _check_numbers(given: dict[str, Any]) -> None:
    """Refuse whole numbers that no manifest and no engine can hold."""
    for name, value in given.items():
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise UsageError(f"{name.replace('_', '-')}: {number} has more than 64 bits")


def _check_places(given: dict[str, Any], uses: dict[str, Use | None]) -> None:
    """Refuse outputs that are or contain what any other argument names, another output too."""
    from splade_bridge.files.outputs import check_apart, check_inputs

    places: dict[Use, list[Path]] = {use: [] for use in Use}
    for name in given:
        if (use := uses.get(name)) is not None:
            places[use] += _places(given, name)
    for output in places[WRITES]:
        check_inputs(output, places[READS])
    check_apart(places[WRITES])


def _places(given: dict[str, Any], name: str) -> list[Path]:
    """The paths that were given for a parameter.

    Raises:
        UsageError: one is empty.
    """
    value = given.get(name)
    if value is None:
        return []
    several = value if isinstance(value, list | tuple) else [value]
    if "" in several or (Path() in several and _empty_given()):
        raise UsageError(f"{name}: an empty name; is a variable not set?")
    return [Path(place) for place in several if not isinstance(place, Address)]


def _empty_given() -> bool:
    """Whether ``.`` is what Typer made of an empty argument: nobody has written a dot."""
    given = [argument.rpartition("=")[2] for argument in sys.argv[1:]]
    return "" in given and not {".", "./"} & set(given)
