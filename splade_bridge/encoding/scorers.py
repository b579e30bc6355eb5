"""What models say of pairs of query and document: teachers of other models, and rerankers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import torch

from splade_bridge.data.choices import Side
from splade_bridge.encoding.choices import ScorerKind, ScorerOptions
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder, pick_device
from splade_bridge.encoding.in_threads import use_cores
from splade_bridge.encoding.network import quiet, refusal, refuse_claims
from splade_bridge.encoding.prompts import named_prompt
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.encoding.tokens import without_surrogates
from splade_bridge.errors import BadInputError, ExternalProgramError, require
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.text.corpora import Text

Float64Array = npt.NDArray[np.float64]
Scorer = Callable[[Sequence[tuple[str, str]]], Float64Array]
"""Of pairs (query, document): a score each, in their order."""

HEADS = ("ForSequenceClassification", "ForCausalLM")
"""What the architectures of cross-encoders end with."""
OWN_HEAD = "AutoModelForSequenceClassification"
SPARSE_LENGTH = 256


def load_scorer(model: str, kind: ScorerKind, options: ScorerOptions = ScorerOptions()) -> Scorer:
    """What scores pairs by ``model``, a folder or a name on the Hugging Face hub.

    ``cross-encoder`` gives the logit of query and document, before any activation: margins are
    taken of it, and it orders as a sigmoid of it does. ``dense`` gives the similarity that a model
    of sentence-transformers was saved with, ``sparse`` the dot product of float weights, before any
    quantization.

    Pairs of one call are sorted by length and cut into batches. The score of a pair depends on the
    rest of its batch in the last digits of a float only: how far texts are padded decides the order
    in which a matrix product adds.

    Raises:
        BadInputError: no such model, or not one of this kind.
        UsageError: the device is none that torch knows, or the name of a prompt that there is not.
        MissingToolError: a CUDA device is asked for and there is none, or sentence-transformers is
            not installed.
    """
    if options.device is not None:
        pick_device(options.device)
    use_cores(options.threads)
    if kind == "sparse":
        return _sparse(model, options)
    require("train", f"a {kind}", "sentence_transformers")
    make = _cross_encoder if kind == "cross-encoder" else _dense
    return make(find_snapshot(model, options.checkpoint.revision).folder, options)


@contextlib.contextmanager
def _loading(folder: Path, kind: ScorerKind) -> Iterator[None]:
    for file in folder.rglob("config.json"):  # of its modules
        refuse_claims(file.parent)
    try:
        with quiet():
            yield
    except BadInputError:
        raise
    except Exception as error:  # a damaged file raises whatever its reader raises
        raise refusal(error, folder, f"cannot be loaded as a {kind}") from error


@contextlib.contextmanager
def _computing(options: ScorerOptions) -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise ExternalProgramError(
            f"too little memory for {options.batch_size} pairs at once: give a smaller --batch-size"
        ) from error


def _loaded(kind: Any, folder: Path, options: ScorerOptions) -> Any:
    """A model of sentence-transformers with the limit that is asked for, and not above its own."""
    network = kind(
        str(folder),
        device=options.device,
        local_files_only=True,
        trust_remote_code=options.checkpoint.trust_remote_code,
        model_kwargs={"dtype": getattr(torch, options.dtype)},
    )
    if callable(tokenizer := getattr(network, "tokenizer", None)):
        tokenizer(["", "a"])  # some damage is met by the first text
    if options.max_length is not None:
        own = network.max_seq_length
        network.max_seq_length = min(own or options.max_length, options.max_length)
    return network


def _cross_encoder(folder: Path, options: ScorerOptions) -> Scorer:
    from sentence_transformers import CrossEncoder

    _check_head(folder)
    with _loading(folder, "cross-encoder"):
        network = _loaded(CrossEncoder, folder, options)
    if network.num_labels != 1:
        raise BadInputError(
            f"a classifier of {network.num_labels} classes, not one score", str(folder)
        )

    def score(pairs: Sequence[tuple[str, str]]) -> Float64Array:
        asked = [(without_surrogates(query), without_surrogates(text)) for query, text in pairs]
        with _computing(options):
            found = network.predict(  # it sorts by length itself
                asked,
                batch_size=options.batch_size,
                activation_fn=torch.nn.Identity(),
                show_progress_bar=False,
            )
        return np.asarray(found, dtype=np.float64)

    return score


def _check_head(folder: Path) -> None:
    """Refuse a checkpoint without a head for pairs, which would be given a random one.

    Raises:
        BadInputError: it is none of a cross-encoder.
    """
    place = folder / "config.json"
    where = Where(str(place))
    if not place.is_file():
        raise BadInputError("cannot be loaded as a cross-encoder (no config.json)", str(folder))
    config = as_table(json_file(where), where)
    if OWN_HEAD in as_table(config.get("auto_map") or {}, where.inside("auto_map")):
        return  # whether its code may run is asked where it is loaded
    named = config.get("architectures")
    names = [str(name) for name in named] if isinstance(named, list) else []
    told = folder / "config_sentence_transformers.json"
    saved = None
    if (folder / "modules.json").is_file() and told.is_file():
        own = Where(str(told))
        saved = as_table(json_file(own), own).get("model_type")
    if saved == "CrossEncoder" or (saved is None and any(n.endswith(HEADS) for n in names)):
        return
    raise BadInputError(
        f"cannot be loaded as a cross-encoder (it is a {saved or ', '.join(names) or 'network'}, "
        "without a head that scores pairs, and would be given a random one)",
        str(folder),
    )


def _dense(folder: Path, options: ScorerOptions) -> Scorer:
    from sentence_transformers import SentenceTransformer

    with _loading(folder, "dense"):
        network = _loaded(SentenceTransformer, folder, options)
    prompts = {side: _prompt(network, folder, options, side) for side in get_args(Side)}

    def score(pairs: Sequence[tuple[str, str]]) -> Float64Array:
        settings = {
            "batch_size": options.batch_size,
            "show_progress_bar": False,
            "normalize_embeddings": options.checkpoint.normalize,
        }
        queries, query_rows = _distinct(query for query, _ in pairs)
        documents, document_rows = _distinct(text for _, text in pairs)
        with _computing(options):
            left = network.encode_query(queries, **prompts["query"], **settings)
            right = network.encode_document(documents, **prompts["document"], **settings)
            found = network.similarity_pairwise(left[query_rows], right[document_rows])
        return np.asarray(found, dtype=np.float64)

    return score


def _prompt(network: Any, folder: Path, options: ScorerOptions, side: Side) -> dict[str, str]:
    """What was said of a side's prompt, as sentence-transformers takes it."""
    asked = options.checkpoint.of(side)
    if asked.prompt is not None:
        return {"prompt": asked.prompt}
    if asked.prompt_name is not None:
        return {"prompt": named_prompt(network.prompts or {}, asked.prompt_name, str(folder))}
    return {}


def _sparse(model: str, options: ScorerOptions) -> Scorer:
    def loaded(side: Side) -> Encoder:
        settings = EncodeOptions(
            max_length=options.max_length or SPARSE_LENGTH,
            dtype=options.dtype,
            device=options.device or "auto",
            checkpoint=options.checkpoint.of(side),
        )
        return load_encoder(model, side, settings)

    query_side, document_side = loaded("query"), loaded("document")

    def score(pairs: Sequence[tuple[str, str]]) -> Float64Array:
        queries, query_rows = _distinct(query for query, _ in pairs)
        documents, document_rows = _distinct(text for _, text in pairs)
        left = query_side.encode_window(_numbered(queries))
        right = document_side.encode_window(_numbered(documents))
        vector = np.zeros(len(query_side.loaded.vocabulary), dtype=np.float64)
        scores = np.zeros(len(pairs))
        for row in range(len(queries)):
            terms, weights = left.row(row)
            vector[terms] = weights
            for at in np.flatnonzero(query_rows == row).tolist():
                held, values = right.row(int(document_rows[at]))
                scores[at] = vector[held] @ values
            vector[terms] = 0.0
        return scores

    return score


def _numbered(texts: Sequence[str]) -> list[Text]:
    return [Text(str(number), text, f"text {number}") for number, text in enumerate(texts)]


def _distinct(texts: Iterable[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different texts and, for each of ``texts``, its number among them."""
    numbers: dict[str, int] = {}
    rows = [numbers.setdefault(without_surrogates(text), len(numbers)) for text in texts]
    return list(numbers), np.array(rows, dtype=np.int64)
