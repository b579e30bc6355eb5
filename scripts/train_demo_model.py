"""Train the small SPLADE model of the demo, from nothing, on one CPU thread in about an hour.

    nice python scripts/train_demo_model.py --openstax /work/shared/data/openstax

The stages; each leaves a file in `--work`, so that a run that was cut short can go on:

1. text: documentation strings of the standard library and of the packages installed beside it
   (read with `ast`, nothing is imported) and, if given, OpenStax textbooks (CC BY 4.0);
2. vocabulary: lower-cased WordPiece; names are split at a change to upper case;
3. embeddings: word vectors from a singular value decomposition of pointwise mutual information,
   which tell the network which words are alike before training begins. In the time that an hour
   on one thread leaves, this did more than masked language modelling;
4. SPLADE: contrastive training on (question, passage) pairs with in-batch negatives and FLOPS
   regularisation (Formal et al., 2021, arXiv:2107.05720 and arXiv:2109.10086).

The demo's questions and answers take no part in this: the passages that answer them are read
like all others, but the written training questions (`training_questions.tsv`) are about others.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import logging
import math
import random
import re
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytrec_eval
import torch
from numpy.typing import NDArray
from scipy import sparse  # type: ignore[import-untyped]
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

from splade_bridge.demo import collection

log = logging.getLogger("train_demo_model")

# Packages under BSD, MIT, Apache, PSF or similar licences; those not installed are left out.
PACKAGES = [
    "PIL", "anyio", "attr", "authlib", "beartype", "bs4", "click", "cryptography", "datasets",
    "dateutil", "dns", "fastapi", "fastmcp", "flask", "fontTools", "fsspec", "huggingface_hub",
    "jinja2", "joblib", "lxml", "matplotlib", "more_itertools", "mpmath", "narwhals", "networkx",
    "numpy", "onnxruntime", "openai", "packaging", "pandas", "pip", "pyarrow", "pydantic",
    "pygments", "pyparsing", "_pytest", "requests", "rich", "scipy", "sentence_transformers",
    "setuptools", "sklearn", "sortedcontainers", "starlette", "statsmodels", "sympy",
    "tokenizers", "torch", "transformers", "typer", "urllib3", "websockets", "werkzeug",
]  # fmt: skip
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
PAD, CLS, SEP = 0, 2, 3

# How many pairs of each kind make a batch.
QUESTIONS, LIBRARY, PACKAGED, GLOSSARY = 16, 30, 12, 6
QUERY_TOKENS, PASSAGE_TOKENS = 40, 112


class Doc(NamedTuple):
    """A documented name: `name` qualified, `title` with signature, `text` the docstring."""

    name: str
    title: str
    text: str


class Pair(NamedTuple):
    """A question and what answers it; `key` is equal for pairs with the same answer."""

    query: str
    title: str
    text: str
    key: int


class Judged(NamedTuple):
    """Questions with their answers, for evaluation only."""

    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


# --- 1. text ---------------------------------------------------------------------------------


def package_docs(packages: Sequence[str]) -> list[Doc]:
    """Docstrings of installed packages, in sorted order, each text once."""
    site = Path(torch.__file__).parents[1]
    docs: dict[str, Doc] = {}
    for package in packages:
        for path in sorted((site / package).rglob("*.py*")):
            if path.suffix not in {".py", ".pyi"} or {"tests", "testing"} & set(path.parts):
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):
                continue
            module = ".".join(path.relative_to(site).with_suffix("").parts)
            for doc in _walk(tree, module.removesuffix(".__init__")):
                docs.setdefault(" ".join(doc.text.split()), doc)
    return list(docs.values())


def _walk(node: ast.AST, name: str) -> Iterator[Doc]:
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        text = ast.get_docstring(node)
        if text:
            arguments = getattr(node, "args", None)
            signature = f"({ast.unparse(arguments)})" if arguments else ""
            yield Doc(name, name + signature if len(signature) <= 160 else name + "(...)", text)
        for child in node.body:
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _walk(child, f"{name}.{child.name}")


def read_openstax(folder: Path | None, name: str) -> list[str]:
    """The lines of one of the OpenStax files, none without the folder."""
    if folder is None:
        return []
    with gzip.open(folder / name, "rt", encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


# --- 2. vocabulary ---------------------------------------------------------------------------


def train_tokenizer(texts: Iterator[str], size: int) -> PreTrainedTokenizerFast:
    """A BERT-style lower-cased WordPiece tokenizer that also splits TemporaryDirectory in two."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    capital = Regex(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(capital, " "), normalizers.BertNormalizer(lowercase=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=SPECIAL, limit_alphabet=150, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=256,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )


def token_ids(
    tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], limit: int
) -> list[list[int]]:
    """Ids of each text with [CLS] and [SEP], at most `limit` of them."""
    encoded: list[list[int]] = tokenizer(list(texts), truncation=True, max_length=limit)[
        "input_ids"
    ]
    return encoded


# --- 3. embeddings ---------------------------------------------------------------------------


def ppmi_embeddings(
    sentences: Sequence[list[int]], vocabulary: int, width: int, window: int, seed: int
) -> NDArray[np.float32]:
    """Word vectors [vocabulary, width] of unit length from co-occurrence within `window`.

    Positive pointwise mutual information with smoothed contexts, factorised (Levy, Goldberg and
    Dagan, 2015, "Improving distributional similarity with lessons learned from word embeddings").
    """
    gap = np.full(window, -1, dtype=np.int64)
    stream = np.concatenate([part for ids in sentences for part in (ids[1:-1], gap)])
    counts = np.zeros(vocabulary * vocabulary)
    for distance in range(1, window + 1):
        left, right = stream[:-distance], stream[distance:]
        real = (left >= 0) & (right >= 0)
        cells = left[real] * vocabulary + right[real]
        counts += np.bincount(cells, minlength=counts.size) / distance
    table = counts.reshape(vocabulary, vocabulary).astype(np.float32)
    table += table.T
    words = table.sum(axis=1) + 1e-3
    contexts = words**0.75
    with np.errstate(divide="ignore"):
        table = np.log(table * (contexts.sum() / (words[:, None] * contexts[None, :])))
    np.maximum(table, 0, out=table)
    basis = np.random.default_rng(seed).standard_normal((vocabulary, width + 32), dtype=np.float32)
    for _ in range(4):
        basis, _ = np.linalg.qr(table @ basis)
    left, singular, _ = np.linalg.svd(table @ (table.T @ basis), full_matrices=False)
    vectors = left[:, :width] * np.sqrt(np.sqrt(singular[:width]))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-6
    result: NDArray[np.float32] = vectors.astype(np.float32)
    return result


def new_model(embeddings: NDArray[np.float32], layers: int, inner: int) -> BertForMaskedLM:
    """A small BERT whose first prediction for a token is the token and the words most like it."""
    vocabulary, width = embeddings.shape
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=inner,
        max_position_embeddings=256,
        type_vocab_size=1,
        pad_token_id=PAD,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = BertForMaskedLM(config)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.from_numpy(embeddings) * 0.6)
        model.cls.predictions.transform.dense.weight.copy_(torch.eye(width))
    return model


# --- 4. SPLADE -------------------------------------------------------------------------------


def padded(rows: Sequence[list[int]]) -> Tensor:
    """The rows as one tensor [n, longest], filled with [PAD]."""
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in rows], batch_first=True)


def learning_rate(step: int, steps: int, warm_up: int) -> float:
    """Factor of the learning rate: linear up, then linear down to nothing."""
    return min((step + 1) / warm_up, max(0.0, (steps - step) / max(1, steps - warm_up)))


def splade(model: BertForMaskedLM, ids: Tensor) -> Tensor:
    """Vectors [n, vocabulary]: max over the tokens of log(1 + relu(logit)), padding left out.

    The gradient only reaches the token that gave the highest logit, and only where that is above
    zero. So all logits are computed without one, and those few once more with it: the same
    result and gradient in half the time.
    """
    real = ids != PAD
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.bert(ids, attention_mask=real).last_hidden_state
        hidden = model.cls.predictions.transform(output)
    table, bias = model.get_input_embeddings().weight, model.cls.predictions.bias
    with torch.no_grad():
        logits = hidden.bfloat16() @ table.bfloat16().T
        logits.masked_fill_(~real[..., None], -1e4)
        highest, token = logits.max(dim=1)
        rows, terms = (highest.float() + bias > 0).nonzero(as_tuple=True)
    exact = (hidden[rows, token[rows, terms]].float() * table[terms]).sum(dim=-1) + bias[terms]
    empty = torch.zeros(len(ids), len(table))
    return empty.index_put((rows, terms), torch.log1p(torch.relu(exact)))


def calibrate(model: BertForMaskedLM, rows: Sequence[list[int]], least: float, most: float) -> None:
    """Shift the bias of each term so that it is active in about as many texts as hold it.

    Without this thousands of terms are active at the start, the scores explode and training
    switches all of them off. `most` bounds the share of texts from above, which gives stop words
    the low weight that is due to them: they have to stand out to be active at all. `least`
    bounds it from below and leaves room for terms that a text does not hold.
    """
    model.eval()
    order = sorted(rows, key=len)
    highest = []
    with torch.inference_mode():
        for start in range(0, len(order), 32):
            ids = padded(order[start : start + 32])
            logits = model(ids, attention_mask=ids != PAD).logits
            highest.append(logits.masked_fill((ids == PAD)[..., None], -1e4).amax(dim=1))
    ranked = torch.cat(highest).sort(dim=0, descending=True).values
    vocabulary = ranked.shape[1]
    holding = np.bincount([i for row in rows for i in set(row)], minlength=vocabulary) / len(rows)
    allowed = torch.from_numpy(np.clip(holding, least, most) * len(rows)).long()
    bias = model.cls.predictions.bias
    with torch.no_grad():
        bias -= ranked[allowed, torch.arange(vocabulary)]
        bias[: len(SPECIAL)] = -100.0  # never active


def encode(
    model: BertForMaskedLM, rows: Sequence[list[int]], tokens: int = 8192
) -> sparse.csr_matrix:
    """Vectors of many texts, in their order, as one sparse matrix [n, vocabulary]."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    parts, place, start = [], np.empty(len(rows), dtype=np.int64), 0
    with torch.inference_mode():
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(rows[order[stop]]) <= tokens:
                stop += 1
            chosen = order[start:stop]
            parts.append(
                sparse.csr_matrix(splade(model, padded([rows[i] for i in chosen])).numpy())
            )
            place[chosen] = np.arange(start, stop)
            start = stop
    return sparse.vstack(parts, format="csr")[place]


def first_sentence(text: str) -> tuple[str, str]:
    """The summary of a docstring and the rest."""
    head, _, tail = text.partition("\n\n")
    head = " ".join(head.split())
    found = re.search(r"(?<=[a-z)\"'`])[.:](?: |$)", head)
    if found:
        head, tail = head[: found.start()], head[found.end() :] + "\n" + tail
    return head, " ".join(tail.split())


def name_words(name: str) -> str:
    """`shutil.copyFile_now` as words: shutil copy file now."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", ".".join(name.split(".")[-2:]))
    return " ".join(re.split(r"[\W_]+", parts)).strip()


def made_pair(doc: Doc, key: int, rng: random.Random) -> Pair | None:
    """A stand-in for a question about `doc`, from its summary or its name, and what is left.

    What the question was made from is dropped from the passage half of the time, so that the
    model has to supply words that the passage does not hold.
    """
    summary, rest = first_sentence(doc.text)
    title, text = doc.title, doc.text
    if rng.random() < 0.25:
        query = name_words(doc.name)
        if rng.random() < 0.7:
            title = ""
    else:
        query = (
            re.sub(r"^(Returns?|Gets?|Sets?|This|An?|The) ", "", summary)
            if rng.random() < 0.6
            else summary
        )
        if rng.random() < 0.5:
            text = rest
    words = query.split()[:24]
    keep = 1 - rng.random() * 0.4
    words = [word for word in words if rng.random() < keep] or words
    if (
        not words
        or not (title + text).strip()
        or (len(text.split()) < 3 and len(name_words(doc.name)) < 6)
    ):
        return None
    if rng.random() < 0.15:
        words = [rng.choice(("how to", "how do i", "function to", "way to", "i want to")), *words]
    return Pair(" ".join(words), title, text, key)


def bm25(texts: Sequence[str], queries: Sequence[str]) -> NDArray[np.float32]:
    """Scores [queries, texts] of BM25 with k1 = 0.9 and b = 0.4, Lucene's inverse frequency."""
    terms: dict[str, int] = {}
    counts = _word_counts(texts, terms)
    wanted = _word_counts(queries, terms)[:, : counts.shape[1]]
    lengths = counts.sum(axis=1).A1
    saturation = 0.9 * (1 - 0.4 + 0.4 * lengths / lengths.mean())
    counts.data /= counts.data + np.repeat(saturation, np.diff(counts.indptr))
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log(1 + (len(texts) - frequency + 0.5) / (frequency + 0.5))
    scores: NDArray[np.float32] = (wanted.multiply(idf) @ counts.T).toarray().astype(np.float32)
    return scores


def _word_counts(texts: Sequence[str], terms: dict[str, int]) -> sparse.csr_matrix:
    """Counts [texts, words]; new words are added to `terms`."""
    rows = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    indices = [terms.setdefault(word, len(terms)) for row in rows for word in row]
    data = np.array([count for row in rows for count in row.values()], dtype=np.float64)
    indptr = np.cumsum([0, *map(len, rows)])
    return sparse.csr_matrix((data, indices, indptr), shape=(len(rows), len(terms)))


def evaluate(scores: NDArray[np.float32], names: Sequence[str], judged: Judged) -> dict[str, float]:
    """Mean nDCG@10 (graded) and RR@10 (grade >= 1) of the rankings that `scores` make."""
    run = {}
    for query, row in zip(judged.queries, scores, strict=True):
        best = sorted(range(len(names)), key=lambda i: (-row[i], names[i]))[:10]
        run[query] = {names[i]: 10.0 - rank for rank, i in enumerate(best) if row[i] > 0}
    evaluator = pytrec_eval.RelevanceEvaluator(judged.qrels, {"ndcg_cut_10", "recip_rank"})
    measured = evaluator.evaluate(run)
    mean = {
        name: sum(values[name] for values in measured.values()) / len(judged.queries)
        for name in ("ndcg_cut_10", "recip_rank")
    }
    return {"nDCG@10": round(mean["ndcg_cut_10"], 4), "RR@10": round(mean["recip_rank"], 4)}


class Sampler:
    """Draws batches of pairs and further passages that are hard to tell from the answers."""

    def __init__(
        self,
        library: Sequence[Doc],
        packages: Sequence[Doc],
        questions: Sequence[tuple[str, list[int]]],
        glossary: Sequence[tuple[str, str]],
        seed: int,
    ) -> None:
        self.library, self.packages = library, packages
        self.questions, self.glossary = questions, glossary
        self.rng = random.Random(seed)
        texts = [f"{doc.title} {doc.text}" for doc in library]
        scores = bm25(texts, [question for question, _ in questions])
        # What shares words with a question and does not answer it, as far as we know.
        self.hard = [
            [int(i) for i in np.argsort(-row)[:30] if i not in answers]
            for row, (_, answers) in zip(scores, questions, strict=True)
        ]
        similar = np.argpartition(-bm25(texts, texts), 12, axis=1)[:, :12]
        self.alike = [[int(i) for i in row if i != here] for here, row in enumerate(similar)]

    def batch(self) -> tuple[list[Pair], list[Doc], list[set[int]]]:
        """Pairs, further passages, and for each pair the keys that answer its question."""
        rng = self.rng
        pairs: list[Pair] = []
        answers: list[set[int]] = []
        negatives: list[Doc] = []
        for number in rng.sample(range(len(self.questions)), QUESTIONS):
            question, keys = self.questions[number]
            key = rng.choice(keys)
            doc = self.library[key]
            pairs.append(Pair(question, doc.title, doc.text, key))
            answers.append(set(keys))
            negatives.append(self.library[rng.choice(self.hard[number])])
        while len(pairs) < QUESTIONS + LIBRARY:
            here = rng.randrange(len(self.library))
            near = rng.choice(self.alike[here])
            if rng.random() < 0.5:  # a neighbour in the alphabet: often of the same class
                near = (here + rng.choice((-2, -1, 1, 2))) % len(self.library)
            for key in (here, near):
                self._add(made_pair(self.library[key], key, rng), pairs, answers)
        while len(pairs) < QUESTIONS + LIBRARY + PACKAGED:
            here = rng.randrange(len(self.packages) - 4)
            for key in (here, here + rng.randrange(1, 4)):
                self._add(made_pair(self.packages[key], key + 10**6, rng), pairs, answers)
        for _ in range(GLOSSARY if self.glossary else 0):
            key = rng.randrange(len(self.glossary))
            sides = list(self.glossary[key])
            rng.shuffle(sides)
            self._add(Pair(sides[0], "", sides[1], key + 10**7), pairs, answers)
        return pairs, negatives, answers

    @staticmethod
    def _add(pair: Pair | None, pairs: list[Pair], answers: list[set[int]]) -> None:
        if pair is not None:
            pairs.append(pair)
            answers.append({pair.key})


def own_words(rows: Sequence[list[int]], rarity: Tensor) -> Tensor:
    """The weights [n, vocabulary] that the words of each text should have at least.

    They grow with the word's rarity, as in BM25, and are zero for stop words. Left alone, the
    FLOPS regulariser takes away words that are common and still tell something (file, list).
    """
    wanted = torch.zeros(len(rows), len(rarity))
    for row, ids in zip(wanted, rows, strict=True):
        row[ids] = rarity[ids]
    return wanted


def rarities(rows: Sequence[list[int]], vocabulary: int) -> Tensor:
    """log(1 + (idf - 1.2) / 2) of each term among the texts, not below zero."""
    frequency = np.bincount([i for row in rows for i in set(row)], minlength=vocabulary)
    idf = np.log((len(rows) + 1) / (frequency + 1))
    idf[: len(SPECIAL)] = 0
    return torch.from_numpy(np.log1p(np.maximum(idf - 1.2, 0) / 2)).float()


def train_splade(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    sampler: Sampler,
    steps: int,
    rate: float,
    flops: tuple[float, float],
    own: tuple[float, Tensor],
    state: Path,
    on_checkpoint: Callable[[int], None],
) -> None:
    """Contrastive training; `flops` are the final weights of the regulariser (queries, passages).

    What is needed to go on after an interruption is kept in the file `state`, every 50 steps.

    A question's score with a passage is the dot product of their vectors; the loss is the cross
    entropy of its own passage against all passages of the batch, plus the weights times
    sum over terms of (mean weight of the term in the batch)^2, ramped up quadratically, plus
    the first of `own` times the squared shortfall from `own_words` with the rarities in `own`.
    """
    plain = [p for p in model.parameters() if p.ndim < 2]
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
        lr=rate,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate(step, steps, steps // 20 + 1)
    )
    first = 0
    if state.exists():
        kept = torch.load(state, weights_only=False)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        schedule.load_state_dict(kept["schedule"])
        sampler.rng.setstate(kept["random"])
        first = kept["step"]
    begin, shown = time.monotonic(), defaultdict[str, float](float)
    for step in range(first, steps):
        model.train()
        pairs, negatives, answers = sampler.batch()
        query_ids = token_ids(tokenizer, [p.query for p in pairs], QUERY_TOKENS)
        queries = splade(model, padded(query_ids))
        texts = [f"{p.title} {p.text}".strip() for p in pairs]
        texts += [f"{doc.title} {doc.text}" for doc in negatives]
        passage_ids = token_ids(tokenizer, texts, PASSAGE_TOKENS)
        passages = splade_by_length(model, passage_ids)
        scores = queries @ passages.T
        keys = [p.key for p in pairs] + [-1] * len(negatives)
        also = torch.tensor(
            [[key in a and i != j for j, key in enumerate(keys)] for i, a in enumerate(answers)]
        )
        ranking = functional.cross_entropy(scores.masked_fill(also, -1e4), torch.arange(len(pairs)))
        ramp = min(1.0, (step + 1) / (steps * 0.5)) ** 2
        cost = [
            weight * vectors.mean(dim=0).square().sum()
            for weight, vectors in zip(flops, (queries, passages), strict=True)
        ]
        short = [
            own[0] * (own_words(ids, own[1]) - vectors).relu().square().sum(dim=1).mean()
            for ids, vectors in ((query_ids, queries), (passage_ids, passages))
        ]
        loss: Tensor = ranking + ramp * (cost[0] + cost[1]) + short[0] + short[1]
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        shown["loss"] += ranking.item()
        shown["q flops"] += cost[0].item()
        shown["p flops"] += cost[1].item()
        shown["q own"] += short[0].item()
        shown["p own"] += short[1].item()
        shown["query terms"] += (queries > 0).sum().item() / len(queries)
        shown["passage terms"] += (passages > 0).sum().item() / len(passages)
        if (step + 1) % 25 == 0:
            means = " ".join(f"{name} {value / 25:.3f}" for name, value in shown.items())
            log.info("step %d/%d %s %.0fs", step + 1, steps, means, time.monotonic() - begin)
            shown.clear()
        if (step + 1) % 50 == 0:
            kept = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "random": sampler.rng.getstate(),
                "step": step + 1,
            }
            torch.save(kept, state)
        if (step + 1) % 150 == 0 or step + 1 == steps:
            on_checkpoint(step + 1)


def splade_by_length(model: BertForMaskedLM, rows: Sequence[list[int]], groups: int = 3) -> Tensor:
    """`splade` of rows of very different length, with less padding."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    size = math.ceil(len(rows) / groups)
    parts = [
        splade(model, padded([rows[i] for i in order[s : s + size]]))
        for s in range(0, len(rows), size)
    ]
    back = torch.empty(len(rows), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(rows))
    return torch.cat(parts)[back]


# --- figures and files -----------------------------------------------------------------------


def demo_questions() -> Judged:
    """The questions that come with the demo."""
    with open(collection.queries_path(), encoding="utf-8") as file:
        queries = {record["_id"]: record["text"] for record in map(json.loads, file)}
    qrels: dict[str, dict[str, int]] = {query: {} for query in queries}
    for line in collection.qrels_path().read_text(encoding="utf-8").splitlines()[1:]:
        query, passage, score = line.split("\t")
        qrels[query][passage] = int(score)
    return Judged(queries, qrels)


def training_questions(
    path: Path, library: Sequence[Doc]
) -> tuple[list[tuple[str, list[int]]], Judged]:
    """The written questions: those to train on, and every eighth to watch progress with.

    What shares an answer with a watched question is not trained on.
    """
    place = {doc.name: i for i, doc in enumerate(library)}
    questions = []
    for line in path.read_text(encoding="utf-8").splitlines():
        question, names = line.split("\t")
        known = [name for name in names.split() if name in place]
        if known:
            questions.append((question, known))
    watched = Judged({}, {})
    for number, (question, known) in enumerate(questions[::8]):
        watched.queries[f"w{number}"] = question
        watched.qrels[f"w{number}"] = dict.fromkeys(known, 1)
    unseen = {name for answers in watched.qrels.values() for name in answers}
    train = [
        (question, [place[name] for name in known])
        for question, known in questions
        if unseen.isdisjoint(known)
    ]
    return train, watched


def figures(
    model: BertForMaskedLM,
    tokenizer: PreTrainedTokenizerFast,
    library: Sequence[Doc],
    sets: dict[str, Judged],
) -> str:
    """Effectiveness and number of active terms, in one line."""
    names = [doc.name for doc in library]
    passages = encode(model, token_ids(tokenizer, [f"{d.title} {d.text}" for d in library], 256))
    line = f"{passages.nnz / passages.shape[0]:.0f} terms a passage"
    for label, judged in sets.items():
        queries = encode(model, token_ids(tokenizer, list(judged.queries.values()), 256))
        scores = (queries @ passages.T).toarray()
        line += f" | {label}: {queries.nnz / queries.shape[0]:.0f} terms a question"
        for measure, value in evaluate(scores, names, judged).items():
            line += f", {measure} {value:.4f}"
    return line


def save(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in float16; what else is in `folder` stays."""
    copy = BertForMaskedLM(model.config)
    copy.load_state_dict(model.state_dict())
    copy.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"  # the name transformers 4 knows, too
    path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_texts(work: Path, openstax: Path | None) -> tuple[list[Doc], list[Doc], list[str]]:
    """Stage 1: the library's, the packages' and the textbooks' text."""
    library = [Doc(*passage) for passage in collection.passages()]
    cache = work / "packages.jsonl"
    if not cache.exists():
        found = package_docs(PACKAGES)
        with open(cache, "w", encoding="utf-8") as file:
            file.writelines(json.dumps(doc) + "\n" for doc in found)
        distributions = packages_distributions()
        versions = {d: version(d) for p in PACKAGES for d in distributions.get(p, [])}
        log.info("packages: %s", ", ".join(f"{d} {v}" for d, v in sorted(versions.items())))
    with open(cache, encoding="utf-8") as file:
        packages = [Doc(*json.loads(line)) for line in file]
    books = read_openstax(openstax, "mlm.txt.gz")
    log.info("%d passages, %d of packages, %d of books", len(library), len(packages), len(books))
    return library, packages, books


def main() -> None:
    """Run the stages and write the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=collection.model_path(), help="model folder")
    parser.add_argument("--work", type=Path, default=Path("/tmp/demo-model"), help="for stages")
    parser.add_argument("--openstax", type=Path, help="folder with mlm.txt.gz, glossary-pairs")
    parser.add_argument("--vocabulary", type=int, default=8000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--inner", type=int, default=768)
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--query-flops", type=float, default=0.03)
    parser.add_argument("--passage-flops", type=float, default=0.01)
    parser.add_argument("--own-words", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)

    library, packages, books = read_texts(args.work, args.openstax)
    if not (args.work / "tokenizer").exists():
        texts = [f"{doc.title} {doc.text}" for doc in (*library * 3, *packages)] + books[::6]
        train_tokenizer(iter(texts), args.vocabulary).save_pretrained(args.work / "tokenizer")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(args.work / "tokenizer")
    own = token_ids(tokenizer, [f"{doc.title} {doc.text}" for doc in library], 256)
    if not (args.work / "embeddings.npy").exists():
        others = token_ids(tokenizer, [f"{d.title} {d.text}" for d in packages] + books, 256)
        vectors = ppmi_embeddings(own * 3 + others, len(tokenizer), args.width, 5, args.seed)
        np.save(args.work / "embeddings.npy", vectors)
    model = new_model(np.load(args.work / "embeddings.npy"), args.layers, args.inner)

    train, watched = training_questions(collection.model_path() / "training_questions.tsv", library)
    glossary = [
        (pair["query"], pair["positive"])
        for pair in map(json.loads, read_openstax(args.openstax, "glossary-pairs.jsonl.gz"))
    ]
    sampler = Sampler(library, packages, train, glossary, args.seed)
    sets = {"demo": demo_questions(), "watched": watched}
    texts = [f"{doc.title} {doc.text}" for doc in library]
    for label, judged in sets.items():
        scores = bm25(texts, list(judged.queries.values()))
        log.info("BM25 %s: %s", label, evaluate(scores, [d.name for d in library], judged))

    def checkpoint(step: int) -> None:
        save(model, tokenizer, args.out)
        log.info("step %d: %s", step, figures(model, tokenizer, library, {"watched": watched}))

    begin = time.monotonic()
    calibrate(model, random.Random(args.seed).sample(own, 1000), least=0.01, most=0.08)
    flops = (args.query_flops, args.passage_flops)
    state = args.work / "state.pt"
    words = (args.own_words, rarities(own, len(tokenizer)))
    train_splade(model, tokenizer, sampler, args.steps, args.rate, flops, words, state, checkpoint)
    state.unlink()
    log.info("SPLADE training took %.0f s", time.monotonic() - begin)
    stored = BertForMaskedLM.from_pretrained(args.out, dtype=torch.float32)
    log.info("%s: %s", args.out, figures(stored, tokenizer, library, sets))


if __name__ == "__main__":
    main()
