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

A run that was killed and goes on reaches the weights of one that was not.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.finished import kept_result, write_record
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import check_output, discard, mark, throw_away
from splade_bridge.files.writing import staged_folder
from splade_bridge.training.arguments import common_arguments
from splade_bridge.training.checkpoints import (
    checkpoints,
    remove_unfinished,
    saving,
    step_of,
)
from splade_bridge.training.hub import model_folder
from splade_bridge.training.options import MlmOptions
from splade_bridge.training.plans import plan_of
from splade_bridge.training.wordpiece import train_wordpiece

if TYPE_CHECKING:
    from transformers import TrainingArguments

log = logging.getLogger(__name__)

PLAN, SUMMARY = "plan.json", "mlm.json"


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

    What the same options have made already is left as it is.

    Raises:
        UsageError: options that do not go together, or ``out`` exists.
        BadInputError: texts, checkpoint or tokenizer cannot be read.
        CheckFailedError: the loss is not finite any more.
        Interrupted: Ctrl-C or SIGTERM; the step was saved, and the same command goes on from it.
    """
    _check(options)
    plan = plan_of(options, (), options.corpora)
    if there := kept_result(options.out, plan, overwrite=options.overwrite):
        return MlmSummary(**{**there, "resumed_from": None})
    given = _given(options)
    from transformers import PrinterCallback, set_seed

    from splade_bridge.encoding.in_threads import use_cores
    from splade_bridge.training.mlm_data import Masking, ShuffledBlocks, token_blocks
    from splade_bridge.training.mlm_trainer import MlmTrainer
    from splade_bridge.training.stopping import StopWhenAsked, resumable
    from splade_bridge.training.trainer import LOG_FILE, JsonLog
    from splade_bridge.training.word_vectors import start_from

    options.out.parent.mkdir(parents=True, exist_ok=True)
    work = options.out.with_name(f"{options.out.name}.work")
    with ExitStack() as stack:
        stack.enter_context(folder_lock(work.with_name(f".{work.name}.lock"), options.out))
        _open_work(work, options)
        trusted = options.trust_remote_code
        tokenizer = _tokenizer(given or _learnt(options, work), trust_remote_code=trusted)
        blocks = token_blocks(options, tokenizer, work)
        set_seed(options.seed)
        if options.base and given:
            model = _pretrained(given, trust_remote_code=trusted)
        else:
            model = _network(options, tokenizer)
        kept = checkpoints(work)
        if options.word_vectors and not kept:
            say("word vectors")
            if options.hidden >= len(tokenizer):
                raise UsageError(
                    f"word_vectors: {len(tokenizer):,} terms are too few for hidden "
                    f"{options.hidden}"
                )
            vectors = blocks.word_vectors(len(tokenizer), options.hidden, options.seed)
            start_from(model, vectors)
        arguments = _arguments(options, work)
        trainer = MlmTrainer(
            options,
            model=model,
            args=arguments,
            train_dataset=ShuffledBlocks(blocks, options, arguments.world_size),
            data_collator=Masking(tokenizer, options),
            callbacks=[JsonLog(work / LOG_FILE)],
        )
        trainer.remove_callback(PrinterCallback)
        if kept:
            say(f"going on from {kept[-1].name}")
        stop = StopWhenAsked(say)
        trainer.add_callback(stop)
        use_cores()
        with resumable(work), saving(work), stop.listening():
            trainer.train(resume_from_checkpoint=str(kept[-1]) if kept else None)
        logged = [e for e in trainer.state.log_history if "mlm" in e]
        summary = MlmSummary(
            steps=trainer.state.global_step,
            texts=blocks.texts,
            tokens=blocks.tokens,
            blocks=len(blocks),
            vocabulary=len(tokenizer),
            parameters=sum(p.numel() for p in model.parameters()),
            resumed_from=step_of(kept[-1]) if kept else None,
            last={k: v for k, v in logged[-1].items() if k != "epoch"} if logged else {},
        )
        with (
            saving(options.out),
            staged_folder(options.out, overwrite=options.overwrite) as folder,
        ):
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            shutil.copyfile(work / LOG_FILE, folder / LOG_FILE)
            told = {"options": _recorded(options), "summary": _without_history(summary)}
            (folder / SUMMARY).write_text(json.dumps(told, indent=2) + "\n", "utf-8")
            write_record(folder, plan, asdict(summary))
        throw_away(work, options.out)
    return summary


def _check(options: MlmOptions) -> None:
    if not (options.texts or options.corpora or options.docstrings):
        raise UsageError("no text to train on: name text files or corpora")
    if options.base and options.tokenizer:
        raise UsageError("a checkpoint (base) has its own tokenizer: leave tokenizer out")
    if options.base and options.word_vectors:
        raise UsageError("word_vectors are for a new network, and base names a trained one")
    if options.hidden % options.heads:
        raise UsageError(f"hidden {options.hidden} cannot be divided by {options.heads} heads")
    for name, least in (("block", 8), ("steps", 1), ("batch_size", 1), ("save_every", 1)):
        if getattr(options, name) < least:
            raise UsageError(f"{name} {getattr(options, name)}: must be {least} or more")
    if not 0 < options.mask < 1:
        raise UsageError(f"mask {options.mask}: must be between 0 and 1, usually 0.15")
    if options.overwrite or not options.out.is_dir():
        check_output(options.out, overwrite=options.overwrite)


def _recorded(options: MlmOptions) -> dict[str, Any]:
    held = {k: v for k, v in asdict(options).items() if k != "overwrite"}
    recorded: dict[str, Any] = json.loads(json.dumps(held, default=str))
    return recorded


def _without_history(summary: MlmSummary) -> dict[str, Any]:
    return {k: v for k, v in asdict(summary).items() if k != "resumed_from"}


def _open_work(work: Path, options: MlmOptions) -> None:
    plan = json.dumps(_recorded(options), indent=2)
    held = work / PLAN
    if held.is_file() and held.read_bytes() == plan.encode():
        remove_unfinished(work)
        return
    if work.exists():
        if held.is_file() and not options.overwrite:
            raise UsageError(
                f"{work}: holds a training with other options; go on with those ({held}), choose "
                "another output, or throw it away with --overwrite"
            )
        discard(work, options.out)
    work.mkdir()
    mark(work)
    held.write_text(plan, "utf-8")


def _given(options: MlmOptions) -> Path | None:
    """The folder of the checkpoint or tokenizer that is started from."""
    for flag in ("base", "tokenizer"):
        if name := getattr(options, flag):
            return model_folder(name, f"--{flag}", options.revision)
    return None


def _learnt(options: MlmOptions, work: Path) -> Path:
    """The folder of a tokenizer that is learnt from the texts."""
    from splade_bridge.training.mlm_data import texts_of

    folder = work / "tokenizer"
    if not folder.exists():
        train_wordpiece(
            texts_of(options),
            options.vocab_size,
            folder,
            max_length=options.block,
            split_names=options.split_names,
        )
    return folder


def _tokenizer(folder: Path, *, trust_remote_code: bool) -> Any:
    from transformers import AutoTokenizer

    from splade_bridge.encoding.network import refusal

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, ImportError) as error:
        raise refusal(error, folder, "no tokenizer") from error
    lacking = [n for n in ("mask", "cls", "sep", "pad") if getattr(tokenizer, f"{n}_token") is None]
    if lacking:
        raise BadInputError(f"the tokenizer has no {', '.join(lacking)} token", str(folder))
    return tokenizer


def _pretrained(base: Path, *, trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoModelForMaskedLM

    from splade_bridge.encoding.network import refusal, refuse_claims

    refuse_claims(base)
    try:
        return AutoModelForMaskedLM.from_pretrained(
            base, dtype=torch.float32, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, ImportError) as error:
        raise refusal(error, base, "no masked language model") from error


def _network(options: MlmOptions, tokenizer: Any) -> Any:
    from transformers import BertConfig, BertForMaskedLM

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
    import torch
    from transformers import TrainingArguments

    arguments = TrainingArguments(
        **common_arguments(options, work),
        max_steps=options.steps,
        bf16=options.precision == "bf16",
        save_steps=options.save_every,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
    )
    arguments._n_gpu = 1  # never DataParallel, whose batches ShuffledBlocks does not count
    return arguments
