"""The model that a recipe asks for, as a SparseEncoder of sentence-transformers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.adapters import is_adapter
from splade_bridge.encoding.identity import tokenizer_folder
from splade_bridge.encoding.masked_lm import position_limit
from splade_bridge.encoding.network import first_line, load_network, quiet
from splade_bridge.encoding.settings import SideSettings, read_settings
from splade_bridge.encoding.tokens import load_tokenizer
from splade_bridge.errors import BadInputError
from splade_bridge.files.typed import Where, checked, json_file, value_of
from splade_bridge.files.writing import staged_folder
from splade_bridge.training.hub import model_folder
from splade_bridge.training.options import LoraOptions, ModelOptions

if TYPE_CHECKING:
    from sentence_transformers import SparseEncoder

log = logging.getLogger(__name__)

TOKENIZED_AT_ONCE = 1000


def build_model(
    options: ModelOptions,
    documents: Iterable[str],
    work: Path,
    *,
    trust_remote_code: bool = False,
) -> SparseEncoder:
    """A model before its training.

    Args:
        documents: texts over which inverse document frequencies are counted, if they are needed.
        work: folder that keeps a new network's first weights.
        trust_remote_code: run code that comes with a base.

    Raises:
        BadInputError: a base that is not a masked language model, a configuration that gives no
            network, a tokenizer that does not fit, or a JSON of weights that is not one.
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import Router

    base = _base(options, "", work / "new", "document", trust_remote_code)
    saved = saved_settings(base.folder)
    kept: dict[str, Any] = {"similarity_fn_name": "dot", **asdict(saved)}
    document = _encoder(options, base.side, trust_remote_code)
    if options.query == "shared":
        if base.two_sided:
            raise BadInputError(
                "encodes queries otherwise than documents, and would lose that: set model.query to "
                '"separate" for two networks, to "idf" or "bow" for queries without one',
                str(base.folder),
            )
        return SparseEncoder(modules=_sized(document), **kept)
    if options.query == "separate":
        if options.query_base or options.query_config:
            other = _base(options, "query_", work / "new-query", "query", trust_remote_code)
            kept["prompts"] |= {
                k: v for k, v in saved_settings(other.folder).prompts.items() if k == "query"
            }
        else:
            other = _base(options, "", work / "new", "query", trust_remote_code)
        query = _encoder(options, other.side, trust_remote_code)
        _same_terms(document[0], query[0])
        _sized(query)
    else:
        _trim_head(document[0])
        kept_static = _kept_static(options, base, trust_remote_code)
        query = [kept_static or _static(options, document[0].tokenizer, documents)]
    router = Router.for_query_document(query_modules=query, document_modules=_sized(document))
    return SparseEncoder(modules=[router], **kept)


def prompts_of(model: SparseEncoder) -> dict[str, str]:
    """What ``encode_query`` and ``encode_document`` put in front of a text, by side."""
    default = model.prompts.get(model.default_prompt_name or "", "")
    names = {"query": ("query",), "document": ("document", "passage", "corpus")}
    return {
        side: next((model.prompts[n] for n in known if n in model.prompts), default)
        for side, known in names.items()
    }


def set_dropout(model: SparseEncoder, share: float) -> None:
    """Let every layer of the networks of ``model`` drop ``share`` of what it holds in training.

    Architectures keep it in layers of their own or as a number, under names with "drop" in them.
    What a checkpoint says of dropout stays as it is.
    """
    for transformer in transformers_of(model):
        for module in transformer.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = share
            for name, value in vars(module).items():
                if "drop" in name and isinstance(value, float):
                    setattr(module, name, share)


def add_lora(model: SparseEncoder, options: LoraOptions) -> None:
    """Freeze the networks of ``model`` and give them adapters."""
    from peft import LoraConfig

    for transformer in transformers_of(model):
        transformer.model.add_adapter(
            LoraConfig(
                r=options.rank,
                lora_alpha=options.alpha,
                lora_dropout=options.dropout,
                target_modules=list(options.target_modules) or None,
                modules_to_save=list(options.train_whole) or None,
            )
        )


def merge_lora(model: SparseEncoder) -> None:
    """Add the adapters of ``model`` to its weights, so that the plain network remains."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils import ModulesToSaveWrapper

    for transformer in transformers_of(model):
        network = transformer.model
        for name, layer in list(network.named_modules()):
            parent, _, leaf = name.rpartition(".")
            if isinstance(layer, BaseTunerLayer):
                layer.merge()
                setattr(network.get_submodule(parent), leaf, layer.get_base_layer())
            elif isinstance(layer, ModulesToSaveWrapper):
                trained = layer.modules_to_save[layer.active_adapters[0]]
                setattr(network.get_submodule(parent), leaf, trained)
        network._hf_peft_config_loaded = False
        del network.peft_config


def transformers_of(model: SparseEncoder) -> list[Any]:
    """The Transformer modules of ``model``: one, or those of both sides."""
    from sentence_transformers.base.modules import Transformer

    return [module for module in model.modules() if isinstance(module, Transformer)]


def document_frequencies(texts: Iterable[str], tokenizer: Any) -> tuple[np.ndarray, int]:
    """int64[len(tokenizer)] texts that hold each token, and how many texts there are."""
    counts, total, held = np.zeros(len(tokenizer), dtype=np.int64), 0, list[str]()

    def count() -> None:
        for ids in tokenizer(held, add_special_tokens=False, truncation=False)["input_ids"]:
            counts[np.unique(ids).astype(np.int64)] += 1
        held.clear()

    for text in texts:
        held.append(text)
        total += 1
        if len(held) == TOKENIZED_AT_ONCE:
            count()
    if held:
        count()
    return counts, total


def inverse_frequencies(counts: np.ndarray, total: int) -> np.ndarray:
    """float32: log(1 + (N - n + 0.5) / (n + 0.5)) for n of N texts, BM25's as Lucene has it."""
    idf: np.ndarray = np.log1p((total - counts + 0.5) / (counts + 0.5)).astype(np.float32)
    return idf


@dataclass(frozen=True)
class Saved:
    """What a SparseEncoder was saved with besides its modules.

    Attributes:
        prompts: by name.
        default_prompt_name: of the one that is used where none is named.
        max_active_dims: of encoding; training looks at all terms.
    """

    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    max_active_dims: int | None = None


def saved_settings(folder: Path) -> Saved:
    """The settings of the SparseEncoder in ``folder``; those of none for any other checkpoint.

    Raises:
        BadInputError: they are not what they should be.
    """
    file = folder / "config_sentence_transformers.json"
    if not ((folder / "modules.json").is_file() and file.is_file()):
        return Saved()
    where = Where(str(file))
    held = checked(dict[str, Any], json_file(where), where)
    prompts = checked(dict[str, str], held.get("prompts") or {}, where.inside("prompts"))
    name = value_of(held, "default_prompt_name", str | None, where, None)
    if name is not None and name not in prompts:
        where.inside("default_prompt_name").fail(f"there is no prompt {name!r}")
    most = value_of(held, "max_active_dims", int | None, where, None)
    return Saved(prompts, name, most)


class _Base(NamedTuple):
    """A checkpoint to start from.

    Attributes:
        folder: of the whole.
        side: the settings of the side that is wanted.
        two_sided: whether the other side is encoded otherwise.
    """

    folder: Path
    side: SideSettings
    two_sided: bool


def _encoder(options: ModelOptions, side: SideSettings, trust_remote_code: bool) -> list[Any]:
    base = side.tokenizer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    trusted = {"trust_remote_code": trust_remote_code}
    try:
        with quiet():
            transformer = Transformer(
                str(base),
                transformer_task="fill-mask",
                # A checkpoint kept in 16 bits is trained in 32.
                model_kwargs={"dtype": torch.float32, **trusted},
                config_kwargs=dict(trusted),
                processor_kwargs=dict(trusted),
            )
    except (OSError, ValueError, ImportError) as error:
        raise BadInputError(f"cannot be trained ({first_line(error)})", str(base)) from error
    tokenizer = transformer.tokenizer
    if len(tokenizer) > transformer.model.config.vocab_size:
        raise BadInputError(
            f"its tokenizer has {len(tokenizer):,} tokens, its network only "
            f"{transformer.model.config.vocab_size:,}",
            str(base),
        )
    if side.tokens.lower_case:
        transformer.do_lower_case = True
    # Given to it above, lengths would hold beyond what the network has positions for.
    known = (side.tokens.max_length, position_limit(transformer.model))
    limit = min(tokenizer.model_max_length, *(n or 1 << 30 for n in known))
    transformer.query_length = min(options.query_length, limit)
    transformer.document_length = min(options.document_length, limit)
    pooling = side.pooling if options.pooling == "auto" else options.pooling
    activation = side.activation if options.activation == "auto" else options.activation
    return [transformer, SpladePooling(pooling, activation)]


def _base(
    options: ModelOptions,
    prefix: Literal["", "query_"],
    new: Path,
    side: Side,
    trust_remote_code: bool,
) -> _Base:
    """One side of a masked language model: one that is there, or a new one.

    Raises:
        BadInputError: that side has no network, or what follows it is not trained here.
    """
    key = f"{prefix}base"
    if not (name := getattr(options, key)):
        if not (new / "config.json").is_file():
            config = getattr(options, f"{prefix}config")
            _new_network(config, options, new, trust_remote_code=trust_remote_code)
        return _Base(new.resolve(), SideSettings(network=new.resolve()), two_sided=False)
    revision = getattr(options, f"{prefix}revision")
    folder = model_folder(name, f"model.{key}", revision).resolve()
    settings = read_settings(folder, side)
    if settings.network is None or settings.static is not None:
        what = "has no network" if settings.network is None else "multiplies weights of tokens"
        raise BadInputError(f"its {side} side {what}, and cannot be trained", str(folder))
    # Refuses one without a head, whose terms would be random.
    network = load_network(settings.network, trust_remote_code=trust_remote_code)
    other: Side = "query" if side == "document" else "document"
    there = read_settings(folder, other)
    same = (there.network, there.static) == (settings.network, settings.static)
    if is_adapter(settings.network):
        if not (new / "config.json").is_file():
            tokenizer = load_tokenizer(
                tokenizer_folder(settings.network), trust_remote_code=trust_remote_code
            )
            _keep(network, tokenizer, new)
        here = new.resolve()
        settings = replace(settings, network=here)
    return _Base(folder, settings, two_sided=not same)


def _kept_static(options: ModelOptions, base: _Base, trust_remote_code: bool) -> Any:
    """The weights of query tokens that a base without a query network has; None for others."""
    if options.query != "idf" or options.idf or not base.two_sided:
        return None
    if read_settings(base.folder, "query").network is not None:
        return None
    from sentence_transformers import SparseEncoder

    with quiet():
        held = SparseEncoder(str(base.folder), device="cpu", trust_remote_code=trust_remote_code)
    static = held[0].sub_modules["query"][0]
    static.weight.requires_grad_(False)
    static.tokenizer.model_max_length = min(options.query_length, static.tokenizer.model_max_length)
    return static


def _new_network(
    config: dict[str, Any], options: ModelOptions, new: Path, *, trust_remote_code: bool
) -> None:
    from transformers import AutoConfig, AutoModelForMaskedLM

    folder = model_folder(options.tokenizer, "model.tokenizer", options.revision)
    tokenizer = load_tokenizer(folder, trust_remote_code=trust_remote_code)
    try:
        settings: dict[str, Any] = {"vocab_size": len(tokenizer)}
        if tokenizer.pad_token_id is not None:
            settings["pad_token_id"] = tokenizer.pad_token_id
        made = AutoConfig.for_model(**(settings | config))
        network = AutoModelForMaskedLM.from_config(made)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"model.config gives no network: {first_line(error)}") from error
    _keep(network, tokenizer, new)


def _keep(network: Any, tokenizer: Any, new: Path) -> None:
    """Save a network that no folder holds as it is: a new one, or one with its adapter."""
    with staged_folder(new, overwrite=True) as folder:
        tokenizer.save_pretrained(folder)
        network.save_pretrained(folder)


def _sized(encoder: list[Any]) -> list[Any]:
    """``encoder``, whose pooling is told how many columns there are before it sees any."""
    transformer, pooling = encoder
    pooling.embedding_dimension = len(transformer.model.get_output_embeddings().weight)
    return encoder


def _same_terms(document: Any, query: Any) -> None:
    if document.tokenizer.get_vocab() != query.tokenizer.get_vocab():
        raise BadInputError(
            "the query encoder's tokenizer has other tokens than the document encoder's: their "
            "terms could not meet"
        )
    if document.model.config.vocab_size != query.model.config.vocab_size:
        _trim_head(document)
        _trim_head(query)


def _trim_head(transformer: Any) -> None:
    """Drop columns that have no term, where the head is wider than the tokenizer's vocabulary."""
    if transformer.model.config.vocab_size > len(transformer.tokenizer):
        transformer.model.resize_token_embeddings(len(transformer.tokenizer))


def _static(options: ModelOptions, tokenizer: Any, documents: Iterable[str]) -> Any:
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    weights = np.ones(len(tokenizer), dtype=np.float32)
    if options.query == "idf" and options.idf:
        weights = _read_idf(Path(options.idf), tokenizer)
    elif options.query == "idf":
        weights = inverse_frequencies(*document_frequencies(documents, tokenizer))
    # Marks of where a text begins, ends and is padded say nothing of it.
    for name in ("cls", "sep", "bos", "eos", "pad"):
        token = getattr(tokenizer, f"{name}_token_id", None)
        if token is not None:
            weights[token] = 0
    static = SparseStaticEmbedding(tokenizer, torch.from_numpy(weights), frozen=True)
    static.tokenizer.model_max_length = min(options.query_length, tokenizer.model_max_length)
    return static


def _read_idf(path: Path, tokenizer: Any) -> np.ndarray:
    where = Where(str(path), said="not a JSON object {{token: weight}} ({})")
    weights = np.zeros(len(tokenizer), dtype=np.float32)
    ids = tokenizer.get_vocab()
    for token, weight in checked(dict[str, float], json_file(where), where).items():
        if token in ids:
            weights[ids[token]] = weight
    if not weights.any():
        raise BadInputError("not one of its tokens is the tokenizer's", str(path))
    if not (np.isfinite(weights).all() and weights.min() >= 0):
        raise BadInputError("weights must be finite and not below 0", str(path))
    return weights
