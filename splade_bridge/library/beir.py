"""An evaluation over BEIR's data sets in one call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack, cast

from splade_bridge.comparison.beir import MEASURES, BeirModel, BeirOptions, BeirOutcome
from splade_bridge.comparison.beir import beir as run_beir
from splade_bridge.comparison.read_beir import load_beir, spec_file
from splade_bridge.encoding.choices import PairChoices, Pooling
from splade_bridge.errors import UsageError
from splade_bridge.library.given import pair_choices, several
from splade_bridge.library.keywords import Pairing, Place, takes


@takes(Pairing)
def beir(
    folders: Place | Iterable[Place],
    *,
    model: Place | Iterable[Place] = (),
    output: Place,
    measure: str | Iterable[str] = MEASURES,
    split: str | None = None,
    engine: str = "exact",
    max_length: int = 256,
    pooling: str | None = None,
    k: int = 1000,
    drop_indexes: bool = False,
    **pairing: Unpack[Pairing],
) -> BeirOutcome:
    """Encode, index, search and evaluate many data sets by BEIR's conventions.

    docs/beir.md states them.

    Args:
        folders: data sets in BEIR's layout, or folders of such, one or several; or a TOML that
            names them and models, and takes only ``output``, ``drop_indexes`` and
            ``trust_remote_code``.
        model: checkpoints, folders or hub names, one or several.
        output: folder of the results and of all work; what is finished there is not done again.
        measure: one or several, as ``evaluate`` takes them.
        split: judgements of all data sets; None for test, and dev of msmarco.
        engine: what searches; all give the same.
        max_length: tokens of a text that are read.
        pooling: ``max``, ``sum`` or ``last``; None for what was saved with each model.
        k: documents a query.
        drop_indexes: delete the indexes of a data set at its end.
        revision, trust_remote_code: of the models; see :func:`open_index`.
        query_prompt, query_prompt_name, document_prompt, document_prompt_name: by side.
        query_mode, normalize: see there.

    Returns:
        ``results``, one a data set and model, and ``tables``, one a measure, with what others have
        published.

    Raises:
        BadInputError: a folder without data sets, a broken file, or no such model.
        UsageError: an unknown measure or engine, two data sets or models of one name, or a file
            of ``output`` that is not ours.
        MissingToolError: the engine, or what a model needs, is not installed.
    """
    checkpoint = pair_choices(pairing)
    options = BeirOptions(
        (measure,) if isinstance(measure, str) else tuple(measure),
        split,
        engine,
        max_length,
        k,
        cast("Pooling | None", pooling),
        checkpoint,
    )
    places, named = list(map(Path, several(folders))), list(map(str, several(model)))
    models: Sequence[str | BeirModel] = named
    if (file := spec_file(places, named)) is not None:
        trusted = PairChoices(trust_remote_code=checkpoint.trust_remote_code)
        if options != BeirOptions(checkpoint=trusted):
            raise UsageError(
                f"{file}: a TOML says how models are read and searched: leave that out here"
            )
        spec = load_beir(file, trust_remote_code=checkpoint.trust_remote_code)
        places, models, options = list(spec.folders), spec.models, spec.options
    return run_beir(places, models, Path(output), options, drop_indexes=drop_indexes)
