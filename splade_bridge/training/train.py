"""From a recipe to a checkpoint.

While it trains, everything is in ``OUT.training``: checkpoints to resume from, ``log.jsonl``,
``tensorboard/``. The same command goes on from the last whole checkpoint there, and on a CPU
reaches the same weights, bit for bit, as a run that was never stopped. ``OUT`` appears whole at the
end: the best model (the last one without a validation set) in the layout of sentence-transformers,
``recipe.toml``, ``README.md``, ``log.jsonl``, ``tensorboard/``, and in ``last/`` the last model
where it is not the best. Then ``OUT.training`` is removed.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.finished import fingerprints, kept_result, write_record
from splade_bridge.files.locks import folder_lock
from splade_bridge.files.outputs import MARK, check_output, discard, mark, throw_away
from splade_bridge.files.writing import staged_folder
from splade_bridge.training.arguments import common_arguments
from splade_bridge.training.checkpoints import (
    checkpoints,
    remove_unfinished,
    saving,
    step_of,
)
from splade_bridge.training.examples import KNOWN
from splade_bridge.training.ready import check_ready
from splade_bridge.training.recipe import (
    Recipe,
    differing_keys,
    in_work_folder,
    input_files,
    leaves,
    read_recipe,
    to_toml,
)

if TYPE_CHECKING:
    from datasets import Dataset
    from sentence_transformers import SparseEncoder

    from splade_bridge.training.examples import DataCounts
    from splade_bridge.training.stopping import StopWhenAsked

log = logging.getLogger(__name__)

RECIPE_FILE = "recipe.toml"
LAST = "last"
TENSORBOARD = "tensorboard"
QUICKLY_MADE = {MARK, RECIPE_FILE, TENSORBOARD, "log.jsonl", "new", "new-query"}
"""What a work folder holds before there is anything to lose."""
TIMES = ("_runtime", "_per_second")
TERMS_SAMPLE = 500
"""Rows over which terms are counted before the training."""


@dataclass(frozen=True)
class Trained:
    """What came out.

    Attributes:
        out: the checkpoint.
        steps: done in all.
        best_step: of the model in ``out``.
        resumed_from: step of the checkpoint that the run went on from; None for a new one.
        figures: last values of the log; those of validation begin with ``eval_`` and are the
            best checkpoint's.
        seconds: of this run.
    """

    out: Path
    steps: int
    best_step: int
    resumed_from: int | None
    figures: dict[str, float]
    seconds: float


class _Ended(NamedTuple):
    """What a training left in its work folder; ``model`` is the last one, as it was trained."""

    steps: int
    best: Path
    last: Path
    resumed_from: int | None
    figures: dict[str, float]
    model: SparseEncoder


def train_recipe(
    name: str | Path,
    out: Path,
    overrides: Iterable[str] = (),
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = log.info,
) -> Path:
    """Train recipe ``name`` and return the checkpoint's folder; see :func:`train`."""
    recipe = read_recipe(name, overrides)
    return train(recipe, out, overwrite=overwrite, trust_remote_code=trust_remote_code, say=say).out


def train(
    recipe: Recipe,
    out: Path,
    *,
    overwrite: bool = False,
    trust_remote_code: bool = False,
    say: Callable[[str], None] = log.info,
) -> Trained:
    """Train ``recipe``, or go on with it; what it has made already is left as it is.

    Args:
        overwrite: replace a finished ``out``, and throw away a training of another recipe.
        trust_remote_code: run code that comes with the base, which may do anything. No recipe says
            so: it may be a stranger's.
        say: gets a line for a person now and then.

    Raises:
        BadInputError: data, model or settings that cannot be used.
        UsageError: ``out`` exists, another process trains it, or a training of another recipe
            waits to be gone on with.
        CheckFailedError: the training has come to nothing: a loss that is not a number, vectors
            without terms.
        Interrupted: Ctrl-C or SIGTERM; the step was saved, and the same command goes on from it.
        MissingToolError: the extra ``train`` is not installed.
    """
    out = out.resolve()
    work = out.with_name(f"{out.name}.training")
    plan = {".".join(k): v for k, v in leaves(recipe)}
    plan["inputs"] = fingerprints(input_files(recipe))
    if kept := kept_result(out, plan, overwrite=overwrite):
        return Trained(**{**kept, "out": out, "seconds": 0.0})
    check_ready(recipe, work)
    from accelerate import PartialState

    from splade_bridge.training.stopping import resumable

    began = time.monotonic()
    # Others wait for the main process as long as the stages and the data take.
    processes = PartialState(cpu=_on_cpu(), timeout=timedelta(days=7))
    with contextlib.ExitStack() as stack:
        if processes.is_main_process:
            check_output(out, overwrite=overwrite, inputs=input_files(recipe))
            work.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(folder_lock(out.with_name(f".{out.name}.training.lock"), out))
            _open_work(work, recipe, overwrite=overwrite)
        processes.wait_for_everyone()
        with resumable(work), _plain_errors(), saving(work), _quiet_libraries():
            ended = _train(in_work_folder(recipe, work), work, processes, say, trust_remote_code)
        trained = Trained(
            out=out,
            steps=ended.steps,
            best_step=step_of(ended.best),
            resumed_from=ended.resumed_from,
            figures=ended.figures,
            seconds=time.monotonic() - began,
        )
        if processes.is_main_process:
            _finish(
                recipe, work, trained, ended, plan,
                overwrite=overwrite, trust_remote_code=trust_remote_code,
            )  # fmt: skip
        processes.wait_for_everyone()
    return trained


def _train(
    recipe: Recipe,
    work: Path,
    processes: Any,
    say: Callable[[str], None],
    trust_remote_code: bool,
) -> _Ended:
    from transformers import PrinterCallback, set_seed

    from splade_bridge.training.calibrate import calibrate
    from splade_bridge.training.data import read_training_data
    from splade_bridge.training.losses import build_loss
    from splade_bridge.training.max_first import take_maximum_first
    from splade_bridge.training.model import add_lora, build_model, prompts_of, set_dropout
    from splade_bridge.training.schedule import RegularizerSchedule
    from splade_bridge.training.start import MeasureAtTheStart, base_terms, training_length
    from splade_bridge.training.stopping import StopWhenAsked
    from splade_bridge.training.temperature import fit_temperature
    from splade_bridge.training.trainer import REGULARIZER_STATE, BridgeTrainer

    if recipe.train.precision == "fp16" and precision_of(recipe) == "fp32":
        say("fp16 needs a GPU: training in fp32")
    if processes.is_main_process:
        _prepare(recipe, processes.num_processes, say, trust_remote_code)
    processes.wait_for_everyone()
    with processes.main_process_first():
        dataset, counts = read_training_data(recipe.data)
    if recipe.reranker:
        return _train_reranker(recipe, work, dataset, processes, say, trust_remote_code)
    columns = check_columns(dataset, recipe, counts)
    evaluator = _evaluator(recipe)
    set_seed(recipe.train.seed)
    with processes.main_process_first():
        model = build_model(
            recipe.model, _documents(dataset), work, trust_remote_code=trust_remote_code
        )
    if recipe.model.dropout is not None:
        set_dropout(model, recipe.model.dropout)
    base = copy.deepcopy(model) if recipe.loss.base_scores else None
    if recipe.model.lora.rank:
        add_lora(model, recipe.model.lora)
    take_maximum_first(model)
    kept = checkpoints(work)
    if recipe.model.calibrate and not kept:
        calibrate(model, *_sample(dataset, recipe.model.calibrate))
    loss = build_loss(model, recipe.loss, recipe.regularizer, recipe.train.mini_batch)
    terms = base_terms(model, recipe, *_sample(dataset, TERMS_SAMPLE))
    schedule = RegularizerSchedule(loss, recipe.regularizer, terms)
    stop = StopWhenAsked(say)
    trainer = BridgeTrainer(
        model=model,
        args=training_arguments(recipe, work, columns, prompts_of(model)),
        train_dataset=dataset,
        loss=loss,
        evaluator=evaluator,
        callbacks=[schedule, *_callbacks(recipe, work, processes.is_main_process, say), stop],
    )
    trainer.schedule, trainer.adapters = schedule, recipe.model.lora.rank > 0
    trainer.say = say
    trainer.data_collator.max_length = {"document": training_length(model, recipe.train)}
    if base is not None:
        take_maximum_first(base)
        trainer.keep_base(base)
    if recipe.validation and recipe.validation.at_start:
        trainer.add_callback(MeasureAtTheStart(trainer))
    if recipe.loss.contrastive and not recipe.loss.contrastive_temperature:
        say(f"scores are divided by {fit_temperature(trainer):.3g}, which fits the base")
    trainer.remove_callback(PrinterCallback)
    if kept:
        schedule.load_state(kept[-1] / REGULARIZER_STATE)
        say(f"going on from step {step_of(kept[-1]):,}")
    return _run(trainer, work, kept, recipe, stop, say)


def _train_reranker(
    recipe: Recipe,
    work: Path,
    dataset: Dataset,
    processes: Any,
    say: Callable[[str], None],
    trust_remote_code: bool,
) -> _Ended:
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments
    from transformers import PrinterCallback, set_seed

    from splade_bridge.training.reranker import (
        RerankerTrainer,
        build_reranker,
        reranker_loss,
        reranker_rows,
    )
    from splade_bridge.training.stopping import StopWhenAsked

    assert recipe.reranker
    rows = reranker_rows(dataset, recipe.reranker)
    set_seed(recipe.train.seed)
    with processes.main_process_first():
        model = build_reranker(recipe, trust_remote_code=trust_remote_code)
    stop = StopWhenAsked(say)
    trainer = RerankerTrainer(
        model=model,
        args=training_arguments(recipe, work, None, {}, CrossEncoderTrainingArguments),
        train_dataset=rows,
        loss=reranker_loss(model, recipe.reranker, recipe.train.mini_batch),
        callbacks=[*_callbacks(recipe, work, processes.is_main_process, say), stop],
    )
    trainer.remove_callback(PrinterCallback)
    kept = checkpoints(work)
    if kept:
        say(f"going on from step {step_of(kept[-1]):,}")
    return _run(trainer, work, kept, recipe, stop)


def _run(
    trainer: Any,
    work: Path,
    kept: list[Path],
    recipe: Recipe,
    stop: StopWhenAsked,
    say: Callable[[str], None] = log.info,
) -> _Ended:
    """Train, from the last of the checkpoints that are there."""
    from splade_bridge.encoding.in_threads import use_cores
    from splade_bridge.training.between import best_between
    from splade_bridge.training.start import START, start_is_best

    use_cores()
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(kept[-1]) if kept else None)
    state, validation = trainer.state, recipe.validation
    kept_now = checkpoints(work)
    last = kept_now[-1]
    # By its name: the path is of where the folder was when it was written.
    best = work / Path(state.best_model_checkpoint).name if state.best_model_checkpoint else last
    if best not in kept_now:
        raise BadInputError(f"the best checkpoint, {best.name}, is not in it", str(work))
    trained = best
    if validation and start_is_best(state.log_history, validation.metric):
        best = work / START
    figures = _figures(state.log_history, step_of(best))
    if validation and validation.interpolate:
        between = best_between(trainer, work / START, trained, validation, say)
        if between.figures[validation.metric] > figures[f"eval_{validation.metric}"]:
            best = between.folder
            figures |= {f"eval_{name}": value for name, value in between.figures.items()}
    return _Ended(
        state.global_step,
        best,
        last,
        step_of(kept[-1]) if kept else None,
        figures,
        trainer.model,
    )


def _prepare(
    recipe: Recipe, processes: int, say: Callable[[str], None], trust_remote_code: bool
) -> None:
    """The stages before the training; what is there already is not made again."""
    from splade_bridge.training.mine import mine
    from splade_bridge.training.mlm import train_mlm
    from splade_bridge.training.score import score

    if recipe.mlm and not recipe.mlm.out.exists():
        if processes > 1:
            raise UsageError("the stage mlm does not run in several processes: use train mlm first")
        say("training a masked language model")
        log.info("%s", train_mlm(replace(recipe.mlm, trust_remote_code=trust_remote_code), say))
    if recipe.mine and not recipe.mine.out.exists():
        say("mining hard negatives")
        log.info("%s", mine(replace(recipe.mine, trust_remote_code=trust_remote_code)))
    if recipe.score and not recipe.score.out.exists():
        say("scoring with the teacher")
        log.info("%s", score(replace(recipe.score, trust_remote_code=trust_remote_code)))


def training_arguments(
    recipe: Recipe,
    work: Path,
    columns: list[str] | None,
    prompts: dict[str, str],
    kind: Any = None,
) -> Any:
    """What the recipe says, as arguments of sentence-transformers.

    Args:
        columns: of texts; None for those of a cross-encoder, which have no sides.
        prompts: what is put in front of the texts of each side.
        kind: class of the arguments; SparseEncoderTrainingArguments if None.
    """
    sides = {c: "query" if c == "query" else "document" for c in columns or ()}
    from sentence_transformers.base.training_args import BatchSamplers
    from sentence_transformers.sparse_encoder import SparseEncoderTrainingArguments

    train, validation = recipe.train, recipe.validation
    every = validation.every if validation else train.save_every
    precision = precision_of(recipe)
    arguments = (kind or SparseEncoderTrainingArguments)(
        **common_arguments(train, work),
        max_steps=train.steps or -1,
        num_train_epochs=train.epochs or 1.0,
        max_grad_norm=train.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        dataloader_num_workers=train.workers,
        batch_sampler=(
            BatchSamplers.NO_DUPLICATES
            if train.no_duplicates and columns is not None
            else BatchSamplers.BATCH_SAMPLER
        ),
        router_mapping=sides,
        prompts={c: prompts[side] for c, side in sides.items() if prompts.get(side)},
        save_steps=every,
        eval_strategy="steps" if validation else "no",
        eval_steps=every,
        metric_for_best_model=f"eval_{validation.metric}" if validation else None,
        greater_is_better=True if validation else None,
        use_cpu=_on_cpu(),
        ddp_find_unused_parameters=False,
        **({"gradient_checkpointing": True} if train.gradient_checkpointing else {}),
    )
    arguments._n_gpu = 1  # one GPU a process, and never DataParallel: torchrun starts several
    return arguments


def precision_of(recipe: Recipe) -> str:
    """``bf16``, ``fp16`` or ``fp32``: what ``auto`` is here, and fp32 for fp16 on a CPU."""
    import torch

    precision = recipe.train.precision
    if precision == "fp16" and _on_cpu():
        return "fp32"
    if precision != "auto":
        return precision
    native = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def check_columns(dataset: Dataset, recipe: Recipe, counts: DataCounts) -> list[str]:
    """The columns of texts, after a check that the losses find what they need.

    Raises:
        UsageError: a loss that distils, and no teacher scores in the data.
    """
    columns = [c for c in dataset.column_names if c not in ("label", KNOWN)]
    if (recipe.loss.margin_mse or recipe.loss.kl) and "label" not in dataset.column_names:
        unread = counts.unread_fields()
        raise UsageError(
            "loss.margin_mse and loss.kl need teacher scores, and the data have none: name a file "
            "in data.scores, or make one with `splade-bridge train score`"
            + f"; what is not read of the data: {', '.join(unread)}"
            * bool(unread)
        )
    return columns


def _sample(dataset: Dataset, size: int) -> tuple[list[str], list[str]]:
    """Positives and queries of at most ``size`` rows, evenly over the data."""
    size = min(size, len(dataset))
    rows = dataset.select([i * len(dataset) // size for i in range(size)])
    return list(rows["positive"]), list(rows["query"])


def _documents(dataset: Dataset) -> Iterator[str]:
    """Every text of a document once."""
    seen: set[int] = set()
    for column in dataset.column_names:
        if column in ("query", "label", KNOWN):
            continue
        for rows in dataset.select_columns([column]).iter(1000):
            for text in rows[column]:
                if (key := hash(text)) not in seen:
                    seen.add(key)
                    yield text


def _evaluator(recipe: Recipe) -> Any:
    import torch

    if recipe.validation is None:
        return None
    from splade_bridge.training.validation import RetrievalEvaluator, load_validation

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}[precision_of(recipe)]
    found = load_validation(recipe.validation, recipe.train.seed)
    return RetrievalEvaluator(
        found, recipe.validation.batch_size, dtype, recipe.validation.count_documents
    )


def _callbacks(recipe: Recipe, work: Path, main: bool, say: Callable[[str], None]) -> list[Any]:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback

    from splade_bridge.training.trainer import (
        LOG_FILE,
        EarlyStopping,
        JsonLog,
        MeasureAtTheEnd,
        ProgressLine,
    )

    callbacks: list[Any] = [JsonLog(work / LOG_FILE), ProgressLine(say)]
    if main:
        kept = checkpoints(work)
        board = SummaryWriter(
            str(work / TENSORBOARD), purge_step=step_of(kept[-1]) + 1 if kept else None
        )
        callbacks.append(TensorBoardCallback(board))
    if recipe.validation:
        metric, patience = f"eval_{recipe.validation.metric}", recipe.validation.patience
        callbacks += [MeasureAtTheEnd(), EarlyStopping(metric, patience)]
    return callbacks


def _open_work(work: Path, recipe: Recipe, *, overwrite: bool) -> None:
    """Make ``work``, or find in it a training of the same recipe."""
    file = work / RECIPE_FILE
    if file.is_file():
        differing = differing_keys(read_recipe(file), recipe)
        if differing and not overwrite and any(p.name not in QUICKLY_MADE for p in work.iterdir()):
            raise UsageError(
                f"{work}: holds a training with another {', '.join(differing)}. Go on with that "
                f"recipe ({file}), choose another output, or throw it away with --overwrite"
            )
        if not differing:
            remove_unfinished(work)
            return
    if work.exists():
        discard(work, work.with_suffix(""))
    work.mkdir()
    mark(work)
    file.write_text(to_toml(recipe), "utf-8")


def _finish(
    recipe: Recipe,
    work: Path,
    trained: Trained,
    ended: _Ended,
    plan: dict[str, Any],
    *,
    overwrite: bool,
    trust_remote_code: bool,
) -> None:
    """Write the checkpoint and remove ``work``."""
    from splade_bridge.training.trainer import LOG_FILE

    with (
        saving(trained.out),
        staged_folder(trained.out, overwrite=overwrite, inputs=input_files(recipe)) as folder,
    ):
        _save(ended.best, ended.model, recipe, folder, trust_remote_code)
        if ended.last != ended.best:
            _save(ended.last, ended.model, recipe, folder / LAST, trust_remote_code)
        (folder / RECIPE_FILE).write_text(to_toml(recipe), "utf-8")
        (folder / "README.md").write_text(_card(recipe, ended), "utf-8")
        shutil.copyfile(work / LOG_FILE, folder / LOG_FILE)  # with no modes to set
        for file in (f for f in (work / TENSORBOARD).rglob("*") if f.is_file()):
            (place := folder / file.relative_to(work)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, place)
        told = {k: v for k, v in asdict(trained).items() if k not in ("out", "seconds")}
        write_record(folder, plan, {**told, "resumed_from": None})
    throw_away(work, trained.out)


def _save(
    checkpoint: Path,
    trained: SparseEncoder,
    recipe: Recipe,
    folder: Path,
    trust_remote_code: bool,
) -> None:
    """The model of a training's checkpoint, in the layout of sentence-transformers."""
    import torch
    from sentence_transformers import SparseEncoder

    from splade_bridge.training.model import merge_lora
    from splade_bridge.training.reranker import load_reranker
    from splade_bridge.training.trainer import load_adapted

    with _quiet_libraries():
        model: Any
        if recipe.reranker:
            model = load_reranker(checkpoint, trust_remote_code=trust_remote_code)
        elif recipe.model.lora.rank:
            model = copy.deepcopy(trained).cpu()
            load_adapted(model, checkpoint)
            merge_lora(model)
        else:
            model = SparseEncoder(
                str(checkpoint), device="cpu", trust_remote_code=trust_remote_code
            )
        model.to(getattr(torch, recipe.model.save_dtype))
        model.save_pretrained(str(folder), create_model_card=False)
    for weights in folder.rglob("*.safetensors"):
        with contextlib.suppress(OSError):  # where files have no modes
            weights.chmod(0o644)  # safetensors writes for the owner alone


def _card(recipe: Recipe, ended: _Ended) -> str:
    about = [
        (name, getattr(recipe, name)) for name in ("source", "cost", "expected")
        if getattr(recipe, name)
    ]  # fmt: skip
    lines = [f"# {recipe.title}", "", "Trained with `splade-bridge train`; see `recipe.toml`.", ""]
    lines += [f"- {name}: {text.strip()}" for name, text in about]
    lines += [f"- steps: {ended.steps:,}; this is the model of step {step_of(ended.best):,}"]
    lines += [f"- {name}: {value:.6g}" for name, value in sorted(ended.figures.items())]
    return "\n".join(lines) + "\n"


def _figures(history: list[dict[str, float]], best_step: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for entry in history:
        measured = any(name.startswith("eval_") for name in entry)
        if not measured or entry["step"] == best_step:
            figures |= entry
    return {
        name: value
        for name, value in figures.items()
        if name not in ("step", "epoch", "total_flos") and not name.endswith(TIMES)
    }


def _on_cpu() -> bool:
    import torch

    return not (torch.cuda.is_available() or torch.backends.mps.is_available())


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UsageError(
            "the GPU's memory is not enough: lower train.batch_size, or set train.mini_batch "
            f"(texts encoded at once) or train.gradient_checkpointing ({error})"
        ) from error


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Only what sentence-transformers warns of, without bars and tables of loaded weights."""
    import datasets

    from splade_bridge.encoding.network import quiet

    bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        with quiet():
            yield
    finally:
        if not bars:
            datasets.enable_progress_bars()
