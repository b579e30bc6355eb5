"""Masked language modelling that prepares a network for SPLADE, from nothing or from a checkpoint.

Efficient SPLADE trains its language model further before the retrieval training, with a FLOPS
penalty on what will be the SPLADE vectors ("MLM + FLOPS" middle training, arXiv:2207.03834). The
loss of a batch of n blocks is

    mlm x CE(logits at masked positions)
    + activated x CE(log(1 + relu(logits)) at masked positions)
    + lambda_t x sum_j (mean_i w_ij)^2

with w_ij = max over the positions of block i of log(1 + relu(logit_j)), and
lambda_t = lambda min(1, t / T)^2. The second part asks the weights themselves, which cannot fall
below 0, to tell the masked word; it is off unless wanted.

Texts are tokenized once into a flat file, one after the other with [SEP] between them, and cut into
blocks. What is masked depends on the seed and the number of the step alone, so that a run that was
killed and goes on reaches the weights of one that was not.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, SequentialSampler
from transformers import (
    DataCollatorForLanguageModeling,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)

from splade_bridge.corpora import read_texts
from splade_bridge.errors import BadInputError, CheckFailedError, UsageError
from splade_bridge.files import folder_lock, numbered_lines, refuse_existing, staged_folder
from splade_bridge.training.checkpoints import checkpoints
from splade_bridge.training.schedule import ramp
from splade_bridge.training.trainer import LOG_FILE, JsonLog
from splade_bridge.training.wordpiece import train_wordpiece

log = logging.getLogger(__name__)

PLAN, TOKENS, CONTINUED, SUMMARY = "plan.json", "tokens.bin", "continued.bin", "mlm.json"
TEXTS_AT_ONCE = 1000


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
        vocab_size: of a tokenizer that is learnt.
        split_names: whether that tokenizer splits names at a change to upper case.
        layers: of a new BERT.
        hidden: its width.
        heads: of its attention.
        intermediate: width of its feed-forward layers.
        dropout: of a new network.
        block: tokens of a block, special ones included.
        steps: updates of the weights.
        batch_size: blocks on each device.
        gradient_accumulation: batches of an update.
        learning_rate: highest; linear from 0 and to 0.
        warmup_steps: until the highest.
        weight_decay: of AdamW.
        mask: share of the tokens that are masked.
        whole_words: mask all pieces of a word.
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
    vocab_size: int = 30522
    split_names: bool = False
    layers: int = 6
    hidden: int = 768
    heads: int = 12
    intermediate: int = 3072
    dropout: float = 0.1
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


@dataclass(frozen=True)
class MlmSummary:
    """What was trained.

    Attributes:
        steps: updates.
        texts: that were read.
        tokens: of these, without special ones.
        blocks: they make; the data are passed through ``steps x batch / blocks`` times.
        vocabulary: terms of the tokenizer.
        parameters: of the network.
        resumed_from: step that an earlier, killed run had reached; None for a new one.
        last: what was logged last: loss and its parts, FLOPS and terms of a block.
    """

    steps: int
    texts: int
    tokens: int
    blocks: int
    vocabulary: int
    parameters: int
    resumed_from: int | None
    last: dict[str, float]


def train_mlm(options: MlmOptions, say: Callable[[str], None] = log.info) -> MlmSummary:
    """Train and write the checkpoint ``options.out``, which AutoModelForMaskedLM loads.

    Raises:
        UsageError: options that do not go together, or ``out`` exists.
        BadInputError: texts or checkpoint cannot be read.
        CheckFailedError: the loss is not finite any more.
    """
    _check(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    work = options.out.with_name(f"{options.out.name}.work")
    with ExitStack() as stack:
        stack.enter_context(folder_lock(work.with_name(f".{work.name}.lock"), options.out))
        _open_work(work, options)
        tokenizer = _tokenizer(options, work)
        blocks = _blocks(options, tokenizer, work)
        set_seed(options.seed)
        model = _network(options, tokenizer)
        arguments = _arguments(options, work)
        trainer = _MlmTrainer(
            options,
            model=model,
            args=arguments,
            train_dataset=_Rows(blocks, options, arguments.world_size),
            data_collator=_Masking(tokenizer, options),
            callbacks=[JsonLog(work / LOG_FILE)],
        )
        trainer.remove_callback(PrinterCallback)
        kept = checkpoints(work)
        if kept:
            say(f"going on from {kept[-1].name}")
        trainer.train(resume_from_checkpoint=str(kept[-1]) if kept else None)
        logged = [e for e in trainer.state.log_history if "mlm" in e]
        summary = MlmSummary(
            steps=trainer.state.global_step,
            texts=blocks.texts,
            tokens=blocks.tokens,
            blocks=len(blocks),
            vocabulary=len(tokenizer),
            parameters=sum(p.numel() for p in model.parameters()),
            resumed_from=int(kept[-1].name.rpartition("-")[2]) if kept else None,
            last={k: v for k, v in logged[-1].items() if k != "epoch"} if logged else {},
        )
        with staged_folder(options.out, overwrite=options.overwrite) as folder:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            shutil.copy(work / LOG_FILE, folder / LOG_FILE)
            told = {"options": _recorded(options), "summary": _without_history(summary)}
            (folder / SUMMARY).write_text(json.dumps(told, indent=2) + "\n", "utf-8")
        shutil.rmtree(work)
    return summary


def texts_of(options: MlmOptions) -> Iterator[str]:
    """All texts that are trained on, files first, then corpora, then documentation strings.

    Raises:
        BadInputError: a file that cannot be read.
    """
    for path in options.texts:
        for number, line in numbered_lines(path):
            try:
                yield line.decode().strip()
            except UnicodeDecodeError as error:
                raise BadInputError(f"not UTF-8 ({error})", f"{path}:{number}") from error
    for corpus in options.corpora:
        yield from (text.text for text in read_texts(corpus))
    if options.docstrings:
        from splade_bridge.training.docstrings import contents, documentation

        yield from map(contents, documentation(options.packages))


# --- loss ------------------------------------------------------------------------------------


def splade_weights(logits: Tensor, attention_mask: Tensor) -> Tensor:
    """log(1 + relu(maximum over the positions)): float [n, terms] of logits [n, length, terms].

    The logarithm is taken after the maximum, of which it is a monotone function: the same result
    with a tensor the smaller.
    """
    hidden = ~attention_mask.bool()[..., None]
    return logits.masked_fill(hidden, float("-inf")).amax(dim=1).relu().log1p()


def flops(weights: Tensor) -> Tensor:
    """sum_j (mean_i w_ij)^2 of weights [n, terms] (Paria et al., 2020, arXiv:2004.05665, eq. 4)."""
    return weights.float().mean(dim=0).square().sum()


class _MlmTrainer(Trainer):  # type: ignore[misc]
    """transformers' trainer with the loss of this module."""

    def __init__(self, options: MlmOptions, **settings: Any) -> None:
        super().__init__(**settings)
        self.model_accepts_loss_kwargs = False  # the mean over accumulated batches is taken here
        self._options = options
        self._parts: list[dict[str, Tensor]] = []

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """The weighted sum of the parts; they are kept for the log."""
        options = self._options
        labels = inputs["labels"]
        mask = inputs["attention_mask"]
        output = model(input_ids=inputs["input_ids"], attention_mask=mask)
        logits = output.logits
        masked = labels != -100
        told, wanted = logits[masked].float(), labels[masked]
        # A batch without a masked token has no loss, and not the NaN of an empty mean.
        count = max(1, len(wanted))
        parts = {"mlm": functional.cross_entropy(told, wanted, reduction="sum") / count}
        loss = options.mlm * parts["mlm"]
        if options.activated:
            weights = told.relu().log1p()
            parts["activated"] = functional.cross_entropy(weights, wanted, reduction="sum") / count
            loss = loss + options.activated * parts["activated"]
        vectors = splade_weights(logits if options.flops else logits.detach(), mask)
        parts["flops"] = flops(vectors)
        parts["terms"] = (vectors > 0).sum(dim=1).float().mean()
        if options.flops:
            scale = ramp(self.state.global_step, options.flops_ramp)
            loss = loss + options.flops * scale * parts["flops"]
        if not torch.isfinite(loss):
            raise CheckFailedError(
                f"step {self.state.global_step}: the loss is {loss.item()}: lower the learning rate"
            )
        self._parts.append({name: value.detach() for name, value in parts.items()})
        return (loss, output) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the means of the parts since the last line."""
        if "loss" in logs and self._parts:
            names = self._parts[0]
            means = {n: float(torch.stack([p[n] for p in self._parts]).mean()) for n in names}
            logs = {**logs, **means}
            self._parts.clear()
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return SequentialSampler(train_dataset or self.train_dataset)


# --- data ------------------------------------------------------------------------------------


class Blocks:
    """The tokens of all texts as blocks ``[CLS] ... [SEP]``, mapped from disk.

    Attributes:
        texts: that were read.
        tokens: of them, separators not counted.
    """

    def __init__(self, folder: Path, size: int, cls: int, sep: int) -> None:
        self._tokens = np.memmap(folder / TOKENS, dtype=np.int32, mode="r")
        self._continued = np.memmap(folder / CONTINUED, dtype=np.bool_, mode="r")
        self._inner, self._cls, self._sep = size - 2, cls, sep
        told = json.loads((folder / "tokens.json").read_text("utf-8"))
        self.texts: int = told["texts"]
        self.tokens: int = told["tokens"]

    def __len__(self) -> int:
        return -(-len(self._tokens) // self._inner)

    def block(self, number: int) -> dict[str, Any]:
        """``input_ids``, ``special_tokens_mask`` and ``offset_mapping`` of a block.

        Offsets are made up: they only tell whether a piece continues the word before it.
        """
        part = slice(number * self._inner, (number + 1) * self._inner)
        ids = np.concatenate([[self._cls], self._tokens[part], [self._sep]]).astype(np.int64)
        continued = np.concatenate([[False], self._continued[part], [False]])
        continued[1] = False
        starts = 2 * np.arange(len(ids)) - continued
        offsets = np.stack([starts, 2 * np.arange(len(ids)) + 1], axis=1)
        special = (ids == self._cls) | (ids == self._sep)
        return {
            "input_ids": ids.tolist(),
            "special_tokens_mask": special.astype(int).tolist(),
            "offset_mapping": offsets.tolist(),
        }


class _Rows(Dataset[Any]):
    """All rows of the training in their order: pass after pass over the blocks, each shuffled."""

    def __init__(self, blocks: Blocks, options: MlmOptions, devices: int) -> None:
        self._blocks, self._seed = blocks, options.seed
        batch = options.batch_size * options.gradient_accumulation * devices
        self._length = options.steps * batch
        self._pass, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict[str, Any]:
        number, at = divmod(row, len(self._blocks))
        if number != self._pass:
            rng = np.random.default_rng([self._seed, number])
            self._pass, self._order = number, rng.permutation(len(self._blocks))
        return {**self._blocks.block(int(self._order[at])), "row": row}


class _Masking:
    """transformers' masking with a generator that is set anew for each batch."""

    def __init__(self, tokenizer: Any, options: MlmOptions) -> None:
        self._seed = options.seed
        self._whole_words = options.whole_words
        self._tokenizer = tokenizer
        self._collate = DataCollatorForLanguageModeling(
            tokenizer,
            mlm_probability=options.mask,
            whole_word_mask=options.whole_words,
            **(
                {"mask_replace_prob": 1.0, "random_replace_prob": 0.0}
                if options.whole_words
                else {}
            ),
        )

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        length = max(len(row["input_ids"]) for row in rows)
        state = np.random.SeedSequence([self._seed, rows[0]["row"]]).generate_state(1, np.uint64)
        self._collate.generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
        padded = []
        for row in rows:
            missing = length - len(row["input_ids"])
            pad = self._tokenizer.pad_token_id
            item = {
                "input_ids": row["input_ids"] + [pad] * missing,
                "attention_mask": [1] * (length - missing) + [0] * missing,
                "special_tokens_mask": row["special_tokens_mask"] + [1] * missing,
            }
            if self._whole_words:
                item["offset_mapping"] = row["offset_mapping"] + [[0, 0]] * missing
            padded.append(item)
        return self._collate(padded)


def _blocks(options: MlmOptions, tokenizer: Any, work: Path) -> Blocks:
    told = work / "tokens.json"
    if not told.exists():
        texts, tokens = _write_tokens(texts_of(options), tokenizer, work)
        if not tokens:
            raise BadInputError("the texts hold no tokens", str(options.out))
        told.write_text(json.dumps({"texts": texts, "tokens": tokens}), "utf-8")
    return Blocks(work, options.block, tokenizer.cls_token_id, tokenizer.sep_token_id)


def _write_tokens(texts: Iterable[str], tokenizer: Any, work: Path) -> tuple[int, int]:
    """Flat files of token ids, and of whether each continues a word; counts texts and tokens."""
    total_texts, total_tokens = 0, 0
    stream = iter(texts)
    with open(work / TOKENS, "wb") as tokens, open(work / CONTINUED, "wb") as continued:
        while group := list(islice(stream, TEXTS_AT_ONCE)):
            found = tokenizer(
                group, add_special_tokens=False, return_attention_mask=False, verbose=False
            )
            for number, ids in enumerate(found["input_ids"]):
                total_texts += 1
                if not ids:
                    continue
                words = found.word_ids(number)
                inside = [False, *(a == b for a, b in pairwise(words)), False]
                if total_tokens:
                    ids, inside = [tokenizer.sep_token_id, *ids], [False, *inside]
                np.array(ids, dtype=np.int32).tofile(tokens)
                np.array(inside[: len(ids)], dtype=np.bool_).tofile(continued)
                total_tokens += len(words)
    return total_texts, total_tokens


# --- network and folders ---------------------------------------------------------------------


def _check(options: MlmOptions) -> None:
    if not (options.texts or options.corpora or options.docstrings):
        raise UsageError("no text to train on: name text files or corpora")
    if options.base and options.tokenizer:
        raise UsageError("a checkpoint (base) has its own tokenizer: leave tokenizer out")
    if options.hidden % options.heads:
        raise UsageError(f"hidden {options.hidden} cannot be divided by {options.heads} heads")
    for name, least in (("block", 8), ("steps", 1), ("batch_size", 1), ("save_every", 1)):
        if getattr(options, name) < least:
            raise UsageError(f"{name} {getattr(options, name)}: must be {least} or more")
    if not 0 < options.mask < 1:
        raise UsageError(f"mask {options.mask}: must be between 0 and 1, usually 0.15")
    refuse_existing(options.out, overwrite=options.overwrite)


def _recorded(options: MlmOptions) -> dict[str, Any]:
    held = {k: v for k, v in asdict(options).items() if k != "overwrite"}
    recorded: dict[str, Any] = json.loads(json.dumps(held, default=str))
    return recorded


def _without_history(summary: MlmSummary) -> dict[str, Any]:
    return {k: v for k, v in asdict(summary).items() if k != "resumed_from"}


def _open_work(work: Path, options: MlmOptions) -> None:
    plan = json.dumps(_recorded(options), indent=2)
    held = work / PLAN
    if held.is_file() and held.read_text("utf-8") == plan:
        whole = set(checkpoints(work))
        for folder in set(work.glob("checkpoint-*")) - whole:
            shutil.rmtree(folder)
        return
    if work.exists():
        if held.is_file() and not options.overwrite:
            raise UsageError(
                f"{work}: holds a training with other options; go on with those ({held}), choose "
                "another output, or throw it away with --overwrite"
            )
        shutil.rmtree(work)
    work.mkdir()
    held.write_text(plan, "utf-8")


def _tokenizer(options: MlmOptions, work: Path) -> Any:
    from transformers import AutoTokenizer

    name = options.base or options.tokenizer
    if not name:
        learnt = work / "tokenizer"
        if not learnt.exists():
            train_wordpiece(
                texts_of(options),
                options.vocab_size,
                learnt,
                max_length=options.block,
                split_names=options.split_names,
            )
        name = str(learnt)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise BadInputError(f"no tokenizer ({str(error).splitlines()[0]})", name) from error
    lacking = [n for n in ("mask", "cls", "sep", "pad") if getattr(tokenizer, f"{n}_token") is None]
    if lacking:
        raise BadInputError(f"the tokenizer has no {', '.join(lacking)} token", name)
    return tokenizer


def _network(options: MlmOptions, tokenizer: Any) -> Any:
    from transformers import AutoModelForMaskedLM, BertConfig, BertForMaskedLM

    if options.base:
        try:
            return AutoModelForMaskedLM.from_pretrained(options.base, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise BadInputError(
                f"no masked language model ({str(error).splitlines()[0]})", options.base
            ) from error
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=options.hidden,
            num_hidden_layers=options.layers,
            num_attention_heads=options.heads,
            intermediate_size=options.intermediate,
            max_position_embeddings=max(options.block, 512),
            hidden_dropout_prob=options.dropout,
            attention_probs_dropout_prob=options.dropout,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _arguments(options: MlmOptions, work: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(work),
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.gradient_accumulation,
        learning_rate=options.learning_rate,
        warmup_steps=options.warmup_steps,
        weight_decay=options.weight_decay,
        bf16=options.precision == "bf16",
        seed=options.seed,
        logging_steps=options.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=options.save_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=_on_cpu(),
    )


def _on_cpu() -> bool:
    return not torch.cuda.is_available()
