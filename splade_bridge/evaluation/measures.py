"""From what is asked (``nDCG@10``, ``map``) to measures that the providers can be handed.

The providers behind ir_measures are C and Perl in part: a cutoff of 0 ends the process, one of 2^64
is cut without a word, and two measures whose options differ can be taken for one. So every
parameter is checked here, before any of them sees it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from splade_bridge.errors import MissingToolError, UsageError
from splade_bridge.evaluation.qrels import MAX_GRADE

LONGEST = 1000
"""Characters of a measure; Python's parser recurses over what is longer."""

KNOWN = (
    "known are ir_measures' names (nDCG@10, RR@10, R@1000, AP, P@10, Judged@10, R(rel=2)@1000) and "
    "trec_eval's (ndcg_cut_10, recip_rank, recall_1000, map)"
)

Range = tuple[float, float, str]
"""Least value, most, and both in words."""

MAX_CUTOFF = 2**31 - 1
GRADE: Range = (1, MAX_GRADE, f"from 1 to {MAX_GRADE:,}")
RANGES: dict[str, Range] = {
    "cutoff": (1, MAX_CUTOFF, f"from 1 to {MAX_CUTOFF:,}"),
    "rel": GRADE,
    "max_rel": GRADE,
    "min_rel": (0, MAX_GRADE, f"from 0 to {MAX_GRADE:,}"),
    "p": (math.ulp(0.0), math.nextafter(1, 0), "above 0 and below 1"),
    "alpha": (0, 1, "from 0 to 1"),
    "beta": (0.001, 1000, "from 0.001 to 1,000"),
    "recall": (0, 1, "from 0 to 1, with two decimals at most"),
    "T": (0.001, 1e6, "from 0.001 to 1,000,000"),
}
"""What a parameter may be. Beta and recall are written out for trec_eval, which takes no 1e-05."""

GDEVAL_GRADE = 4
"""gdeval.pl takes a grade g for relevant with probability (2^g - 1) / 2^4, and ends at others."""

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
TREC_NAME = re.compile(rf"([A-Za-z0-9_]*[A-Za-z])(?:[._]{_NUMBER}(?:,{_NUMBER})*)?")


def parse_measures(asked: Iterable[str]) -> dict[str, Any]:
    """Measures of ir_measures by name, in the order asked.

    Args:
        asked: each one or more names, divided by blanks. A name is kept as it was asked for,
            without blanks; one of trec_eval that stands for several (``P_5,10``, ``official``)
            gives each under ir_measures' name.

    Raises:
        UsageError: a name is unknown, or a parameter missing or out of range.
        MissingToolError: what computes the measure is not installed.
    """
    found: dict[str, Any] = {}
    for text in asked:
        for name in _names(text):
            found |= _parse(name)
    for name, measure in found.items():
        _check_provider(name, measure)
    return found


def cutoff(measure: Any) -> int | None:
    """The depth to which a measure looks; None for the whole ranking."""
    value = measure.params.get("cutoff")
    return value if isinstance(value, int) else None


def highest_grade(measure: Any) -> int:
    """The highest grade that a measure is defined for."""
    graded = measure.NAME == "ERR" or measure.params.get("dcg") == "exp-log2"
    return GDEVAL_GRADE if graded else MAX_GRADE


def groups(measures: Iterable[Any]) -> Iterator[list[Any]]:
    """Measures that may be computed together: those with the same options beside the cutoff.

    pytrec_eval's provider puts a measure into whichever call is there, also one with other gains
    or for judged documents only, and there the one of two with the same name in trec_eval is lost.
    """
    by_options: dict[str, list[Any]] = {}
    for measure in measures:
        options = {k: v for k, v in measure.params.items() if k != measure.AT_PARAM}
        by_options.setdefault(repr(sorted(options.items())), []).append(measure)
    yield from by_options.values()


def _names(text: str) -> list[str]:
    """The names in ``text``; blanks inside brackets divide nothing, and are left out."""
    names, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if not character.isspace():
            names[-1] += character
        elif depth <= 0 and names[-1]:
            names.append("")
    return [name for name in names if name] or [text]


def _parse(name: str) -> dict[str, Any]:
    measure = _of_ir_measures(name)
    if measure is not None:
        return {name: _checked(name, measure)}
    measures = _of_trec_eval(name)
    if not measures:
        raise UsageError(f"no measure {name[:LONGEST]!r}; {KNOWN}")
    if len(measures) == 1:
        return {name: _checked(name, measures[0])}
    return {str(measure): _checked(name, measure) for measure in measures}


def _of_ir_measures(name: str) -> Any:
    """The measure that is written as ``Name(parameter=value)@cutoff``; None for another name.

    Raises:
        UsageError: such a measure, but a value cannot be read, or is given twice.
    """
    from ir_measures.measures import registry

    try:
        node = ast.parse(name[: LONGEST + 1], mode="eval").body if len(name) <= LONGEST else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    given: list[tuple[str | None, ast.expr]] = []
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
        given.append(("@", node.right))
        node = node.left
    if isinstance(node, ast.Call) and not node.args:
        given += [(keyword.arg, keyword.value) for keyword in node.keywords]
        node = node.func
    if not isinstance(node, ast.Name) or node.id not in registry:
        return None
    measure = registry[node.id]
    values: dict[str, Any] = {}
    for key, value in given:
        parameter = measure.AT_PARAM if key == "@" else str(key)  # None is **options
        if parameter not in measure.SUPPORTED_PARAMS:
            known = ", ".join(measure.SUPPORTED_PARAMS) or "none"
            raise UsageError(f"{name!r}: {node.id} has no parameter {parameter}; it has {known}")
        if parameter in values:
            raise UsageError(f"{name!r}: {parameter} is given twice")
        try:
            values[parameter] = ast.literal_eval(value)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            raise UsageError(f"{name!r}: {parameter} must be a plain value") from None
    return measure(**values)


def _of_trec_eval(name: str) -> list[Any]:
    """The measures that trec_eval means by a name; none where it is unknown."""
    import pytrec_eval
    from ir_measures import parse_trec_measure

    match = TREC_NAME.fullmatch(name)
    names = {*pytrec_eval.supported_measures, *pytrec_eval.supported_nicknames}
    if match is None or match[1] not in names:  # the parser takes P_10x for P_10
        return []
    try:
        # What a nickname holds that ir_measures has not, it prints.
        with contextlib.redirect_stdout(io.StringIO()):
            return list(dict.fromkeys(parse_trec_measure(name)))
    except (NameError, ValueError, KeyError):
        return []


def _checked(name: str, measure: Any) -> Any:
    """``measure``, with every parameter of its type and in its range.

    Raises:
        UsageError: one is not, or is missing.
    """
    values: dict[str, Any] = {}
    for parameter, info in measure.SUPPORTED_PARAMS.items():
        if parameter in measure.params:
            values[parameter] = _value(name, measure, parameter, measure.params[parameter])
        elif info.required:
            example = "@10" if parameter == measure.AT_PARAM else f"({parameter}=3)"
            raise UsageError(
                f"{name!r}: {measure.NAME} needs {parameter} ({info.desc}), as in "
                f"{measure.NAME}{example}"
            )
    if "max_rel" in values and values["max_rel"] <= values.get("min_rel", 0):
        raise UsageError(f"{name!r}: max_rel must be more than min_rel")
    return type(measure)(**values)


def _value(name: str, measure: Any, parameter: str, value: Any) -> Any:
    info = measure.SUPPORTED_PARAMS[parameter]
    kind, wanted = info.dtype, "a value"
    if kind is dict:
        return _gains(name, value)
    if kind is bool:
        right, wanted = type(value) is bool, "True or False"
    elif kind is str:
        choices = info.choices if isinstance(info.choices, list) else [value]
        right, wanted = value in choices, " or ".join(map(repr, choices))
    else:
        low, high, wanted = RANGES.get(parameter, (-math.inf, math.inf, "any"))
        wanted = f"a {'whole ' if kind is int else ''}number {wanted}"
        right = type(value) is int or (kind is float and type(value) is float)
        right = right and low <= value <= high
        if right and kind is float:
            value = float(value)
            right = parameter != "recall" or round(value, 2) == value
    if not right:
        at = f"{parameter} (after @)" if parameter == measure.AT_PARAM else parameter
        raise UsageError(f"{name[:LONGEST]!r}: {at} must be {wanted}")
    return value


def _gains(name: str, value: Any) -> dict[int, int]:
    """The gain of each grade."""
    numbers = [*value, *value.values()] if isinstance(value, dict) else [None]
    if not all(type(n) is int and -MAX_GRADE <= n <= MAX_GRADE for n in numbers):
        raise UsageError(
            f"{name!r}: gains must be {{grade: gain}}, whole numbers from -{MAX_GRADE:,} to "
            f"{MAX_GRADE:,}"
        )
    return dict(value)


def _check_provider(name: str, measure: Any) -> None:
    """See that something that is installed computes ``measure``.

    Raises:
        UsageError: nothing computes it with such parameters.
        MissingToolError: what does is not installed.
    """
    import ir_measures

    able = [p for p in ir_measures.DefaultPipeline.providers if p.supports(measure)]
    if not able:
        raise UsageError(f"nothing in ir_measures computes {name!r} with these parameters")
    if not any(provider.is_available() for provider in able):
        needed = " or ".join(f"{p.NAME} ({p.install_instructions() or '?'})" for p in able)
        raise MissingToolError(f"{name!r} is computed by what is not installed: {needed}")
