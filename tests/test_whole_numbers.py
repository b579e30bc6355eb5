"""Whole numbers around 2^24, beyond which float32 leaves some out: exact, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bad_input import made
from small import MemorySource, batch_of
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.queries import read_queries
from splade_bridge.library.given import source_opener
from splade_bridge.library.keywords import Reading, part
from splade_bridge.retrieval.runs import read_run

EDGES = [2**24 - 1, 2**24, 2**24 + 1, 2**31 - 1]
IDS = ["a", "b", "c", "d"]


def source(values: list[int] = EDGES) -> MemorySource:
    return MemorySource(np.array(values, dtype=np.int64)[:, None], IDS[: len(values)], ["x"])


def impacts(found: ImpactSource) -> list[int]:
    return [i for batch in found.batches() for i in batch.impacts.tolist()]


@pytest.mark.parametrize("name", ["jsonvector", "ciff", "forward"])
def test_every_export_gives_back_what_it_was_given(name: str, tmp_path: Path) -> None:
    export(source, tmp_path / "out", ExportOptions((name,)))  # type: ignore[arg-type]
    assert impacts(open_source(tmp_path / "out")) == EDGES


def test_ciff_and_memory_hold_them(tmp_path: Path) -> None:
    given = source()
    write_ciff(
        tmp_path / "i.ciff", given.batches(), given.vocabulary, description="", memory=1 << 20
    )
    assert impacts(open_source(tmp_path / "i.ciff")) == EDGES
    pairs = [(i, {"x": v}) for i, v in zip(IDS, EDGES, strict=True)]
    assert impacts(source_opener(pairs, part(Reading, {}))()) == EDGES


@pytest.mark.sample(1, of="pisa")
def test_an_index_holds_and_explains_them_and_exact_scores_them(
    tmp_path: Path, engine_name: str
) -> None:
    name = engine_name.split()[0]
    float32_scores = name in ("pisa", "impact-index")
    if float32_scores:
        with pytest.raises(BadInputError, match=r"2 of 4 impacts are over 2\^24.*2,147,483,647"):
            engine(name).build(source(), tmp_path / "i")
        assert list(tmp_path.iterdir()) == []
        engine(name).build(source(EDGES[:2]), tmp_path / "i")
    else:
        engine(name).build(source(), tmp_path / "i")
    held = EDGES[:2] if float32_scores else EDGES
    with open_index(tmp_path / "i") as index:
        assert [index.impacts(i, [0]) for i in IDS[: len(held)]] == [[v] for v in held]
        (hits,) = index.search(batch_of(np.array([[1]]), ["q"]), 4)
        exact = held if name == "exact" else [round(float(np.float32(v))) for v in held]
        assert hits.scores.tolist() == exact[::-1]


@pytest.mark.parametrize("written", ["{}", "{}.0"])
@pytest.mark.parametrize("value", EDGES)
def test_with_a_scale_a_number_stays_what_it_is_or_is_refused(
    value: int, written: str, tmp_path: Path
) -> None:
    path = tmp_path / "d.jsonl"
    number = written.format(value)
    path.write_text(f'{{"id": "a", "vector": {{"x": {number}, "y": 0.5}}}}')
    if float(np.float32(value)) == value:
        assert impacts(open_source(path, quantize=QuantizeOptions(1))) == [value]
        assert read_queries(path, QuantizeOptions(1)).batch.impacts.tolist() == [value]
        return
    for read in (open_source, read_queries):
        with pytest.raises(BadInputError, match=rf"d\.jsonl:1: term 'x': {value} is no float32"):
            found = read(path, quantize=QuantizeOptions(1))  # type: ignore[operator]
            impacts(found)


def test_queries_and_runs_hold_them(tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "vector": {"x": v}}) for i, v in zip(IDS, EDGES, strict=True)]
    (tmp_path / "q.jsonl").write_text("\n".join(lines))
    assert read_queries(tmp_path / "q.jsonl").batch.impacts.tolist() == EDGES
    rows = [f"q Q0 {i} {n} {v} t\n" for n, (i, v) in enumerate(zip(IDS, EDGES, strict=True), 1)]
    (tmp_path / "run").write_text("".join(rows))
    assert list(read_run(tmp_path / "run")["q"].values()) == EDGES


def test_a_foreign_index_says_once_that_its_scores_are_rounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made.lucene(tmp_path / "i")
    for ours in ("manifest.json", "vocabulary.json"):
        (tmp_path / "i" / ours).unlink()
    with open_index(tmp_path / "i") as index:
        heavy = np.zeros((2, len(index.vocabulary)), dtype=np.int64)
        heavy[:, index.vocabulary.terms.index("delta")] = 60_000
        list(index.search(batch_of(heavy, ["q1", "q2"]), 3))
    assert caplog.text.count("float32 rounds") == 1 and "query q1 scores 18000000" in caplog.text
