"""Places where a text may be cut without changing a token: long texts are tokenized bit by bit.

A seam is one blank between two letters or digits of ASCII. Whether tokens on either side of it are
those of the whole text follows from the tokenizer's parts, each of which must be known here:
normalizers that change characters by themselves or together with the marks behind them, a
pre-tokenizer that parts words at white space, a model that sees one word at a time, and added
tokens that cannot reach over the blank. Then the tokens of a text are those of its pieces (each
but the first begins with its blank), one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

PIECE = 1 << 16
"""Characters of a text that are tokenized at once, up to the next seam."""

_SEAM = re.compile("(?<=[0-9A-Za-z]) (?=[0-9A-Za-z])")
_LOCAL = {"BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"}
_LOCAL |= {"Precompiled"}
_PARTING = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit"}
_FURTHER = {"Punctuation", "Digits"}
_MODELS = {"WordPiece", "WordLevel", "BPE", "Unigram"}


def has_seams(tokenizer: Any) -> bool:
    """Whether a tokenizer of transformers gives the same tokens where a text is cut at seams."""
    if not tokenizer.is_fast or tokenizer.truncation_side != "right":
        return False
    parts = orjson.loads(tokenizer.backend_tokenizer.to_str())
    model = parts["model"]
    parting = [_parts(step) for step in _steps(parts["pre_tokenizer"], "pretokenizers")]
    return (
        model.get("type") in _MODELS
        and not model.get("dropout")
        and all(map(_is_local, _steps(parts["normalizer"], "normalizers")))
        and None not in parting
        and any(parting)
        and all(map(_stays_on_its_side, parts["added_tokens"]))
    )


def _steps(part: Any, inside: str) -> Iterator[Any]:
    """What a normalizer or pre-tokenizer does, one after another."""
    if part is None:
        return
    if part["type"] != "Sequence":
        yield part
        return
    for step in part[inside]:
        yield from _steps(step, inside)


def _is_local(normalizer: Any) -> bool:
    kind = normalizer["type"]
    if kind == "Strip":  # at the left it would take a seam's blank from the piece behind it
        return not normalizer["strip_left"]
    if kind == "Replace":
        pattern = normalizer["pattern"]
        return pattern.get("Regex") == " {2,}" or not re.search(r"\s", pattern.get("String", " "))
    return kind in _LOCAL


def _parts(step: Any) -> bool | None:
    """Whether a pre-tokenizer parts words at white space; None if it is not known here."""
    kind = step["type"]
    if kind == "ByteLevel":
        return True if step.get("use_regex", True) else None
    if kind == "Metaspace":
        return True if step.get("split", True) else None
    if kind in _FURTHER:
        return False
    return True if kind in _PARTING else None


def _stays_on_its_side(token: Any) -> bool:
    """Whether an added token cannot hold a seam, or take its blank from the word beside it."""
    content: str = token["content"]
    if content.strip() and any(c.isspace() for c in content):
        return False
    ends = content[:1] if token["lstrip"] else "", content[-1:] if token["rstrip"] else ""
    return not any(c.isascii() and c.isalnum() for c in ends)


def seam_from(text: str, start: int) -> int | None:
    """The first seam at ``start`` or behind it, as the place of its blank; None for none."""
    found = _SEAM.search(text, max(start, 1))
    return found.start() if found else None


def pieces(text: str) -> Iterator[str]:
    """``text`` in pieces that end at seams."""
    start = 0
    while start < len(text):
        seam = seam_from(text, start + PIECE)
        stop = len(text) if seam is None else seam
        yield text[start:stop]
        start = stop
