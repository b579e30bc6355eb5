"""What a fine-tuning begins with, what makes it cheaper, and models between base and result."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from sentence_transformers import SparseEncoder

from checkpoints import one_thread, save_checkpoint  # noqa: F401
from splade_bridge.errors import BadInputError
from splade_bridge.training.max_first import take_maximum_first
from splade_bridge.training.model import build_model, set_dropout
from splade_bridge.training.options import ModelOptions
from splade_bridge.training.recipe import read_recipe
from splade_bridge.training.start import base_terms
from splade_bridge.training.temperature import best_temperature
from splade_bridge.training.train import train
from splade_bridge.training.validation import RetrievalEvaluator, load_validation
from test_training_run import _log, their_vectors
from tiny_training import World


@pytest.mark.parametrize("kind", ["bert", "distilbert", "modernbert", "electra", "deberta"])
def test_without_dropout_training_computes_what_encoding_does(kind: str, tmp_path: Path) -> None:
    base = str(save_checkpoint(tmp_path / kind, kind))
    model = build_model(ModelOptions(base), [], tmp_path)
    features = model.preprocess(["the cat is not here", "he was with it"], task="document")

    def vectors(*, training: bool) -> torch.Tensor:
        with torch.no_grad():
            found: torch.Tensor = model.train(training)({**features})["sentence_embedding"]
        return found

    set_dropout(model, 0.5)
    assert not torch.equal(vectors(training=True), vectors(training=True))
    set_dropout(model, 0.0)
    assert torch.equal(vectors(training=True), vectors(training=False))


def test_a_temperature_that_is_known_is_found() -> None:
    """Positives are drawn from the softmax of scores / 4, so that 4 fits best."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(40):
        scores = rng.normal(20, 8, (64, 64))
        noise = rng.gumbel(size=scores.shape)
        drawn = np.argmax(scores / 4 + noise, axis=1)
        own = np.arange(64)
        scores[own, own], scores[own, drawn] = scores[own, drawn], scores[own, own].copy()
        batches.append(torch.from_numpy(scores))
    assert best_temperature(batches) == pytest.approx(4, rel=0.1)
    hidden = [torch.cat([s, torch.full_like(s, -torch.inf)], dim=1) for s in batches]
    assert best_temperature(hidden) == best_temperature(batches)


def test_at_the_fitted_temperature_no_factor_of_the_scores_helps(
    world: World, tmp_path: Path
) -> None:
    """One batch of all rows: its loss at the first step is the least that a factor can give."""
    said: list[str] = []
    settings = [
        "loss.margin_mse=0", "loss.contrastive_temperature=0", "model.dropout=0",
        "train.batch_size=40", "train.steps=1", "train.log_every=1", "train.no_duplicates=false",
        "regularizer.query.penalty=none", "regularizer.document.penalty=none",
    ]  # fmt: skip
    out = train(read_recipe(world.recipe(), settings), tmp_path / "out", say=said.append).out
    (told,) = [line for line in said if line.startswith("scores are divided by")]
    temperature = float(told.split()[4].strip(","))
    rows = [(world.queries[f"q{i}"], world.documents[f"d{i}"]) for i in range(40)]
    lines = [orjson.loads(x) for x in (world.folder / "train.jsonl").read_text().splitlines()]
    negatives = [[line["negatives"][n] for line in lines] for n in range(2)]
    documents = [d for _, d in rows] + negatives[0] + negatives[1]
    queries = their_vectors(world.checkpoint, "query", [q for q, _ in rows])
    scores = torch.from_numpy(queries @ their_vectors(world.checkpoint, "document", documents).T)

    def loss(t: float) -> float:
        return torch.nn.functional.cross_entropy(scores / t, torch.arange(40)).item()

    assert loss(temperature) <= min(loss(temperature * f) for f in (0.9, 1.1))
    (first,) = [e["contrastive"] for e in _log(out) if "contrastive" in e]
    assert first == pytest.approx(loss(temperature), rel=1e-3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["train.document_length=2"], "must be 0, or 3 or more"),
        (["loss.contrastive_temperature=-1"], "contrastive_temperature must not be below 0"),
        (["loss.contrastive_temperature=0", "loss.contrastive=0"], "is for loss.contrastive"),
        (["model.dropout=1"], "model.dropout must be 0 or more, and below 1"),
        (["validation.interpolate=[0.5]"], "interpolate needs validation.at_start"),
        (["validation.interpolate=[1]", "validation.at_start=true"], "between 0 and 1"),
    ],
)
def test_settings_that_cannot_be_meant(world: World, settings: list[str], told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        read_recipe(world.recipe(), [*world.validation(), *settings])


# ---------------------------------------------------------------- between base and trained


def test_the_best_share_of_the_way_is_taken(world: World, tmp_path: Path) -> None:
    """Against the same models made by hand, of the checkpoints that the training itself saved."""
    said: list[str] = []
    shares = (0.25, 0.5, 0.75)
    settings = [
        *world.validation(at_start="true", every=10, interpolate=list(shares)),
        "loss.margin_mse=0", "train.steps=10", "train.learning_rate=2e-2", "model.dropout=0",
        "regularizer.query.penalty=none", "regularizer.document.penalty=none",
    ]  # fmt: skip
    recipe = read_recipe(world.recipe(), settings)
    done = train(recipe, tmp_path / "out", say=said.append)
    told = [line for line in said if "of the way from the base to checkpoint-10" in line]
    assert len(told) == len(shares)

    logged = {e["step"]: e["eval_RR@10"] for e in _log(done.out) if "eval_RR@10" in e}
    trained = done.out / "last" if (done.out / "last").is_dir() else done.out
    base, tuned = (SparseEncoder(str(f)).state_dict() for f in (world.checkpoint, trained))
    assert recipe.validation
    evaluator = RetrievalEvaluator(load_validation(recipe.validation, 42), 64, None)
    found = {0.0: logged[0], 1.0: logged[10]}
    mixed = build_model(recipe.model, [], tmp_path)
    for share in shares:
        mixed.load_state_dict({k: v + share * (tuned[k] - v) for k, v in base.items()})
        found[share] = evaluator(mixed)["RR@10"]
    best = max(found, key=lambda share: found[share])
    assert best in shares, "or the test shows little"
    assert done.figures["eval_RR@10"] == pytest.approx(found[best])
    assert done.figures["eval_share"] == best and done.best_step == 10
    kept = SparseEncoder(str(done.out)).state_dict()
    for name, value in base.items():
        assert torch.allclose(kept[name], value + best * (tuned[name] - value), atol=1e-6)


# ---------------------------------------------------------------- the terms of queries alone


@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_a_ranking_needs_the_terms_of_the_queries_alone(
    world: World, tmp_path: Path, activation: str
) -> None:
    """The same figures, where the terms of all documents are not counted but of a sample."""
    recipe = read_recipe(world.recipe(), world.validation())
    assert recipe.validation
    found = load_validation(recipe.validation, 0)
    found = replace(found, queries={q: found.queries[q] for q in ("q0", "q1")})
    found = replace(found, qrels={q: found.qrels[q] for q in found.queries})
    model = build_model(ModelOptions(str(world.checkpoint), activation=activation), [], tmp_path)
    plain = RetrievalEvaluator(found, 8, None)(model.eval())
    assert RetrievalEvaluator(found, 8, None, 10)(model) == plain, "no maximum is taken first"
    take_maximum_first(model)
    fewer = RetrievalEvaluator(found, 8, None, 10)(model)
    sample = random.Random(0).sample(sorted(found.documents), 10)
    texts = [found.documents[i] for i in sample]
    vectors = model.encode_document(texts, convert_to_sparse_tensor=False).numpy()
    assert fewer.pop("document_terms") == pytest.approx((np.rint(vectors * 100) > 0).sum(1).mean())
    plain.pop("document_terms")
    assert fewer == pytest.approx(plain)
    assert RetrievalEvaluator(found, 8, None)(model) == RetrievalEvaluator(found, 8, None, 60)(
        model
    )


# ---------------------------------------------------------------- shorter documents in training


def test_training_reads_the_beginnings_of_documents(world: World, tmp_path: Path) -> None:
    """It sees, and holds, the terms of documents that are cut; the model reads whole ones."""
    settings = [
        "train.document_length=6", "regularizer.document.base_terms=1", "model.dropout=0",
        "train.batch_size=40", "train.steps=1", "train.log_every=1", "train.no_duplicates=false",
    ]  # fmt: skip
    recipe = read_recipe(world.recipe(), settings)
    cut = build_model(ModelOptions(str(world.checkpoint), document_length=6), [], tmp_path)

    def terms(texts: list[str]) -> float:
        vectors = cut.encode_document(texts, convert_to_sparse_tensor=False)
        return float((vectors > 0).sum(1).float().mean())

    documents = list(world.documents.values())
    whole = build_model(recipe.model, [], tmp_path)
    found = base_terms(whole, recipe, documents, [])
    assert found == {"document": pytest.approx(terms(documents))}
    out = train(recipe, tmp_path / "out").out
    rows = [orjson.loads(line) for line in (world.folder / "train.jsonl").read_text().splitlines()]
    seen = [text for row in rows for text in (row["positive"], *row["negatives"])]
    (logged,) = [e["document_terms"] for e in _log(out) if "document_terms" in e]
    assert logged == pytest.approx(terms(seen))
    assert SparseEncoder(str(out))[0].document_length == whole[0].document_length > 6
