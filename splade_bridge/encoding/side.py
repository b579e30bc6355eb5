"""One side of a model, ready to run: tokens in, dense weights out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from splade_bridge.data.manifest import Side
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding.choices import ModelChoices, Pooling
from splade_bridge.encoding.head import Activation, owners
from splade_bridge.encoding.identity import network_settings, network_weights, tokenizer_folder
from splade_bridge.encoding.masked_lm import (
    SplitModel,
    head_width,
    position_limit,
    split_headless,
    split_model,
)
from splade_bridge.encoding.network import first_line, load_network
from splade_bridge.encoding.packed import padded_groups, sent
from splade_bridge.encoding.prompts import prompt_of
from splade_bridge.encoding.saved_modules import MODULES
from splade_bridge.encoding.settings import SideSettings, read_settings
from splade_bridge.encoding.snapshot import (
    files_sha256,
    find_snapshot,
    settings_files,
    weight_files,
)
from splade_bridge.encoding.token_head import TokenHead, saved_head
from splade_bridge.encoding.tokens import TextTokenizer, load_tokenizer, terms_of
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import Where, as_table, checked, json_file, value_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedSide:
    """What encodes one side.

    Attributes:
        model: name or folder as the user gave it.
        revision: commit of a hub model.
        weights_sha256: hash over the weight files that this side uses.
        partner_sha256: hash over the weight files of the checkpoint's other side; None if it has
            none that can be read.
        settings_sha256: hash over its configuration and tokenizer files.
        vocabulary: V terms.
        tokenizer: with limit, prompt and special tokens set.
        max_length: the limit in force, in tokens.
        network: None for a side that only looks tokens up.
        static: float32[V], a weight for each term that a text holds; see :class:`SideSettings`.
        columns: int64[V], token id of each term.
        width: token ids are below.
        pooling: over positions.
        activation: of logits.
        max_active: keep only so many of the heaviest terms.
        normalize: whether every vector is made of length 1 in the end.
        prompt: put in front of every text.
        encoder: what of the checkpoint encodes this side, as ``query``; None for the checkpoint.
        method: pooling and activation in words, for manifests.
    """

    model: str
    revision: str | None
    weights_sha256: str
    partner_sha256: str | None
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
    normalize: bool
    prompt: str
    encoder: str | None
    method: str

    def weights(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """float32[B, V] of B texts laid end to end: ``ids`` int64[T] and the texts' ``lengths``."""
        device = self.columns.device
        ids = sent(ids, device)
        weights = None
        if self.network is not None:
            hidden = self.network.body(ids, lengths)
            head = self.network.head
            if isinstance(head, TokenHead):
                weights = head(hidden, ids, lengths)
            elif self.pooling == "last":
                ends = sent(torch.tensor(lengths).cumsum(0) - 1, device)
                weights = head(hidden[ends], [1] * len(lengths), "max", self.activation)
            else:
                weights = head(hidden, lengths, self.pooling, self.activation)
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
    checkpoint: ModelChoices = ModelChoices(),
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
) -> LoadedSide:
    """Load one side of ``model``, a folder or a hub name.

    Args:
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        pooling: None for what was saved with the model, else "max".
        checkpoint: how it is read.
        dtype: of the network.
        device: None for the CPU.

    Raises:
        BadInputError: no such model, or not one that gives sparse term weights.
        UsageError: ``max_length`` leaves no room for text, or a prompt that there is not.
    """
    device = device or torch.device("cpu")
    snapshot = find_snapshot(model, checkpoint.revision)
    settings = read_settings(snapshot.folder, side, checkpoint.query_mode)
    saved = (snapshot.folder / MODULES).is_file() or settings.said_in
    if pooling and pooling != settings.pooling and saved:
        log.warning(
            "%s was saved with %s pooling; using %s as asked", model, settings.pooling, pooling
        )
    settings = replace(settings, pooling=pooling or settings.pooling)
    if settings.similarity and not checkpoint.normalize:
        _tell_similarity(model, settings.similarity)
    tokens = settings.tokens
    trusted = checkpoint.trust_remote_code
    tokenizer = load_tokenizer(
        tokenizer_folder(settings.tokenizer),
        lower_case=tokens.lower_case,
        options=tokens.tokenizer_options,
        trust_remote_code=trusted,
    )
    network, static, head, widths = None, None, None, []
    files = _weight_files(settings, snapshot.folder)
    if settings.bow:
        static = _one_for_each_word(tokenizer)
    else:
        if settings.network is not None:
            head = saved_head(settings.network, side)
            if head is not None and pooling:
                raise UsageError(
                    f"--pooling {pooling}: {model} weighs the tokens of a text one by one, and "
                    "pools no logits: leave it out"
                )
            network = load_network(
                settings.network, trust_remote_code=trusted, headless=head is not None
            )
            widths.append(head_width(network))
        if settings.static is not None:
            static = _static_weights(files[-1], tokenizer)
    if static is not None:
        widths.append(len(static))
    vocabulary, ids = terms_of(tokenizer, min(widths), str(settings.tokenizer))
    columns = torch.from_numpy(ids)
    if static is not None:
        _tell_negative(static[columns], files[-1])
    limit = _limit(settings, tokenizer, network)
    if max_length is None:
        max_length = limit or 512
    elif limit is not None and max_length > limit:
        log.info("%s takes at most %d tokens, not %d", model, limit, max_length)
        max_length = limit
    configuration = {p for f in (snapshot.folder, *settings.folders) for p in settings_files(f)}
    if settings.said_in is not None:
        configuration.add(settings.said_in)
    if settings.network is not None:
        configuration |= network_settings(settings.network, code=trusted)
    split = None
    if network is not None and head is None:
        split = split_model(network, columns, dtype, device)
    elif head is not None:
        split = split_headless(
            network, head.load(side, tokenizer, columns, network, device), columns, dtype, device
        )
    prompt = ""
    if not settings.bow:
        prompt = prompt_of(settings.prompts, settings.default_prompt, side, checkpoint, model)
    place = settings.encoder.relative_to(snapshot.folder).as_posix()
    return LoadedSide(
        model=model,
        revision=snapshot.revision,
        weights_sha256=(weights := files_sha256(files, snapshot.folder)),
        partner_sha256=_partner(snapshot.folder, side, files, weights),
        settings_sha256=files_sha256(configuration, snapshot.folder),
        vocabulary=vocabulary,
        tokenizer=TextTokenizer(
            tokenizer,
            max_length,
            prompt=prompt,
            special=network is not None and tokens.special,
        ),
        max_length=max_length,
        network=split,
        static=None if static is None else static[columns].to(device),
        columns=columns.to(device),
        width=min(widths),
        pooling=settings.pooling,
        activation=settings.activation,
        max_active=None if settings.bow else settings.max_active,
        normalize=checkpoint.normalize,
        prompt=prompt,
        encoder=None if place == "." else place,
        method=_method(settings, split) + (" normalized" if checkpoint.normalize else ""),
    )


def _tell_similarity(model: str, similarity: str) -> None:
    if similarity == "cosine":
        log.warning(
            "%s: was saved to be compared by cosine, and scores here are dot products: "
            "--normalize, for documents and queries, makes them cosines",
            model,
        )
        return
    log.warning(
        "%s: was saved to be compared by %s distance, and scores here are dot products: nothing "
        "else can be searched for in an inverted index",
        model,
        similarity,
    )


def _tell_negative(weights: Tensor, file: Path) -> None:
    """Say how many weights of a table are below zero: no engine has postings of these."""
    if below := int((weights < 0).sum()):
        log.warning(
            "%s: %s of %s tokens have a weight below zero, which no index can hold: they are left "
            "out, where the model would subtract them",
            file,
            f"{below:,}",
            f"{len(weights):,}",
        )


def _weight_files(settings: SideSettings, folder: Path) -> list[Path]:
    """The weight files of a side of the checkpoint in ``folder``; a static one is the last."""
    files = [] if settings.network is None else network_weights(settings.network)
    if settings.static is not None:
        files.append(_static_file(settings.static, folder))
    return files


def _partner(folder: Path, side: Side, files: list[Path], weights: str) -> str | None:
    """The hash of the other side's weights, so that queries find their documents."""
    other: Side = "document" if side == "query" else "query"
    try:
        theirs = _weight_files(read_settings(folder, other), folder)
    except BadInputError:
        return None
    return weights if theirs == files else files_sha256(theirs, folder)


def _limit(settings: SideSettings, tokenizer: Any, network: Any) -> int | None:
    """How many tokens of a text are read at most, as sentence-transformers finds it.

    What was saved for the call, or as the tokenizer's argument, may be more than the network's
    configuration says, but never more than it has positions for.
    """
    tokens, known = settings.tokens, []
    said = tokens.max_length or tokens.tokenizer_options.get("model_max_length")
    if said and tokens.cut:
        known.append(said)
    elif tokens.cut and tokenizer.model_max_length < 1 << 30:  # transformers' "no limit" is 1e30
        known.append(int(tokenizer.model_max_length))
    if network is not None:
        known.append(position_limit(network, counted_only=bool(said) or not tokens.cut))
    return min((n for n in known if n), default=None)


def _method(settings: SideSettings, split: SplitModel | None) -> str:
    if settings.bow:
        return "bow"
    steps: list[str] = []
    if split is not None and isinstance(split.head, TokenHead):
        steps = [split.head.method]
    elif settings.network:
        steps = [settings.pooling] + (["log1p_relu"] if settings.activation == "log1p_relu" else [])
    return " ".join(steps + (["static"] if settings.static else []))


def _static_file(folder: Path, root: Path) -> Path:
    """The file that holds token weights: ``folder``, or of a SparseStaticEmbedding in it."""
    if folder.is_file():
        return folder
    where = Where(str(folder / "config.json"))
    there = (folder / "config.json").is_file()
    saved = as_table(json_file(where), where) if there else {}
    path: str | None = value_of(saved, "path", str | None, where, None)
    if path is None or not path.endswith(".json"):  # as sentence-transformers has it
        return weight_files(folder)[0]
    for place in (folder, root):
        # In the hub's cache files are links.
        if (found := inside(place, path, where.inside("path"), links=True)).is_file():
            return found
    raise BadInputError(f"{path}, which holds the token weights, is missing", str(folder))


def _static_weights(file: Path, tokenizer: Any) -> Tensor:
    """float32[W] in token id order."""
    if file.suffix == ".json":
        ids = tokenizer.get_vocab()
        weights = torch.zeros(max(ids.values()) + 1)
        where = Where(str(file))
        unknown = 0
        for token, weight in checked(dict[str, float], json_file(where), where).items():
            if abs(weight) > torch.finfo(torch.float32).max:
                where.inside(token).fail(f"{weight} is no float32")
            if token in ids:
                weights[ids[token]] = weight
            else:
                unknown += 1
        if unknown:
            log.warning("%s: %d of its tokens are none of the tokenizer's", file, unknown)
        return weights
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        weights = state["weight"].float()
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise BadInputError(
            f"holds no tensor named weight ({first_line(error)})", str(file)
        ) from error
    if weights.ndim != 1 or not len(weights):
        raise BadInputError(f"token weights of shape {list(weights.shape)}", str(file))
    return _finite(weights, file)


def _finite(weights: Tensor, file: Path) -> Tensor:
    if not bool(torch.isfinite(weights).all()):
        raise BadInputError("a token's weight is not finite", str(file))
    return weights


def _one_for_each_word(tokenizer: Any) -> Tensor:
    """float32[W]: 1 for all tokens but those that mark where a text begins, ends and is padded."""
    weights = torch.ones(max(tokenizer.get_vocab().values()) + 1)
    for name in ("cls", "sep", "bos", "eos", "pad"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            weights[token] = 0
    return weights
