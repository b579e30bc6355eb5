"""One side of a model that was exported to ONNX: where its files are, and how they are read.

A graph is a file of its own beside a tokenizer (``tokenizer.json``, ``vocab.txt`` or, as those that
Anserini fetches, ``NAME-vocab.txt``), or a folder that has ``model.onnx`` or ``onnx/model.onnx``
and no weights of PyTorch's, as optimum and sentence-transformers save it. Of the latter's folders
the modules say which pooling, limit and prompt are meant. Where ``idf.json`` lies beside a graph,
that encodes the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from splade_bridge.data.manifest import Side
from splade_bridge.encoding.choices import ModelChoices, Pooling
from splade_bridge.encoding.head import Activation
from splade_bridge.encoding.masked_lm import SplitModel
from splade_bridge.encoding.naver import noted_by_naver
from splade_bridge.encoding.network import quiet
from splade_bridge.encoding.onnx_graph import NOTE, Graph, Output, graph_files
from splade_bridge.encoding.prompts import prompt_of
from splade_bridge.encoding.settings import TABLE, SideSettings, read_settings
from splade_bridge.encoding.side import LoadedSide
from splade_bridge.encoding.snapshot import (
    files_sha256,
    find_snapshot,
    is_graph,
    settings_files,
)
from splade_bridge.encoding.tokens import TextTokenizer, load_tokenizer, terms_of
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.typed import Where, as_table, json_file, typed, value_of

GRAPHS = ("model.onnx", "onnx/model.onnx")
ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
TORCH_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
VOCABULARY = "vocab.txt"
COUNTED_FROM_PADDING = ("roberta", "camembert", "mpnet", "longformer", "xlm-roberta", "bigbird")
"""Types of models whose first position is that of padding, plus 1; a part of their names."""


@dataclass(frozen=True)
class Exported:
    """A graph that was found, and what belongs to it.

    Attributes:
        model: as the user named it.
        file: the graph.
        folder: what the user named, or the folder of the file.
        tokenizer: folder of the tokenizer, or a vocabulary of WordPiece.
        settings: what sentence-transformers saved with it.
        revision: commit of a hub model.
    """

    model: str
    file: Path
    folder: Path
    tokenizer: Path
    settings: SideSettings
    revision: str | None = None


def find_exported(model: str, side: Side, revision: str | None = None) -> Exported | None:
    """The graph that ``model`` names; None if that is something else.

    Args:
        revision: branch, tag or commit of a hub name; None for its main branch.

    Raises:
        BadInputError: no such model, or a graph without a tokenizer beside it.
        UsageError: a revision of a file or folder.
    """
    file = Path(model).expanduser()
    if is_graph(file):
        if revision is not None:
            raise UsageError(
                f"--revision {revision}: {model} is a file, and revisions are of models that have "
                "a hub name: leave it out"
            )
        return _named(model, file)
    snapshot = find_snapshot(model, revision)
    place = snapshot.folder
    settings = SideSettings(network=place)
    if (place / "modules.json").is_file():
        settings = read_settings(place, side)
    elif side == "query" and (place / TABLE).is_file():
        return None  # tokens are looked up there
    elif noted := noted_by_naver(place):
        file = Path(noted.where.file)
        settings = replace(settings, pooling=noted.pooling, said_in=file)
    network = settings.network
    if network is None or any(any(network.glob(p)) for p in TORCH_WEIGHTS):
        return None
    for name in GRAPHS:
        if (network / name).is_file():
            break
    else:
        return None
    if settings.static is not None:
        raise BadInputError(
            "a graph of ONNX and a SparseStaticEmbedding behind it: not supported; export both "
            "together with export-model",
            model,
        )
    tokenizer = _tokenizer(network)
    if tokenizer is None:
        raise _no_tokenizer(network / name, network)
    return Exported(model, network / name, place, tokenizer, settings, snapshot.revision)


def _named(model: str, file: Path) -> Exported:
    """A graph that was named itself."""
    folders = [file.parent, *([file.parent.parent] if file.parent.name == "onnx" else [])]
    for folder in folders:
        tokenizer = _tokenizer(folder, file.stem)
        if tokenizer is not None:
            return Exported(model, file, folder, tokenizer, SideSettings(network=folder))
    raise _no_tokenizer(file, file.parent)


def _no_tokenizer(file: Path, folder: Path) -> BadInputError:
    return BadInputError(
        f"no tokenizer in {folder}: put tokenizer.json or {VOCABULARY} of its model there",
        str(file),
    )


def _tokenizer(folder: Path, stem: str = "") -> Path | None:
    """The folder, if it has a tokenizer, or a vocabulary in it; None for neither."""
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json")):
        return folder
    names = [f"{stem}-{VOCABULARY}", VOCABULARY]
    found = [folder / name for name in names if (folder / name).is_file()]
    found = found or sorted(folder.glob(f"*{VOCABULARY}"))
    return found[0] if len(found) == 1 or (folder / names[0]) in found[:1] else None


def load_exported(
    found: Exported,
    side: Side,
    *,
    max_length: int | None = None,
    pooling: Pooling | None = None,
    checkpoint: ModelChoices = ModelChoices(),
    device: torch.device | None = None,
) -> tuple[LoadedSide, str]:
    """Load what :func:`find_exported` found.

    Args:
        max_length: in tokens; None for the model's own limit, which is never exceeded.
        pooling: of logits; a graph that pools is not to be told.
        checkpoint: its prompt, its tokenizer's code, and whether vectors are made of length 1.
        device: None for the CPU.

    Returns:
        The side, which gives its weights on the CPU, and the type of what the graph computes.

    Raises:
        BadInputError: the graph is damaged, does not fit its tokenizer, or is the other side's.
        MissingToolError: onnx or onnxruntime is not installed.
        UsageError: a pooling that the graph has already done, or no room for text.
    """
    files = graph_files(found.file)  # nothing is loaded from elsewhere
    graph = Graph(found.file, device or torch.device("cpu"))
    noted = Note.of(graph)
    if side not in noted.sides:
        raise BadInputError(
            f"was exported as the {noted.sides[0]} side of {noted.model}: the other one is a graph "
            f"of its own, export-model --side {side}",
            str(found.file),
        )
    settings = found.settings
    tokenizer = _loaded_tokenizer(found, trust_remote_code=checkpoint.trust_remote_code)
    output = graph.output(sorted(tokenizer.get_vocab().values()))
    if output.kind != "logits" and pooling is not None:
        raise UsageError(
            f"--pooling {pooling}: {found.file} gives weights that are pooled already; leave it out"
        )
    settings = replace(settings, pooling=pooling or settings.pooling)
    vocabulary, ids = terms_of(tokenizer, output.width, str(found.file))
    columns = torch.from_numpy(ids)
    limits = [noted.max_length, settings.tokens.max_length, graph.longest, _positions(found)]
    if tokenizer.model_max_length < 1 << 30:  # transformers' "no limit" is 1e30
        limits.append(int(tokenizer.model_max_length))
    limit = min((n for n in limits if n), default=None)
    wanted = max_length or limit or 512
    max_length = wanted if limit is None else min(wanted, limit)
    weights = files_sha256(files, found.folder)
    other: Side = "document" if side == "query" else "query"
    partner = noted.partners.get(other, weights)
    if side == "document" and (found.folder / TABLE).is_file():
        partner = files_sha256([found.folder / TABLE], found.folder)
    method = (
        noted.method
        or {"logits": settings.pooling, "weights": "pooled", "listed": "pooled"}[output.kind]
    )
    prompts = dict(settings.prompts)
    prompts[side] = noted.prompt or prompts.get(side, "")
    prompt = prompt_of(prompts, settings.default_prompt, side, checkpoint, found.model)
    loaded = LoadedSide(
        model=found.model,
        revision=found.revision,
        weights_sha256=weights,
        partner_sha256=partner,
        settings_sha256=files_sha256(_configuration(found), found.folder),
        vocabulary=vocabulary,
        tokenizer=TextTokenizer(tokenizer, max_length, prompt=prompt, special=noted.special),
        max_length=max_length,
        network=SplitModel(
            _Weights(graph, output, columns, settings.pooling, settings.activation),
            _as_they_are,
            packed=False,
        ),
        static=None,
        columns=columns,
        width=output.width,
        pooling=settings.pooling,
        activation=settings.activation,
        max_active=settings.max_active,
        normalize=checkpoint.normalize,
        prompt=prompt,
        encoder=None,
        method=f"{method} (onnx)",
    )
    return loaded, graph.dtype(output)


@dataclass(frozen=True)
class Note:
    """What ``export-model`` noted in a graph; what it says of one that others made.

    Attributes:
        model: what was exported.
        sides: that it encodes.
        method: pooling and activation in words.
        max_length: in tokens.
        prompt: put in front of every text.
        special: whether special tokens are added.
        partners: hash of the weights that the model encodes each side with.
    """

    model: str = ""
    sides: tuple[Side, ...] = ("document", "query")
    method: str = ""
    max_length: int | None = None
    prompt: str = ""
    special: bool = True
    partners: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: Graph) -> Note:
        """That of a graph.

        Raises:
            BadInputError: it is damaged.
        """
        where = Where(str(graph.file), NOTE, said="damaged ({}): export it again")
        return typed(cls, graph.note, where)


class _Weights:
    """Weights of texts by the columns of their terms: a body whose hidden states are the result."""

    def __init__(
        self,
        graph: Graph,
        output: Output,
        columns: Tensor,
        pooling: Pooling,
        activation: Activation,
    ) -> None:
        self._graph, self._output, self._columns = graph, output, columns
        self._pooled = pooling, activation

    def __call__(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        found = self._graph.weights(ids, lengths, self._output, *self._pooled)
        every = len(self._columns) == found.shape[1]
        return found if every else found[:, self._columns]


def _as_they_are(
    hidden: Tensor, lengths: Sequence[int], pooling: Pooling, activation: Activation
) -> Tensor:
    """A head for a body that gives weights."""
    return hidden


def _loaded_tokenizer(found: Exported, *, trust_remote_code: bool) -> Any:
    place = found.tokenizer
    if place.is_dir():
        if (place / "tokenizer_config.json").is_file() or (place / "config.json").is_file():
            return load_tokenizer(
                place,
                lower_case=found.settings.tokens.lower_case,
                trust_remote_code=trust_remote_code,
            )
        return _bare(place / "tokenizer.json")
    return _wordpiece(place)


def _bare(file: Path) -> Any:
    """A tokenizer.json without what transformers notes beside it."""
    from transformers import PreTrainedTokenizerFast

    try:
        with quiet():
            tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(file))
            tokenizer(["", "a"])  # some damage is met by the first text
            return tokenizer
    except Exception as error:  # the library in Rust raises Exception itself
        raise BadInputError(f"its tokenizer cannot be loaded ({error})", str(file)) from error


def _wordpiece(file: Path) -> Any:
    """BERT's uncased tokenizer with the tokens of ``file``, as Anserini has it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    try:
        ids = models.WordPiece.read_file(str(file))
        backend = Tokenizer(models.WordPiece(ids, unk_token=ROLES["unk_token"]))
        ends = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    except Exception as error:
        raise BadInputError(f"not a vocabulary of WordPiece ({error!r})", str(file)) from error
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **ROLES)


def _configuration(found: Exported) -> list[Path]:
    folder = found.tokenizer if found.tokenizer.is_dir() else found.tokenizer.parent
    files = {path for place in (found.folder, folder) for path in settings_files(place)}
    if found.settings.said_in is not None:
        files.add(found.settings.said_in)
    return [path for path in files if path.name != "manifest.json"]  # names the graph's own hash


def _positions(found: Exported) -> int | None:
    """How many tokens the network had positions for, as its configuration says."""
    file = found.folder / "config.json"
    if found.settings.network is not None and (found.settings.network / "config.json").is_file():
        file = found.settings.network / "config.json"
    if not file.is_file():
        return None
    where = Where(str(file))
    saved = as_table(json_file(where), where)
    limit = value_of(saved, "max_position_embeddings", int | None, where, None)
    if not limit or limit < 0:
        return None
    kind = value_of(saved, "model_type", str, where, "")
    first = value_of(saved, "pad_token_id", int | None, where, None) or 0
    counted = any(name in kind for name in COUNTED_FROM_PADDING)
    return cast(int, limit) - (first + 1 if counted else 0)
