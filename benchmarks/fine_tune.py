"""Fine-tuning a published model: the base, our recipe, and sentence-transformers' trainer.

    .venv/bin/python benchmarks/fine_tune.py MODEL --out runs ../shared/data/nfcorpus ../shared/data/scifact

MODEL is a SPLADE checkpoint, as splade-tiny (tests/fetched.py says where it comes from); the others
are BEIR folders. Each is trained on its own qrels/train.tsv and validated on qrels/dev.tsv; where
there is none, a fifth of the training queries (--seed) is held out for that. Ours is the recipe
fine-tune, changed by --set. sentence-transformers' trainer gets the same base, rows (query,
positive, BM25 negatives), batch size, lengths and rate, SpladeLoss with the weights that it takes by
default, and as much processor time as ours took with its mining and validations (--minutes: so
much). qrels/test.tsv is looked at once for each model; a difference to the base is tested by Fisher's
randomisation. What is finished is not made again.
"""  # noqa: E501 - a command

from __future__ import annotations

import argparse
import json
import random
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from sentence_transformers import SparseEncoder
from transformers import TrainerCallback

from machine import describe
from splade_bridge.evaluation.significance import compare_pair
from splade_bridge.training.data import load_training_data
from splade_bridge.training.max_first import take_maximum_first
from splade_bridge.training.model import build_model
from splade_bridge.training.options import ModelOptions, ValidationOptions
from splade_bridge.training.recipe import Recipe, in_work_folder, read_recipe
from splade_bridge.training.train import train
from splade_bridge.training.validation import RetrievalEvaluator, load_validation

HELD_OUT = 0.2
COUNTED = 500
"""Documents whose terms are counted."""
COLUMNS = (
    "collection", "model", "step", "processor minutes", "dev nDCG@10", "test nDCG@10", "p",
    "terms a document", "a query",
)  # fmt: skip
Found = dict[str, Any]


def judgements(folder: Path, work: Path, seed: int) -> tuple[Path, Path]:
    """Files of judgements to train on and to validate on."""
    qrels = folder / "qrels"
    if (qrels / "dev.tsv").is_file():
        return qrels / "train.tsv", qrels / "dev.tsv"
    header, *lines = (qrels / "train.tsv").read_text().splitlines(keepends=True)
    queries = sorted({line.split("\t")[0] for line in lines})
    out = set(random.Random(seed).sample(queries, round(HELD_OUT * len(queries))))
    files = (work / "fit.tsv", work / "held-out.tsv")
    for file, held in zip(files, (False, True), strict=True):
        kept = [line for line in lines if (line.split("\t")[0] in out) is held]
        file.write_text(header + "".join(kept))
    return files


def recipe_for(arguments: argparse.Namespace, folder: Path, work: Path) -> Recipe:
    fit, held_out = judgements(folder, work, arguments.seed)
    places = {
        "model.base": arguments.model, "data.path": folder, "data.qrels": fit,
        "mine.queries": folder, "mine.qrels": fit, "mine.corpus": folder,
        "validation.corpus": folder, "validation.queries": folder, "validation.qrels": held_out,
    }  # fmt: skip
    return read_recipe(
        "fine-tune", [*(f"{key}={place}" for key, place in places.items()), *arguments.set]
    )


class Clock(TrainerCallback):
    """Ends a training after so many seconds of the processor."""

    def __init__(self, seconds: float) -> None:
        self._end = time.process_time() + seconds

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        control.should_training_stop = time.process_time() > self._end


def train_theirs(recipe: Recipe, work: Path, out: Path, seconds: float) -> int:
    """sentence-transformers' own trainer and loss on the rows of ``recipe``; the steps."""
    from sentence_transformers.base.training_args import BatchSamplers
    from sentence_transformers.sparse_encoder import SparseEncoderTrainer, losses
    from sentence_transformers.sparse_encoder import SparseEncoderTrainingArguments as Arguments

    rows = load_training_data(in_work_folder(recipe, work).data)
    texts = [c for c in rows.column_names if c not in ("label", "known")]
    model = SparseEncoder(recipe.model.base)
    model.max_seq_length = recipe.train.document_length or recipe.model.document_length
    trainer = SparseEncoderTrainer(
        model=model,
        args=Arguments(
            output_dir=str(work / "theirs"),
            max_steps=100_000,
            per_device_train_batch_size=recipe.train.batch_size,
            learning_rate=recipe.train.learning_rate,
            lr_scheduler_type="constant_with_warmup",  # it is not known how many steps there are
            warmup_steps=recipe.train.warmup_steps,
            batch_sampler=BatchSamplers.NO_DUPLICATES,
            seed=recipe.train.seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=25,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=rows.select_columns(texts),
        loss=losses.SpladeLoss(
            model=model,
            loss=losses.SparseMultipleNegativesRankingLoss(model),
            query_regularizer_weight=5e-5,
            document_regularizer_weight=3e-5,
        ),
        callbacks=[Clock(seconds)],
    )
    trainer.train()
    model.max_seq_length = recipe.model.document_length
    model.save_pretrained(str(out), create_model_card=False)
    return int(trainer.state.global_step)


def measured(model: Any, folder: Path, test: Path, held_out: Path) -> Found:
    """nDCG@10 of each query of both sets over the whole collection, and the mean sizes."""
    take_maximum_first(model)
    whole = {"max_documents": 0, "max_queries": 0}
    sets = [
        load_validation(ValidationOptions(str(folder), str(folder), qrels, **whole), 0)
        for qrels in (test, held_out)
    ]
    both = replace(
        sets[0],
        queries=sets[0].queries | sets[1].queries,
        qrels={**sets[0].qrels, **sets[1].qrels},
    )
    sizes, queries = RetrievalEvaluator(both, 64, None, COUNTED).measure(model.eval())
    found: Found = {"document_terms": sizes["document_terms"], "query_terms": sizes["query_terms"]}
    for name, of in zip(("test", "dev"), sets, strict=True):
        found[name] = {query_id: queries[query_id]["nDCG@10"] for query_id in of.queries}
    return found


def kept(file: Path, make: Any) -> Found:
    """What ``make`` gives, from ``file`` if it is there."""
    if not file.is_file():
        file.write_text(json.dumps(make(), indent=2))
    found: Found = json.loads(file.read_text())
    return found


def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Found]:
    work = arguments.out / folder.name
    work.mkdir(parents=True, exist_ok=True)
    recipe = recipe_for(arguments, folder, work)
    assert recipe.validation
    held_out = recipe.validation.qrels
    lengths = {"query_length": recipe.model.query_length}
    lengths["document_length"] = recipe.model.document_length
    found: dict[str, Found] = {}

    def told(model: Any, step: int, seconds: float) -> Found:
        found = measured(model, folder, folder / "qrels" / "test.tsv", held_out)
        return {"step": step, "minutes": seconds / 60, **found}

    def base() -> Found:
        return told(build_model(ModelOptions(recipe.model.base, **lengths), [], work), 0, 0.0)

    def ours() -> Found:
        began = time.process_time()
        done = train(recipe, work / "ours", overwrite=True, say=print)
        seconds = time.process_time() - began
        return told(SparseEncoder(str(done.out)), done.best_step, seconds)

    def theirs() -> Found:
        minutes = arguments.minutes or found["fine-tune"]["minutes"]
        mined = work / "mined"
        mined.mkdir(exist_ok=True)
        placed = in_work_folder(recipe, mined)
        if placed.mine and not placed.mine.out.exists():
            from splade_bridge.training.mine import mine

            mine(placed.mine)
        began = time.process_time()
        step = train_theirs(recipe, mined, work / "theirs-model", 60 * minutes)
        seconds = time.process_time() - began
        return told(SparseEncoder(str(work / "theirs-model")), step, seconds)

    makers = {"base": base, "fine-tune": ours, "sentence-transformers": theirs}
    for name, make in makers.items():
        if name in arguments.only:
            found[name] = kept(work / f"{name}.json", make)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = ["base", "fine-tune", "sentence-transformers"]
    parser.add_argument("model", help="SPLADE checkpoint to start from")
    parser.add_argument("folders", nargs="+", type=Path, help="BEIR folders")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", nargs="*", default=[], help="changes of the recipe")
    parser.add_argument("--seed", type=int, default=1, help="of the queries that are held out")
    parser.add_argument(
        "--minutes", type=float, help="of the processor, for theirs; as many as ours if not given"
    )
    parser.add_argument("--only", nargs="+", default=names, choices=names)
    arguments = parser.parse_args()
    print(describe("torch", "sentence-transformers"))
    print(f"{arguments.model}, seed {arguments.seed}", *arguments.set)
    print(f"\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for folder in arguments.folders:
        found = run(arguments, folder.resolve())
        for name, row in found.items():
            chance = ""
            if name != "base" and "base" in found:
                tested = compare_pair(found["base"]["test"], row["test"])
                chance = f"{tested.randomisation:.4f}"
            cells = (
                folder.name, name, f"{row['step']:,}", f"{row['minutes']:.1f}",
                f"{fmean(row['dev'].values()):.4f}", f"{fmean(row['test'].values()):.4f}", chance,
                f"{row['document_terms']:.1f}", f"{row['query_terms']:.1f}",
            )  # fmt: skip
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
