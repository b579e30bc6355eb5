"""``--algorithm auto``: measured once, remembered, and never a reason to fail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import orjson
import pytest

from command_line import run
from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines import auto
from splade_bridge.engines.auto import FILE_NAME, best_algorithm
from splade_bridge.engines.base import AUTO, Searcher
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import UsageError
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.retrieval.two_step import TwoStepOptions, TwoStepSearcher

TERMS = [f"t{i}" for i in range(30)]
DOCUMENTS = random_matrix(1, 120, 30, 0.4, 9)
IDS = [f"d{i}" for i in range(120)]
WEIGHTS = random_matrix(2, 20, 30, 0.4, 9)
QUERIES = queries_of(WEIGHTS, TERMS)


@pytest.fixture
def index(tmp_path: Path, engine_name: str) -> Path:
    path = tmp_path / "index"
    engine(engine_name).build(MemorySource(DOCUMENTS, IDS, TERMS), path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "ROUNDS", 1)
    monkeypatch.setattr(auto, "SECONDS", 0.1)


def choices(index: Path) -> list[dict]:
    return orjson.loads((index / FILE_NAME).read_bytes())["choices"]


def test_a_choice_is_measured_remembered_and_changes_no_result(
    index: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_index(index) as searcher:
        batch = QUERIES.aligned(searcher.vocabulary, index)
        found = list(searcher.search(batch, 10, algorithm=AUTO))
        for hits, query in zip(found, WEIGHTS, strict=True):
            assert as_pairs(hits) == brute_force(DOCUMENTS, IDS, query, 10)
        if len(searcher.algorithms) == 1:
            assert not (index / FILE_NAME).exists()
            return
        (choice,) = choices(index)
        assert choice["k"] == 10
        assert choice["algorithm"] in searcher.algorithms
        assert set(choice["milliseconds"]) == set(searcher.algorithms)
        assert min(choice["milliseconds"].values()) > 0
        assert 1 <= choice["queries"] <= len(batch)
        (index / FILE_NAME).write_bytes(
            orjson.dumps({"choices": [choice | {"algorithm": searcher.algorithms[-1]}]})
        )
        with monkeypatch.context() as patch:
            patch.setattr(auto, "measure", None)  # what is remembered is not measured
            assert searcher.algorithm_for(batch, 10, AUTO) == searcher.algorithms[-1]
        searcher.algorithm_for(batch, 20, AUTO)
        assert [c["k"] for c in choices(index)] == [10, 20]
    assert Manifest.load(index).kind == "index"
    assert FILE_NAME not in {f.path for f in Manifest.load(index).files}


class Staged(Searcher):
    """A searcher whose times are told beforehand, so that a choice can be foreseen."""

    algorithms = ("slow", "fast at k = 10", "fast at k = 1000", "hopeless")

    def __init__(self, path: Path, manifest: Manifest | None) -> None:
        super().__init__(path, manifest, Vocabulary(TERMS))
        self.measure = best_algorithm  # as open_index does
        self.calls: list[tuple[str, int]] = []

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        self.calls.append((algorithm, len(queries)))
        usual = {"slow": 50, "fast at k = 10": 10 if k <= 10 else 90, "hopeless": 10_000}
        a_query = usual.get(algorithm, 20 if k > 10 else 45) * 1000
        for n, query_id in enumerate(queries.ids):
            cold = 10**9 if n < 2 and len(self.calls) <= 2 else 0  # until code is compiled
            hiccup = 10**7 if (n + len(self.calls)) % 7 == 0 else 0
            yield Hits(query_id, [], np.empty(0, np.int64), a_query + cold + hiccup)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        raise NotImplementedError


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    engine("exact").build(MemorySource(DOCUMENTS, IDS, TERMS), tmp_path / "staged")
    return Manifest.load(tmp_path / "staged")


def test_the_fastest_wins_though_it_starts_cold_and_calls_hiccup(
    tmp_path: Path, manifest: Manifest
) -> None:
    searcher = Staged(tmp_path / "staged", manifest)
    assert searcher.algorithm_for(QUERIES.batch, 10, AUTO) == "fast at k = 10"
    assert searcher.algorithm_for(QUERIES.batch, 1000, AUTO) == "fast at k = 1000"
    told = {c["k"]: c["milliseconds"] for c in choices(tmp_path / "staged")}
    assert told[10] == {
        "slow": 0.05, "fast at k = 10": 0.01, "fast at k = 1000": 0.045, "hopeless": 10.0,
    }  # fmt: skip
    hopeless = sum(n for name, n in searcher.calls if name == "hopeless")
    raced = sum(n for name, n in searcher.calls if name == "slow")
    assert hopeless < raced / 3, "no time is spent on what cannot win"
    assert len(searcher.calls) > 8, "and the others run in turns"


def test_queries_of_another_length_are_measured_anew(tmp_path: Path, manifest: Manifest) -> None:
    searcher = Staged(tmp_path / "staged", manifest)
    short = queries_of(np.eye(30, dtype=np.int64)[:10], TERMS).batch
    searcher.algorithm_for(QUERIES.batch, 10, AUTO)
    before = len(searcher.calls)
    searcher.algorithm_for(QUERIES.batch, 10, AUTO)
    assert len(searcher.calls) == before
    searcher.algorithm_for(short, 10, AUTO)
    assert len(searcher.calls) > before
    assert choices(tmp_path / "staged")[0]["terms"] == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"choices": [{"k": 10}]}', b'{"choices": 7}',
     b'{"choices": [{"k": 10, "terms": 11.0, "algorithm": "gone", "milliseconds": {}, '
     b'"queries": 3}]}',
     b'{"choices": [{"k": 10, "terms": 0, "algorithm": "slow", "milliseconds": {}, '
     b'"queries": 3}]}',
     b'{"choices": [{"k": 10, "terms": "x", "algorithm": "slow", "milliseconds": {}, '
     b'"queries": 3}]}'],
)  # fmt: skip
def test_a_damaged_memory_is_measured_again(
    tmp_path: Path, manifest: Manifest, content: bytes
) -> None:
    (tmp_path / "staged" / FILE_NAME).write_bytes(content)
    searcher = Staged(tmp_path / "staged", manifest)
    assert searcher.algorithm_for(QUERIES.batch, 10, AUTO) == "fast at k = 10"
    assert choices(tmp_path / "staged")[-1]["algorithm"] == "fast at k = 10"


def test_a_place_that_cannot_be_written_is_told_and_no_error(
    tmp_path: Path, manifest: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "staged" / FILE_NAME).mkdir()  # root may write into read-only folders
    searcher = Staged(tmp_path / "staged", manifest)
    assert searcher.algorithm_for(QUERIES.batch, 10, AUTO) == "fast at k = 10"
    assert "not remembered" in caplog.text
    assert not [p for p in (tmp_path / "staged").iterdir() if "partial" in p.name]


def test_an_index_of_another_tool_is_not_written_into(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "theirs").mkdir()
    assert best_algorithm(Staged(tmp_path / "theirs", None), QUERIES.batch, 10) == "fast at k = 10"
    assert "not remembered" in caplog.text
    assert not any((tmp_path / "theirs").iterdir())


def test_queries_without_terms_choose_the_default(tmp_path: Path, manifest: Manifest) -> None:
    searcher = Staged(tmp_path / "staged", manifest)
    empty = queries_of(np.zeros((3, 30), dtype=np.int64), TERMS).batch
    assert searcher.algorithm_for(empty, 10, AUTO) == "slow"
    assert not searcher.calls


def test_an_unknown_algorithm_is_told_what_there_is(index: Path) -> None:
    with open_index(index) as searcher, pytest.raises(UsageError, match="auto"):
        searcher.search(QUERIES.batch, 10, algorithm="fastest")


def test_two_steps_choose_for_the_queries_and_depth_of_the_first(
    tmp_path: Path, manifest: Manifest
) -> None:
    from splade_bridge.conversion.export import ExportOptions, export

    export(
        lambda: MemorySource(DOCUMENTS, IDS, TERMS), tmp_path / "fwd", ExportOptions(("forward",))
    )
    first = Staged(tmp_path / "staged", manifest)
    searcher = TwoStepSearcher(
        first, ForwardStore(tmp_path / "fwd"), TwoStepOptions(1000, first_query_terms=2)
    )
    assert searcher.algorithm_for(QUERIES.batch, 10, AUTO) == "fast at k = 1000"
    (choice,) = choices(tmp_path / "staged")
    assert (choice["k"], choice["terms"]) == (1000, 2.0)


@pytest.mark.sample(1)
def test_the_command_line(
    tmp_path: Path, index: Path, capfd: pytest.CaptureFixture[str], quick: None
) -> None:
    (tmp_path / "topics.tsv").write_text("q1\tt1 t1 t2 t3\nq2\tt5 t5 t6\n")
    status, out, _ = run(
        capfd, "search", index, "-k", 5, "-q", tmp_path / "topics.tsv", "-o", tmp_path / "run",
        "--algorithm", "auto", "--json",
    )  # fmt: skip
    assert status == 0
    with open_index(index) as searcher:
        assert orjson.loads(out)["algorithm"] in searcher.algorithms
    assert run(capfd, "inspect", index)[0] == 0
