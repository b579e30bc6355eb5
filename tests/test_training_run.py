"""Training from end to end, at a size that a CPU does in a second."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import config, one_thread, save_checkpoint, wordpiece_tokenizer  # noqa: F401
from small import write_json_lines
from splade_bridge.encoding.side import load_side
from splade_bridge.errors import BadInputError, CheckFailedError, UsageError
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.training.checkpoints import checkpoints
from splade_bridge.training.losses import BaseScoresLoss, build_loss
from splade_bridge.training.model import build_model, inverse_frequencies
from splade_bridge.training.recipe import Recipe, read_recipe, shipped_recipes
from splade_bridge.training.train import Trained, train, train_recipe
from tiny_training import World


def weights(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("model*.safetensors"))
    }


KILLED_AT = 8
"""In the second epoch of five steps, so that the order of the data must be found again."""


def _train_slowly(recipe: Path, out: Path, overrides: list[str]) -> None:
    torch.set_num_threads(1)

    def say(line: str) -> None:
        if line.startswith(f"step {KILLED_AT}/"):
            time.sleep(60)  # long enough to be killed in

    train(read_recipe(recipe, overrides), out, say=say)


STEERED = [
    "regularizer.document.target_terms=40",
    "train.gradient_accumulation=2",
    "train.batch_size=4",
    "train.no_duplicates=false",
]


LORA = [
    "model.query=separate",
    "model.lora.rank=2",
    "model.lora.dropout=0.1",
    "model.lora.target_modules=['query', 'value']",
    "model.lora.train_whole=['transform']",
]


# 40 rows are 5 batches: the run is killed in its second pass.
WORKERS = ["train.workers=1"]
CALIBRATED = ["model.calibrate=40", "train.precision=bf16", "train.mini_batch=4"]


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "overrides",
    [[], STEERED, LORA, WORKERS, CALIBRATED],
    ids=["ramp", "steered", "lora", "workers", "calibrated"],
)
def test_a_killed_run_goes_on_to_the_same_weights(
    world: World, tmp_path: Path, overrides: list[str]
) -> None:
    overrides = [*overrides, "train.save_every=3", "train.log_every=1"]
    recipe = world.recipe()
    whole = train(read_recipe(recipe, overrides), tmp_path / "whole")
    out = tmp_path / "killed"
    child = multiprocessing.get_context("fork").Process(
        target=_train_slowly, args=(recipe, out, overrides)
    )
    child.start()
    work = tmp_path / "killed.training"
    deadline = time.monotonic() + 60
    while f'"step": {KILLED_AT}}}' not in _text(work / "log.jsonl"):
        assert time.monotonic() < deadline and child.is_alive()
        time.sleep(0.05)
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()
    assert [c.name for c in checkpoints(work)] == ["checkpoint-3", "checkpoint-6"]
    (work / "checkpoint-7").mkdir()  # as a kill in the middle of saving leaves it
    (work / "checkpoint-7" / "trainer_state.json").write_text('{"global_')

    again = _train_when_free(read_recipe(recipe, overrides), out)

    assert again.resumed_from == 6
    assert weights(out) == weights(whole.out) and weights(out)
    assert not work.exists()
    for key in ("loss", "document_lambda", "document_terms", "query_lambda"):
        told = [[e.get(key) for e in _log(folder)] for folder in (out, whole.out)]
        assert told[0] == told[1]


def _train_when_free(recipe: Recipe, out: Path) -> Trained:
    """Processes that read data hold the lock for some seconds after their parent was killed."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return train(recipe, out)
        except UsageError as error:
            if "another process" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def our_vectors(folder: Path, side: str, texts: list[str]) -> np.ndarray:
    """float32[n, V] as ``encode`` makes them of a checkpoint."""
    loaded = load_side(str(folder), side)  # type: ignore[arg-type]
    ids = [torch.from_numpy(i).long() for i in loaded.tokenizer(texts).ids]
    with torch.inference_mode():
        return loaded.weights(torch.cat(ids), [len(i) for i in ids]).float().numpy()


def their_vectors(folder: Path, side: str, texts: list[str]) -> np.ndarray:
    """The same by sentence-transformers."""
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(folder), device="cpu").eval()
    encode = getattr(model, f"encode_{side}")
    with torch.inference_mode():
        return encode(texts, convert_to_sparse_tensor=False).float().numpy()


NETWORK = "{model_type='bert', hidden_size=32, num_hidden_layers=1, num_attention_heads=2, "
NETWORK += "intermediate_size=48, max_position_embeddings=66}"
UNTRAINED = ["regularizer.query.penalty=none"]
VARIANTS: dict[str, list[str]] = {
    "shared": [],
    "sum": ["model.pooling=sum", "model.query_length=5"],
    "separate": ["model.query=separate", "model.query_base={other}"],
    "bow": ["model.query=bow", *UNTRAINED],
    "idf": ["model.query=idf", "model.activation=log1p_relu", *UNTRAINED],
    "scratch": ["model.base=", f"model.config={NETWORK}", "model.tokenizer={tiny}"],
    "lora": LORA,
    "cached": ["train.mini_batch=3", "train.precision=bf16", "model.save_dtype=float16"],
}


@pytest.mark.sample(2)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_checkpoint_is_read_alike_by_encode_and_sentence_transformers(
    world: World, tmp_path: Path, variant: str
) -> None:
    other = save_checkpoint(tmp_path / "other", seed=7)
    places = {"{other}": str(other), "{tiny}": str(world.checkpoint)}
    overrides = ["train.steps=2", "train.save_every=1", *VARIANTS[variant]]
    for name, place in places.items():
        overrides = [o.replace(name, place) for o in overrides]
    out = train_recipe(world.recipe(), tmp_path / "out", overrides)
    assert all(f.stat().st_mode & 0o044 == 0o044 for f in out.rglob("*") if f.is_file())
    texts = [*world.documents.values()][:9]
    for side in ("document", "query"):
        ours = our_vectors(out, side, texts)
        # Numbers of 16 bits are summed up in another order by either.
        close = 2e-2 if variant == "cached" else 1e-4
        np.testing.assert_allclose(ours, their_vectors(out, side, texts), atol=close, rtol=close)
        assert (ours > 0).any(axis=1).all()
    if variant in ("shared", "scratch"):
        assert not np.allclose(ours, our_vectors(world.checkpoint, "query", texts), atol=1e-3)
        from transformers import AutoModelForMaskedLM, AutoTokenizer

        model = AutoModelForMaskedLM.from_pretrained(out)
        tokens = AutoTokenizer.from_pretrained(out)(texts[:1], return_tensors="pt")
        logits = model(**tokens).logits.detach().numpy()[0]
        np.testing.assert_allclose(np.log1p(np.maximum(logits, 0)).max(0), ours[0], atol=1e-4)
    elif variant in ("separate", "lora"):
        assert not np.allclose(ours, our_vectors(out, "document", texts), atol=1e-3)
        assert not list(out.rglob("adapter*"))
    elif variant in ("bow", "idf"):
        tokenizer = wordpiece_tokenizer()
        held = {
            doc: set(tokenizer(doc, add_special_tokens=False)["input_ids"])
            for doc in json_documents(world)
        }
        counts = np.zeros(len(tokenizer))
        for ids in held.values():
            counts[list(ids)] += 1
        weight = inverse_frequencies(counts, len(held)) if variant == "idf" else counts * 0 + 1
        expected = np.zeros_like(ours)
        for row, text in zip(expected, texts, strict=True):
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            row[ids] = weight[ids]
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
    elif variant == "cached":
        from safetensors.torch import load_file

        assert {t.dtype for t in load_file(out / "model.safetensors").values()} == {torch.float16}


def json_documents(world: World) -> set[str]:
    rows = [json.loads(line) for line in (world.folder / "train.jsonl").read_text().splitlines()]
    return {row["positive"] for row in rows} | {n for row in rows for n in row["negatives"]}


def test_inverse_document_frequency_is_bm25s() -> None:
    expected = [np.log(1 + (10 - n + 0.5) / (n + 0.5)) for n in (0, 1, 10)]
    np.testing.assert_allclose(inverse_frequencies(np.array([0, 1, 10]), 10), expected, rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in shipped_recipes() if n != "reranker"])
def test_the_recipes_that_come_along_take_a_step(world: World, tmp_path: Path, name: str) -> None:
    shipped = read_recipe(name)
    overrides = [f"model.base={world.checkpoint}"]
    if shipped.model.query_base:
        overrides.append(f"model.query_base={world.checkpoint}")
    recipe = read_recipe(name, overrides)
    documents, queries = (list(t.values())[:8] for t in (world.documents, world.queries))
    model = build_model(recipe.model, documents, tmp_path)
    loss = build_loss(model, recipe.loss, recipe.regularizer, recipe.train.mini_batch)
    columns = [queries[:4], documents[:4]] + [documents[4:]] * min(2, recipe.data.negatives)
    features = [
        model.preprocess(texts, task="document" if i else "query")
        | {"task": "document" if i else "query"}
        for i, texts in enumerate(columns)
    ]
    labels = torch.arange(4 * (len(columns) - 1)).reshape(4, -1).float()
    model.train()
    for part in loss.modules():
        if isinstance(part, BaseScoresLoss):  # which the trainer tells before each batch
            part.base = [model(dict(f))["sentence_embedding"].detach() for f in features]
    parts = loss(features, labels)
    sum(parts.values()).backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    before = [p.detach().clone() for p in trained]
    torch.optim.AdamW(trained, recipe.train.learning_rate).step()
    assert all(torch.isfinite(p).all() for p in trained)
    assert any(not torch.equal(p, b) for p, b in zip(trained, before, strict=True))
    for part in ("contrastive", "margin_mse", "kl"):
        assert (part in parts) == bool(getattr(shipped.loss, part))


def test_validation_is_what_a_dense_product_says(world: World, tmp_path: Path) -> None:
    overrides = [*world.validation(), "train.steps=4", "train.save_every=100"]
    done = train(read_recipe(world.recipe(), overrides), tmp_path / "out")
    documents, queries = world.documents, {q: world.queries[q] for q in world.qrels}
    d = np.rint(their_vectors(done.out, "document", list(documents.values())) * 100)
    q = np.rint(their_vectors(done.out, "query", list(queries.values())) * 100)
    run = {
        query: {doc: float(s) for doc, s in zip(documents, row, strict=True) if s > 0}
        for query, row in zip(queries, q @ d.T, strict=True)
    }
    expected = evaluate(world.qrels, run, ["nDCG@10", "RR@10"]).means
    assert done.figures["eval_nDCG@10"] == pytest.approx(expected["nDCG@10"], abs=1e-6)
    assert done.figures["eval_RR@10"] == pytest.approx(expected["RR@10"], abs=1e-6)
    assert done.figures["eval_document_terms"] == pytest.approx((d > 0).sum(1).mean())
    assert done.figures["eval_query_terms"] == pytest.approx((q > 0).sum(1).mean())
    flops = ((d > 0).mean(0) * (q > 0).mean(0)).sum()
    assert done.figures["eval_flops"] == pytest.approx(flops, rel=1e-6)


def test_the_sample_of_a_validation_keeps_what_is_judged(world: World) -> None:
    from splade_bridge.training.validation import load_validation

    overrides = world.validation(max_documents=30, max_queries=8)
    options = read_recipe(world.recipe(), overrides).validation
    assert options
    found = load_validation(options, 3)
    assert (len(found.documents), len(found.queries)) == (30, 8)
    assert {d for grades in found.qrels.values() for d in grades} <= set(found.documents)
    assert load_validation(options, 3) == found != load_validation(options, 4)


def stopped_early(world: World, out: Path) -> Trained:
    """The first measurement is the best one: after it the model is ruined by a huge rate."""
    overrides = [
        *world.validation(every=2, patience=2),
        "train.steps=100",
        "train.learning_rate=0.3",
        "train.warmup_steps=4",
        "regularizer.query.penalty=none",
        "regularizer.document.penalty=none",
        "loss.anti_zero=1",
    ]
    return train(read_recipe(world.recipe(), overrides), out)


def test_early_stopping_stops_and_keeps_best_and_last(world: World, tmp_path: Path) -> None:
    done = stopped_early(world, tmp_path / "out")
    measured = [e for e in _log(done.out) if "eval_RR@10" in e]
    values = [e["eval_RR@10"] for e in measured]
    best = values.index(max(values))
    assert done.steps == measured[-1]["step"] < 100
    assert len(values) - 1 - best == 2
    assert done.best_step == measured[best]["step"]
    assert done.figures["eval_RR@10"] == max(values)
    texts = list(world.documents.values())[:3]
    first, last = (our_vectors(f, "document", texts) for f in (done.out, done.out / "last"))
    assert not np.allclose(first, last)


def test_the_logs_hold_what_happened(world: World, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said: list[str] = []
    out = tmp_path / "out"
    overrides = [*world.validation(), "train.log_every=1"]
    train(read_recipe(world.recipe(), overrides), out, say=said.append)
    entries = [e for e in _log(out) if "loss" in e]
    assert [e["step"] for e in entries] == list(range(1, 13))
    for entry in entries:
        parts = ("contrastive", "margin_mse", "document_regularizer_loss")
        total = sum(entry[p] for p in (*parts, "query_regularizer_loss"))
        assert entry["loss"] == pytest.approx(total, rel=1e-5)
        factor = min(1, (entry["step"] - 1) / 6) ** 2
        assert entry["document_lambda"] == pytest.approx(1e-2 * factor)
        penalty = entry["document_flops"] * entry["document_lambda"]
        assert entry["document_regularizer_loss"] == pytest.approx(penalty, rel=1e-4)
    board = EventAccumulator(str(out / "tensorboard")).Reload()
    seen = {e.step: e.value for e in board.Scalars("train/document_terms")}
    assert seen == pytest.approx({e["step"]: e["document_terms"] for e in entries}, rel=1e-6)
    assert "eval/nDCG@10" in board.Tags()["scalars"]
    assert any("contrastive" in line and "terms" in line for line in said)
    assert any("nDCG@10" in line for line in said)


def test_what_is_there_already_is_not_lost(world: World, tmp_path: Path) -> None:
    recipe, out = world.recipe(), tmp_path / "out"
    short = ["train.steps=1", "train.save_every=1"]
    train_recipe(recipe, out, short)
    before = weights(out)
    assert train_recipe(recipe, out, short) == out  # there already
    with pytest.raises(UsageError, match=r"another plan \(train.seed: 42 -> 7\).*--overwrite"):
        train_recipe(recipe, out, [*short, "train.seed=7"])
    assert weights(out) == before
    train_recipe(recipe, out, [*short, "train.learning_rate=0.01", "train.seed=1"], overwrite=True)
    work = tmp_path / "other.training"
    work.mkdir()
    (work / "recipe.toml").write_text((out / "recipe.toml").read_text())
    (work / "checkpoint-1").mkdir()
    with pytest.raises(UsageError, match=r"train\.learning_rate, train\.seed"):
        train_recipe(recipe, tmp_path / "other", short)


def test_a_training_that_comes_to_nothing_ends(world: World, tmp_path: Path) -> None:
    crushed = ["regularizer.ramp_steps=0", "regularizer.document.weight=1e6", "train.log_every=1"]
    crushed += ["train.learning_rate=0.05", "train.steps=200"]
    with pytest.raises(CheckFailedError, match=r"no (query|document) has a term"):
        train_recipe(world.recipe(), tmp_path / "crushed", crushed)


def test_a_base_that_cannot_be_used_is_named(world: World, tmp_path: Path) -> None:
    from transformers import AutoModel

    headless = tmp_path / "headless"
    AutoModel.from_config(config("bert", 50)).save_pretrained(headless)
    wordpiece_tokenizer().save_pretrained(headless)
    with pytest.raises(BadInputError, match="masked-language-model"):
        train_recipe(world.recipe(), tmp_path / "out", [f"model.base={headless}"])
    with pytest.raises(UsageError, match="teacher scores"):
        rows = [json.loads(r) for r in (world.folder / "train.jsonl").read_text().splitlines()]
        rows = [{k: v for k, v in row.items() if k != "scores"} for row in rows]
        path = write_json_lines(tmp_path / "plain.jsonl", rows)
        train_recipe(world.recipe(), tmp_path / "out", [f"data.path={path}"])
