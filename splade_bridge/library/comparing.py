"""A comparison of variants in one call."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from splade_bridge.comparison.compare import Outcome
from splade_bridge.comparison.compare import compare as compare_variants
from splade_bridge.comparison.read_spec import load_spec, read_spec
from splade_bridge.files.checks import unchecked
from splade_bridge.library.given import is_place, output_path, size
from splade_bridge.library.keywords import Place

log = logging.getLogger(__name__)

GIVEN = Path("comparison")
"""Stands for the file where a specification has none: in messages, and as its title."""


def compare(
    spec: Place | Mapping[str, Any],
    output: Place,
    *,
    data: Place | None = None,
    rebench: bool = False,
    drop_indexes: bool = False,
    memory: int | str | None = None,
    allow_mismatch: bool = False,
    trust_remote_code: bool = False,
    no_check: bool = False,
) -> Outcome:
    """Compare variants by quality, latency and size, all measured in the same way.

    Variants (models, scales, prunings) x engines x algorithms x k. What is finished is not done
    again: change the specification, or stop it, and make the same call.

    Args:
        spec: a TOML, or a mapping with the keys that docs/compare.md describes, whose paths start
            from the working directory.
        output: folder of the results and of all work: results.json, results.csv, charts, table.tex
            and report.html.
        data: folder that paths of the specification start from; None for ``data.root``, else the
            folder of the TOML.
        rebench: measure all latencies again, together.
        drop_indexes: delete the indexes at the end.
        memory, allow_mismatch: see :func:`open_index`.
        trust_remote_code: run code that comes with checkpoints. No specification says so.
        no_check: see :func:`index`.

    Returns:
        ``results``, and how many steps of each kind were ``done`` now or ``kept``. A notebook shows
        quality against cost, with the Pareto front drawn.

    Raises:
        BadInputError: the specification names an unknown key, a wrong type or what is not there.
        UsageError: a file of ``output`` is not ours, or ``memory`` for engines that take none.
        SpladeBridgeError: of the step that failed; finished steps are kept.
    """
    root = None if data is None else Path(data)
    if is_place(spec):
        loaded = load_spec(Path(spec), root, trust_remote_code=trust_remote_code)  # type: ignore[arg-type]
    else:
        loaded = read_spec(_as_toml(spec), GIVEN, root, trust_remote_code=trust_remote_code)
    with unchecked(no_check):
        return compare_variants(
            loaded,
            output_path(output),
            say=log.info,
            rebench=rebench,
            drop_indexes=drop_indexes,
            allow_mismatch=allow_mismatch,
            memory=None if memory is None else size(memory),
        )


def _as_toml(value: Any) -> Any:
    """What a TOML would hold of it: paths are strings there, and tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): _as_toml(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [_as_toml(inside) for inside in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
