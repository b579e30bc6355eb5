"""One side of a model, ready to run: tokens in, dense weights out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson
import torch
from torch import Tensor

from splade_bridge.data.manifest import Side
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.choices import Pooling, QueryMode
from splade_bridge.encoding.head import Activation, owners
from splade_bridge.encoding.masked_lm import (
    SplitModel,
    head_width,
    load_masked_lm,
    position_limit,
    split_model,
)
from splade_bridge.encoding.packed import padded_groups, sent
from splade_bridge.encoding.settings import Recipe, read_recipe
from splade_bridge.encoding.snapshot import (
    files_sha256,
    find_snapshot,
    settings_files,
    weight_files,
)
from splade_bridge.encoding.tokens import TextTokenizer, load_tokenizer, terms_of
from splade_bridge.errors import BadInputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedSide:
    """What encodes one side.

    Attributes:
        model: name or folder as the user gave it.
        revision: commit of a hub model.
        weights_sha256: hash over the weight files that this side uses.
        settings_sha256: hash over its configuration and tokenizer files.
        vocabulary: V terms.
        tokenizer: with limit, prompt and special tokens set.
        max_length: the limit in force, in tokens.
        network: None for a side that only looks tokens up.
        static: float32[V], a weight for each term that a text holds; see :class:`Recipe`.
        columns: int64[V], token id of each term.
        width: token ids are below.
        pooling: over positions.
        activation: of logits.
        max_active: keep only so many of the heaviest terms.
        method: pooling and activation in words, for manifests.
    """

    model: str
    revision: str | None
    weights_sha256: str
    settings_sha256: str
    vocabulary: Vocabulary
    tokenizer: TextTokenizer
    max_length: int
    network: SplitModel | None
    static: Tensor | None
    columns: Tensor
    width: int
    pooling: Pooling
    activation: Activation
    max_active: int | None
    method: str

    def weights(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """float32[B, V] of B texts laid end to end: ``ids`` int64[T] and the texts' ``lengths``."""
        device = self.columns.device
        ids = sent(ids, device)
        weights = None
        if self.network is not None:
            hidden = self.network.body(ids, lengths)
            weights = self.network.head(hidden, lengths, self.pooling, self.activation)
        if self.static is None:
            assert weights is not None
            return weights
        there = torch.zeros(len(lengths), self.width, device=device)
        there[owners(lengths, device), ids] = 1
        fixed = there[:, self.columns].mul_(self.static)
        return fixed if weights is None else weights.mul_(fixed)

    def computed_tokens(self, lengths: Sequence[int]) -> int:
        """Tokens, padding included, that :meth:`weights` computes for these texts."""
        if self.network is None or self.network.packed:
            return sum(lengths)
        return sum((g.stop - g.start) * lengths[g.start] for g in padded_groups(lengths))


def load_side(
    model: str,
    side: Side,
    *,
    max_length: int | None = None,
    pooling: Pooling | None = None,
    query_mode: QueryMode = "model",
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> LoadedSide:
    """Load one side of ``model``, a folder or a hub name.

    Args:
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        pooling: None for what was saved with the model, else "max".
        query_mode: "bow" ignores the network for queries.
        dtype: of the network.
        device: None for the CPU.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        UsageError: ``max_length`` leaves no room for text.
    """
    device = device or torch.device("cpu")
    snapshot = find_snapshot(model)
    recipe = read_recipe(snapshot.folder, side)
    if pooling and pooling != recipe.pooling and (snapshot.folder / "modules.json").is_file():
        log.warning(
            "%s was saved with %s pooling; using %s as asked", model, recipe.pooling, pooling
        )
    recipe = replace(recipe, pooling=pooling or recipe.pooling)
    tokenizer = load_tokenizer(recipe.tokenizer, lower_case=recipe.lower_case)
    bow = side == "query" and query_mode == "bow"
    network, static, files, widths = None, None, [], []
    if recipe.network is not None:
        files += weight_files(recipe.network)
        if not bow:
            network = load_masked_lm(recipe.network)
            widths.append(head_width(network))
    if recipe.static is not None:
        files.append(_static_file(recipe.static, snapshot.folder))
        static = _static_weights(files[-1], tokenizer)
    if bow:
        static = _one_for_each_word(tokenizer)
        recipe = replace(recipe, prompt="", max_active=None)
    if static is not None:
        widths.append(len(static))
    vocabulary, ids = terms_of(tokenizer, min(widths), str(recipe.tokenizer))
    columns = torch.from_numpy(ids)
    limit = _limit(recipe, tokenizer, network)
    if max_length is None:
        max_length = limit or 512
    elif limit is not None and max_length > limit:
        log.info("%s takes at most %d tokens, not %d", model, limit, max_length)
        max_length = limit
    settings = {p for f in (snapshot.folder, *recipe.folders) for p in settings_files(f)}
    return LoadedSide(
        model=model,
        revision=snapshot.revision,
        weights_sha256=files_sha256(files, snapshot.folder),
        settings_sha256=files_sha256(settings, snapshot.folder),
        vocabulary=vocabulary,
        tokenizer=TextTokenizer(
            tokenizer, max_length, prompt=recipe.prompt, special=network is not None
        ),
        max_length=max_length,
        network=None if network is None else split_model(network, columns, dtype, device),
        static=None if static is None else static[columns].to(device),
        columns=columns.to(device),
        width=min(widths),
        pooling=recipe.pooling,
        activation=recipe.activation,
        max_active=recipe.max_active,
        method="bow" if bow else _method(recipe),
    )


def _limit(recipe: Recipe, tokenizer: Any, network: Any) -> int | None:
    known = [recipe.max_length, None if network is None else position_limit(network)]
    if tokenizer.model_max_length < 1 << 30:  # transformers' "no limit" is 1e30
        known.append(int(tokenizer.model_max_length))
    return min((n for n in known if n), default=None)


def _method(recipe: Recipe) -> str:
    steps: list[str] = []
    if recipe.network:
        steps = [recipe.pooling] + (["log1p_relu"] if recipe.activation == "log1p_relu" else [])
    return " ".join(steps + (["static"] if recipe.static else []))


def _static_file(folder: Path, root: Path) -> Path:
    """The file that holds the token weights of a saved SparseStaticEmbedding."""
    config = folder / "config.json"
    saved = orjson.loads(config.read_bytes()) if config.is_file() else {}
    path: str | None = saved.get("path")
    if path is None:
        return weight_files(folder)[0]
    for place in (folder / path, root / path):
        if place.is_file():
            return place
    raise BadInputError(f"{path}, which holds the token weights, is missing", str(folder))


def _static_weights(file: Path, tokenizer: Any) -> Tensor:
    """float32[W] in token id order."""
    if file.suffix == ".json":
        ids = tokenizer.get_vocab()
        weights = torch.zeros(max(ids.values()) + 1)
        for token, weight in orjson.loads(file.read_bytes()).items():
            if token in ids:
                weights[ids[token]] = weight
        return weights
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(file)
    else:
        state = torch.load(file, map_location="cpu", weights_only=True)
    if "weight" not in state:
        raise BadInputError("holds no tensor named weight", str(file))
    return state["weight"].float()


def _one_for_each_word(tokenizer: Any) -> Tensor:
    """float32[W]: 1 for all tokens but those that mark where a text begins, ends and is padded."""
    weights = torch.ones(max(tokenizer.get_vocab().values()) + 1)
    for name in ("cls", "sep", "bos", "eos", "pad"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            weights[token] = 0
    return weights
