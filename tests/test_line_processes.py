"""JSON lines read by several processes give what one process gives: batches, terms, errors."""

from __future__ import annotations

import gzip
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from children import children
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.errors import BadInputError
from splade_bridge.files import cores
from splade_bridge.formats import line_blocks, line_columns, line_processes, records
from splade_bridge.formats.jsonvector import JsonVectorFiles, JsonVectorSource
from splade_bridge.formats.line_processes import SWITCH, WORTH_BYTES, readers_for
from splade_bridge.formats.records import RecordWeights

ROWS = 16


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and blocks of a few rows, so that little text makes many.

    Here they are read by columns, and one line after another in the processes.
    """
    monkeypatch.setattr(records, "BATCH_ROWS", ROWS)
    monkeypatch.setattr(records, "BATCH_POSTINGS", 150)
    monkeypatch.setattr(line_blocks, "BATCH_ROWS", ROWS)
    monkeypatch.setattr(line_blocks, "BLOCK_BYTES", 900)
    monkeypatch.setattr(line_columns, "WORTH_BYTES", 0)


def lines(seed: int, count: int = 120, *, fractions: bool = False) -> list[str]:
    """Documents of few and of many terms, of which new ones come up to the end."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        terms = rng.sample(range(20 + number), rng.choice((0, 1, 3, 9, 19)))
        vector = {
            f"t{term}é": rng.randrange(0, 9) + (rng.random() if fractions else 0) for term in terms
        }
        made.append(json.dumps({"id": f"d{number}", "contents": "", "vector": vector}))
        if rng.random() < 0.05:
            made.append("  ")
    return made


def read(source: Any, readers: int, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[str]]:
    """Every batch in plain values, and the terms."""
    monkeypatch.setenv(SWITCH, str(readers))
    found = []
    for batch in source.batches():
        values = batch.weights if hasattr(batch, "weights") else batch.impacts
        found.append((batch.ids, batch.indptr.tolist(), batch.indices.tolist(), values.tolist()))
    return found, list(source.vocabulary.terms)


def rows_of(batches: list[Any]) -> dict[str, Any]:
    return {
        doc: (indices[start:end], values[start:end])
        for ids, indptr, indices, values in batches
        for doc, start, end in zip(ids, indptr, indptr[1:], strict=False)
    }


def written(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        data = text.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def collection(tmp_path: Path, seed: int, *, fractions: bool = False) -> Path:
    """A folder with all that a file can be: lines, a byte order mark, gzip, an array, nothing."""
    all_lines = lines(seed, fractions=fractions)
    whole = [json.loads(line) for line in all_lines[70:75] if line.strip()]
    return written(
        tmp_path / "docs",
        {
            "a.jsonl": "\ufeff" + "\n".join(all_lines[:40]),
            "b.jsonl.gz": "\n".join(all_lines[40:70]) + "\n",
            "c.json": json.dumps(whole, indent=1),
            "d.jsonl": "",
            "e.jsonl": "\n".join(all_lines[75:]),
        },
    )


@pytest.mark.sample(3)
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("kind", ["impacts", "quantized", "weights"])
def test_batches_and_terms_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, readers: int
) -> None:
    folder = collection(tmp_path, readers, fractions=kind != "impacts")

    def source() -> Any:
        if kind == "weights":
            return RecordWeights(JsonVectorFiles(folder))
        return JsonVectorSource(folder, QuantizeOptions(scale=100) if kind == "quantized" else None)

    here, there = (read(source(), n, monkeypatch) for n in (0, readers))
    rows = [row for batch in here[0] for row in batch[0]]
    assert len(rows) == 120 and len(here[0]) > 120 // ROWS
    assert [row for batch in there[0] for row in batch[0]] == rows
    assert there[1] == here[1]

    assert rows_of(there[0]) == rows_of(here[0])


def test_the_processes_did_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the array, and the rows in which a batch ends by its postings."""
    folder = collection(tmp_path, 5)
    monkeypatch.setattr(records, "BATCH_POSTINGS", 1 << 22)
    taken = []
    append = records.VectorBuilder.append
    monkeypatch.setattr(
        records.VectorBuilder,
        "append",
        lambda self, batch, tallies: (taken.extend(batch.ids), append(self, batch, tallies))[1],
    )
    read(JsonVectorSource(folder), 2, monkeypatch)
    assert len(taken) > 60


FAULTS: dict[str, tuple[int, str]] = {
    "no JSON": (77, '{"id": "x", "vector": {"a": 1}'),
    "an array": (50, "[1, 2]"),
    "no id": (33, '{"vector": {"a": 1}}'),
    "no vector": (90, '{"id": "x"}'),
    "a dense vector": (90, '{"id": "x", "vector": [1]}'),
    "an id of before": (100, '{"id": "d3", "vector": {"a": 1}}'),
    "an id of this block": (41, '{"id": "d39", "vector": {"a": 1}}'),
    "a key twice": (60, '{"id": "x", "vector": {"a": 1, "a": 2}}'),
    "a fraction": (61, '{"id": "x", "vector": {"a": 1.5}}'),
    "below zero": (61, '{"id": "x", "vector": {"a": -1}}'),
    "a string": (62, '{"id": "x", "vector": {"a": "1"}}'),
    "too large": (63, '{"id": "x", "vector": {"a": 3000000000}}'),
    "an empty term": (64, '{"id": "x", "vector": {"": 1}}'),
    "not UTF-8": (65, '{"id": "x", "vector": {"\udce4": 1}}'),
    "too large for its scale": (66, '{"id": "x", "vector": {"a": 3000000.5}}'),
    "two faults": (20, '{"id": "x"}\n' + "nonsense\n" * 30),
}


@pytest.mark.sample(3)
@pytest.mark.parametrize("fault", FAULTS)
def test_errors_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    place, line = FAULTS[fault]
    text = [one for one in lines(2) if one.strip()]
    text.insert(place, line)
    file = tmp_path / "docs.jsonl"
    file.write_bytes("\n".join(text).encode(errors="surrogateescape"))
    said = []
    options = QuantizeOptions(1000) if "scale" in fault else None
    for readers in (0, 2):
        with pytest.raises(BadInputError) as error:
            read(JsonVectorSource(file, options), readers, monkeypatch)
        said.append(str(error.value))
    assert said[0] == said[1]
    assert f"{file}:{place + 1}:" in said[0]


def test_what_stands_before_a_cut_is_told_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = [one for one in lines(2) if one.strip()]
    text.insert(100, "nonsense")
    file = tmp_path / "docs.jsonl.gz"
    for fault, wanted in ((True, f"{file}:101:"), (False, "cut off or damaged")):
        if not fault:
            del text[100]
        file.write_bytes(gzip.compress("\n".join(text).encode())[:-9])
        for readers in (0, 2):
            with pytest.raises(BadInputError, match=wanted.replace("(", "\\(")):
                read(JsonVectorSource(file), readers, monkeypatch)


def test_a_process_that_dies_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = collection(tmp_path, 7)
    here = read(JsonVectorSource(folder), 0, monkeypatch)
    ask = line_processes._Readers._ask
    killed: list[int] = []
    one = threading.Lock()

    def killing(self: Any, block: Any) -> Any:
        with one:
            if len(killed) < 2 and block.path.name == "e.jsonl":
                process = self._readers[len(killed)].process
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed.append(process.pid)
        return ask(self, block)

    monkeypatch.setattr(line_processes._Readers, "_ask", killing)
    there = read(JsonVectorSource(folder), 2, monkeypatch)
    assert len(killed) == 2
    assert caplog.text.count("has died") == 2
    assert there[1] == here[1]
    assert rows_of(there[0]) == rows_of(here[0])


def test_no_process_is_left_where_reading_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = children()
    monkeypatch.setenv(SWITCH, "2")
    batches: Iterator[Any] = iter(JsonVectorSource(collection(tmp_path, 3)).batches())
    next(batches)
    assert len(children() - before) == 2
    del batches
    assert children() <= before


def test_a_file_that_changes_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = collection(tmp_path, 4)
    monkeypatch.setenv(SWITCH, "2")
    batches = iter(JsonVectorSource(folder).batches())
    next(batches)
    (folder / "f.jsonl").write_text('{"id": "new", "vector": {"a": 1}}\n')
    with pytest.raises(BadInputError, match="changed"):
        list(batches)


def test_small_files_and_one_core_need_no_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    small.touch()
    with open(large, "wb") as file:
        file.truncate(WORTH_BYTES)
    for number, wanted in ((1, 0), (2, 2), (64, line_processes.MOST_READERS)):
        monkeypatch.setattr(line_processes, "usable_cores", lambda number=number: number)
        assert (readers_for([small]), readers_for([small, large])) == (0, wanted)
    monkeypatch.setenv(SWITCH, "0")
    assert readers_for([large]) == 0
    assert cores.usable_cores() >= 1
