"""How a specification says that a checkpoint is read: keys named like the flags of ``encode``.

A key is of both sides, or of one where it begins with ``document_`` or ``query_``. That a
checkpoint's own code may run is no key: a specification may be a stranger's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Any, NoReturn, get_args, get_type_hints

from splade_bridge.comparison.spec import MAX_LENGTH
from splade_bridge.comparison.table import Table
from splade_bridge.data.manifest import Side
from splade_bridge.encoding.choices import ModelChoices, PairChoices, Pooling, QueryMode
from splade_bridge.errors import UsageError

PROMPTS = ("prompt", "prompt_name")
KINDS: dict[str, Any] = {
    "max_length": int,
    "pooling": Pooling,
    "revision": str,
    **dict.fromkeys(PROMPTS, str),
    "normalize": bool,
}
SIDES: tuple[Side, ...] = get_args(Side)
TEXTS = {"document": "documents", "query": "queries"}
MODE, CODE = "query_mode", "trust_remote_code"
MODES: Any = QueryMode
KEYS = (*KINDS, *(f"{side}_{key}" for side in SIDES for key in KINDS), MODE)
"""All that :func:`read_checkpoint` takes."""


@dataclass(frozen=True)
class Reading:
    """How the checkpoint of one side is read.

    Attributes:
        max_length: tokens of a text that are read.
        pooling: over positions; None for what was saved with it.
        checkpoint: all else.
    """

    max_length: int = MAX_LENGTH
    pooling: Pooling | None = None
    checkpoint: ModelChoices = ModelChoices()


def read_checkpoint(
    table: Table,
    sides: Collection[Side],
    *,
    trust_remote_code: bool,
    max_length: int = MAX_LENGTH,
) -> dict[Side, Reading]:
    """What ``table`` says of the checkpoints of ``sides``, which encode text.

    Args:
        trust_remote_code: run code of theirs.
        max_length: where the table says nothing of it.

    Raises:
        BadInputError: a wrong type, a value that cannot be meant, or a key that does nothing.
    """
    _refuse_code(table)
    both = {key: _taken(table, key, key) for key in KINDS}
    mode: QueryMode | None = table.take(MODE, MODES, None)
    if mode is not None and "query" not in sides:
        _of_text(table, MODE, sides)
    _one_prompt(table, both, "")
    found: dict[Side, Reading] = {}
    used: set[str] = set()
    for side in SIDES:
        own = {key: _taken(table, f"{side}_{key}", key) for key in KINDS}
        _one_prompt(table, own, f"{side}_")
        if side not in sides:
            for key, value in own.items():
                if value is not None:
                    _of_text(table, f"{side}_{key}", sides)
            continue
        replaced = {key for key, value in own.items() if value is not None}
        if replaced.intersection(PROMPTS):
            replaced.update(PROMPTS)
        said = {k: own[k] if k in replaced else both[k] for k in KINDS}
        if said["max_length"] is None:
            said["max_length"] = max_length
        used |= KINDS.keys() - replaced
        found[side] = _reading(table, side, said, mode, trust_remote_code)
    for key, value in both.items():
        if value is not None and key not in used:
            if not sides:
                _of_text(table, key, sides)
            table.fail("is said of each side that a model encodes: leave it out", key)
    return found


def read_pair(table: Table, *, trust_remote_code: bool) -> PairChoices:
    """How a checkpoint is read that encodes both sides, by the names of its flags.

    Raises:
        BadInputError: a wrong type, or what does not fit together.
    """
    _refuse_code(table)
    hints = get_type_hints(PairChoices)
    said: dict[str, Any] = {
        field.name: table.take(field.name, hints[field.name], field.default)
        for field in fields(PairChoices)
        if field.name != CODE
    }
    try:
        return PairChoices(**said, trust_remote_code=trust_remote_code)
    except UsageError as error:
        table.wrong(error)


def _reading(
    table: Table, side: Side, said: dict[str, Any], mode: QueryMode | None, trusted: bool
) -> Reading:
    length, pooling = said.pop("max_length"), said.pop("pooling")
    try:
        checkpoint = ModelChoices(
            **{**said, "normalize": bool(said["normalize"])},
            query_mode=(mode or "model") if side == "query" else "model",
            trust_remote_code=trusted,
        )
    except UsageError as error:
        table.wrong(error)
    return Reading(length, pooling, checkpoint)


def _taken(table: Table, key: str, name: str) -> Any:
    value = table.take(key, KINDS[name], None)
    if name == "max_length" and value is not None and value < 1:
        table.fail(f"must be 1 or more, not {value}", key)
    return value


def _one_prompt(table: Table, said: dict[str, Any], side: str) -> None:
    if all(said[key] is not None for key in PROMPTS):
        table.fail(f"cannot be together with {side}{PROMPTS[0]}", f"{side}{PROMPTS[1]}")


def _of_text(table: Table, key: str, sides: Collection[Side]) -> NoReturn:
    """Refuse a key of a checkpoint where there is none."""
    vectors = " and ".join(TEXTS[side] for side in SIDES if side not in sides)
    vectors = vectors if sides else "both sides"
    table.fail(f"is for text that a model encodes, and {vectors} are vectors", key)


def _refuse_code(table: Table) -> None:
    if table.has(CODE):
        table.fail(
            "no specification lets a checkpoint's code run, for it may be a stranger's: give "
            "--trust-remote-code",
            CODE,
        )
