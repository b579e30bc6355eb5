"""Tiny random checkpoints, made in a second and without a network.

A test that asks for one is skipped where torch is not installed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splade_bridge.training.wordpiece import ROLES, SPECIAL

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
WORDS = ["the", "of", "and", "to", "in", "is", "that", "for", "it", "was", "with", "by", "his"]
WORDS += ["as", "be", "on", "not", "he", "this", "are", "or", "from"]
PUNCTUATION = list("\"'.,:;!?()-\\")
VOCABULARY = [*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), *WORDS, *PUNCTUATION, "é", "漢"]

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 66,
}


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """Models this small only lose time to a second thread."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For a module that imports it: each of its tests."""
    with single_thread():
        yield


def wordpiece_tokenizer(vocabulary: list[str] = VOCABULARY, max_length: int = 64) -> Any:
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = {token: i for i, token in enumerate(vocabulary)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(strip_accents=False)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=max_length,
        **ROLES,
    )


def config(kind: str, width: int, **changes: Any) -> Any:
    """A small configuration of model type ``kind`` with ``width`` columns."""
    transformers = pytest.importorskip("transformers")
    name = {
        "bert": "BertConfig",
        "roberta": "RobertaConfig",
        "distilbert": "DistilBertConfig",
        "modernbert": "ModernBertConfig",
        "electra": "ElectraConfig",
        "deberta": "DebertaV2Config",
    }[kind]
    sizes = dict(SMALL)
    extra: dict[str, Any] = {"pad_token_id": 0}
    if kind == "distilbert":
        sizes = {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 2,
            "hidden_dim": 48,
            "max_position_embeddings": 66,
        }
    if kind == "modernbert":
        extra |= {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    if kind == "electra":
        extra |= {"embedding_size": 16}
    if kind == "deberta":
        extra |= {"legacy": False}  # its last layer is not where transformers says it is
    return getattr(transformers, name)(vocab_size=width, **sizes, **extra, **changes)


def random_model(kind: str = "bert", width: int = len(VOCABULARY), seed: int = 0) -> Any:
    """A random masked language model about a third of whose logits are positive."""
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(seed)
    model = AutoModelForMaskedLM.from_config(config(kind, width)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
        bias = getattr(model.get_output_embeddings(), "bias", None)
        if bias is not None and bias.shape == (width,):
            bias.normal_(-0.5, 0.5)
    return model


def save_random(model: Any, folder: Path) -> Path:
    """``model`` with random matrices, large enough that logits differ, and a tokenizer."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    wordpiece_tokenizer().save_pretrained(folder)
    return folder


def save_checkpoint(
    folder: Path, kind: str = "bert", width: int = len(VOCABULARY), seed: int = 0, **tokenizer: Any
) -> Path:
    """A plain checkpoint folder of a random model with its tokenizer."""
    random_model(kind, width, seed).save_pretrained(folder)
    wordpiece_tokenizer(**tokenizer).save_pretrained(folder)
    return folder


def save_bert(folder: Path, kind: str, labels: int = 1, seed: int = 0) -> Path:
    """A tiny random cross-encoder, or the network of a bi-encoder, as transformers saves it."""
    torch = pytest.importorskip("torch")
    from tokenizers import processors
    from transformers import BertForSequenceClassification, BertModel

    torch.manual_seed(seed)
    made = BertForSequenceClassification if kind == "cross-encoder" else BertModel
    small = config("bert", len(VOCABULARY), num_labels=labels, initializer_range=0.3)
    made(small).save_pretrained(folder)
    tokenizer = wordpiece_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, VOCABULARY.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.save_pretrained(folder)
    return folder


def save_dense(
    folder: Path,
    *,
    seed: int = 0,
    normalize: bool = False,
    similarity: str | None = None,
    prompts: dict[str, str] | None = None,
    max_length: int = 32,
) -> Path:
    """A folder of sentence-transformers: a small random network, means, perhaps length 1."""
    pytest.importorskip("sentence_transformers")
    import torch
    from sentence_transformers import SentenceTransformer, models
    from transformers import BertModel

    torch.manual_seed(seed)
    network = BertModel(config("bert", len(VOCABULARY)))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.3)
    bare = folder.with_name(f"{folder.name}-network")
    network.save_pretrained(bare)
    wordpiece_tokenizer().save_pretrained(bare)
    modules = [models.Transformer(str(bare), max_seq_length=max_length)]
    modules.append(models.Pooling(SMALL["hidden_size"], pooling_mode="mean"))
    if normalize:
        modules.append(models.Normalize())
    SentenceTransformer(
        modules=modules, similarity_fn_name=similarity, prompts=prompts, device="cpu"
    ).save(str(folder), create_model_card=False)
    return folder


def write_corpus(path: Path, texts: int) -> Path:
    """A corpus of short texts, some of them empty."""
    rng = np.random.default_rng(0)
    words = ["the", "of", "cat", "to be", "x\ud83d\ude00", "42,"]
    with path.open("w") as out:
        for i in range(texts):
            text = " ".join(rng.choice(words, rng.integers(0, 60)))
            out.write(json.dumps({"id": f"d{i}", "text": text}) + "\n")
    return path


def cached(cache: Path, name: str, folders: dict[str, Path]) -> None:
    """A model of the hub as its cache on a disk has it.

    Args:
        name: ``owner/name``.
        folders: of files, by branch or tag; the first one's is the main branch, too.
    """
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    for number, (ref, folder) in enumerate(folders.items()):
        commit = f"{number + 1:040x}"
        shutil.copytree(folder, place / "snapshots" / commit)
        for called in (ref, *(["main"] if not number else [])):
            (place / "refs" / called).write_text(commit)


OWN_NETWORK = """
open({mark!r}, "w").close()
from transformers import BertConfig, {base}


class OwnConfig(BertConfig):
    model_type = "own-kind"


class OwnModel({base}):
    config_class = OwnConfig
"""


def with_own_code(folder: Path, mark: Path, auto: str, base: str) -> Path:
    """Make a checkpoint work by code of its own only, which makes the file ``mark``.

    Args:
        auto: the class of transformers that loads it.
        base: the class that its own one is made from.
    """
    (folder / "own.py").write_text(OWN_NETWORK.format(mark=str(mark), base=base))
    tree = json.loads((folder / "config.json").read_text())
    tree |= {
        "model_type": "own-kind",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", auto: "own.OwnModel"},
    }
    (folder / "config.json").write_text(json.dumps(tree))
    return folder
