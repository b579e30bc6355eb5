"""Text to dense vectors: a model of sentence-transformers, run as its own configuration says.

Prompts, routes, pooling and normalization are the library's; so are the modules, and none from
elsewhere are loaded.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from splade_bridge.data.choices import Side
from splade_bridge.data.manifest import EncodingInfo
from splade_bridge.data.vectors import Float32Array
from splade_bridge.embeddings.choices import Similarity
from splade_bridge.encoding.choices import ModelChoices
from splade_bridge.encoding.encoder import pick_device
from splade_bridge.encoding.identity import code_files
from splade_bridge.encoding.in_threads import use_cores
from splade_bridge.encoding.network import quiet, refusal, refuse_claims
from splade_bridge.encoding.prompts import named_prompt
from splade_bridge.encoding.snapshot import (
    files_sha256,
    find_snapshot,
    settings_files,
    weight_files,
)
from splade_bridge.encoding.tokens import without_surrogates
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.files.inside import inside
from splade_bridge.files.typed import Where, checked, json_file, value_of

MODULES = "modules.json"
SPARSE = ("MLMTransformer", "SpladePooling", "SparseStaticEmbedding", "SparseAutoEncoder")
"""Modules whose models give a number for each term."""
ROUTERS = ("Router", "Asym")
"""Modules that hold others, in folders below their own."""
SORTED_TOGETHER = 1024
"""Texts of a part that are sorted by length and cut into batches together."""


@dataclass(frozen=True)
class Vectors:
    """Vectors of some texts, and what was done to these.

    Attributes:
        vectors: float32[n, dimension].
        truncated: texts that were cut to the limit, where the tokenizer tells.
        replaced: texts that held lone surrogates.
        tokens: that were read, where the tokenizer tells.
    """

    vectors: Float32Array
    truncated: int
    replaced: int
    tokens: int


class DenseEncoder:
    """One side of a model, loaded.

    Args:
        model: a folder or a hub name.
        side: its prompt and, in a model of two networks, its route.
        similarity: ``cosine`` makes all vectors of length 1; None for the model's own.
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        batch_size: texts that are computed at once.
        device: see :func:`.encoder.pick_device`.
        threads: of torch on a CPU; None leaves it its own choice.
        checkpoint: its revision, its prompt and its code; the rest is for weights of terms.

    Attributes:
        revision: commit of a hub model.
        sha256: hash over its weight files.
        settings_sha256: hash over its configuration and tokenizer files, and code that is run.
        prompt: put in front of every text, as ``encode_query`` and ``encode_document`` do.
        dimension: numbers of a vector.
        max_length: the limit in force; None where the model has none.

    Raises:
        BadInputError: no such model, or not one of dense vectors.
        UsageError: it compares vectors by neither cosine nor dot, and ``similarity`` does not say;
            or the name of a prompt that it does not have.
        MissingToolError: the device is not there.
    """

    def __init__(
        self,
        model: str,
        side: Side,
        *,
        similarity: Similarity | None = None,
        max_length: int | None = None,
        batch_size: int = 32,
        device: str = "auto",
        threads: int | None = None,
        checkpoint: ModelChoices = ModelChoices(),
    ) -> None:
        self.checkpoint = checkpoint
        self.model = model
        self.side: Side = side
        self.batch_size = batch_size
        self.device = pick_device(device)
        use_cores(threads)
        snapshot = find_snapshot(model, checkpoint.revision)
        places = _module_folders(snapshot.folder)
        weights = list(_weights(places))
        if not weights:
            raise BadInputError("no weights in it: not a checkpoint", model)
        self.revision = snapshot.revision
        self.sha256 = files_sha256(weights, snapshot.folder)
        settings = {file for place in places for file in settings_files(place)}
        if checkpoint.trust_remote_code:
            settings.update(code_files(snapshot.folder))
        self.settings_sha256 = files_sha256(sorted(settings), snapshot.folder)
        self._network = _loaded(
            snapshot.folder, self.device, trust_remote_code=checkpoint.trust_remote_code
        )
        self.similarity: Similarity = similarity or _similarity(self._network, model)
        self.max_length = _limited(self._network, max_length)
        self.prompt = self._prompt()
        self.dimension = int(self._vectors(["dimension"]).shape[1])

    def encode(self, texts: Sequence[str]) -> Vectors:
        """The vectors of ``texts``, which are sorted by length for this.

        Raises:
            ExternalProgramError: the device has too little memory for a batch.
        """
        clean = [without_surrogates(text) for text in texts]
        lengths = self._lengths(clean)
        limit = self.max_length or max(lengths, default=0)
        return Vectors(
            self._vectors(clean),
            sum(n > limit for n in lengths),
            sum(a is not b for a, b in zip(texts, clean, strict=True)),
            sum(min(n, limit) for n in lengths),
        )

    def info(self, truncated: int = 0) -> EncodingInfo:
        """For a manifest; its ``max_length`` is 0 for a model that has no limit."""
        return EncodingInfo(
            model=self.model,
            revision=self.revision,
            sha256=self.sha256,
            side=self.side,
            pooling="dense",
            max_length=self.max_length or 0,
            dtype="float32",
            truncated=truncated,
            prompt=self.prompt,
        )

    def _vectors(self, texts: Sequence[str]) -> Float32Array:
        encode = (
            self._network.encode_query if self.side == "query" else self._network.encode_document
        )
        try:
            found = encode(
                list(texts),
                prompt=self.prompt,
                batch_size=self.batch_size,
                show_progress_bar=False,
                convert_to_numpy=True,
                normalize_embeddings=self.similarity == "cosine",
            )
        except torch.cuda.OutOfMemoryError as error:
            raise ExternalProgramError(
                f"{self.device} has too little memory for {self.batch_size} texts at once: give a "
                "smaller --batch-size"
            ) from error
        return np.ascontiguousarray(found, dtype=np.float32)

    def _lengths(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text with its prompt; none where the model has no tokenizer of its own."""
        from transformers import PreTrainedTokenizerBase

        tokenizer = self._network.tokenizer
        if self.max_length is None or not isinstance(tokenizer, PreTrainedTokenizerBase):
            return []
        given = [self.prompt + text for text in texts]
        found = tokenizer(given, truncation=False, padding=False, verbose=False)
        return [len(row) for row in found["input_ids"]]

    def _prompt(self) -> str:
        known = self._network.prompts or {}
        if self.checkpoint.prompt is not None:
            return self.checkpoint.prompt
        if self.checkpoint.prompt_name is not None:
            return named_prompt(known, self.checkpoint.prompt_name, self.model)
        names = ("query",) if self.side == "query" else ("document", "passage", "corpus")
        named = next((name for name in names if name in known), self._network.default_prompt_name)
        return str(known.get(named) or "")


def _module_folders(folder: Path) -> list[Path]:
    """The folders that weights and settings are loaded from.

    Raises:
        BadInputError: not a checkpoint, or one of sparse vectors.
    """
    file = folder / MODULES
    if not file.is_file():
        if not (folder / "config.json").is_file():
            raise BadInputError(f"neither {MODULES} nor config.json in it", str(folder))
        raise BadInputError(
            f"no {MODULES} in it: not a model of sentence-transformers, so nothing says how hidden "
            "states become a vector. Save it as one, with the pooling that it was trained with",
            str(folder),
        )
    where = Where(str(file))
    found = {folder}
    for number, entry in enumerate(checked(list[dict[str, Any]], json_file(where), where)):
        at = where.item(number)
        kind = value_of(entry, "type", str, at).rpartition(".")[2]
        if kind in SPARSE:
            raise BadInputError(
                f"its module {kind} gives a weight for each term: encode takes it", str(folder)
            )
        place = inside(folder, value_of(entry, "path", str, at), at.inside("path"), itself=True)
        if (place != folder or kind in ROUTERS) and place.is_dir():
            found |= {place, *(p for p in place.rglob("*") if p.is_dir())}
    return sorted(found)


def _weights(places: Sequence[Path]) -> Iterator[Path]:
    for place in places:
        with contextlib.suppress(BadInputError):  # pooling has none
            yield from weight_files(place)


def _loaded(folder: Path, device: torch.device, *, trust_remote_code: bool) -> Any:
    from sentence_transformers import SentenceTransformer

    for place in _module_folders(folder):
        refuse_claims(place)
    try:
        with quiet():
            network = SentenceTransformer(
                str(folder),
                device=str(device),
                local_files_only=True,
                trust_remote_code=trust_remote_code,
            )
            network.tokenize(["", "a"])  # some damage is met by the first text
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise refusal(error, folder, "cannot be loaded by sentence-transformers") from error
    return network.eval()


def _limited(network: Any, wanted: int | None) -> int | None:
    """The limit in tokens that is in force; None where the model has none and takes none."""
    own = network.max_seq_length or math.inf
    limit = min(wanted or math.inf, own)
    if limit == math.inf:
        return None
    if limit != own:
        try:
            network.max_seq_length = int(limit)
        except AttributeError:  # a table of word vectors reads all
            return None
    return int(limit)


def _similarity(network: Any, model: str) -> Similarity:
    own = str(network.similarity_fn_name)
    if own not in ("cosine", "dot"):
        raise UsageError(
            f"{model}: compares vectors by {own} distance, and an index here by cosine or dot: "
            "pass --similarity"
        )
    return cast(Similarity, own)
