"""Versions and circumstances that decide what a step gives, beside its inputs.

They are part of a step's key, so that finished steps of one comparison never mix bfloat16 with
float32, a GPU with a CPU, or two releases of a library.
"""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress

PACKAGES = {
    "encode": ("torch", "transformers", "tokenizers"),
    "train": (
        "torch", "transformers", "tokenizers", "sentence-transformers", "accelerate", "peft",
    ),
    "rerank": ("torch", "transformers", "tokenizers", "sentence-transformers"),
    "evaluation": ("ir-measures", "pytrec-eval-terrier"),
}  # fmt: skip
"""Packages whose versions decide what a kind of step gives; an engine's own are its ``tools``."""
COMPUTED = ("encode", "train", "rerank")
"""Kinds that a network computes, which depend on the device and the type of its numbers."""


def decisive(kind: str) -> dict[str, str]:
    """Of a step of ``kind``: versions of packages that are installed, device kind and dtype."""
    found = {}
    for name in PACKAGES.get(kind, ()):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    if kind in COMPUTED:
        from splade_bridge.encoding.encoder import EncodeOptions, computing

        found |= computing(EncodeOptions())
    return found


def changes(before: dict[str, str], now: dict[str, str]) -> str:
    """What differs, in words: ``torch 2.6.0 -> 2.7.0``."""
    names = sorted(n for n in {*before, *now} if before.get(n) != now.get(n))
    return ", ".join(f"{n} {before.get(n, 'none')} -> {now.get(n, 'none')}" for n in names)
