"""Rerankers from recipes: each loss learns a toy task, and the model reranks a run better."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import WORDS, one_thread, save_checkpoint  # noqa: F401
from small import trec_run, write_json_lines
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.retrieval.rerank import RerankOptions, rerank_to_run
from splade_bridge.retrieval.runs import read_run
from splade_bridge.training.recipe import read_recipe, to_toml
from splade_bridge.training.train import train

GOOD, BAD = "cat", "4"
"""A relevant document holds the first, and all others the second."""


class Toy:
    """Relevance that no first ranking knows of: one word decides it, for training and test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.base = save_checkpoint(folder / "base")
        rng = random.Random(1)

        def text(word: str) -> str:
            words = [rng.choice(WORDS) for _ in range(5)]
            words.insert(rng.randrange(5), word)
            return " ".join(words)

        lines = [
            {
                "query": rng.choice(WORDS),
                "positive": text(GOOD),
                "negatives": [text(BAD) for _ in range(3)],
                "scores": [4.0, -1.0, -1.5, -2.0],
            }
            for _ in range(160)
        ]
        write_json_lines(folder / "train.jsonl", lines)
        corpus = {f"d{i}": text(GOOD if i % 8 == 0 else BAD) for i in range(48)}
        write_json_lines(folder / "corpus.jsonl", [{"id": d, "text": t} for d, t in corpus.items()])
        queries = [f"q{i}" for i in range(6)]
        write_json_lines(folder / "queries.jsonl", [{"id": q, "text": WORDS[i]}
                                                    for i, q in enumerate(queries)])  # fmt: skip
        self.qrels = {q: {f"d{i}": 1 for i in range(0, 48, 8)} for q in queries}
        ranked = {q: [(d, 100 - i) for i, d in enumerate(rng.sample(sorted(corpus), 48))]
                  for q in queries}  # fmt: skip
        (folder / "run").write_text(trec_run(ranked))

    def recipe(self, text: str = "", more: str = "") -> Path:
        path = self.folder / "toy.toml"
        path.write_text(
            f"""
            title = "toy"
            [model]
            base = "{self.base}"
            {more}
            [reranker]
            max_length = 24
            [data]
            format = "jsonl"
            path = "{self.folder / "train.jsonl"}"
            negatives = 3
            [train]
            steps = 60
            batch_size = 8
            learning_rate = 3e-3
            warmup_steps = 5
            log_every = 20
            save_every = 30
            {text}
            """
        )
        return path

    def measured(self, run: Path) -> float:
        return float(evaluate(self.qrels, read_run(run), ["nDCG@10"]).means["nDCG@10"])

    def reranked(self, model: Path, out: Path) -> float:
        folder = self.folder
        rerank_to_run(
            folder / "run", out, str(model), str(folder / "corpus.jsonl"),
            str(folder / "queries.jsonl"), RerankOptions(depth=48),
        )  # fmt: skip
        return self.measured(out)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return Toy(tmp_path_factory.mktemp("toy"))


@pytest.mark.parametrize("loss", ["lce", "pointwise", "ranknet", "lambda", "kl", "margin_mse"])
@pytest.mark.sample(1)
def test_a_trained_reranker_improves_a_run(toy: Toy, tmp_path: Path, loss: str) -> None:
    before = toy.measured(toy.folder / "run")
    trained = train(read_recipe(toy.recipe(), [f"reranker.loss={loss}"]), tmp_path / "model")
    assert trained.steps == 60
    after = toy.reranked(tmp_path / "model", tmp_path / "out")
    assert before < 0.4 and after > 0.9
    recipe = read_recipe(tmp_path / "model" / "recipe.toml")
    assert recipe.reranker and recipe.reranker.loss == loss


@pytest.mark.long
def test_it_goes_on_with_the_weights_of_a_run_that_was_not_stopped(
    toy: Toy, tmp_path: Path
) -> None:
    recipe = read_recipe(toy.recipe(), ["train.steps=8", "train.save_every=4", "train.log_every=1"])

    def stops(line: str) -> None:
        if line.startswith("step 6/"):
            raise KeyboardInterrupt

    train(recipe, tmp_path / "whole")
    with pytest.raises(Exception, match="goes on from step 4"):
        train(recipe, tmp_path / "stopped", say=stops)
    again = train(recipe, tmp_path / "stopped")
    assert again.resumed_from == 4
    one, other = (
        (tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped")
    )
    assert one == other
    assert not (tmp_path / "stopped.training").exists()


def test_a_recipe_of_a_reranker_is_written_and_read(toy: Toy, tmp_path: Path) -> None:
    recipe = read_recipe(toy.recipe(), ["reranker.loss=ranknet"])
    (tmp_path / "again.toml").write_text(to_toml(recipe))
    assert read_recipe(tmp_path / "again.toml") == recipe
    assert read_recipe("reranker").reranker is not None


def test_the_recipe_that_comes_along_takes_steps(toy: Toy, tmp_path: Path) -> None:
    changes = [
        f"model.base={toy.base}", "data.format=jsonl", f"data.path={toy.folder / 'train.jsonl'}",
        "data.hard_negatives=none", "data.negatives=3", "train.epochs=0", "train.steps=2",
        "train.batch_size=4",
    ]  # fmt: skip
    trained = train(read_recipe("reranker", changes), tmp_path / "model")
    assert trained.steps == 2 and trained.figures["loss"] > 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reranker.loss=hinge"], "reranker.loss"),
        (["loss.contrastive=1"], "loss is of a sparse encoder"),
        (["model.pooling=sum"], "model.pooling is of a sparse encoder"),
        (["data.negatives=0"], "data.negatives of 1 or more"),
        (["reranker.max_length=2"], "reranker.max_length"),
    ],
)
def test_what_a_reranker_has_not_is_refused(toy: Toy, overrides: list[str], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        read_recipe(toy.recipe(), overrides)


def test_a_loss_that_distils_needs_scores(toy: Toy, tmp_path: Path) -> None:
    lines: list[Any] = [{"query": "a", "positive": "b", "negatives": ["c"]}] * 4
    write_json_lines(tmp_path / "bare.jsonl", lines)
    changes = [f"data.path={tmp_path / 'bare.jsonl'}", "data.negatives=1", "reranker.loss=kl"]
    with pytest.raises(UsageError, match=r"reranker\.loss = 'kl' needs teacher"):
        train(read_recipe(toy.recipe(), changes), tmp_path / "model")
