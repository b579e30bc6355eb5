"""Two encoders, bags of words and inference-free queries: trained, then through every command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers")
pytest.importorskip("accelerate")

import command_line
from checkpoints import VOCABULARY, save_checkpoint, single_thread, wordpiece_tokenizer
from documented import faults
from ranked import brute_force
from small import trec_run
from splade_bridge.cli.demo_chain import SOURCES
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import USUAL, engine
from splade_bridge.errors import MissingToolError
from splade_bridge.files.outputs import mark
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.train import train_recipe
from tiny_training import World

UNTRAINED = "regularizer.query.penalty=none"
VARIANTS = {
    "separate": ["model.query=separate", "model.query_base={other}"],
    "bow": ["model.query=bow", UNTRAINED],
    "idf": ["model.query=idf", "model.activation=log1p_relu", UNTRAINED],
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """For the fixtures of the module, too."""
    with single_thread():
        yield


@pytest.fixture(scope="module", autouse=True)
def all_engines() -> None:
    """Skip where one is not installed."""
    try:
        for name in USUAL:
            engine(name).check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))


@dataclass(frozen=True)
class Trained:
    variant: str
    checkpoint: Path

    def theirs(self, side: str, texts: list[str]) -> np.ndarray:
        """float32[n, V] by sentence-transformers."""
        from sentence_transformers import SparseEncoder

        model = SparseEncoder(str(self.checkpoint), device="cpu").eval()
        encode = getattr(model, f"encode_{side}")
        with torch.inference_mode():
            found: np.ndarray = encode(texts, convert_to_sparse_tensor=False).float().numpy()
        return found


@pytest.fixture(scope="module", params=VARIANTS)
def trained(request: pytest.FixtureRequest, world: World) -> Trained:
    """The checkpoint of each variant."""
    other = world.folder / "other"
    if not other.exists():
        save_checkpoint(other, seed=7)
    overrides = [o.format(other=other) for o in VARIANTS[request.param]]
    out = train_recipe(world.recipe(), world.folder / request.param, overrides)
    return Trained(request.param, out)


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What one command line writes to stdout."""
    status, out, err = command_line.run(capfd, *arguments)
    assert status == 0, err
    return out


def stored(folder: Path) -> tuple[list[str], np.ndarray]:
    """Ids and float32[n, V] of a vector store."""
    store, ids, rows = VectorStore(folder), [], []
    assert store.vocabulary.sha256() == Vocabulary(VOCABULARY).sha256()
    for batch in store.batches():
        dense = np.zeros((len(batch), len(VOCABULARY)), np.float32)
        dense[np.repeat(np.arange(len(batch)), np.diff(batch.indptr)), batch.indices] = (
            batch.weights
        )
        ids += batch.ids
        rows.append(dense)
    return ids, np.concatenate(rows)


def check_sides(model: Trained, texts: list[str], queries: np.ndarray) -> None:
    """``queries``, made of ``texts``, are what the variant's query side should make of them."""
    np.testing.assert_allclose(queries, model.theirs("query", texts), atol=1e-5)
    assert (queries > 0).any(axis=1).all()
    assert not np.allclose(queries, model.theirs("document", texts), atol=0.1)
    if model.variant == "separate":
        return
    tokenizer = wordpiece_tokenizer()
    weight = np.ones(len(VOCABULARY), np.float32)
    if model.variant == "idf":
        from safetensors.numpy import load_file

        (place,) = model.checkpoint.glob("query*/model.safetensors")
        weight = load_file(place)["weight"]
        assert len(set(weight.tolist())) > 10
    for row, text in zip(queries, texts, strict=True):
        limit = {"truncation": True, "max_length": tokenizer.model_max_length}
        tokens = tokenizer(text, add_special_tokens=False, **limit)["input_ids"]
        expected = np.zeros_like(row)
        expected[tokens] = weight[tokens]
        np.testing.assert_array_equal(row, expected)


@pytest.mark.long
def test_all_engines_give_the_scores_of_both_sides(
    trained: Trained, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, work = ("-m", trained.checkpoint), tmp_path
    corpus, questions = world.folder / "corpus.jsonl", world.folder / "queries.jsonl"
    run(capfd, "encode", corpus, *model, "-o", work / "vectors")
    run(capfd, "encode", questions, *model, "--side", "query", "-o", work / "queries")

    doc_ids, documents = stored(work / "vectors")
    query_ids, queries = stored(work / "queries")
    assert (doc_ids, query_ids) == (list(world.documents), list(world.queries))
    wanted = trained.theirs("document", list(world.documents.values()))
    np.testing.assert_allclose(documents, wanted, atol=1e-5)
    check_sides(trained, list(world.queries.values()), queries)

    impacts = [
        np.rint(side.astype(np.float64) * 100).astype(np.int64) for side in (documents, queries)
    ]
    ranked = {
        query_id: brute_force(impacts[0], doc_ids, query, 1000)
        for query_id, query in zip(query_ids, impacts[1], strict=True)
    }
    expected = trec_run(ranked, "splade-bridge")
    assert all(ranked.values())

    formats = ("-f", "jsonvector", "-f", "ciff")
    run(capfd, "export", work / "vectors", *formats, "-o", work / "export")
    for name in USUAL:
        run(capfd, "index", work / SOURCES[name], "--engine", name, "-o", work / name)
        run(capfd, "search", work / name, "-q", work / "queries", "-o", work / f"{name}.run")
        assert (work / f"{name}.run").read_text() == expected
    assert run(capfd, "search", work / "exact", "-q", questions, *model, "-o", "-") == expected

    indexes = [work / name for name in USUAL]
    compared = json.loads(run(capfd, "verify", *indexes, "-q", work / "queries", "--json"))
    assert compared["equal"] and compared["results"] == expected.count("\n")

    judged = ("evaluate", world.folder / "qrels.tsv", work / f"{USUAL[0]}.run", "-M", "RR@10")
    measured = json.loads(run(capfd, *judged, "--json"))
    reciprocal = []
    for query_id, grades in world.qrels.items():
        # As trec_eval ranks: ties by document id descending.
        order = sorted(ranked[query_id], key=lambda hit: (hit[1], hit[0]), reverse=True)
        ranks = [r for r, (doc_id, _) in enumerate(order[:10], start=1) if doc_id in grades]
        reciprocal.append(1 / ranks[0] if ranks else 0.0)
    assert measured["measures"]["RR@10"] == pytest.approx(np.mean(reciprocal))
    assert np.mean(reciprocal) > 0


@pytest.mark.long
@pytest.mark.parametrize("trained", ["separate", "idf"], indirect=True)
def test_the_demo_runs_with_a_model_of_ones_own(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    result = json.loads(run(capfd, "demo", "-m", trained.checkpoint, "-o", out, "--json"))
    assert list(faults(result, RESULTS["demo"])) == []
    assert [told["engine"] for told in result["engines"]] == list(USUAL)
    runs = [read_run(out / f"{name}.run") for name in USUAL]
    assert len(runs[0]) == result["queries"] > 70
    for other in runs[1:]:
        for query_id, found in runs[0].items():
            assert list(other[query_id].values()) == list(found.values())

    _, queries = stored(out / "query-vectors")
    texts = [text.text for text in read_texts(str(out / "queries.jsonl"), "queries")]
    check_sides(trained, texts[:20], queries[:20])
    doc_ids, documents = stored(out / "vectors")
    assert len(doc_ids) == result["documents"]
    texts = [text.text for text in read_texts(str(out / "corpus.jsonl"))]
    some = slice(None, None, 200)
    np.testing.assert_allclose(documents[some], trained.theirs("document", texts[some]), atol=1e-5)


def damaged(trained: Trained, folder: Path) -> tuple[Path, Path]:
    """Copies of a checkpoint: one without the query side's weights, one with a term of its own."""
    half, foreign = folder / "half", folder / "foreign"
    for copy in (half, foreign):
        shutil.copytree(trained.checkpoint, copy)
    (weights,) = half.glob("query*/model.safetensors")
    weights.unlink()
    (tokens,) = foreign.glob("query*/tokenizer.json")
    tokens.write_text(tokens.read_text().replace('"his"', '"hers"'))
    return half, foreign


@pytest.mark.sample(1)
def test_the_demo_refuses_a_model_before_it_touches_anything(
    trained: Trained, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    half, foreign = damaged(trained, tmp_path)
    empty, out = tmp_path / "empty", tmp_path / "demo"
    empty.mkdir()
    for wrong, code in ((half, 4), (foreign, 5), (empty, 4), (tmp_path / "nowhere", 4)):
        status, told, err = command_line.run(capfd, "demo", "-m", wrong, "-o", out)
        assert (status, told) == (code, "") and str(wrong) in err and "Traceback" not in err
        assert not out.exists()

    (out / "model").mkdir(parents=True)
    mark(out)
    (out / "kept").write_text("of another demo")
    (out / "link").symlink_to(half)
    for wrong, code in ((half, 4), (out / "model", 2), (out / "link", 2), (out, 2)):
        status, _, err = command_line.run(capfd, "demo", "-m", wrong, "-o", out, "--overwrite")
        assert status == code and str(wrong) in err
        assert (out / "model").is_dir() and (out / "kept").read_text() == "of another demo"
