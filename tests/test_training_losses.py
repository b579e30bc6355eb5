"""Losses and regularisers against a few lines of numpy; the ramp against its formula."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from splade_bridge.errors import BadInputError
from splade_bridge.training.losses import Regularizer, ranking_loss
from splade_bridge.training.options import LossOptions, RegularizerOptions, SideRegularizer
from splade_bridge.training.schedule import (
    ControllerState,
    RegularizerSchedule,
    TermsController,
    ramp,
)

WIDTH = 9
shapes = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))


def vectors(rows: int, columns: int, seed: int) -> np.ndarray:
    """float32[columns, rows, WIDTH]: query, positive, negatives; about half of it zero."""
    rng = np.random.default_rng(seed)
    weights = np.maximum(rng.normal(0, 1, (columns, rows, WIDTH)), 0)
    return weights.astype(np.float32)


def loss_of(name: str, embeddings: np.ndarray, labels: np.ndarray | None, **more: Any) -> float:
    loss = ranking_loss(torch.nn.Linear(1, 1), LossOptions(**{name: 1.0}, **more))
    told = None if labels is None else torch.from_numpy(labels)
    found = loss.compute_loss_from_embeddings([torch.from_numpy(e) for e in embeddings], told)
    assert list(found) == [name]
    return float(found[name])


def log_softmax(scores: np.ndarray) -> np.ndarray:
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


@settings(deadline=None, max_examples=20)
@given(shapes)
def test_contrastive_is_cross_entropy_over_all_documents_of_the_batch(shape: Any) -> None:
    rows, negatives, seed = shape
    e = vectors(rows, 2 + negatives, seed)
    documents = np.concatenate(e[1:]).astype(np.float64)
    chances = log_softmax(e[0].astype(np.float64) @ documents.T)
    expected = -np.mean([chances[i, i] for i in range(rows)])
    assert loss_of("contrastive", e, None) == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=20)
@given(shapes)
def test_losses_of_a_row_against_numpy(shape: Any) -> None:
    rows, negatives, seed = shape
    e = vectors(rows, 2 + negatives, seed)
    labels = np.random.default_rng(seed + 1).normal(0, 3, (rows, 1 + negatives))
    labels = labels.astype(np.float32)
    scores = np.einsum("rw,drw->rd", e[0], e[1:]).astype(np.float64)
    margins = scores[:, :1] - scores[:, 1:]
    pairwise = -np.log(np.exp(scores[:, :1]) / (np.exp(scores[:, :1]) + np.exp(scores[:, 1:])))
    assert loss_of("pairwise", e, None) == pytest.approx(pairwise.mean(), abs=1e-5)
    errors = margins - (labels[:, :1] - labels[:, 1:])
    assert loss_of("margin_mse", e, labels) == pytest.approx((errors**2).mean(), rel=1e-4)
    for temperature in (1.0, 2.5):
        teacher = log_softmax(labels.astype(np.float64) / temperature)
        student = log_softmax(scores / temperature)
        divergence = (np.exp(teacher) * (teacher - student)).sum(1).mean() * temperature**2
        found = loss_of("kl", e, labels, kl_temperature=temperature)
        assert found == pytest.approx(divergence, abs=1e-4)
    anti_zero = np.mean([1 / (1 + np.abs(w).sum()) for w in e.reshape(-1, WIDTH)])
    assert loss_of("anti_zero", e, None) == pytest.approx(anti_zero, abs=1e-6)


def test_a_mix_is_the_weighted_sum_of_its_parts() -> None:
    e, labels = vectors(3, 4, 5), np.ones((3, 3), np.float32)
    weights = {"contrastive": 0.5, "kl": 2.0, "anti_zero": 0.25}
    loss = ranking_loss(torch.nn.Linear(1, 1), LossOptions(**weights))
    found = loss.compute_loss_from_embeddings(
        [torch.from_numpy(x) for x in e], torch.from_numpy(labels)
    )
    for name, weight in weights.items():
        assert float(found[name]) == pytest.approx(weight * loss_of(name, e, labels), rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(shapes)
def test_regularisers_against_numpy(shape: Any) -> None:
    rows, _, seed = shape
    (w,) = vectors(rows, 1, seed)
    flops = (np.abs(w).mean(0) ** 2).sum()
    terms = (w != 0).sum(1)
    for penalty, threshold, expected in (
        ("flops", None, flops),
        ("l1", None, np.abs(w).sum(1).mean()),
        ("none", None, 0),
        ("flops", 4, ((w * (terms > 4)[:, None]).mean(0) ** 2).sum()),
        ("l1", 4, (w * (terms > 4)[:, None]).sum(1).mean()),
    ):
        regularizer = Regularizer(
            torch.nn.Linear(1, 1), SideRegularizer(penalty, threshold=threshold)
        )
        for _ in range(2):
            found = float(regularizer.compute_loss_from_embeddings(torch.from_numpy(w)))
            assert found == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
        sums = regularizer.take_sums()
        assert float(sums["terms"]) == pytest.approx(2 * terms.mean(), rel=1e-6)
        assert float(sums["flops"]) == pytest.approx(2 * flops, rel=1e-5, abs=1e-6)
        assert float(sums["batches"]) == 2
        assert float(regularizer.take_terms()) == pytest.approx(terms.mean(), rel=1e-6)
        assert regularizer.take_terms() is None and regularizer.take_sums() == {}


def test_the_ramp_is_quadratic_and_then_flat() -> None:
    assert [ramp(t, 4) for t in range(6)] == [0, 1 / 16, 1 / 4, 9 / 16, 1, 1]
    assert ramp(0, 0) == ramp(7, 0) == 1


def test_the_schedule_sets_each_sides_lambda() -> None:
    from sentence_transformers.sparse_encoder.losses import SpladeLoss

    options = RegularizerOptions(
        10, SideRegularizer("l1", weight=0.5), SideRegularizer("flops", weight=8.0)
    )
    model = torch.nn.Linear(1, 1)
    loss = SpladeLoss(
        model,
        ranking_loss(model, LossOptions(contrastive=1)),
        document_regularizer_weight=8.0,
        query_regularizer_weight=0.5,
    )
    schedule = RegularizerSchedule(loss, options)
    for step in (0, 1, 5, 9, 10, 11, 500):
        schedule.on_step_begin(None, SimpleNamespace(global_step=step), None)
        factor = min(1, step / 10) ** 2
        assert loss.query_regularizer_weight == pytest.approx(0.5 * factor)
        assert loss.document_regularizer_weight == pytest.approx(8 * factor)


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("target", [20.0, 120.0, 400.0])
def test_the_controller_finds_the_wanted_terms_whatever_lambda_that_takes(
    scale: float, target: float
) -> None:
    # Terms follow a power of lambda after a delay, with noise: what a training looks like.
    rng = np.random.default_rng(0)
    controller = TermsController(target, weight=1e-3, ramp_steps=200)
    terms, seen = 2000.0, []
    for step in range(1, 1200):
        resting = 3000 / (1 + (controller.weight / scale) ** 0.5 * 10)
        terms += 0.05 * (resting - terms)
        seen.append(terms * rng.lognormal(0, 0.05))
        controller.update(step, seen[-1])
        if step >= 30:  # never far below the way to the target: no collapse
            assert terms > 0.5 * min(target, controller.wanted(step))
    assert np.mean(seen[-200:]) == pytest.approx(target, rel=0.1)


def test_a_controller_goes_on_from_its_state() -> None:
    one, other = TermsController(50, 1e-3, 20), TermsController(50, 1e-3, 20)
    for step in range(1, 30):
        one.update(step, 400 / step)
        if step == 15:
            other.load_state(ControllerState(**one.state()))
        if step > 15:
            other.update(step, 400 / step)
    assert one == other


@pytest.mark.parametrize(
    "wrong",
    [{"smoothed": -1}, {"smoothed": 1e300}, {"first": 0}, {"first": 1e308}, {"weight": 0}],
    ids=str,
)
def test_a_state_from_which_no_controller_goes_on_is_damaged(
    tmp_path: Path, wrong: dict[str, float]
) -> None:
    schedule = RegularizerSchedule.__new__(RegularizerSchedule)
    schedule.controllers = {"query": TermsController(50, 1e-3, 20)}
    schedule.controllers["query"].update(1, 400)
    (file := tmp_path / "regularizer.json").write_text(json.dumps(schedule.state()))
    schedule.load_state(file)
    file.write_text(json.dumps({"query": schedule.state()["query"] | wrong}))
    with pytest.raises(BadInputError, match="damaged"):
        schedule.load_state(file)


def test_a_controller_of_empty_vectors_lets_go() -> None:
    controller = TermsController(50, 1.0, 0)
    for step in range(1, 100):
        controller.update(step, 0.0)
    assert controller.weight < 1e-3
