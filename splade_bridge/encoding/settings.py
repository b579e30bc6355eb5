"""Which saved parts make up one side of a model.

Read are a plain masked-language-model checkpoint; what sentence-transformers saves for a
SparseEncoder (:mod:`.saved_modules`: Transformer or MLMTransformer, SpladePooling,
SparseStaticEmbedding, Router); and a plain checkpoint that says how queries are encoded:

- naver's trainings save ``model/`` with the query encoder in ``model/query/`` (or ``model_q/``
  beside it), and ``splade_doc`` in ``model/model_args.json`` for a document-only model, whose
  queries are their tokens with weight 1; and in ``config.yaml`` how logits are pooled
  (:mod:`.naver`);
- OpenSearch's inference-free models have a weight for each token of a query in ``idf.json``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.adapters import is_adapter
from splade_bridge.encoding.choices import QueryMode
from splade_bridge.encoding.head import Activation, Pooling
from splade_bridge.encoding.naver import noted_by_naver, refuse_pickled
from splade_bridge.encoding.prompts import BLANK, saved_prompts
from splade_bridge.encoding.saved_modules import MODULES, Module, NoRouteError, modules_of
from splade_bridge.encoding.saved_transformer import TransformerSettings, read_transformer
from splade_bridge.encoding.snapshot import SPARSE_LINEAR
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, as_table, json_file, refuse_unknown, value_of

log = logging.getLogger(__name__)

SAVED = "config_sentence_transformers.json"
TABLE = "idf.json"
ARGUMENTS = "model_args.json"
OTHER_SIMILARITIES = ("cosine", "euclidean", "manhattan")
TASKS = {"Transformer": "feature-extraction", "MLMTransformer": "fill-mask"}
KEYS = {
    "SpladePooling": (
        "pooling_strategy", "activation_function", "embedding_dimension",
        "word_embedding_dimension", "chunk_size",
    ),
    "SparseStaticEmbedding": ("frozen", "path"),
}  # fmt: skip


@dataclass(frozen=True)
class SideSettings:
    """How one side turns tokens into weights.

    Attributes:
        network: folder of the masked language model; None for a side without one.
        static: folder or file of a fixed weight for each token. Alone it gives each token of the
            text its weight (inference-free queries); after a network it multiplies the network's
            weights and so masks them to the text's own tokens (lexical models).
        bow: each token of the text has weight 1, and what else is here is of the documents.
        pooling: over positions.
        activation: of logits.
        tokens: how texts become tokens.
        prompts: by name.
        default_prompt: name of the one that is for texts of no side.
        max_active: keep only so many of the heaviest terms.
        similarity: by which vectors are compared, where it is not their dot product.
        said_in: a file beside the network that says some of this.
    """

    network: Path | None = None
    static: Path | None = None
    bow: bool = False
    pooling: Pooling = "max"
    activation: Activation = "relu"
    tokens: TransformerSettings = TransformerSettings()
    prompts: Mapping[str, str] = field(default_factory=lambda: BLANK)
    default_prompt: str | None = None
    max_active: int | None = None
    similarity: str | None = None
    said_in: Path | None = None

    @property
    def encoder(self) -> Path:
        """What decides the weights: a folder, or the file of a table."""
        place = self.network or self.static
        assert place is not None
        return place

    @property
    def tokenizer(self) -> Path:
        """The folder whose tokenizer reads the texts of this side."""
        return self.encoder.parent if self.encoder.is_file() else self.encoder

    @property
    def folders(self) -> list[Path]:
        """All folders that this side loads from."""
        places = [p for p in (self.network, self.static) if p is not None]
        return [p.parent if p.is_file() else p for p in places]


def read_settings(folder: Path, side: Side, query_mode: QueryMode = "model") -> SideSettings:
    """The settings of ``side`` in a checkpoint folder.

    Args:
        query_mode: what encodes queries; nothing else is asked of documents.

    Raises:
        BadInputError: no ``config.json`` or ``modules.json``, modules that are not SPLADE's, a key
            in a file that cannot be obeyed, or no table for ``idf``.
    """
    try:
        found = _own_settings(folder, side)
    except NoRouteError:
        if side == "document":
            raise
        log.warning(
            "%s: has an encoder of documents only: each token of a query has weight 1 "
            "(--query-mode bow)",
            folder,
        )
        found = replace(_own_settings(folder, "document"), bow=True)
    if side == "query" and query_mode == "bow":
        return replace(found, bow=True)
    if side == "query" and query_mode == "idf" and (found.network or not found.static):
        if not (folder / TABLE).is_file():
            raise BadInputError(
                f"--query-mode idf: has no weights of tokens ({TABLE}, or a SparseStaticEmbedding "
                "that encodes queries)",
                str(folder),
            )
        return SideSettings(static=folder / TABLE)
    return found


def _own_settings(folder: Path, side: Side) -> SideSettings:
    """What the checkpoint says itself."""
    if (folder / SPARSE_LINEAR).is_file():  # its modules are of its dense vectors
        return SideSettings(network=folder)
    if (folder / MODULES).is_file():
        return _saved_settings(folder, side)
    if (folder / "config.json").is_file() or is_adapter(folder):
        return _plain_settings(folder, folder, side)
    if (folder / "model" / "config.json").is_file():
        return _plain_settings(folder / "model", folder, side)
    refuse_pickled(folder)
    raise BadInputError(f"neither config.json nor {MODULES} in it: not a checkpoint", str(folder))


def _plain_settings(place: Path, folder: Path, side: Side) -> SideSettings:
    """Of a plain checkpoint in ``place``, which is ``folder`` or below it."""
    saved, where = _table(place / ARGUMENTS)
    if value_of(saved, "dense", bool | None, where, None):
        where.inside("dense").fail("is a model of dense vectors, not SPLADE")
    found = SideSettings(network=place)
    if noted := noted_by_naver(place):
        log.info("%s: %s says %s pooling", folder, noted.where.file, noted.pooling)
        found = replace(
            found,
            pooling=noted.pooling,
            tokens=TransformerSettings(max_length=noted.max_length),
            said_in=Path(noted.where.file),
        )
    if side == "document":
        return found
    for said, at in (
        (value_of(saved, "splade_doc", bool | None, where, None), where),
        (noted and noted.documents_only, noted and noted.where),
    ):
        if said and at:
            log.info("%s: %s says splade_doc: queries are their tokens", folder, at.file)
            return replace(found, bow=True)
    for own in (place / "query", folder / "model_q"):
        if (own / "config.json").is_file():
            log.info("%s: queries are encoded by %s", folder, own)
            return replace(found, network=own)
    if value_of(saved, "shared_weights", bool | None, where, None) is False:
        where.inside("shared_weights").fail("is false, and the query encoder, query/, is missing")
    if noted and noted.query_encoder:
        noted.where.inside("init_dict").inside("model_type_or_dir_q").fail(
            "names a query encoder, and query/ is missing"
        )
    if (place / TABLE).is_file():
        log.info("%s: queries are encoded by %s", folder, TABLE)
        return SideSettings(static=place / TABLE)
    return found


def _saved_settings(folder: Path, side: Side) -> SideSettings:
    """Of a folder of sentence-transformers."""
    settings = SideSettings()
    for module in modules_of(folder, side):
        settings = _with_module(settings, module, side)
    if not settings.folders:
        raise BadInputError(f"no encoder for the {side} side in {MODULES}", str(folder))
    saved, where = _table(folder / SAVED)
    most = value_of(saved, "max_active_dims", int | None, where, None)
    if most is not None and most < 1:
        where.inside("max_active_dims").fail(f"is {most}, and must be 1 or more")
    prompts, default = saved_prompts(saved, where)
    similarity = value_of(saved, "similarity_fn_name", str | None, where, None)
    return replace(
        settings,
        prompts=prompts,
        default_prompt=default,
        max_active=most,
        similarity=similarity if similarity in OTHER_SIMILARITIES else None,
    )


def _with_module(settings: SideSettings, module: Module, side: Side) -> SideSettings:
    kind, place = module.kind, module.folder
    if kind in TASKS and not settings.folders:
        return replace(settings, network=place, tokens=read_transformer(place, side, TASKS[kind]))
    if kind in KEYS:
        saved, where = _table(place / "config.json")
        refuse_unknown(saved, KEYS[kind], where)
    if kind == "SpladePooling" and settings.network:
        pooling = value_of(saved, "pooling_strategy", Pooling, where, "max")
        activation = value_of(saved, "activation_function", Activation, where, "relu")
        return replace(settings, pooling=pooling, activation=activation)
    if kind == "SparseStaticEmbedding" and not settings.static:
        return replace(settings, static=place)
    raise BadInputError(
        f"module {kind} is not part of a SPLADE model that this program can run "
        "(Transformer or MLMTransformer with SpladePooling, SparseStaticEmbedding, Router)",
        str(place),
    )


def _table(path: Path) -> tuple[dict[str, Any], Where]:
    """The object in a JSON file; an empty one where there is no file."""
    where = Where(str(path))
    return (as_table(json_file(where), where) if path.is_file() else {}), where
