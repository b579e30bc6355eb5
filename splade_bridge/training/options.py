"""The sections of a recipe that are about models and their training; see :mod:`.recipe`.

This module loads no library, so that a recipe can be read without any.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

QueryEncoder = Literal["shared", "separate", "bow", "idf"]
Penalty = Literal["flops", "l1", "none"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
RerankerLoss = Literal["pointwise", "lce", "ranknet", "lambda", "kl", "margin_mse"]


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters instead of training all weights (arXiv:2106.09685), through PEFT.

    Attributes:
        rank: r of the paper; 0 trains all weights.
        alpha: the update is scaled by alpha / rank.
        dropout: on what goes into an adapter.
        target_modules: names of layers; PEFT's choice for the architecture if empty.
        train_whole: names of layers that are trained as they are, as the MLM head's transform.
    """

    rank: int = 0
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    train_whole: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelOptions:
    """The ``[model]`` section: what is trained.

    Attributes:
        base: masked language model to start from, a folder or a hub name; of documents, where
            queries have another. A SparseEncoder keeps its prompts and its limit of active terms.
            Empty for a new network of ``config``.
        config: settings of a new network, ``model_type`` among them, as transformers has them.
        tokenizer: folder or hub name, for a new network.
        revision: branch, tag or commit of the hub name in ``base`` or ``tokenizer``; empty for its
            main branch.
        query: ``shared``: the same encoder; ``separate``: an own one (arXiv:2207.03834); ``bow``:
            each token of the query with weight 1 (SPLADE-doc, arXiv:2109.10086); ``idf``: each
            token with its inverse document frequency (arXiv:2411.04403).
        query_base: masked language model of a separate query encoder; ``base`` if empty.
        query_revision: of the hub name in ``query_base``.
        query_config: settings of a new network for queries.
        idf: JSON ``{token: weight}``; if empty, what ``base`` has for queries, or counted over the
            training documents.
        pooling: over positions; ``max`` since SPLADE v2, ``sum`` in v1; ``auto`` is what ``base``
            was saved with, or max.
        activation: ``relu`` is log(1 + relu(x)); ``log1p_relu`` takes the logarithm once more
            (arXiv:2504.14839); ``auto`` is what ``base`` was saved with, or relu.
        query_length: tokens of a query that are read.
        document_length: tokens of a document that are read.
        save_dtype: of the finished checkpoint's weights; training has its own precision.
        dropout: while training, of all layers; None leaves it as ``base`` has it. 0 lets the model
            begin as what it is afterwards: with dropout other terms are active.
        calibrate: so many texts of the training data decide how the biases of all terms are
            shifted at the start, so that each is active in about as many texts as hold it; for
            networks that begin with thousands of active terms. 0 leaves the network as it is.
        lora: adapters.
    """

    base: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    tokenizer: str = ""
    revision: str = ""
    query: QueryEncoder = "shared"
    query_base: str = ""
    query_revision: str = ""
    query_config: dict[str, Any] = field(default_factory=dict)
    idf: str = ""
    pooling: Literal["auto", "max", "sum"] = "auto"
    activation: Literal["auto", "relu", "log1p_relu"] = "auto"
    query_length: int = 256
    document_length: int = 256
    save_dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    calibrate: int = 0
    dropout: float | None = None
    lora: LoraOptions = LoraOptions()


@dataclass(frozen=True)
class LossOptions:
    """The ``[loss]`` section: weights of what is added up; see :mod:`.losses`.

    Attributes:
        contrastive: cross-entropy of the positive among all documents of the batch.
        pairwise: softmax of the positive against each of its own negatives.
        margin_mse: squared error of the margins to the teacher's.
        kl: divergence from the teacher's distribution over the documents of a row.
        base_scores: squared error of all scores of the batch to those that the model gave before
            the training: a pull towards what it knew.
        anti_zero: against vectors that lose all their terms.
        contrastive_temperature: that scores are divided by; 0 finds the one that fits the base, see
            :mod:`.temperature`.
        kl_temperature: of teacher and student.
        gather: contrastive over the documents of all GPUs.
    """

    contrastive: float = 0.0
    pairwise: float = 0.0
    margin_mse: float = 0.0
    kl: float = 0.0
    base_scores: float = 0.0
    anti_zero: float = 0.0
    contrastive_temperature: float = 1.0
    kl_temperature: float = 1.0
    gather: bool = True


@dataclass(frozen=True)
class SideRegularizer:
    """How one side is kept sparse.

    Attributes:
        penalty: ``flops`` (arXiv:2004.05665), ``l1`` or ``none``.
        weight: lambda; where to begin, with ``target_terms``.
        target_terms: steer lambda so that a text has about this many terms; None keeps lambda.
        base_terms: the same, as a multiple of the terms that texts have before the training.
        threshold: texts with no more terms than this are spared (arXiv:2504.14839).
    """

    penalty: Penalty = "none"
    weight: float = 1e-3
    target_terms: float | None = None
    base_terms: float | None = None
    threshold: int | None = None


@dataclass(frozen=True)
class RegularizerOptions:
    """The ``[regularizer]`` section.

    Attributes:
        ramp_steps: T in lambda_t = lambda min(1, t / T)^2; with ``target_terms`` the number of
            terms is led to the target in this time.
        query: of queries.
        document: of documents.
    """

    ramp_steps: int = 0
    query: SideRegularizer = SideRegularizer()
    document: SideRegularizer = SideRegularizer()


@dataclass(frozen=True)
class RerankerOptions:
    """The ``[reranker]`` section: train a cross-encoder, which reads query and document together.

    Attributes:
        loss: ``pointwise``, ``lce``, ``ranknet``, ``lambda``, ``kl`` or ``margin_mse``; see
            :mod:`.reranker`.
        max_length: tokens of query and document together; the network's own limit if that is less.
    """

    loss: RerankerLoss = "lce"
    max_length: int = 512


@dataclass(frozen=True)
class TrainOptions:
    """The ``[train]`` section.

    Attributes:
        steps: updates of the weights; 0 where ``epochs`` says how long.
        epochs: passes over the data.
        batch_size: rows (a query with its documents) on each device and in each forward pass.
        gradient_accumulation: batches of one update.
        mini_batch: texts encoded at once, with their gradients cached (arXiv:2101.06983): batches
            far beyond the memory of a GPU. 0 encodes the whole batch.
        document_length: tokens of a document that are read in training, where fewer than
            ``model.document_length`` do, and cost less; 0 reads as many.
        learning_rate: highest; linear from 0 and to 0.
        warmup_steps: until the highest.
        weight_decay: of AdamW.
        max_grad_norm: gradients are cut to this norm.
        precision: ``auto`` is bf16 on a GPU that has it, else fp32.
        no_duplicates: no text twice in a batch, where it would be a negative of itself.
        gradient_checkpointing: less memory, more time.
        workers: processes that tokenize.
        seed: of everything drawn.
        log_every: steps between two lines of the log.
        save_every: steps between two checkpoints to resume from, where no validation says when.
    """

    steps: int = 0
    epochs: float = 0.0
    batch_size: int = 32
    gradient_accumulation: int = 1
    mini_batch: int = 0
    document_length: int = 0
    learning_rate: float = 2e-5
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    precision: Precision = "auto"
    no_duplicates: bool = True
    gradient_checkpointing: bool = False
    workers: int = 0
    seed: int = 42
    log_every: int = 100
    save_every: int = 1000


@dataclass(frozen=True)
class ValidationOptions:
    """The ``[validation]`` section: retrieval over a sample, while the training runs.

    Attributes:
        corpus: documents, whatever ``encode`` takes.
        queries: their texts.
        qrels: judgements, TREC or BEIR.
        every: steps between two measurements; a checkpoint is saved each time.
        max_documents: of the sample; the judged ones are always in it. 0 takes all.
        max_queries: of the sample; 0 takes all.
        metric: that the best checkpoint has most of: nDCG@10 or RR@10.
        patience: stop after so many measurements without a better one; 0 never.
        batch_size: texts encoded at once.
        count_documents: of so many, drawn, all terms are counted; others are encoded for the terms
            that queries have alone, which are all that a ranking looks at: with a small network a
            fraction of the time. 0 counts those of all documents.
        remove_query: leave out the document with the query's id, as BEIR does for ArguAna.
        at_start: measure before the first step, too; where nothing that follows is better, the
            model as it was is the best one.
        interpolate: shares of the way from the model as it was to the best that was trained, as
            0.5: models there are measured at the end, and the best of all is the result; see
            :mod:`.between`. Needs ``at_start``.
    """

    corpus: str
    queries: str
    qrels: Path
    every: int = 1000
    max_documents: int = 20_000
    max_queries: int = 500
    metric: Literal["nDCG@10", "RR@10"] = "RR@10"
    patience: int = 0
    batch_size: int = 64
    count_documents: int = 0
    remove_query: bool = False
    at_start: bool = False
    interpolate: tuple[float, ...] = ()


@dataclass(frozen=True)
class MlmOptions:
    """The ``[mlm]`` section of a recipe, and the flags of ``splade-bridge train mlm``.

    Attributes:
        out: folder of the trained checkpoint. ``OUT.work`` is what a killed run goes on from.
        texts: plain text files, a text a line.
        corpora: collections, whatever ``encode`` takes.
        docstrings: documentation strings of Python and of ``packages``.
        packages: installed packages to read besides.
        base: checkpoint to start from; empty for a new network.
        tokenizer: of a new network, a folder or hub name; empty learns one from the texts.
        revision: branch, tag or commit of the hub name in ``base`` or ``tokenizer``.
        trust_remote_code: run code that comes with these.
        vocab_size: of a tokenizer that is learnt.
        split_names: whether that tokenizer splits names at a change to upper case.
        layers: of a new BERT.
        hidden: its width.
        heads: of its attention.
        intermediate: width of its feed-forward layers.
        dropout: of a new network.
        word_vectors: whether its embeddings start from counts of the texts; see
            :mod:`.word_vectors`.
        block: tokens of a block, special ones included.
        steps: updates of the weights.
        batch_size: blocks on each device.
        gradient_accumulation: batches of an update.
        learning_rate: highest; linear from 0 and to 0.
        warmup_steps: until the highest.
        weight_decay: of AdamW.
        mask: share of the tokens that are masked.
        whole_words: mask all pieces of a word; every masked token is then [MASK], none another.
        mlm: weight of the loss over the logits.
        activated: weight of the loss over the SPLADE weights.
        flops: lambda.
        flops_ramp: T, in steps.
        precision: ``bf16`` computes in bfloat16; the weights stay float32.
        seed: of initialisation, order, masks and dropout.
        log_every: steps between two lines of ``log.jsonl``.
        save_every: steps between two checkpoints to go on from.
        overwrite: replace ``out``, and the work of a run with other options.
    """

    out: Path
    texts: tuple[Path, ...] = ()
    corpora: tuple[str, ...] = ()
    docstrings: bool = False
    packages: tuple[str, ...] = ()
    base: str = ""
    tokenizer: str = ""
    revision: str | None = None
    trust_remote_code: bool = False
    vocab_size: int = 30522
    split_names: bool = False
    layers: int = 6
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
    word_vectors: bool = False
    block: int = 256
    steps: int = 10_000
    batch_size: int = 32
    gradient_accumulation: int = 1
    learning_rate: float = 1e-4
    warmup_steps: int = 500
    weight_decay: float = 0.01
    mask: float = 0.15
    whole_words: bool = False
    mlm: float = 1.0
    activated: float = 0.0
    flops: float = 0.0
    flops_ramp: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 42
    log_every: int = 50
    save_every: int = 500
    overwrite: bool = False
