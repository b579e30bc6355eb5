"""bench: counts and order of its figures, the arithmetic behind them, and what it says of noise."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest

from checkpoints import VOCABULARY, save_checkpoint
from command_line import run
from small import MemorySource, queries_of, random_matrix
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.registry import EXACT, engine, open_index
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.evaluation import bench as bench_module
from splade_bridge.evaluation.bench import (
    BenchOptions,
    Case,
    Latency,
    bench,
    measure,
    size_on_disk,
    time_encoding,
)
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.two_step import TwoStepOptions, TwoStepSearcher

TERMS = [f"t{i}" for i in range(30)]
DOCUMENTS = random_matrix(1, 150, 30, 0.4, 9)
IDS = [f"d{i}" for i in range(150)]
WEIGHTS = random_matrix(2, 12, 30, 0.4, 9)
QUERIES = queries_of(WEIGHTS, TERMS)


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each engine that is installed."""
    folder = tmp_path_factory.mktemp("indexes")
    for name in EXACT:
        try:
            engine(name).build(MemorySource(DOCUMENTS, IDS, TERMS), folder / name)
        except MissingToolError:
            continue
    return {path.name: path for path in sorted(folder.iterdir())}


@pytest.mark.sample(1)
def test_figures_of_all_engines_are_sane(indexes: dict[str, Path], engine_name: str) -> None:
    path = indexes[engine_name]
    with open_index(path) as searcher:
        ks, repeat = (3, 20), 2
        threads = 2 if searcher.uses_threads else 1
        options = BenchOptions(k=ks, algorithms=("all",), repeat=repeat, threads=threads)
        rows = bench([searcher], QUERIES, options)
        assert [(r.k, r.algorithm) for r in rows] == [
            (k, algorithm) for k in ks for algorithm in searcher.algorithms
        ]
    for row in rows:
        assert (row.index, row.engine, row.queries) == (str(path), engine_name, 12)
        timing = row.timing
        latency = timing.latency
        assert 0 < latency.p50 <= latency.p95 <= latency.p99
        assert 0 < latency.mean < 1000
        assert len(timing.medians) == repeat
        assert timing.spread == pytest.approx(max(timing.medians) / min(timing.medians) - 1)
        assert timing.noisy == (timing.spread > 0.1)
        assert timing.queries_per_second is not None
        assert timing.queries_per_second > 0
        assert timing.threads == threads
        files = [p for p in path.rglob("*") if p.is_file() and p.name != "algorithms.json"]
        assert row.bytes == sum(p.stat().st_size for p in files)
        # Any two rows of the matrices share so many terms on average.
        matches = (WEIGHTS > 0).astype(int) @ (DOCUMENTS > 0).astype(int).T
        if row.qd_flops is not None:
            assert row.qd_flops == pytest.approx(matches.mean())
        else:
            assert engine_name == "pisa"
    if engine_name == "exact":
        assert all(row.scored_share == 1 for row in rows)


class Staged(Searcher):
    """Tells its times beforehand: ``plan(call number, place in the call)`` nanoseconds."""

    algorithms = ("a", "b")

    def __init__(self, name: str, log: list[tuple[str, int]], plan) -> None:
        super().__init__(Path(name), None, Vocabulary(TERMS))
        self.log, self.plan = log, plan
        self.calls = 0

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        self.log.append((f"{self.path}:{algorithm}", len(queries)))
        self.calls += 1
        for n, query_id in enumerate(queries.ids):
            time = self.plan(self.calls, len(queries) - n)
            yield Hits(query_id, [], np.empty(0, np.int64), time)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        raise NotImplementedError


def steady(call: int, left: int) -> int:
    """Query i of 12 takes i + 1 ms; what comes before what is timed is cold."""
    timed = {1: 0, 2: 12}.get(call, 5 * 12)
    return (1 + -left % 12) * 10**6 if left <= timed else 10**9


def test_warm_passes_count_and_go_round(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[str, int]] = []
    searchers = [Staged(name, log, steady) for name in "xy"]
    batch = QUERIES.batch
    cases = [Case(s, batch, 10, algorithm) for s in searchers for algorithm in "ab"]
    monkeypatch.setattr(bench_module, "WARM_SECONDS", 30)  # the first pass took a second a query
    monkeypatch.setattr(bench_module, "PASS_SECONDS", 0.5)
    timings = measure(cases, repeat=3)
    names = ["x:a", "x:b", "y:a", "y:b"]
    assert [name for name, _ in log] == names * 5, "two untimed rounds, then in turns"
    sizes = [size for name, size in log if name == "x:a"]
    # 0.5 s hold 76 queries of 6.5 ms: the twelve five times, as often untimed before.
    assert sizes == [12, 30 + 12, 60 + 60, 60 + 60, 60 + 60]
    expected = Latency.of(np.arange(1, 13) * 10**6)
    for case, timing in zip(cases, timings, strict=True):
        if case.algorithm == "a":
            assert timing.latency == expected
            assert timing.medians == (6.5, 6.5, 6.5)
            assert timing.spread == 0
            assert not timing.noisy
            assert timing.queries_per_second is None
    assert expected.p50 == 6.5
    assert expected.mean == 6.5
    assert expected.p99 == pytest.approx(11.89)


def test_other_options_of_an_index_are_warm_already(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[tuple[str, int]] = []
    monkeypatch.setattr(bench_module, "WARM_SECONDS", 30)
    monkeypatch.setattr(bench_module, "WARM_SECONDS_AGAIN", 2)
    asked = [("x", "a"), ("x", "a"), ("x", "b"), ("y", "a")]
    measure([Case(Staged(x, log, steady), QUERIES.batch, 10, a) for x, a in asked], repeat=1)
    assert [size for _, size in log[4:8]] == [30 + 12, 2 + 12, 30 + 12, 30 + 12]


@pytest.mark.parametrize(
    ("factors", "passes", "spread"),
    [
        ([1, 1.09, 1], 3, 0.09),
        ([1, 1.12, 1, 1], 4, 0),
        ([1.5, 1, 1.12, 1.09, 1.1], 5, 1.12 / 1.09 - 1),
        ([1.2**i for i in range(9)], 9, 0.44),
    ],
    ids=["within a tenth", "once disturbed", "unsteady", "never steady"],
)
def test_repeats_that_differ_by_more_than_a_tenth_are_made_again(
    factors: list[float], passes: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_module, "MOST_TIMES", 3)
    log: list[tuple[str, int]] = []
    staged = Staged("x", log, lambda call, left: int(10**9 * ([1, 1, *factors][call - 1])))
    (timing,) = measure([Case(staged, QUERIES.batch, 10)], repeat=3)
    assert len(log) == 2 + passes
    assert timing.spread == pytest.approx(spread, abs=1e-5)
    assert timing.noisy is (spread > 0.1)
    assert len(timing.medians) == 3
    assert timing.latency.p50 == pytest.approx(sorted(timing.medians)[1])


def test_algorithms_are_named_chosen_and_counted_once(indexes: dict[str, Path]) -> None:
    with open_index(indexes["exact"]) as one, open_index(indexes["exact"]) as two:
        for asked in ((), ("auto",), ("all", "exhaustive", "auto")):
            rows = bench([one, two], QUERIES, BenchOptions((5,), asked, repeat=1))
            assert [r.algorithm for r in rows] == ["exhaustive"] * 2
        with pytest.raises(UsageError, match=r"no algorithm 'fastest'.*exhaustive"):
            bench([one], QUERIES, BenchOptions((5,), ("fastest",)))
        log: list[tuple[str, int]] = []
        staged = Staged("x", log, lambda call, left: 1000)
        rows = bench([one, staged], QUERIES, BenchOptions((5,), ("b",), repeat=1))
        assert [r.algorithm for r in rows] == ["exhaustive", "b"], "the default where it has none"


@pytest.mark.parametrize("bad", [{"k": ()}, {"k": (0,)}, {"repeat": 0}, {"threads": 0}])
def test_wrong_options_are_refused(bad: dict) -> None:
    with pytest.raises(UsageError):
        BenchOptions(**bad)


def test_no_queries_is_an_error(indexes: dict[str, Path]) -> None:
    none = replace(QUERIES, batch=QUERIES.batch.rows(0, 0))
    with open_index(indexes["exact"]) as searcher, pytest.raises(UsageError, match="no queries"):
        bench([searcher], none)


def test_two_steps_are_measured_as_one_search(tmp_path: Path, indexes: dict[str, Path]) -> None:
    source = MemorySource(DOCUMENTS, IDS, TERMS)
    export(lambda: source, tmp_path / "full", ExportOptions(("forward",)))
    store = ForwardStore(tmp_path / "full")
    with TwoStepSearcher(
        open_index(indexes["exact"]), store, TwoStepOptions(50, first_query_terms=2)
    ) as searcher:
        (row,) = bench([searcher], QUERIES, BenchOptions((5,), repeat=1))
    assert row.engine == "exact"
    assert row.forward == str(tmp_path / "full" / "forward")
    assert row.bytes == size_on_disk(indexes["exact"]) + size_on_disk(store.path)
    heaviest = np.zeros_like(WEIGHTS)
    for i, weights in enumerate(WEIGHTS):
        best = sorted(np.flatnonzero(weights), key=lambda j: (-weights[j], TERMS[j]))[:2]
        heaviest[i, best] = 1
    assert row.qd_flops == pytest.approx((heaviest @ (DOCUMENTS > 0).T.astype(int)).mean())
    assert row.scored_share is None


@pytest.fixture
def topics(tmp_path: Path) -> Path:
    path = tmp_path / "topics.tsv"
    path.write_text("q1\tt1 t1 t2 t3\nq2\tt5 t5 t6\nq3\tt9\n")
    return path


def test_the_command_line(
    tmp_path: Path, indexes: dict[str, Path], topics: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    paths = [indexes[name] for name in ("exact", "pisa") if name in indexes]
    out = tmp_path / "figures.csv"
    arguments = (*paths, "-q", topics, "-k", 5, "-k", 10, "--repeat", 2)
    status, said, err = run(capfd, "bench", *arguments, "--json", "-o", out)
    assert status == 0, err
    told = orjson.loads(said)
    assert [(r["index"], r["k"]) for r in told["rows"]] == [
        (str(p), k) for p in paths for k in (5, 10)
    ]
    noisy = any(r["timing"]["spread"] > 0.1 for r in told["rows"])
    assert told["noisy"] is noisy
    assert ("too noisy to tell" in err) is noisy
    assert told["encoding_ms"] is None
    with open(out, newline="") as lines:
        table = list(csv.DictReader(lines))
    for line, row in zip(table, told["rows"], strict=True):
        assert line["index"] == row["index"]
        assert int(line["k"]) == row["k"]
        assert float(line["mean_ms"]) == pytest.approx(row["timing"]["latency"]["mean"], abs=1e-6)
        assert float(line["p50_ms"]) <= float(line["p95_ms"]) <= float(line["p99_ms"])
        assert int(line["bytes"]) == row["bytes"]
    status, said, _ = run(capfd, "bench", *arguments, "--threads", 2)
    assert status == 0
    head, *body = said.splitlines()
    assert head.split()[:4] == ["index", "engine", "algorithm", "k"]
    assert Counter(line.split()[0] for line in body) == Counter({str(p): 2 for p in paths})
    for more, expected, message in [
        (["-o", out], 2, "--overwrite"),
        (["--algorithm", "fastest"], 2, "no algorithm 'fastest'"),
        (["-k", 0], 2, "-k"),
        (["--repeat", 0], 2, "--repeat"),
        ([tmp_path / "none"], 4, "no such folder"),
    ]:
        status, _, err = run(capfd, "bench", *arguments, *more)
        assert (status, message in err) == (expected, True), (more, err)


def test_text_queries_are_encoded_one_at_a_time_and_timed_apart(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = save_checkpoint(tmp_path / "model")
    texts = tmp_path / "queries.tsv"
    words = [t for t in VOCABULARY if t.isalpha()]
    texts.write_text("".join(f"q{i}\t{words[i % len(words)]} {words[-1]}\n" for i in range(5)))
    loaded, latency = time_encoding(str(texts), str(model))
    assert loaded.batch.ids == [f"q{i}" for i in range(5)]
    with pytest.raises(BadInputError, match="none"):
        time_encoding(str(texts), str(tmp_path / "none"))
    assert 0 < latency.p50 <= latency.p95 <= latency.p99 < 10_000
    terms = list(loaded.vocabulary.terms)
    index = tmp_path / "index"
    documents = random_matrix(3, 20, len(terms), 0.5, 9)
    engine("exact").build(
        MemorySource(documents, [f"d{i}" for i in range(20)], terms), index, BuildOptions()
    )
    status, said, err = run(
        capfd, "bench", index, "-q", texts, "-m", model, "-k", 5, "--repeat", 1, "--json"
    )
    assert status == 0, err
    told = orjson.loads(said)
    assert told["encoding_ms"]["mean"] > 0
    assert told["rows"][0]["queries"] == 5


def test_what_auto_remembers_does_not_count_as_index(tmp_path: Path) -> None:
    engine("exact").build(MemorySource(DOCUMENTS, IDS, TERMS), tmp_path / "i")
    before = size_on_disk(tmp_path / "i")
    (tmp_path / "i" / "algorithms.json").write_text("{}")
    assert size_on_disk(tmp_path / "i") == before
    assert before > sum(f.bytes for f in Manifest.load(tmp_path / "i").files)


@pytest.mark.shared
def test_qd_flops_of_real_vectors(shared: Path, tmp_path: Path) -> None:
    """Against pairs that are drawn and counted by hand."""
    from splade_bridge.conversion.detect import open_source

    data = shared / "splade-v3-nfcorpus"
    engine("exact").build(open_source(data / "docs.jsonl.gz"), tmp_path / "i")
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(tmp_path / "i") as searcher:
        batch = queries.aligned(searcher.vocabulary, tmp_path / "i")
        told = searcher.matching_terms(batch)
        source = open_source(data / "docs.jsonl.gz")
        wanted = [set(batch.row(i)[0].tolist()) for i in range(len(batch))]
        shared_terms = pairs = 0
        for part in source.batches():
            for i in range(0, len(part), 40):
                document = {source.vocabulary[t] for t in part.row(i)[0].tolist()}
                held = {searcher.vocabulary.get(t) for t in document}
                shared_terms += sum(len(held & query) for query in wanted)
                pairs += len(wanted)
    assert told == pytest.approx(shared_terms / pairs, rel=0.1)
