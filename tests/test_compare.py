from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

import command_line
from checkpoints import save_checkpoint
from small import random_matrix
from splade_bridge.cli.app import app
from splade_bridge.comparison import make
from splade_bridge.comparison.compare import Outcome, compare
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.comparison.steps import ASIDE, Steps
from splade_bridge.comparison.timing import sampled
from splade_bridge.data.manifest import EncodingInfo, Manifest
from splade_bridge.data.store import VectorStoreWriter
from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.encoding import runner
from splade_bridge.engines.exact import ExactEngine
from splade_bridge.engines.java_worker import JavaWorker
from splade_bridge.engines.lucene_index import LuceneIndex
from splade_bridge.engines.registry import engine
from splade_bridge.errors import BadInputError, Interrupted, MismatchError, MissingToolError
from splade_bridge.evaluation.agreement import agreement
from splade_bridge.evaluation.bench import size_on_disk
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.evaluation.significance import compare_all
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import read_queries
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.source import PrunedSource, pruned_queries
from splade_bridge.retrieval.fusion import FusionOptions, RunLists, fuse
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions, search_to_run
from splade_bridge.training.train import train_recipe
from tiny_training import World

MEASURES = ["nDCG@10", "R@100"]
BENCH = """
[engines]
exact = []
[bench]
ks = [10]
repeat = 1
queries = 5
"""
SPEC = f"""
title = "small"
baseline = "full"
[data]
documents = "docs.jsonl"
queries = "queries.tsv"
qrels = "qrels.txt"
measures = ["nDCG@10", "R@100"]
depth = 100
{BENCH}[[variant]]
name = "full"
[[sweep]]
method = "top-k"
values = [2, 4]
[[variant]]
name = "short queries"
prune_queries = [{{ method = "top-k", value = 2 }}]
"""
TIMES = {"latencies", "encoding_ms", "reranking_ms", "sessions", "seconds", "machine"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small collection, and a specification for it."""
    folder = tmp_path / "data"
    folder.mkdir()
    documents = random_matrix(1, 120, 30, 0.3, 50)
    queries = random_matrix(2, 12, 30, 0.2, 4)
    rng = np.random.default_rng(3)
    with open(folder / "docs.jsonl", "wb") as out:
        for i, row in enumerate(documents):
            vector = {f"t{j}": int(row[j]) for j in np.flatnonzero(row)}
            out.write(orjson.dumps({"id": f"d{i}", "vector": vector}) + b"\n")
    with open(folder / "queries.tsv", "w") as topics:
        for i, row in enumerate(queries):
            topics.write(f"q{i}\t{' '.join(f't{j}' for j in range(30) for _ in range(row[j]))}\n")
    with open(folder / "qrels.txt", "w") as qrels:
        for i in range(12):
            for d in rng.choice(120, 15, replace=False):
                qrels.write(f"q{i} 0 d{d} {int(rng.integers(0, 3))}\n")
    (folder / "spec.toml").write_text(SPEC)
    return folder


def run(data: Path, out: Path, change: Callable[[str], str] = str, **options: bool) -> Outcome:
    spec = data / "changed.toml"
    spec.write_text(change(SPEC))
    return compare(load_spec(spec), out, **options)


def lasting(out: Path) -> Any:
    """results.json without what depends on the machine."""

    def cut(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: cut(v) for k, v in value.items() if k not in TIMES}
        return [cut(v) for v in value] if isinstance(value, list) else value

    return cut(json.loads((out / "results.json").read_text()))


def test_numbers_are_those_of_direct_calls(data: Path, tmp_path: Path) -> None:
    found = run(data, tmp_path / "out").results
    queries, qrels = read_queries(data / "queries.tsv"), read_qrels(data / "qrels.txt")
    runs = {}
    for v in found.variants:
        policies = [policy("top-k", int(v.label))] if v.group == "top-k" else []
        source = PrunedSource(lambda: JsonVectorSource(data / "docs.jsonl"), policies)
        manifest = ExactEngine().build(source, tmp_path / v.name)
        asked = queries
        if v.name == "short queries":
            asked = pruned_queries(queries, policy("top-k", 2))
        written = tmp_path / f"{v.name}.run"
        search_to_run(tmp_path / v.name, asked, written, SearchOptions(k=100))
        runs[v.name] = read_run(written)
        expected = evaluate(qrels, runs[v.name], MEASURES)
        assert v.means == expected.means
        assert v.per_query["nDCG@10"] == {q: m["nDCG@10"] for q, m in expected.per_query.items()}
        assert v.postings == manifest.counts.postings and v.documents == 120
        assert v.query_terms == pytest.approx(np.diff(asked.batch.indptr).mean())
        agreed = agreement(runs["full"], runs[v.name], [10]).means
        if v.name != "full":
            assert (v.overlap[10], v.rbo) == (agreed["overlap@10"], agreed["RBO"])
    assert len({v.means["nDCG@10"] for v in found.variants}) > 2
    values = {v.name: v.per_query["R@100"] for v in found.variants}
    for test in compare_all(values, "full"):
        assert next(v for v in found.variants if v.name == test.second).tests["R@100"] == test


def test_what_is_finished_is_not_done_again(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(data, out)
    assert first.done == {
        "agreement": 3, "evaluation": 4, "index": 3, "latency": 4, "run": 4,
    }  # fmt: skip
    written = lasting(out)
    again = run(data, out)
    assert again.done == {} and again.kept == first.done
    assert lasting(out) == written
    timed = [v.latencies for v in first.results.variants]
    assert [v.latencies for v in again.results.variants] == timed


def test_one_changed_variant_redoes_only_its_steps(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = run(data, out).results
    changed = run(data, out, lambda spec: spec.replace("[2, 4]", "[2, 5]"))
    assert changed.done == {
        "agreement": 1, "evaluation": 1, "index": 1, "latency": 1, "run": 1,
    }  # fmt: skip
    after = {v.name: v for v in changed.results.variants}
    assert after["full"].latencies == before.base.latencies
    assert [s.cases for s in changed.results.sessions] == [4, 1]
    assert after["top-k 5"].latencies[0].session == 1
    back = run(data, out)
    assert back.done == {}
    measured = run(data, out, rebench=True)
    assert measured.done == {"latency": 4} and len(measured.results.sessions) == 1


def test_changed_inputs_are_noticed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(data, out)
    with open(data / "qrels.txt", "a") as qrels:
        qrels.write("q0 0 new 1\n")
    assert run(data, out).done == {"evaluation": 4}
    with open(data / "docs.jsonl", "a") as docs:
        docs.write('{"id": "new", "vector": {"t1": 3}}\n')
    again = run(data, out)
    assert again.done["index"] == 3 and again.results.base.documents == 121


@pytest.mark.parametrize("steps", [1, 6, 9])
@pytest.mark.sample(1)
def test_a_killed_comparison_goes_on(data: Path, tmp_path: Path, steps: int) -> None:
    run(data, tmp_path / "whole")
    out = tmp_path / "killed"
    program = [sys.executable, str(Path(__file__).with_name("compare_killed.py"))]
    done = subprocess.run([*program, str(data / "spec.toml"), str(out), str(steps)])
    assert done.returncode == -signal.SIGKILL
    assert not (out / "results.json").exists()
    went_on = run(data, out)
    kept, total = sum(went_on.kept.values()), 18
    assert kept + sum(went_on.done.values()) == total
    # Steps that were finished: all that were begun before the last, and all latencies at once.
    assert kept == (steps - 1 if steps <= 8 else steps + 2)
    assert lasting(out) == lasting(tmp_path / "whole")
    assert not [p for p in out.rglob("*") if "partial" in p.name]


def test_dropped_indexes_are_built_again_where_needed(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = run(data, out, drop_indexes=True)
    assert first.freed > 0 and not list(out.glob("work/index/*/index"))
    again = run(data, out)
    assert again.done == {} and lasting(out)
    deeper = run(data, out, lambda spec: spec.replace("ks = [10]", "ks = [10, 20]"))
    assert deeper.done["latency"] == 4 and deeper.done["index"] == 3


def test_engines_and_algorithms_stand_beside_each_other(data: Path, tmp_path: Path) -> None:
    try:
        engine("pisa").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    engines = 'exact = []\npisa = ["maxscore", "block_max_wand"]'
    found = run(data, tmp_path / "out", lambda spec: spec.replace("exact = []", engines)).results
    for v in found.variants:
        assert v.engines_agree
        assert [(t.engine, t.algorithm) for t in v.latencies] == [
            ("exact", "exhaustive"), ("pisa", "maxscore"), ("pisa", "block_max_wand"),
        ]  # fmt: skip
        assert all(0 < t.p50 <= t.p95 <= t.p99 for t in v.latencies)
        assert all(t.queries == 5 and t.mean > 0 for t in v.latencies)
    with open(tmp_path / "out" / "results.csv") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 3 * len(found.variants)
    assert {float(r["nDCG@10"]) for r in rows} == {v.means["nDCG@10"] for v in found.variants}


def test_two_steps_tell_what_they_keep(data: Path, tmp_path: Path) -> None:
    two = """
    [[variant]]
    name = "two steps"
    two_step = { prune_documents = [{ method = "top-k", value = 2 }], candidates = 100 }
    """
    found = run(data, tmp_path / "out", lambda spec: spec + two).results
    by_name = {v.name: v for v in found.variants}
    steps = by_name["two steps"]
    assert 0 < steps.kept_exact[100] < 1 and steps.bytes["forward"] > 0
    assert steps.postings == by_name["top-k 2"].postings + by_name["full"].postings
    # Rescored with all terms, so what both find stands in the same order as in the full ranking.
    assert (steps.rbo or 0) > (by_name["top-k 2"].rbo or 0)


def test_all_variants_are_asked_the_same_judged_queries(data: Path, tmp_path: Path) -> None:
    lines = (data / "queries.tsv").read_text().splitlines(keepends=True)
    other = data / "other.tsv"
    more = '[[variant]]\nname = "other"\nqueries = "other.tsv"\n'
    other.write_text("".join(["unjudged\tt1\n", *reversed(lines)]))
    found = run(data, tmp_path / "out", lambda spec: spec + more)
    assert found.results.queries == 12
    full, same = (v for v in found.results.variants if v.name in ("full", "other"))
    assert same.per_query == full.per_query and same.rbo == 1
    assert found.kept == {} and found.done["run"] == 4  # the other is the same search
    other.write_text("".join(lines[:7] + lines[8:]))
    with pytest.raises(MismatchError, match=r"other\.tsv: has no query q7"):
        run(data, tmp_path / "out", lambda spec: spec + more)


@pytest.mark.long
def test_models_are_variants(data: Path, tmp_path: Path) -> None:
    texts = ["the", "of and", "this was not", "he is in a", "by his", "it was that", "x", "on or"]
    with open(data / "corpus.jsonl", "wb") as corpus:
        for i in range(120):
            text = f"{texts[i % 8]} {texts[i % 7]}"
            corpus.write(orjson.dumps({"id": f"d{i}", "contents": text}) + b"\n")
    topics = [f"q{i}\t{texts[i % 8]}\n" for i in range(12)]
    (data / "topics.tsv").write_text("".join([*topics, "unjudged\ta\n"]))
    save_checkpoint(data / "model")
    model = """
    [[variant]]
    name = "model"
    model = "model"
    max_length = 32
    [[sweep]]
    key = "scale"
    values = [5]
    of = "model"
    """

    def spec(text: str) -> str:
        named = '[data]\ncorpus = "corpus.jsonl"\ntopics = "topics.tsv"'
        return text.replace("[data]", named) + model

    found = run(data, tmp_path / "out", spec)
    assert found.done["encode"] == 2 and found.done["query-encoding"] == 1
    encoded = {v.name: v for v in found.results.variants}
    whole, coarse = encoded["model"], encoded["scale 5"]
    assert whole.encoding_ms and whole.steps[:1] == ["documents by model"]
    assert coarse.postings < whole.postings and coarse.max_impact < whole.max_impact
    manifest = Manifest.load(next((tmp_path / "out" / "work" / "encode").glob("*/vectors")))
    assert manifest.counts.documents in (12, 120)
    assert run(data, tmp_path / "out", spec).done == {}
    again = run(data, tmp_path / "out", lambda text: spec(text).replace("[5]", "[7]"))
    assert "encode" not in again.done and again.done["index"] == 1


def texts(data: Path) -> Callable[[str], str]:
    """Text and a checkpoint beside the vectors; what makes a variant of them."""
    with open(data / "corpus.jsonl", "wb") as corpus:
        for i in range(60):
            text = {"id": f"d{i}", "contents": f"the of and {'x' * (i % 3)} was"}
            corpus.write(orjson.dumps(text) + b"\n")
    (data / "topics.tsv").write_text("".join(f"q{i}\tthe was\n" for i in range(12)))
    save_checkpoint(data / "model")
    named = '[data]\ncorpus = "corpus.jsonl"\ntopics = "topics.tsv"'
    variant = '\n[[variant]]\nname = "model"\nmodel = "model"\nmax_length = 32\n'
    return lambda text: text.replace("[data]", named) + variant


@pytest.mark.long
def test_steps_of_other_versions_are_not_mixed(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, out, real = texts(data), tmp_path / "out", make.decisive
    first = run(data, out, spec)
    assert run(data, out, spec).done == {}

    def faked(**changed: str) -> None:
        known = {n.replace("_", "-"): v for n, v in changed.items()}
        monkeypatch.setattr(
            make, "decisive", lambda kind: real(kind) | (known if kind == "encode" else {})
        )

    for changed in ({"torch": "99"}, {"dtype": "bfloat16"}, {"device": "cuda"}):
        faked(**changed)
        said: list[str] = []
        (data / "changed.toml").write_text(spec(SPEC))
        again = compare(load_spec(data / "changed.toml"), out, say=said.append)
        assert again.done["encode"] == 2 and again.done["index"] == 1, changed
        key, value = next(iter(changed.items()))
        told = f"{key} {real('encode')[key]} -> {value}"
        assert any("made again" in line and told in line for line in said), said
        assert lasting(out)["variants"][-1]["means"] == first.results.variants[-1].means
    monkeypatch.setattr(make, "decisive", real)
    assert run(data, out, spec).done == {}  # whoever goes back finds what was made


@pytest.mark.parametrize("other", ["versions", "name"])
def test_an_encoding_that_was_begun_otherwise_does_not_stop_a_comparison(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """A torch upgrade, or a model under another name, after a kill."""
    spec, out, said = texts(data), tmp_path / "out", []
    real = make.decisive

    with monkeypatch.context() as patch:
        patch.setattr(
            runner.encode_to_store,
            "__kwdefaults__",
            {**runner.encode_to_store.__kwdefaults__, "part_rows": 16},
        )
        parts = runner.PartStore.write

        def second(store: Any, number: int, *rest: Any) -> None:
            if number == 1:
                raise KeyboardInterrupt
            parts(store, number, *rest)

        patch.setattr(runner.PartStore, "write", second)
        with pytest.raises(Interrupted):
            run(data, out, spec)
    assert len(list(out.glob("work/encode/*/vectors/part-*.parquet"))) == 1
    change = spec
    if other == "versions":
        monkeypatch.setattr(make, "decisive", lambda kind: real(kind) | {"torch": "99"})
    else:
        (data / "model").rename(data / "renamed")
        change = lambda text: spec(text).replace('model = "model"', 'model = "renamed"')  # noqa: E731
    (data / "changed.toml").write_text(change(SPEC))
    compare(load_spec(data / "changed.toml"), out, say=said.append)
    assert sum("begun again" in line for line in said) == 1, said
    assert len(list(out.glob(f"work/encode/*{ASIDE}"))) == 1


@pytest.mark.long
def test_recipes_are_variants(tmp_path: Path) -> None:
    world = World(tmp_path)
    recipe = world.recipe()
    spec = tmp_path / "spec.toml"
    spec.write_text(
        f"""
        [data]
        corpus = "corpus.jsonl"
        topics = "queries.jsonl"
        qrels = "qrels.tsv"
        depth = 20
        measures = ["nDCG@10"]
        {BENCH}
        [[variant]]
        name = "trained"
        recipe = "tiny.toml"
        [[variant]]
        name = "more"
        recipe = "tiny.toml"
        set = ["train.steps=16"]
        """
    )
    out = tmp_path / "out"
    found = compare(load_spec(spec), out)
    assert found.done["train"] == 2 and found.done["encode"] == 4
    trained, more = found.results.variants
    assert trained.means != more.means or trained.postings != more.postings
    assert trained.seconds["train"] > 0 and trained.encoding_ms
    # Documents and queries are encoded in a step each; both count.
    encoded = [size_on_disk(vectors) for vectors in (out / "work" / "encode").glob("*/vectors")]
    assert trained.bytes["encode"] + more.bytes["encode"] == sum(encoded)
    # The vectors are those of the same recipe trained by hand: on a CPU weights are the same.
    by_hand = train_recipe(recipe, tmp_path / "by-hand")
    from sentence_transformers import SparseEncoder

    model = SparseEncoder(str(by_hand), device="cpu")
    asked = [world.queries[query_id] for query_id in world.qrels]
    documents = model.encode_document([*world.documents.values()], convert_to_sparse_tensor=False)
    queries = model.encode_query(asked, convert_to_sparse_tensor=False)
    held, wanted = (np.rint(weights.numpy() * 100) > 0 for weights in (documents, queries))
    expected = float(held.mean(axis=0) @ wanted.mean(axis=0))
    assert trained.qd_flops == pytest.approx(expected, rel=1e-3)
    assert trained.postings == pytest.approx(int(held.sum()), rel=1e-3)
    assert compare(load_spec(spec), out).done == {}
    # Other training data make another model; the recipe's text is the same.
    lines = (tmp_path / "train.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "train.jsonl").write_text("".join(lines[:-8]))
    assert compare(load_spec(spec), out).done["train"] == 2


def test_a_wrong_recipe_is_named_before_any_work(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.recipe()
    spec = tmp_path / "spec.toml"
    for wrong, message in (
        (
            'recipe = "tiny.toml"\nset = ["train.stesp=1"]',
            "train: unknown key 'stesp'; did you mean",
        ),
        ('recipe = "nowhere.toml"', "neither a file nor a recipe"),
        ('recipe = "tiny.toml"\nset = ["data.path=nowhere.jsonl"]', "data.path: no such file"),
        ('recipe = "tiny.toml"\nset = ["model.base=no/where"]', "model.base: no/where: no folder"),
    ):
        spec.write_text(
            '[data]\ncorpus = "corpus.jsonl"\ntopics = "queries.jsonl"\nqrels = "qrels.tsv"\n'
            f'[engines]\nexact = []\n[[variant]]\nname = "trained"\n{wrong}\n'
        )
        with pytest.raises(BadInputError, match=r"variant 'trained'.*") as raised:
            compare(load_spec(spec), tmp_path / "out")
        assert message in str(raised.value)
        assert not (tmp_path / "out").exists()


@pytest.mark.long
def test_memory_is_the_heap_of_every_jvm_that_searches(
    data: Path, tmp_path: Path, lucene: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of runs and of latencies; exact beside it takes no limit, which is no fault."""
    flags: list[set[bytes]] = []
    begun = LuceneIndex._begun

    def watched(index: LuceneIndex) -> JavaWorker:
        worker = begun(index)
        flags.append({*Path(f"/proc/{worker.pid}/cmdline").read_bytes().split(b"\0")})
        return worker

    monkeypatch.setattr(LuceneIndex, "_begun", watched)
    spec = data / "both.toml"
    spec.write_text(SPEC.replace("exact = []", "exact = []\nlucene = []"))
    outcome = compare(load_spec(spec), tmp_path / "out", memory=96 << 20)
    assert outcome.done["latency"] == 8
    assert len(flags) >= 8 and all(b"-Xmx96m" in each for each in flags)


def test_bm25_is_a_variant(data: Path, tmp_path: Path, lucene: None) -> None:
    rng = np.random.default_rng(4)
    with open(data / "corpus.jsonl", "wb") as corpus:
        for i in range(120):
            text = " ".join(f"word{j}" for j in rng.integers(0, 25, 4 + i % 9))
            corpus.write(orjson.dumps({"id": f"d{i}", "contents": text}) + b"\n")
    (data / "topics.tsv").write_text("".join(f"q{i}\tword{i % 6} word1\n" for i in range(12)))
    named = '[data]\ncorpus = "corpus.jsonl"\ntopics = "topics.tsv"'
    more = '[[variant]]\nname = "BM25"\nbm25 = {}\n'
    found = run(data, tmp_path / "out", lambda s: s.replace("[data]", named) + more)
    made = next((tmp_path / "out" / "work" / "bm25").glob("*/bm25"))
    ours = next(v for v in found.results.variants if v.name == "BM25")
    theirs = evaluate(read_qrels(data / "qrels.txt"), read_run(made / "run.trec"), MEASURES)
    assert ours.means["R@100"] == pytest.approx(theirs.means["R@100"], abs=0.01)
    assert ours.means["nDCG@10"] == pytest.approx(theirs.means["nDCG@10"], abs=0.05)
    assert ours.query_terms == pytest.approx(np.mean([2 - (i % 6 == 1) for i in range(12)]))
    assert ours.bytes["bm25"] > 0


def test_queries_are_sampled_alike(data: Path) -> None:
    queries = read_queries(data / "queries.tsv")
    some = sampled(queries, 5, seed=0)
    assert some.batch.ids == sampled(queries, 5, seed=0).batch.ids
    assert len(set(some.batch.ids)) == 5
    for i, query_id in enumerate(some.batch.ids):
        there = queries.batch.ids.index(query_id)
        for ours, theirs in zip(some.batch.row(i), queries.batch.row(there), strict=True):
            assert ours.tolist() == theirs.tolist()
    assert sampled(queries, 50, seed=0) is queries
    assert make.queries_digest(some) != make.queries_digest(queries)


def test_the_hash_of_queries_is_that_of_their_terms(data: Path) -> None:
    queries = read_queries(data / "queries.tsv")
    batch = queries.batch
    heavier = replace(queries, batch=replace(batch, impacts=batch.impacts + 1))
    assert make.queries_digest(heavier) != make.queries_digest(queries)
    assert make.queries_digest(read_queries(data / "queries.tsv")) == make.queries_digest(queries)


def test_a_failed_step_is_not_remembered(tmp_path: Path) -> None:
    steps = Steps(tmp_path, lambda _: None)

    def fail(folder: Path) -> dict[str, Any]:
        (folder / "half").touch()
        raise ValueError

    with pytest.raises(ValueError):
        steps.run("kind", "what", {"a": 1}, fail)
    assert steps.known("kind", {"a": 1}) is None
    assert steps.run("kind", "what", {"a": 1}, lambda _: {"x": 1}).outcome == {"x": 1}
    assert steps.done == {"kind": 1} and steps.kept == {}
    assert steps.known("kind", {"a": 2}) is None


def test_the_command_shows_a_table_and_writes_all_files(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["compare", str(data / "spec.toml"), "-o", str(out)]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "140"}, catch_exceptions=False)
    assert done.exit_code == 0
    for name in ("full", "top-k 2", "top-k 4", "short queries"):
        assert name in done.stdout
    assert "steps done" in done.stderr and "steps done" not in done.stdout
    for name in ("results.json", "results.csv", "report.html", "table.tex", "charts/postings.svg"):
        assert (out / name).stat().st_size > 500
    told = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["steps_done"] == {}


def test_a_wrong_specification_ends_with_its_exit_code(data: Path, tmp_path: Path) -> None:
    path = data / "spec.toml"
    path.write_text(SPEC.replace("values =", "valeus ="))
    done = subprocess.run(
        [sys.executable, "-m", "splade_bridge", "compare", str(path), "-o", str(tmp_path / "o")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 4
    assert "[[sweep]] 1: unknown key 'valeus'; did you mean values?" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "o").exists()


FUSED = """
[[fusion]]
name = "both"
of = ["full", "top-k 2"]
[[fusion]]
name = "weighted"
of = ["short queries", "full"]
method = "combsum"
weights = [1, 3]
depth = 20
group = "fusions"
"""


def test_a_fusion_is_a_system_with_the_cost_of_its_parts(data: Path, tmp_path: Path) -> None:
    outcome = run(data, tmp_path / "out", lambda text: text + FUSED)
    found = {v.name: v for v in outcome.results.variants}
    assert list(found)[-2:] == ["both", "weighted"] and outcome.done["fusion"] == 2
    qrels = read_qrels(data / "qrels.txt")
    runs = {}
    for note in (tmp_path / "out" / "work").glob("run/*/step.json"):
        read = json.loads(note.read_text())
        runs[read["what"].partition(":")[0]] = read_run(note.parent / "run.trec.zst")
    for name, parts, options in (
        ("both", ["full", "top-k 2"], FusionOptions(depth=100)),
        ("weighted", ["short queries", "full"],
         FusionOptions("combsum", weights=(1.0, 3.0), depth=20)),
    ):  # fmt: skip
        v = found[name]
        fused = {
            r.query_id: dict(zip(r.doc_ids, r.scores.tolist(), strict=True))
            for r in fuse(RunLists(runs[p] for p in parts), options, 100)
        }
        assert v.means == evaluate(qrels, fused, MEASURES).means
        assert v.overlap[10] == agreement(runs["full"], fused, [10]).means["overlap@10"]
        assert v.parts == parts and v.steps == [options.sentence(parts)]
        assert v.engines_agree and v.tests["nDCG@10"].comparisons == 5
        timed = [found[p].fastest("exact", options.depth) for p in parts]
        (row,) = v.latencies
        assert row.mean == pytest.approx(sum(t.mean for t in timed if t))
        assert (row.k, row.p50) == (10, None)
        assert v.query_terms == sum(found[p].query_terms for p in parts)
        assert v.qd_flops == pytest.approx(sum(found[p].qd_flops or 0 for p in parts))
    both, full, small = found["both"], found["full"], found["top-k 2"]
    assert both.postings == full.postings + small.postings
    assert both.indexes[0].bytes == full.indexes[0].bytes + small.indexes[0].bytes
    # Both parts of the other search one index.
    assert found["weighted"].postings == full.postings
    assert found["weighted"].indexes[0].bytes == full.indexes[0].bytes
    assert {t.k for t in full.latencies} == {10, 20, 100}
    assert {t.k for t in found["top-k 4"].latencies} == {10}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "combsum of short queries x 1 and full x 3, by min-max, depth 20" in page
    assert "What a fusion costs is the sum of its parts" in page
    with open(tmp_path / "out" / "results.csv", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["variant"] == "both"]
    assert [(row["k"], row["p95_ms"]) for row in rows] == [("10", "")]

    again = run(data, tmp_path / "out", lambda text: text + FUSED)
    assert not again.done and again.kept["fusion"] == 2
    changed = run(data, tmp_path / "out", lambda text: text + FUSED.replace("[1, 3]", "[1, 4]"))
    assert changed.done["fusion"] == 1 and "run" not in changed.done
    assert "index" not in changed.done and "latency" not in changed.done


def stored(batches: Iterable[ImpactBatch], own: Vocabulary, out: Path, made: EncodingInfo) -> None:
    """A hundredth of each impact in a store, as an encoder leaves it."""
    out.mkdir()
    vocabulary = Vocabulary([f"t{j}" for j in range(30)])
    writer = VectorStoreWriter(out, vocabulary)
    for batch in batches:
        named = batch.remap(own.mapping(vocabulary))
        weights = (named.impacts / 100).astype(np.float32)
        writer.add(SparseBatch(named.ids, named.indptr, named.indices, weights))
    writer.finish(made)


def test_vectors_of_two_models_are_compared_only_where_that_is_allowed(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """End to end: exit 5 with both hashes, or the figures of vectors that fit, with a warning."""
    one = EncodingInfo("one", None, "a" * 64, "document", "max", 256, "float32")
    source, asked = JsonVectorSource(data / "docs.jsonl"), read_queries(data / "queries.tsv")
    documents = list(source.batches())
    stored(documents, source.vocabulary, data / "documents", one)
    other = replace(one, side="query", model="other", sha256="b" * 64)
    for name, made in (("fitting", replace(one, side="query")), ("foreign", other)):
        stored([asked.batch], asked.vocabulary, data / name, made)
    spec = SPEC.replace('"docs.jsonl"', '"documents"')
    for name in ("fitting", "foreign"):
        (data / f"{name}.toml").write_text(spec.replace('"queries.tsv"', f'"{name}"'))
    command = ("compare", data / "foreign.toml", "-o", tmp_path / "out")
    status, out, err = command_line.run(capfd, *command)
    assert (status, out) == (5, "")
    assert "one" in err and "other" in err and "--allow-mismatch" in err
    assert not (tmp_path / "out" / "results.json").exists()
    status, _, err = command_line.run(capfd, *command, "--allow-mismatch")
    assert status == 0, err
    assert "one" in err and "other" in err, "it is a warning then"
    fitting = ("compare", data / "fitting.toml", "-o", tmp_path / "fits")
    status, _, err = command_line.run(capfd, *fitting)
    assert status == 0 and "other" not in err
    told, right = (lasting(tmp_path / name)["variants"] for name in ("out", "fits"))
    assert [v["means"] for v in told] == [v["means"] for v in right] and len(told) == 4
