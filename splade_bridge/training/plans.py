"""What decides the output of a stage: its options, and what they name."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from splade_bridge.encoding.naver import model_inputs
from splade_bridge.encoding.snapshot import model_place
from splade_bridge.errors import BadInputError
from splade_bridge.files.finished import fingerprints
from splade_bridge.text.corpora import corpus_files

MODELS = ("model", "base", "tokenizer")
"""Options that name checkpoints."""


def plan_of(options: Any, without: Sequence[str], corpora: Sequence[str | None]) -> dict[str, Any]:
    """The plan of a stage, as :func:`splade_bridge.files.finished.kept_result` compares it.

    Args:
        options: a dataclass with ``out`` and ``overwrite``.
        without: options that decide nothing.
        corpora: texts that options name.
    """
    named = {k: v for k, v in asdict(options).items() if k not in ("overwrite", *without)}
    paths = [p for v in named.values() for p in (v if isinstance(v, tuple) else (v,))]
    inputs = [p for p in paths if isinstance(p, Path) and p != options.out]
    inputs += [file for corpus in corpora if corpus for file in corpus_files(corpus)]
    for key in MODELS:
        if name := named.get(key):
            with contextlib.suppress(BadInputError):  # said where it is loaded
                inputs += model_inputs(model_place(name, named.get("revision") or None))
    return {**named, "inputs": fingerprints(inputs)}
