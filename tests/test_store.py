"""The vector store: parts appear whole, killed writers resume to the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from killed import killed
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import read_part
from splade_bridge.data.store import VectorStore, VectorStoreWriter, write_store
from splade_bridge.data.vector_set import VectorsInMemory
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from strategies import Collection, collections, quick, weights

TERMS = [f"t{i}" for i in range(40)]
PLAN = {"model": "m", "corpus": "c"}
ROWS, PART_ROWS, BATCH = 53, 8, 3


def batches(first: int = 0) -> Iterator[SparseBatch]:
    """The rows from ``first`` on: each depends on its number alone; every seventh is empty."""
    for start in range(first, ROWS, BATCH):
        rows = range(start, min(start + BATCH, ROWS))
        vectors = [[] if n % 7 == 3 else sorted({n % 40, n * n % 40, n * 7 % 40}) for n in rows]
        indices = np.array([i for row in vectors for i in row], np.int32)
        yield SparseBatch(
            [f"d{n}" for n in rows],
            row_pointers([len(row) for row in vectors]),
            indices,
            (indices + 0.25).astype(np.float32),
        )


def note_of(batch: SparseBatch) -> dict[str, Any]:
    """A note that says the same however the rows of a part were batched: the part's number."""
    return {"part": int(batch.ids[0][1:]) // PART_ROWS}


def write(folder: Path, plan: dict[str, Any] = PLAN, *, overwrite: bool = False) -> Manifest:
    """Write all rows, going on where a run before stopped."""
    with write_store(
        folder, Vocabulary(TERMS), plan, overwrite=overwrite, part_rows=PART_ROWS
    ) as writer:
        for batch in batches():
            writer.add(batch, note_of(batch))
        return writer.finish(options={"x": 1})


def bytes_of(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def rows_of(found: Iterator[SparseBatch]) -> list[tuple[str, list[int], list[float]]]:
    return [
        (
            batch.ids[i],
            batch.indices[batch.indptr[i] : batch.indptr[i + 1]].tolist(),
            batch.weights[batch.indptr[i] : batch.indptr[i + 1]].tolist(),
        )
        for batch in found
        for i in range(len(batch))
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "store"
    write(folder)
    return bytes_of(folder)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path / "store")
    return tmp_path / "store"


# ---------------------------------------------------------------- round trips


@quick
@given(
    collection=collections(weights),
    part_rows=st.integers(1, 5),
    size=st.integers(1, 4),
    read_rows=st.integers(1, 4),
)
def test_what_was_written_is_read_back_and_counted(
    tmp_path_factory: pytest.TempPathFactory,
    collection: Collection,
    part_rows: int,
    size: int,
    read_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("store") / "s"
    vocabulary = collection.vocabulary
    given_batches = collection.sparse_batches(size)
    with write_store(folder, vocabulary, {}, part_rows=part_rows) as writer:
        for batch in given_batches:
            writer.add(batch)
        manifest = writer.finish()
    found = VectorStore(folder)
    assert rows_of(found.batches(read_rows)) == rows_of(iter(given_batches))
    assert list(found.vocabulary.terms) == list(vocabulary.terms)
    assert manifest.content == VectorsInMemory(given_batches, vocabulary).manifest.content
    assert manifest.counts.documents == len(collection.ids)
    assert manifest.counts.empty == sum(not row for row in collection.rows)
    assert manifest.counts.postings == sum(map(len, collection.rows))
    parts = sorted(folder.glob("part-*"))
    assert [pq.read_metadata(p).num_rows for p in parts[:-1]] == [part_rows] * (len(parts) - 1)


def test_parts_are_plain_parquet_for_other_readers(store: Path) -> None:
    table = pq.read_table(store / "part-00000.parquet")
    assert [str(field.type) for field in table.schema] == [
        "string", "list<element: uint16>", "list<element: float>"
    ]  # fmt: skip
    ours = rows_of(VectorStore(store).batches())[:PART_ROWS]
    assert [tuple(row.values()) for row in table.to_pylist()] == ours


def test_term_ids_beyond_16_bits_are_kept(tmp_path: Path) -> None:
    vocabulary = Vocabulary(f"t{i}" for i in range(2**16 + 1))
    batch = SparseBatch(
        ["a"],
        row_pointers([2]),
        np.array([2**16 - 1, 2**16], np.int32),
        np.array([1.0, 2.0], np.float32),
    )
    with write_store(tmp_path / "s", vocabulary, {}) as writer:
        writer.add(batch)
        writer.finish()
    assert rows_of(VectorStore(tmp_path / "s").batches()) == rows_of(iter([batch]))


def test_a_store_without_rows_is_one(tmp_path: Path) -> None:
    with write_store(tmp_path / "s", Vocabulary(TERMS), {}) as writer:
        writer.finish()
    assert list(VectorStore(tmp_path / "s").batches()) == []


def test_a_term_beyond_the_vocabulary_is_never_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="beyond the vocabulary"),
        write_store(tmp_path / "s", Vocabulary(TERMS[:3]), {}) as writer,
    ):
        writer.add(next(batches(20)))
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- stopping and resuming


@pytest.mark.parametrize("stop_after", range(1, ROWS // BATCH + 1, 2))
def test_a_run_that_was_stopped_resumes_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], stop_after: int
) -> None:
    folder = tmp_path / "s"
    with (
        pytest.raises(KeyboardInterrupt),
        write_store(folder, Vocabulary(TERMS), PLAN, part_rows=PART_ROWS) as writer,
    ):
        for _, batch in zip(range(stop_after), batches(), strict=False):
            writer.add(batch, note_of(batch))
        raise KeyboardInterrupt
    done = stop_after * BATCH // PART_ROWS
    assert len(list(folder.glob("*"))) == (done + 1 if done else 0)
    write(folder)
    assert bytes_of(folder) == whole
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("first", range(30))
@pytest.mark.sample(4)
def test_a_run_that_is_killed_at_any_step_resumes_to_the_same_bytes(
    tmp_path: Path, whole: dict[str, str], first: int
) -> None:
    folder = tmp_path / "s"
    random = np.random.default_rng(first)
    steps = [first, *random.integers(0, 20, 2).tolist()]
    for n, step in enumerate(steps):
        died = killed(lambda: write(folder), step, (os, "fsync"))
        assert died or n or step > 20
        for part in folder.glob("part-*.parquet"):
            assert rows_of(read_part(part, 100))  # what is there is whole
        if not (folder / "_manifest.json").exists():
            with pytest.raises(BadInputError, match=r"no such folder|interrupted"):
                VectorStore(folder)
    if not (folder / "_manifest.json").exists():
        write(folder)
    assert bytes_of(folder) == whole


def test_a_kill_before_the_manifest_is_made_good(tmp_path: Path, whole: dict[str, str]) -> None:
    folder = tmp_path / "s"
    write(folder)
    for damage in ({"_manifest.json"}, {"_manifest.json", "_vocabulary.json"},
                   {"_manifest.json", "part-00006.parquet"}):  # fmt: skip
        for name in damage:
            (folder / name).unlink()
        write(folder)
        assert bytes_of(folder) == whole


def test_notes_of_whole_parts_come_back(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write(folder)
    (folder / "_manifest.json").unlink()
    with write_store(folder, Vocabulary(TERMS), PLAN, part_rows=PART_ROWS) as writer:
        assert writer.notes == {n: {"part": n} for n in range(-(-ROWS // PART_ROWS))}
        assert writer.finish().counts.documents == ROWS


@pytest.mark.parametrize(
    ("plan", "named"),
    [
        ({**PLAN, "model": "other"}, "model: 'm' -> 'other'"),
        ({"model": "m"}, "corpus: 'c' -> None"),
    ],
)
def test_another_plan_is_refused_and_changes_nothing(
    tmp_path: Path, whole: dict[str, str], plan: dict[str, Any], named: str
) -> None:
    folder = tmp_path / "s"
    write(folder)
    (folder / "_manifest.json").unlink()
    before = bytes_of(folder)
    with pytest.raises(UsageError, match=rf"other settings \(.*{named}.*--overwrite"):
        write(folder, plan)
    assert bytes_of(folder) == before
    write(folder)
    assert bytes_of(folder) == whole


def test_a_finished_store_needs_overwrite_and_what_is_foreign_stays(
    tmp_path: Path, whole: dict[str, str]
) -> None:
    for folder in (tmp_path / "finished", tmp_path / "foreign", tmp_path / "file"):
        if folder.name == "finished":
            write(folder)
        elif folder.name == "foreign":
            folder.mkdir()
            (folder / "thesis.tex").write_text("x")
        else:
            folder.write_text("x")
        said = "only a folder is replaced" if folder.name == "file" else "--overwrite"
        with pytest.raises(UsageError, match=said):
            write(folder)
        if folder.name == "finished":
            write(folder, overwrite=True)
            assert bytes_of(folder) == whole
        else:
            with pytest.raises(UsageError, match="name another output"):
                write(folder, overwrite=True)
            assert folder.is_file() or (folder / "thesis.tex").exists()


def test_overwrite_begins_anew_with_another_plan(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    write(folder)
    (folder / "_manifest.json").unlink()
    with write_store(
        folder, Vocabulary(TERMS), {"model": "new"}, overwrite=True, part_rows=PART_ROWS
    ) as writer:
        assert writer.notes == {}
        assert not any(writer.folder.glob("part-*"))
        assert any(folder.glob("part-*")), "what is replaced stays until the new one is whole"
        writer.finish()
    assert json.loads((folder / "_plan.json").read_bytes())["model"] == "new"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_writer_is_refused_and_takes_nothing_away(
    tmp_path: Path, whole: dict[str, str], overwrite: bool
) -> None:
    folder = tmp_path / "s"
    with write_store(folder, Vocabulary(TERMS), PLAN, part_rows=PART_ROWS) as writer:
        for batch in batches():
            writer.add(batch, note_of(batch))
        with pytest.raises(UsageError, match="another process"):
            write(folder, overwrite=overwrite)
        writer.finish(options={"x": 1})
    assert bytes_of(folder) == whole


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ExternalProgramError, match="file/s: cannot be written"):
        write(tmp_path / "file" / "s")


def test_the_current_folder_may_be_the_store(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s").mkdir()
    monkeypatch.chdir(tmp_path / "s")
    with pytest.raises(KeyboardInterrupt), write_store(Path(), Vocabulary(TERMS), PLAN):
        raise KeyboardInterrupt
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s")
    assert bytes_of(tmp_path / "s") == whole


def test_a_full_disk_keeps_the_whole_parts(
    tmp_path: Path, whole: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, iter(range(100))

    def full(handle: int) -> None:
        if next(calls) == 3:  # the plan and two parts are there
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        ExternalProgramError, match=r"part-00002\.parquet: .*No space.*run the same"
    ):
        write(tmp_path / "s")
    assert {p.name for p in (tmp_path / "s").iterdir()} == {
        "_plan.json", "part-00000.parquet", "part-00001.parquet"
    }  # fmt: skip
    write(tmp_path / "s")
    assert bytes_of(tmp_path / "s") == whole


# ---------------------------------------------------------------- damage


def test_a_flipped_bit_in_a_part_is_refused_or_harmless(store: Path) -> None:
    part = store / "part-00000.parquet"
    good = part.read_bytes()
    expected = rows_of(read_part(part, 100))
    refused = 0
    for at in range(len(good)):
        flipped = bytearray(good)
        flipped[at] ^= 1 << at % 8
        part.write_bytes(flipped)
        try:
            assert rows_of(read_part(part, 100)) == expected, at
        except BadInputError as error:
            refused += 1
            assert "part-00000.parquet: not a part" in str(error)
    assert refused > len(good) // 2


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_a_cut_part_is_named_on_reading_and_on_resuming(store: Path, share: float) -> None:
    part = store / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[: int(part.stat().st_size * share)])
    with pytest.raises(BadInputError, match=r"part-00002\.parquet has .* bytes instead of"):
        VectorStore(store)
    (store / "_manifest.json").unlink()
    before = bytes_of(store)
    with pytest.raises(BadInputError, match=r"part-00002\.parquet: not a part"):
        write(store)
    assert bytes_of(store) == before


def test_a_missing_part_is_named_on_reading_and_written_on_resuming(
    store: Path, whole: dict[str, str]
) -> None:
    (store / "part-00002.parquet").unlink()
    with pytest.raises(BadInputError, match=r"part-00002\.parquet is missing"):
        VectorStore(store)
    (store / "_manifest.json").unlink()
    write(store)
    assert bytes_of(store) == whole


def test_parts_must_be_those_that_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    writer = VectorStoreWriter(tmp_path / "s", Vocabulary(TERMS))
    for number in (3, 1):
        writer.write(number, next(batches(number)), {})
    with pytest.raises(BadInputError, match=r"part-00000\.parquet is missing or too many"):
        writer.finish()
    with pytest.raises(BadInputError, match=r"part-00003\.parquet is missing or too many"):
        writer.finish(parts=[1])
    found = writer.finish(parts=[1, 3])
    assert [file.path for file in found.files[1:]] == ["part-00001.parquet", "part-00003.parquet"]
    assert [i for i, *_ in rows_of(VectorStore(tmp_path / "s").batches())] == [
        *("d1", "d2", "d3"),
        *("d3", "d4", "d5"),
    ]


def test_a_short_part_in_the_middle_is_named_and_not_deleted(store: Path) -> None:
    (store / "part-00002.parquet").write_bytes((store / "part-00006.parquet").read_bytes())
    (store / "_manifest.json").unlink()
    with pytest.raises(BadInputError, match=r"part-00002\.parquet: 5 rows instead of 8"):
        write(store)
    assert (store / "part-00002.parquet").exists()


def test_a_part_that_is_added_is_named_and_counts_must_be_those_of_the_parts(store: Path) -> None:
    part = store / "part-00007.parquet"
    part.write_bytes((store / "part-00000.parquet").read_bytes())
    with pytest.raises(BadInputError, match=r"part-00007\.parquet does not belong to it"):
        VectorStore(store)
    part.unlink()
    _edit(store, b'"documents": 53', b'"documents": 61')
    with pytest.raises(BadInputError, match=r"holds 53 rows .* its manifest says 61"):
        list(VectorStore(store).batches())


GOOD_COLUMNS: dict[str, pa.Array] = {
    "id": pa.array(["a", "b"]),
    "indices": pa.array([[1, 3], []], pa.list_(pa.uint16())),
    "weights": pa.array([[1.0, 2.0], []], pa.list_(pa.float32())),
}
BAD_COLUMNS: dict[str, dict[str, pa.Array | None]] = {
    "no id": {"id": None},
    "no weights": {"weights": None},
    "null id": {"id": pa.array(["a", None])},
    "null row": {"indices": pa.array([[1, 3], None], pa.list_(pa.uint16()))},
    "null index": {"indices": pa.array([[1, None], []], pa.list_(pa.uint16()))},
    "null weight": {"weights": pa.array([[1.0, None], []], pa.list_(pa.float32()))},
    "integer ids": {"id": pa.array([1, 2])},
    "float indices": {"indices": pa.array([[1.0, 3.0], []])},
    "64-bit indices": {"indices": pa.array([[2**32 + 1, 2**32 + 3], []])},
    "string weights": {"weights": pa.array([["1", "2"], []])},
    "integer weights": {"weights": pa.array([[1, 2], []])},
    "scalar indices": {"indices": pa.array([1, 2])},
    "other lengths": {"weights": pa.array([[1.0], [2.0]], pa.list_(pa.float32()))},
    "falling": {"indices": pa.array([[3, 1], []], pa.list_(pa.uint16()))},
    "twice": {"indices": pa.array([[3, 3], []], pa.list_(pa.uint16()))},
    "beyond int32": {"indices": pa.array([[1, 2**32 - 1], []], pa.list_(pa.uint32()))},
    "zero": {"weights": pa.array([[1.0, 0.0], []], pa.list_(pa.float32()))},
    "negative": {"weights": pa.array([[1.0, -1.0], []], pa.list_(pa.float32()))},
    "NaN": {"weights": pa.array([[1.0, float("nan")], []], pa.list_(pa.float32()))},
    "infinite": {"weights": pa.array([[1.0, float("inf")], []], pa.list_(pa.float32()))},
}


@pytest.mark.parametrize("change", BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_a_parquet_file_that_is_no_part_is_named(
    tmp_path: Path, change: dict[str, pa.Array | None]
) -> None:
    part = tmp_path / "part-00000.parquet"
    columns = {k: v for k, v in {**GOOD_COLUMNS, **change}.items() if v is not None}
    pq.write_table(pa.table(columns), part)
    with pytest.raises(
        BadInputError, match=r"part-00000\.parquet: not a part of a vector store \("
    ):
        list(read_part(part, 10))


def test_parts_of_other_writers_are_read(tmp_path: Path) -> None:
    part = tmp_path / "part"
    pq.write_table(pa.table(GOOD_COLUMNS), part)
    assert rows_of(read_part(part, 10)) == [("a", [1, 3], [1.0, 2.0]), ("b", [], [])]
    large = {
        "id": GOOD_COLUMNS["id"].cast(pa.large_string()),
        "indices": GOOD_COLUMNS["indices"].cast(pa.large_list(pa.int32())),
        "weights": GOOD_COLUMNS["weights"].cast(pa.large_list(pa.float32())),
    }
    pq.write_table(pa.table(large), part)
    assert rows_of(read_part(part, 1)) == [("a", [1, 3], [1.0, 2.0]), ("b", [], [])]


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda s: (s / "_manifest.json").unlink(), "no _manifest.json in it"),
    "empty": (lambda s: (s / "_manifest.json").write_bytes(b""), "damaged"),
    "cut": (lambda s: os.truncate(s / "_manifest.json", 200), "damaged"),
    "a list": (lambda s: (s / "_manifest.json").write_bytes(b"[]"), "damaged"),
    "no counts": (lambda s: _edit(s, b'"counts"', b'"c"'), "damaged"),
    "a text for a number": (
        lambda s: _edit(s, b'"documents": 53', b'"documents": "53"'),
        r"damaged \(counts\.documents: must be a whole number, not '53'\)",
    ),
    "a number for a list": (
        lambda s: _edit(s, b'"parents": []', b'"parents": 7'),
        r"damaged \(parents: must be a list, not 7\)",
    ),
    "newer": (lambda s: _edit(s, b'"version": 1', b'"version": 99'), "upgrade"),
    "other kind": (lambda s: _edit(s, b'"vectors"', b'"index"'), "holds index, not vectors"),
    "vocabulary": (lambda s: (s / "_vocabulary.json").unlink(), "_vocabulary.json is missing"),
}  # fmt: skip


def _edit(store: Path, old: bytes, new: bytes) -> None:
    content = (store / "_manifest.json").read_bytes()
    assert old in content
    (store / "_manifest.json").write_bytes(content.replace(old, new))


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_store_says_what_is_wrong(
    store: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(store)
    with pytest.raises(BadInputError, match=message):
        VectorStore(store)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"3"])
def test_a_damaged_plan_is_named(store: Path, content: bytes) -> None:
    (store / "_manifest.json").unlink()
    (store / "_plan.json").write_bytes(content)
    with pytest.raises(BadInputError, match=r"plan\.json: damaged"):
        write(store)


def test_the_writer_is_what_the_context_manager_gives(tmp_path: Path) -> None:
    with write_store(tmp_path / "s", Vocabulary(TERMS), {}) as writer:
        assert isinstance(writer, VectorStoreWriter)
        assert writer.notes == {}
        writer.finish()
