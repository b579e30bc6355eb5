"""Text to a dense index: against sentence-transformers, killed, and from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import command_line
import splade_bridge
from checkpoints import one_thread, save_checkpoint, save_dense, write_corpus  # noqa: F401
from dense_small import ranking
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import part_files
from splade_bridge.embeddings.vectors import read_dense_part
from splade_bridge.encoding.choices import DenseChoices
from splade_bridge.encoding.dense_corpus import dense_corpus
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.library.dense import OpenDenseIndex
from splade_bridge.text.corpora import read_texts

pytest.importorskip("faiss")
pytest.importorskip("sentence_transformers")

PROMPTS = {"query": "the of: ", "document": "for it "}
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dot": {"similarity": "dot"},
    "normalizing": {"normalize": True, "similarity": "dot"},
    "prompts": {"prompts": PROMPTS, "similarity": "cosine"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dense(tmp_path_factory.mktemp("dense") / "model")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus.jsonl", 120)


def vectors_of(index: Path) -> np.ndarray:
    batches = [b for part in part_files(index).values() for b in read_dense_part(part)]
    return np.concatenate([batch.vectors for batch in batches])


def content(index: Path) -> dict[str, bytes]:
    files = [p for p in index.rglob("*") if p.is_file()]
    return {p.relative_to(index).as_posix(): p.read_bytes() for p in files}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("side", ["document", "query"])
def test_vectors_are_those_of_sentence_transformers(
    tmp_path: Path, corpus: Path, kind: str, side: Any
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = save_dense(tmp_path / kind, **MODELS[kind])
    choices = DenseChoices(side=side, part_rows=50, batch_size=7)
    manifest, stats = dense_corpus(str(corpus), tmp_path / "i", str(folder), choices)
    theirs = SentenceTransformer(str(folder), device="cpu")
    texts = [text.text for text in read_texts(str(corpus))]
    encode = theirs.encode_query if side == "query" else theirs.encode_document
    cosine = MODELS[kind].get("similarity") != "dot"
    wanted = encode(texts, normalize_embeddings=cosine, show_progress_bar=False)
    found = vectors_of(tmp_path / "i")
    lengths = np.linalg.norm(wanted, axis=1).max()  # 1 for cosine
    assert np.abs(found - wanted).max() < 1e-6 * lengths
    assert manifest.options["similarity"] == theirs.similarity_fn_name
    assert (manifest.counts.documents, stats.texts, manifest.options["dimension"]) == (120, 120, 32)
    if side == "query":
        assert manifest.encoding is not None and manifest.encoding.side == "query"


def test_what_is_cut_is_counted(tmp_path: Path, model: Path, corpus: Path) -> None:
    found = {}
    for limit in (None, 8, 500):
        out = tmp_path / f"i{limit}"
        manifest, _ = dense_corpus(str(corpus), out, str(model), DenseChoices(max_length=limit))
        assert manifest.encoding is not None
        found[limit] = manifest.encoding.max_length, manifest.encoding.truncated
    tokenizer = __import__("transformers").AutoTokenizer.from_pretrained(str(model))
    lengths = [len(tokenizer(t.text)["input_ids"]) for t in read_texts(str(corpus))]
    assert found == {
        limit: (most, sum(n > most for n in lengths))
        for limit, most in ((None, 32), (8, 8), (500, 32))
    }


def test_text_is_searched_by_its_model(
    tmp_path: Path, model: Path, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from sentence_transformers import SentenceTransformer

    out = tmp_path / "i"
    words = ["dense", corpus, "-m", model, "-o", out, "--part-rows", "50", "--json"]
    status, told, said = command_line.run(capfd, *words)
    assert status == 0, said
    assert json.loads(told)["documents"] == 120
    queries = tmp_path / "q.jsonl"
    asked = ["the cat", "of the 42,", ""]
    queries.write_text("".join(json.dumps({"id": f"q{i}", "text": t}) + "\n"
                               for i, t in enumerate(asked)))  # fmt: skip
    run = tmp_path / "run"
    status, _, said = command_line.run(
        capfd, "search", out, "-q", queries, "-m", model, "-k", "10", "-o", run
    )
    assert status == 0, said
    theirs = SentenceTransformer(str(model), device="cpu")
    vectors = theirs.encode_query(asked, normalize_embeddings=True, show_progress_bar=False)
    ids = [text.id for text in read_texts(str(corpus))]
    lines = [line.split() for line in run.read_text().splitlines()]
    for number, query in enumerate(vectors):
        mine = [(c[2], float(c[4])) for c in lines if c[0] == f"q{number}"]
        brute = dict(ranking(vectors_of(out), query, 120, ids))
        assert len(mine) == 10
        assert all(abs(brute[doc] - score) < 1e-6 for doc, score in mine)
        assert min(s for _, s in mine) >= sorted(brute.values())[-10] - 1e-6
    other = save_dense(tmp_path / "other", seed=1)
    refused = command_line.run(
        capfd, "search", out, "-q", queries, "-m", other, "-o", tmp_path / "x"
    )
    assert refused[0] == 5 and "other weights" in refused[2]


@pytest.mark.long
def test_kills_at_any_moment_change_nothing(tmp_path: Path, model: Path, corpus: Path) -> None:
    script = Path(__file__).with_name("dense_killed.py")
    done = subprocess.run(
        [sys.executable, script, model, corpus, tmp_path / "killed"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
    choices = DenseChoices(part_rows=16, threads=1, index_kind="hnsw", hnsw_m=4)
    dense_corpus(str(corpus), tmp_path / "whole", str(model), choices)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".killed")]


def test_a_finished_index_is_left_and_another_plan_is_refused(
    tmp_path: Path, model: Path, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["dense", corpus, "-m", model, "-o", tmp_path / "i", "--part-rows", "50"]
    assert command_line.run(capfd, *words)[0] == 0
    before = content(tmp_path / "i")
    status, _, said = command_line.run(capfd, *words)
    assert status == 0 and "already there" in said
    for more in (["--index-kind", "hnsw"], ["--max-length", "9"], ["--similarity", "dot"]):
        status, _, said = command_line.run(capfd, *words, *more)
        assert status == 2 and "exists already" in said
    lines = corpus.read_text().splitlines(keepends=True)
    corpus.write_text("".join(lines[1:]))
    status, _, said = command_line.run(capfd, *words)
    assert status == 2, said
    assert content(tmp_path / "i") == before
    status, _, said = command_line.run(capfd, *words, "--overwrite", "--index-kind", "hnsw")
    assert status == 0, said
    assert Manifest.load(tmp_path / "i").options["index_kind"] == "hnsw"
    assert Manifest.load(tmp_path / "i").counts.documents == 119


def test_a_begun_index_is_no_other_plan_s(
    tmp_path: Path, model: Path, corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A graph that is too large for its memory leaves what was encoded, and goes on with more."""
    lines = [{"id": f"d{i}", "text": f"the cat {i}"} for i in range(4000)]
    corpus.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["dense", corpus, "-m", model, "-o", tmp_path / "i", "--part-rows", "1000",
             "--index-kind", "hnsw"]  # fmt: skip
    status, _, said = command_line.run(capfd, *words, "--memory", "1M")
    assert status == 2 and "--memory allows" in said and "what is encoded is kept" in said
    made = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "i").glob("part-*")}
    assert len(made) == 4
    status, _, said = command_line.run(capfd, *words, "--batch-size", "3")
    assert status == 2 and "unfinished encoding with other settings" in said
    assert command_line.run(capfd, *words)[0] == 0
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "i").glob("part-*")} == made
    status, _, said = command_line.run(capfd, *words[:-2], "--memory", "1M", "--part-rows", "9999",
                                       "-o", tmp_path / "j")  # fmt: skip
    assert status == 2 and "give --part-rows 1953" in said


def test_from_python(tmp_path: Path, model: Path) -> None:
    texts = {"a": "the cat", "b": "of 42", "c": "the cat", "d": "it was not for this"}
    manifest = splade_bridge.dense(texts, model=model, output=tmp_path / "i")
    assert isinstance(manifest, Manifest) and manifest.counts.documents == 4
    with splade_bridge.open_index(tmp_path / "i", model=model) as index:
        assert isinstance(index, OpenDenseIndex)
        (first, one), (second, two), *rest = index.search_one("the cat", k=3)
        assert [first, second] == ["a", "c"] and one == two and len(rest) == 1
        assert one == pytest.approx(1, abs=1e-6)
        run = index.search({"q1": "the cat", "q2": "of"}, k=2, output=tmp_path / "run")
        assert list(run) == ["q1", "q2"] and list(run["q1"]) == ["a", "c"]
        assert run.summary.algorithm == "flat"
        with pytest.raises(MismatchError):
            index.search([("q", [1.0, 2.0])])
    from splade_bridge.retrieval.runs import read_run

    assert read_run(tmp_path / "run") == run
    vector = vectors_of(tmp_path / "i")[3]
    found = splade_bridge.search(tmp_path / "i", [("q", vector)], k=1)
    assert found["q"] == {"d": pytest.approx(1, abs=1e-6)}
    with pytest.raises(UsageError, match="are text: name a model"):
        splade_bridge.search(tmp_path / "i", ["the cat"])
    with pytest.raises(UsageError, match="leave them out"):
        splade_bridge.open_index(tmp_path / "i", scale=100)
    with pytest.raises(BadInputError, match="dense vectors"):
        splade_bridge.verify([tmp_path / "i", tmp_path / "i"], {"q": {"a": 1}})


def test_a_model_of_another_kind_is_refused(
    tmp_path: Path, corpus: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bare = save_checkpoint(tmp_path / "bare")
    status, _, said = command_line.run(capfd, "dense", corpus, "-m", bare, "-o", tmp_path / "i")
    assert status == 4 and "no modules.json" in said
    sparse = tmp_path / "sparse"
    sparse.mkdir()
    modules = [{"type": "sentence_transformers.models.SpladePooling", "path": "1_SpladePooling"}]
    (sparse / "modules.json").write_text(json.dumps(modules))
    status, _, said = command_line.run(capfd, "dense", corpus, "-m", sparse, "-o", tmp_path / "i")
    assert status == 4 and "encode takes it" in said
    far = save_dense(tmp_path / "far", similarity="euclidean")
    status, _, said = command_line.run(capfd, "dense", corpus, "-m", far, "-o", tmp_path / "i")
    assert status == 2 and "euclidean distance" in said and "--similarity" in said
    own = save_dense(tmp_path / "own")
    modules = json.loads((own / "modules.json").read_text())
    modules[0]["type"] = "custom.Module"
    (own / "modules.json").write_text(json.dumps(modules))
    mark = tmp_path / "ran"
    (own / "custom.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    status, _, said = command_line.run(capfd, "dense", corpus, "-m", own, "-o", tmp_path / "i")
    assert status == 4 and "needs code of its own" in said
    assert "runs only with --trust-remote-code" in said
    assert not mark.exists() and not (tmp_path / "i").exists()


def test_a_vector_that_is_not_finite_is_refused(
    tmp_path: Path, corpus: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splade_bridge.encoding.dense_encoder import DenseEncoder

    vectors = DenseEncoder._vectors

    def broken(self: DenseEncoder, texts: Any) -> Any:
        found = vectors(self, texts)
        found[-1, 0] = np.nan
        return found

    monkeypatch.setattr(DenseEncoder, "_vectors", broken)
    with pytest.raises(BadInputError, match=r"corpus.jsonl:16: .*d15 a vector that is not finite"):
        dense_corpus(str(corpus), tmp_path / "i", str(model), DenseChoices(part_rows=16))
    assert not (tmp_path / "i").exists()
