"""What the recipe ``fine-tune`` is made of: each option does what it says, at a tiny size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

from checkpoints import one_thread, save_checkpoint  # noqa: F401
from small import write_json_lines, write_texts
from splade_bridge.errors import BadInputError
from splade_bridge.training.data import DataOptions, load_training_data
from splade_bridge.training.in_batch import KEYS, Answers, Collator
from splade_bridge.training.losses import BaseScoresLoss, ranking_loss
from splade_bridge.training.model import build_model
from splade_bridge.training.options import LossOptions, ValidationOptions
from splade_bridge.training.recipe import read_recipe
from splade_bridge.training.schedule import LOWEST, TermsController
from splade_bridge.training.start import base_terms
from splade_bridge.training.train import train
from splade_bridge.training.validation import RetrievalEvaluator, load_validation
from test_training_run import _log, their_vectors, weights
from tiny_training import World

# ---------------------------------------------------------------- known answers

LINES = [
    {"query": "a", "positives": ["p1", "p2"], "negatives": ["n1"]},
    {"query": "b", "positives": ["p2"], "negatives": ["p1"]},
    {"query": "c", "positives": ["p3"], "negatives": ["n1"]},
]


def batch_of(tmp_path: Path, **options: Any) -> dict[str, Any]:
    """What the collator says of all rows; texts are not tokenized."""
    path = write_json_lines(tmp_path / "x.jsonl", LINES)
    rows = list(load_training_data(DataOptions("jsonl", path, **options)))
    return Collator(lambda texts, **_: {"input_ids": torch.zeros(len(texts), 1)})(rows)


def test_known_answers_are_no_negatives(tmp_path: Path) -> None:
    """By hand: rows (a, p1), (a, p2), (b, p2), (c, p3); documents p1 p2 p2 p3 n1 n1 p1 n1."""
    batch = batch_of(tmp_path, mask_positives=True)
    answers = Answers(gather=False)
    answers.tell(batch)
    rng = torch.Generator().manual_seed(0)
    queries, documents = torch.rand(4, 5, generator=rng), torch.rand(8, 5, generator=rng)
    scores = answers(queries, documents)
    hidden = {(0, 1), (0, 2), (0, 6), (1, 0), (1, 2), (1, 6), (2, 1)}
    expected = queries @ documents.T
    for row, column in hidden:
        expected[row, column] = float("-inf")
    assert torch.equal(scores, expected)
    assert answers.take() == (4, 0) and answers.take() == (0, 0)


def test_one_drawn_positive_does_not_make_the_others_unknown(tmp_path: Path) -> None:
    batch = batch_of(tmp_path, mask_positives=True, positives="one")
    assert [(row != 0).sum().item() for row in batch["known"]] == [2, 1, 1]
    assert KEYS not in batch_of(tmp_path)


def test_documents_below_the_grade_of_an_answer_are_masked_too(tmp_path: Path) -> None:
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    write_texts(folder / "corpus.jsonl", {"d1": "one", "d2": "two", "d3": "three"})
    write_texts(folder / "queries.jsonl", {"q": "query"})
    (folder / "qrels" / "train.tsv").write_text("q\td1\t2\nq\td2\t1\nq\td3\t0\n")
    options = DataOptions("beir", folder, negatives=0, min_grade=2, mask_positives=True)
    (row,) = load_training_data(options)
    assert (row["positive"], len(row["known"])) == ("one", 2)


def test_the_masked_loss_is_that_of_the_documents_that_are_left() -> None:
    """And without known answers it is sentence-transformers' own, bit for bit."""
    from sentence_transformers.sparse_encoder import losses as st

    rng = torch.Generator().manual_seed(1)
    embeddings = [torch.rand(3, 7, generator=rng) for _ in range(3)]
    mixed = ranking_loss(None, LossOptions(contrastive=1.0))  # type: ignore[arg-type]
    plain = mixed.compute_loss_from_embeddings(embeddings)["contrastive"]
    theirs = st.SparseMultipleNegativesRankingLoss(None)
    assert torch.equal(plain, theirs.compute_loss_from_embeddings(embeddings, None))
    assert mixed.answers
    known = {"known": torch.tensor([[11, 12], [12, 0], [13, 0]]),
             "document_keys": torch.tensor([[11, 14], [12, 15], [13, 11]])}  # fmt: skip
    mixed.answers.tell(known)
    query, positive, negative = embeddings
    scores = query @ torch.cat([positive, negative]).T
    left = [[0, 2, 3, 4], [1, 0, 2, 3, 4, 5], [2, 0, 1, 3, 4, 5]]  # the own positive first
    expected = np.mean([-torch.log_softmax(scores[i, c], 0)[0].item() for i, c in enumerate(left)])
    found = mixed.compute_loss_from_embeddings(embeddings)["contrastive"]
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_rows_with_nothing_to_compare_with_are_told(world: World, tmp_path: Path) -> None:
    """Two queries whose documents all answer both: the loss is 0, and that is said once."""
    lines = [{"query": q, "positives": list(world.documents.values())[:3]} for q in ("alpha", "be")]
    path = write_json_lines(tmp_path / "x.jsonl", lines)
    said: list[str] = []
    settings = [
        f"data.path={path}", "data.negatives=0", "data.mask_positives=true", "train.log_every=1",
        "loss.margin_mse=0", "train.steps=3", "train.batch_size=2",
    ]  # fmt: skip
    out = train(read_recipe(world.recipe(), settings), tmp_path / "out", say=said.append).out
    assert [e["contrastive"] for e in _log(out) if "contrastive" in e] == [0, 0, 0]
    (told,) = [line for line in said if "nothing to be compared with" in line]
    assert told.startswith("step 1: 2 of the last 2 rows")


def test_a_batch_of_one_row_without_negatives_is_refused(world: World) -> None:
    settings = ["data.negatives=0", "loss.margin_mse=0", "train.batch_size=1"]
    with pytest.raises(BadInputError, match=r"loss.contrastive has nothing to compare with"):
        read_recipe(world.recipe(), settings)
    with pytest.raises(BadInputError, match=r"data.mask_positives is for loss.contrastive"):
        read_recipe(world.recipe(), ["loss.contrastive=0", "data.mask_positives=true"])


# ---------------------------------------------------------------- the base's scores


def test_base_scores_are_a_squared_error() -> None:
    rng = np.random.default_rng(0)
    ours = [rng.random((3, 6)).astype(np.float32) for _ in range(3)]
    base = [rng.random((3, 6)).astype(np.float32) for _ in range(3)]
    loss = BaseScoresLoss()
    loss.base = [torch.from_numpy(b) for b in base]
    found = loss.compute_loss_from_embeddings([torch.from_numpy(e) for e in ours]).item()
    one, other = (np.array([[q @ d for d in (*e[1], *e[2])] for q in e[0]]) for e in (ours, base))
    assert found == pytest.approx(((one - other) ** 2).mean(), rel=1e-5)


@pytest.mark.sample(1)
@pytest.mark.parametrize("more", [[], ["train.mini_batch=4"], ["model.lora.rank=2"]])
def test_a_pull_towards_the_base_holds_its_scores(
    world: World, tmp_path: Path, more: list[str]
) -> None:
    """It begins at 0, as the model is its base; and with it scores stay nearer to the base's."""
    base = save_checkpoint(tmp_path / "base")
    settings = json.loads((base / "config.json").read_text())
    settings |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (base / "config.json").write_text(json.dumps(settings))
    usual = [
        "loss.margin_mse=0", "train.learning_rate=0.003", "train.log_every=1", "train.steps=8",
        "regularizer.query.penalty=none", "regularizer.document.penalty=none",
        f"model.base={base}", *more,
    ]  # fmt: skip
    found = {}
    for weight in (0.0, 1.0):
        recipe = read_recipe(world.recipe(), [*usual, f"loss.base_scores={weight}"])
        out = train(recipe, tmp_path / f"out{weight}").out
        found[weight] = scores(out, world)
        if weight:
            logged = [e["base_scores"] for e in _log(out) if "base_scores" in e]
            assert logged[0] == pytest.approx(0, abs=1e-6) and logged[-1] > 0
    wanted = scores(base, world)
    far = {weight: np.abs(s - wanted).mean() for weight, s in found.items()}
    assert far[1.0] < 0.5 * far[0.0]


def scores(folder: Path, world: World, asked: list[str] | None = None) -> np.ndarray:
    """Of all documents for all queries, or for texts that are ``asked``."""
    texts = [asked or list(world.queries.values()), list(world.documents.values())]
    queries, documents = (
        their_vectors(folder, side, t) for side, t in zip(("query", "document"), texts, strict=True)
    )
    found: np.ndarray = queries @ documents.T
    return found


# ---------------------------------------------------------------- the base's terms


HELD = ("regularizer.document.base_terms=0.5", "regularizer.ramp_steps=60", "train.steps=150")


def test_the_target_is_a_share_of_what_encoding_counts(world: World, tmp_path: Path) -> None:
    steered = read_recipe(world.recipe(), HELD)
    model = build_model(steered.model, [], tmp_path)
    documents = list(world.documents.values())
    found = base_terms(model, steered, documents, [])
    vectors = their_vectors(world.checkpoint, "document", documents)
    assert found == {"document": pytest.approx((vectors > 0).sum(1).mean())}


@pytest.mark.long
def test_terms_are_held_near_the_base(world: World, tmp_path: Path) -> None:
    out = train(read_recipe(world.recipe(), HELD), tmp_path / "out").out
    documents = list(world.documents.values())
    found, base = (
        (their_vectors(folder, "document", documents) > 0).sum(1).mean()
        for folder in (out, world.checkpoint)
    )
    assert found == pytest.approx(0.5 * base, rel=0.35)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["regularizer.query.base_terms=0"], "base_terms needs a penalty, and values above 0"),
        (["regularizer.query.base_terms=1", "regularizer.query.target_terms=9"], "without target"),
        (["regularizer.query.base_terms=1", "model.calibrate=100"], "is trained already"),
    ],
)
def test_terms_of_a_base_that_cannot_be_meant(world: World, settings: list[str], told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        read_recipe(world.recipe(), settings)


def test_a_controller_at_its_bound_is_told(world: World, tmp_path: Path) -> None:
    """More terms than there are cannot be had: lambda falls as low as it goes."""
    controller = TermsController(1e6, 1e-3, 0)
    while controller.weight > LOWEST:
        assert controller.bound() == 0
        controller.update(1, 50.0)
    assert controller.bound() == -1
    said: list[str] = []
    settings = [
        "regularizer.document.target_terms=1e6", "regularizer.document.weight=2e-9",
        "regularizer.ramp_steps=0", "train.steps=30", "train.log_every=10",
    ]  # fmt: skip
    recipe = read_recipe(world.recipe(), settings)
    out = train(recipe, tmp_path / "out", say=said.append).out
    (told,) = [line for line in said if "lambda of the document side stands" in line]
    assert "at its lowest" in told and "1000000.0 are wanted" in told
    assert any("lambda 1e-09 (its lowest)" in line for line in said)
    entries = [e for e in _log(out) if "loss" in e]
    assert [e.get("document_bound") for e in entries][-1] == -1
    assert all("query_bound" not in e for e in entries)


# ---------------------------------------------------------------- step 0


@pytest.mark.long
def test_the_best_step_may_be_any_step_or_none(world: World, tmp_path: Path) -> None:
    """A random base gets better; what comes of it a huge rate ruins, and it is kept as it was."""
    free = [f"regularizer.{side}.penalty=none" for side in ("query", "document")]
    usual = [*world.validation(at_start="true", every=60), *free, "loss.margin_mse=0"]
    better = [*usual, "train.steps=120", "train.learning_rate=3e-3"]
    done = train(read_recipe(world.recipe(), better), tmp_path / "better")
    values = {e["step"]: e["eval_RR@10"] for e in _log(done.out) if "eval_RR@10" in e}
    assert list(values) == [0, 60, 120]
    assert done.best_step > 0 and values[done.best_step] == max(values.values()) > values[0]

    ruined = [*usual, f"model.base={done.out}", "train.steps=8", "train.learning_rate=0.3"]
    kept = train(read_recipe(world.recipe(), [*ruined, "loss.anti_zero=1"]), tmp_path / "ruined")
    measured = [e for e in _log(kept.out) if "eval_RR@10" in e]
    assert [e["step"] for e in measured] == [0, 8]
    assert kept.best_step == 0 and kept.figures["eval_RR@10"] == measured[0]["eval_RR@10"]
    texts = list(world.documents.values())
    vectors = their_vectors(kept.out, "document", texts)
    assert (vectors == their_vectors(done.out, "document", texts)).all()
    assert weights(kept.out / "last") != weights(done.out)


# ---------------------------------------------------------------- validation


def test_judged_documents_that_a_corpus_lacks_are_counted(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("q0 0 d0 1\nq0 0 gone 1\nq1 0 d1 1\n")
    options = read_recipe(world.recipe(), world.validation(qrels=qrels)).validation
    assert options
    found = load_validation(options, 0)
    assert set(found.queries) == {"q0", "q1"} and "gone" in found.qrels["q0"]
    assert "lacks 1 of 3 judged documents, as gone" in caplog.text
    qrels.write_text("q0 0 gone 1\n")
    with pytest.raises(BadInputError, match=r"none of the 1 documents .* calls relevant, as gone"):
        load_validation(options, 0)


def test_the_query_itself_is_left_out(world: World, tmp_path: Path) -> None:
    """Of a corpus that holds the query, as ArguAna's does, it would find itself first."""
    texts = list(world.documents.values())
    found = scores(world.checkpoint, world, texts)
    own, other = next((i, j) for i, row in enumerate(found) for j in range(60) if row[j] < row[i])
    write_texts(tmp_path / "corpus.jsonl", {"q": texts[own], "d": texts[other]})
    write_texts(tmp_path / "queries.jsonl", {"q": texts[own]})
    (tmp_path / "qrels.tsv").write_text("q 0 d 1\n")
    model = build_model(read_recipe(world.recipe()).model, [], tmp_path)
    for remove, expected in ((False, 0.5), (True, 1.0)):
        options = ValidationOptions(
            str(tmp_path / "corpus.jsonl"), str(tmp_path / "queries.jsonl"),
            tmp_path / "qrels.tsv", remove_query=remove,
        )  # fmt: skip
        evaluator = RetrievalEvaluator(load_validation(options, 0), 8, None)
        assert evaluator(model.eval())["RR@10"] == expected


def test_a_section_that_need_not_be_there_is_left_out(world: World, tmp_path: Path) -> None:
    path = tmp_path / "child.toml"
    path.write_text('extends = "fine-tune"\nvalidation = "none"\nmine = "none"\n')
    assert read_recipe("fine-tune").validation and read_recipe("fine-tune").mine
    read = read_recipe(path)
    assert read.validation is None and read.mine is None


# ---------------------------------------------------------------- all of it


@pytest.mark.long
def test_the_recipe_runs(lucene: None, world: World, tmp_path: Path) -> None:
    """From judgements alone to a checkpoint that is no worse than its base."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    write_texts(folder / "corpus.jsonl", world.documents)
    write_texts(folder / "queries.jsonl", world.queries)
    for split in ("train", "dev"):
        lines = [f"q{i}\td{i}\t1\n" for i in range(20)]
        (folder / "qrels" / f"{split}.tsv").write_text("".join(lines))
    settings = [
        f"model.base={world.checkpoint}", f"data.path={folder}", f"mine.queries={folder}",
        f"mine.qrels={folder / 'qrels' / 'train.tsv'}", f"mine.corpus={folder}",
        f"validation.corpus={folder}", f"validation.queries={folder}",
        f"validation.qrels={folder / 'qrels' / 'dev.tsv'}", "validation.every=2", "train.steps=4",
        "train.log_every=1",
    ]  # fmt: skip
    done = train(read_recipe("fine-tune", settings), tmp_path / "out")
    logged = _log(done.out)
    assert {e["step"] for e in logged if "eval_nDCG@10" in e} == {0, 2, 4}
    values = [e["eval_nDCG@10"] for e in logged if "eval_nDCG@10" in e]
    assert done.figures["eval_nDCG@10"] >= max(values)  # a model between may be better
    assert all("contrastive" in e for e in logged if "loss" in e)
