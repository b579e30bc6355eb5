"""An evaluation over BEIR's data sets in one call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from splade_bridge.comparison.beir import MEASURES, BeirOptions, BeirOutcome
from splade_bridge.comparison.beir import beir as run_beir
from splade_bridge.library.given import is_place
from splade_bridge.library.keywords import Place


def beir(
    folders: Place | Iterable[Place],
    *,
    model: Place | Iterable[Place],
    output: Place,
    measure: str | Iterable[str] = MEASURES,
    split: str | None = None,
    engine: str = "exact",
    max_length: int = 256,
    k: int = 1000,
    drop_indexes: bool = False,
) -> BeirOutcome:
    """Encode, index, search and evaluate many data sets by BEIR's conventions.

    docs/beir.md states them.

    Args:
        folders: data sets in BEIR's layout, or folders of such, one or several.
        model: checkpoints, folders or hub names, one or several.
        output: folder of the results and of all work; what is finished there is not done again.
        measure: one or several, as ``evaluate`` takes them.
        split: judgements of all data sets; None for test, and dev of msmarco.
        engine: what searches; all give the same.
        max_length: tokens of a text that are read.
        k: documents a query.
        drop_indexes: delete the indexes of a data set at its end.

    Returns:
        ``results``, one a data set and model, and ``tables``, one a measure, with what others have
        published.

    Raises:
        BadInputError: a folder without data sets, a broken file, or no such model.
        UsageError: an unknown measure or engine, two data sets or models of one name, or a file
            of ``output`` that is not ours.
        MissingToolError: the engine, or what a model needs, is not installed.
    """
    chosen = BeirOptions(
        (measure,) if isinstance(measure, str) else tuple(measure), split, engine, max_length, k
    )
    return run_beir(
        list(map(Path, _several(folders))),
        list(map(str, _several(model))),
        Path(output),
        chosen,
        drop_indexes=drop_indexes,
    )


def _several(given: Place | Iterable[Place]) -> list[Place]:
    return [given] if is_place(given) else list(given)  # type: ignore[arg-type, list-item]
