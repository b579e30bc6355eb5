"""Hard negatives against brute force, teacher scores against the models themselves."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoints import VOCABULARY, one_thread, save_bert, save_checkpoint  # noqa: F401
from ranked import brute_force
from small import MemorySource, random_matrix, trec_run, write_json_lines, write_texts
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.data import DataOptions, load_training_data
from splade_bridge.training.mine import MineOptions, mine
from splade_bridge.training.score import ScoreOptions, score

TERMS = [f"t{i}" for i in range(12)]
DOC_IDS = [f"d{i:02}" for i in range(60)]
QUERY_IDS = [f"q{i}" for i in range(8)]


@dataclasses.dataclass
class Small:
    """A random collection with queries, judgements, and an index of every kind on demand."""

    folder: Path
    documents: np.ndarray
    queries: np.ndarray
    qrels: dict[str, dict[str, int]]

    def options(self, **changes: Any) -> MineOptions:
        usual: dict[str, Any] = {
            "queries": str(self.folder / "queries.jsonl"),
            "qrels": self.folder / "qrels.txt",
            "out": self.folder / "mined.jsonl",
            "overwrite": True,
        }
        return MineOptions(**(usual | changes))

    def ranked(self, query_id: str) -> list[tuple[str, int]]:
        query = self.queries[QUERY_IDS.index(query_id)]
        return brute_force(self.documents, DOC_IDS, query, len(DOC_IDS))

    def run(self) -> Path:
        """A run of all queries over all documents."""
        path = self.folder / "run.trec"
        path.write_text(trec_run({query_id: self.ranked(query_id) for query_id in QUERY_IDS}))
        return path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    documents = random_matrix(1, len(DOC_IDS), len(TERMS), 0.4, 50)
    queries = random_matrix(2, len(QUERY_IDS), len(TERMS), 0.4, 9)
    queries[0] = 0
    queries[0, 3] = 2
    rng = np.random.default_rng(3)
    qrels: dict[str, dict[str, int]] = {}
    for query_id in QUERY_IDS[:-1]:
        chosen = rng.choice(DOC_IDS, 6, replace=False).tolist()
        qrels[query_id] = dict(zip(chosen, (2, 2, 1, 1, 0, 0), strict=True))
    (folder / "qrels.txt").write_text(
        "".join(f"{q} 0 {d} {g}\n" for q, judged in qrels.items() for d, g in judged.items())
    )
    write_json_lines(
        folder / "queries.jsonl", ({"id": q, "text": f"text of {q}"} for q in QUERY_IDS)
    )
    vectors = ({t: w for t, w in zip(TERMS, row, strict=True) if w} for row in queries.tolist())
    write_json_lines(
        folder / "vectors.jsonl",
        ({"id": q, "vector": v} for q, v in zip(QUERY_IDS, vectors, strict=True)),
    )
    return Small(folder, documents, queries, qrels)


def mined(path: Path) -> dict[str, dict[str, Any]]:
    return {r["query_id"]: r for r in map(json.loads, path.read_text().splitlines())}


def run_file(small: Small, name: str) -> Path:
    """A run of all that brute force finds."""
    run = small.folder / name
    with open(run, "w") as out:
        for query_id in QUERY_IDS:
            for rank, (doc_id, value) in enumerate(small.ranked(query_id), 1):
                out.write(f"{query_id} Q0 {doc_id} {rank} {value} t\n")
    return run


def indexed(small: Small, name: str) -> Path:
    place = small.folder / f"index-{name}"
    if not place.exists():
        source = MemorySource(small.documents, DOC_IDS, TERMS)
        engine(name).build(source, place)
    return place


@pytest.mark.parametrize("margin", [None, 0.9])
@pytest.mark.sample(2, of="exact")
def test_mining_is_brute_force(small: Small, engine_name: str, margin: float | None) -> None:
    options = small.options(
        index=indexed(small, engine_name), query_vectors=small.folder / "vectors.jsonl",
        choice="hardest", negatives=6, skip=2, depth=30, margin=margin, min_grade=2,
    )  # fmt: skip
    summary = mine(options)
    found = mined(options.out)
    assert list(found) == QUERY_IDS[:-1] and summary.without_positive == 1
    judged_out, close_out = 0, 0
    for query_id, record in found.items():
        judged = {d for d, g in small.qrels[query_id].items() if g > 0}
        positives = {d: g for d, g in small.qrels[query_id].items() if g >= 2}
        ranked = small.ranked(query_id)
        all_scores = small.documents @ small.queries[QUERY_IDS.index(query_id)]
        best = max(int(all_scores[DOC_IDS.index(d)]) for d in positives)
        window = ranked[2:30]
        pool = [(d, s) for d, s in window if d not in judged]
        kept = [(d, s) for d, s in pool if margin is None or s <= margin * best]
        judged_out += len(window) - len(pool)
        close_out += len(pool) - len(kept)
        assert record["negatives"] == dict(kept[:6])
        assert list(record["negatives"]) == [d for d, _ in kept[:6]]
        assert record["positives"] == positives
        assert record["query"] == f"text of {query_id}"
    assert (summary.judged, summary.too_close) == (judged_out, close_out)
    assert summary.negatives == sum(len(r["negatives"]) for r in found.values())
    short = [q for q, r in found.items() if len(r["negatives"]) < 6]
    assert summary.short == len(short)
    assert summary.without_negatives == [q for q in short if not found[q]["negatives"]]


@pytest.mark.long
def test_negatives_of_bm25_are_those_of_its_run(lucene: None, texts: Path, tmp_path: Path) -> None:
    """``splade-bridge bm25`` over the same texts says what the candidates are."""
    from splade_bridge.engines.bm25 import RUN, Bm25Options, build_bm25
    from splade_bridge.retrieval.runs import read_run

    qrels = tmp_path / "qrels.txt"
    queries = [q.id for q in read_texts(str(texts), "queries")]
    documents = [d.id for d in read_texts(str(texts))]
    qrels.write_text("".join(f"{q} 0 {documents[0]} 1\n" for q in queries))
    place = {"corpus": str(texts), "queries": str(texts), "qrels": qrels}
    options = MineOptions(**place, bm25=True, out=tmp_path / "m.jsonl", depth=6, choice="hardest")
    mine(options)
    build_bm25(
        read_texts(str(texts)), read_texts(str(texts), "queries"), tmp_path / "b", Bm25Options(k=6)
    )
    run = read_run(tmp_path / "b" / RUN)
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text().splitlines()]
    found = {line["query_id"]: line["negatives"] for line in lines}
    assert list(found) == queries and any(found.values())
    for query_id, negatives in found.items():
        assert negatives == {d: s for d, s in run.get(query_id, {}).items() if d != documents[0]}
    for wrong in ({"corpus": None, "run": qrels}, {"model": "x"}):
        with pytest.raises(UsageError, match="--bm25 searches the texts"):
            mine(dataclasses.replace(options, out=tmp_path / "n.jsonl", **wrong))


def test_a_sample_is_seeded_and_from_the_window(small: Small) -> None:
    options = small.options(run=small.run(), negatives=4, skip=1, depth=25)
    mine(options)
    first = options.out.read_bytes()
    manifest = options.out.with_name("mined.jsonl.manifest.json").read_bytes()
    mine(options)
    assert options.out.read_bytes() == first
    assert options.out.with_name("mined.jsonl.manifest.json").read_bytes() == manifest
    assert json.loads(manifest)["summary"]["queries"] == len(QUERY_IDS) - 1
    mine(dataclasses.replace(options, seed=1))
    assert options.out.read_bytes() != first
    for query_id, record in mined(options.out).items():
        judged = {d for d, g in small.qrels[query_id].items() if g > 0}
        window = dict(d for d in small.ranked(query_id)[1:25] if d[0] not in judged)
        assert record["negatives"].items() <= window.items()
        assert len(record["negatives"]) == min(4, len(window))


def test_a_run_and_an_index_give_the_same(small: Small) -> None:
    changes = {"negatives": 5, "margin": 0.95, "depth": 60}
    mine(small.options(run=small.run(), out=small.folder / "a.jsonl", **changes))
    mine(
        small.options(
            index=indexed(small, "exact"), query_vectors=small.folder / "vectors.jsonl",
            out=small.folder / "b.jsonl", **changes,
        )
    )  # fmt: skip
    assert mined(small.folder / "a.jsonl") == mined(small.folder / "b.jsonl")


def test_positives_a_run_lacks_leave_nothing_under_a_margin(small: Small, tmp_path: Path) -> None:
    run = tmp_path / "run.trec"
    unjudged = next(d for d in DOC_IDS if d not in small.qrels["q1"])
    run.write_text(f"q1 Q0 {unjudged} 1 5 t\n")
    options = small.options(run=run, margin=0.95, out=tmp_path / "m.jsonl")
    summary = mine(options)
    assert "q1" in summary.unknown_positive and not mined(options.out)["q1"]["negatives"]
    mine(dataclasses.replace(options, margin=None))
    assert mined(options.out)["q1"]["negatives"] == {unjudged: 5.0}


def test_mined_negatives_are_training_data(small: Small, tmp_path: Path) -> None:
    options = small.options(
        index=indexed(small, "exact"), query_vectors=small.folder / "vectors.jsonl", negatives=3,
        out=tmp_path / "m.jsonl.gz",
    )  # fmt: skip
    mine(options)
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("".join(f"{d}\ttext of {d}\n" for d in DOC_IDS))
    data = DataOptions("jsonl", options.out, collection=str(corpus), negatives=1)
    rows = list(load_training_data(data))
    assert {r["query"] for r in rows} <= {f"text of {q}" for q in QUERY_IDS}
    assert len(rows) >= 4 * (len(QUERY_IDS) - 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "name one source"),
        ({"run": Path("a"), "corpus": "b"}, "not --run and --corpus"),
        ({"index": Path("a")}, "how to encode the queries"),
        ({"run": Path("a"), "depth": 5, "skip": 5}, "ranks between skip and depth"),
        ({"run": Path("a"), "margin": 0.0}, "--margin 0.0"),
    ],
)
def test_mining_refuses(small: Small, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mine(small.options(**changes))


# ---------------------------------------------------------------- with a model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six queries, twenty documents, one positive each."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = ["the", "cat", "of", "to", "be", "42", "xyz", "this", "not"]
    passages = {f"d{i}": " ".join(rng.choice(words, rng.integers(3, 25))) for i in range(20)}
    questions = {f"q{i}": " ".join(rng.choice(words, 4)) for i in range(6)}
    write_texts(folder / "corpus.jsonl", passages)
    write_texts(folder / "queries.jsonl", questions)
    (folder / "qrels.txt").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(6)))
    return folder


def dense(model: Path, side: Any, source: str, role: Any) -> tuple[list[str], np.ndarray]:
    encoder = load_encoder(str(model), side, EncodeOptions())
    (batch,) = encoder.encode(read_texts(source, role))
    rows = np.zeros((len(batch.ids), len(VOCABULARY)))
    for i in range(len(batch.ids)):
        part = slice(int(batch.indptr[i]), int(batch.indptr[i + 1]))
        rows[i, batch.indices[part]] = batch.weights[part]
    return batch.ids, rows


@pytest.fixture(scope="module")
def pairs(model: Path, texts: Path) -> Path:
    options = MineOptions(
        str(texts), texts / "qrels.txt", texts / "mined.jsonl", corpus=str(texts),
        model=str(model), negatives=4, choice="hardest",
    )  # fmt: skip
    mine(options)
    return options.out


def test_mining_with_a_model(model: Path, texts: Path, pairs: Path) -> None:
    query_ids, queries = dense(model, "query", str(texts), "queries")
    doc_ids, documents = dense(model, "document", str(texts), "documents")
    scores = np.rint(queries * 100) @ np.rint(documents * 100).T
    for i, query_id in enumerate(query_ids):
        ranked = sorted(zip(-scores[i], doc_ids, strict=True))
        best = [d for s, d in ranked if d != f"d{i}" and s < 0][:4]
        assert list(mined(pairs)[query_id]["negatives"]) == best
    assert not [p for p in texts.iterdir() if p.name.startswith("tmp")]


def test_sparse_teacher(model: Path, texts: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "scored.jsonl"
    options = ScoreOptions(pairs, out, "sparse", str(model), collection=str(texts), part_queries=4)
    summary = score(options)
    query_ids, queries = dense(model, "query", str(texts), "queries")
    doc_ids, documents = dense(model, "document", str(texts), "documents")
    expected = queries @ documents.T
    count = 0
    for query_id, record in mined(out).items():
        assert list(record["scores"]) == [*record["positives"], *record["negatives"]]
        assert record["negatives"] == mined(pairs)[query_id]["negatives"]
        for doc_id, value in record["scores"].items():
            wanted = expected[query_ids.index(query_id), doc_ids.index(doc_id)]
            assert value == pytest.approx(wanted, rel=1e-5)
            count += 1
    assert summary.pairs == count and not out.with_name("scored.jsonl.parts").exists()
    rows = list(load_training_data(DataOptions("jsonl", out, collection=str(texts), negatives=4)))
    assert len(rows) == 6 and all(len(r["label"]) == 5 for r in rows)


@pytest.mark.parametrize("kind", ["cross-encoder", "dense"])
def test_models_of_sentence_transformers(
    texts: Path, pairs: Path, tmp_path: Path, kind: Any
) -> None:
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    folder = save_bert(tmp_path / "teacher", kind)
    out = tmp_path / "scored.jsonl"
    score(ScoreOptions(pairs, out, kind, str(folder), collection=str(texts), batch_size=3))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loader = AutoModelForSequenceClassification if kind == "cross-encoder" else AutoModel
    network = loader.from_pretrained(folder).eval()
    documents = {t.id: t.text for t in read_texts(str(texts))}

    def vector(text: str) -> Any:
        encoded = tokenizer(text, return_tensors="pt", truncation=True)
        mean = network(**encoded).last_hidden_state[0].mean(dim=0)
        return mean / mean.norm()

    for record in mined(out).values():
        for doc_id, value in record["scores"].items():
            with torch.no_grad():
                if kind == "dense":
                    wanted = float(vector(record["query"]) @ vector(documents[doc_id]))
                else:
                    encoded = tokenizer(record["query"], documents[doc_id], return_tensors="pt")
                    wanted = float(network(**encoded).logits)
            assert value == pytest.approx(wanted, abs=1e-4)


def test_scoring_goes_on_where_it_was_stopped(
    model: Path, texts: Path, pairs: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    from splade_bridge.training import score as module

    options = ScoreOptions(
        pairs, tmp_path / "a.jsonl", "sparse", str(model), collection=str(texts), part_queries=2
    )
    score(options)
    stopped = dataclasses.replace(options, out=tmp_path / "b.jsonl")
    real, calls = module._scored, []

    def dies(*args: Any) -> Any:
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(module, "_scored", dies)
    with pytest.raises(KeyboardInterrupt):
        score(stopped)
    assert not stopped.out.exists()
    with pytest.raises(UsageError, match="other options"):
        score(dataclasses.replace(stopped, max_length=17))
    summary = score(stopped)
    assert summary.parts_kept == 2 and len(calls) == 4
    assert stopped.out.read_bytes() == options.out.read_bytes()


def test_a_run_as_teacher(pairs: Path, tmp_path: Path) -> None:
    """What the run says comes back; a pair that it lacks is refused, or counted if allowed."""
    wanted = {q: [*r["positives"], *r["negatives"]] for q, r in mined(pairs).items()}
    scores = {q: {d: 10.5 - i for i, d in enumerate(found)} for q, found in wanted.items()}
    run = tmp_path / "run.trec"

    def write() -> None:
        run.write_text(trec_run({q: found.items() for q, found in scores.items()}))

    write()
    options = ScoreOptions(pairs, tmp_path / "out.jsonl", "run", run=run)
    summary = score(options)
    assert {q: r["scores"] for q, r in mined(options.out).items()} == scores
    assert summary.pairs == sum(map(len, scores.values())) and not summary.missing
    lost = scores["q2"].popitem()[0]
    write()
    again = dataclasses.replace(options, out=tmp_path / "lacking.jsonl")
    with pytest.raises(MismatchError, match=rf"lacks 1 of {summary.pairs} pairs .*q2 {lost}"):
        score(again)
    assert not again.out.exists()
    summary = score(dataclasses.replace(again, allow_missing=True))
    assert (summary.missing, summary.missing_examples) == (1, [f"q2 {lost}"])
    assert {q: r["scores"] for q, r in mined(again.out).items()} == scores


def test_scoring_refuses(texts: Path, pairs: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    with pytest.raises(UsageError, match="takes --model"):
        score(ScoreOptions(pairs, out))
    with pytest.raises(BadInputError, match=r"--model: .*/no: neither a folder"):
        score(ScoreOptions(pairs, out, model=str(tmp_path / "no"), collection=str(texts)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match="cannot be loaded"):
        score(ScoreOptions(pairs, out, model=str(tmp_path / "empty"), collection=str(texts)))
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("d0\tonly one\n")
    with pytest.raises(BadInputError, match=r"mined.jsonl:1: the collection has no text for"):
        score(
            ScoreOptions(pairs, out, "sparse", str(model), collection=str(corpus), overwrite=True)
        )
    assert not out.exists()
