"""Reading a TOML of ``splade-bridge beir``: data sets, and models with their own settings.

Keys are named like the flags; docs/beir.md describes them. Paths start from the file's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from splade_bridge.comparison.beir import BeirModel, BeirOptions
from splade_bridge.comparison.read_checkpoint import SIDES, read_checkpoint
from splade_bridge.comparison.read_spec import model_name
from splade_bridge.comparison.spec import Encoded
from splade_bridge.comparison.table import Table
from splade_bridge.data.choices import Side
from splade_bridge.errors import SpladeBridgeError, UsageError
from splade_bridge.evaluation.measures import parse_measures


@dataclass(frozen=True)
class BeirSpec:
    """What a TOML asks for; see :func:`splade_bridge.comparison.beir.beir`."""

    folders: tuple[Path, ...]
    models: tuple[BeirModel, ...]
    options: BeirOptions


def spec_file(places: Sequence[Path], models: Sequence[str]) -> Path | None:
    """The TOML that is named where folders may be; None where there is none.

    Raises:
        UsageError: other places or models beside it, which it names itself.
    """
    found = [place for place in places if place.suffix == ".toml" and not place.is_dir()]
    if found and (len(places) > 1 or models):
        raise UsageError(f"{found[0]}: a TOML names all folders and models: give it alone, or none")
    return found[0] if found else None


def load_beir(file: Path, *, trust_remote_code: bool = False) -> BeirSpec:
    """Read the TOML; nothing that it names is opened.

    Args:
        trust_remote_code: see :func:`.read_spec.load_spec`.

    Raises:
        BadInputError: as that, with file, table and key.
    """
    top = Table.load(file)
    root = file.parent / top.take("root", str, ".")
    folders = tuple(root / name for name in top.take_list("folders", str))
    usual = BeirOptions()
    measures = tuple(top.take_list("measure", str, usual.measures))
    try:
        parse_measures(measures)
    except SpladeBridgeError as error:
        top.wrong(error, "measure")
    split, engine = top.take("split", str, None), top.take("engine", str, usual.engine)
    length, k = top.take("max_length", int, usual.max_length), top.take("hits", int, usual.k)
    try:
        options = BeirOptions(measures, split, engine, length, k)
    except SpladeBridgeError as error:
        top.wrong(error)
    tables = top.tables("model")
    models = [_model(table, file.parent, length, trust_remote_code) for table in tables]
    if not models:
        top.fail("at least one [[model]] is needed")
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            top.fail(f"two models are called {name!r}: names must differ", "model")
    top.finish()
    return BeirSpec(folders, tuple(models), options)


def _model(table: Table, folder: Path, length: int, trusted: bool) -> BeirModel:
    given = table.take("model", str, None)
    own = {side: table.take(f"{side}_model", str, None) for side in SIDES}
    if given is not None and all(own.values()):
        table.fail("encodes neither side: both have a model of their own", "model")
    named: dict[Side, str] = {}
    for side, name in own.items():
        wanted = name if name is not None else given
        if not wanted:
            table.fail("is missing" if wanted is None else "must not be empty", "model")
        named[side] = model_name(wanted, folder)
    usual = Path(given or named["document"]).name
    called = table.take("name", str, usual)
    if not called.strip():
        table.fail("must not be empty", "name")
    table.place = f"model {called!r}"
    readings = read_checkpoint(table, SIDES, trust_remote_code=trusted, max_length=length)
    table.finish()
    found = {side: Encoded("", named[side], **vars(readings[side])) for side in SIDES}
    return BeirModel(called, found["document"], found["query"])
