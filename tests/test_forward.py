"""The forward store: what goes in comes out, ids find their rows, damage is noticed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import splade_bridge.data.id_table as id_table
from small import MemorySource, batch_of, random_matrix
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.doc_ids import DocIdWriter
from splade_bridge.data.id_table import IdTable, write_id_table
from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.formats.base import ImpactSource
from splade_bridge.formats.forward import FORWARD_FOLDER, ForwardSource, ForwardStore
from strategies import Collection, as_dictionaries, collections, ids


class BatchSource(ImpactSource):
    """Batches as a source."""

    def __init__(self, collection: Collection, size: int) -> None:
        super().__init__(Path("memory"), collection.vocabulary, None)
        self._batches = collection.impact_batches(size)

    def _read(self):
        yield from self._batches


def exported(source: ImpactSource, out: Path) -> Path:
    export(lambda: source, out, ExportOptions(("forward",)), overwrite=True)
    return out


@pytest.fixture
def store(tmp_path: Path) -> Path:
    documents = random_matrix(1, 300, 40, 0.3, 500)
    names = [f"d{i * 7919 % 3001}" for i in range(300)]
    return exported(MemorySource(documents, names, [f"t{i}" for i in range(40)]), tmp_path / "out")


@settings(max_examples=60, deadline=None)
@given(collection=collections(), size=st.integers(1, 4), query=st.data())
def test_what_goes_in_comes_out_and_scores_are_exact(
    tmp_path_factory: pytest.TempPathFactory,
    collection: Collection,
    size: int,
    query: st.DataObject,
) -> None:
    if not any(collection.rows):
        return  # refused: see test_engines
    out = exported(BatchSource(collection, size), tmp_path_factory.mktemp("forward") / "out")
    for path in (out, out / FORWARD_FOLDER):
        source = open_source(path)
        assert isinstance(source, ForwardSource)
        batches = list(source.batches())
        assert as_dictionaries(batches, source.vocabulary) == list(
            zip(collection.ids, collection.rows, strict=True)
        )
    store = ForwardStore(out)
    terms = collection.vocabulary.terms
    weights = query.draw(st.dictionaries(st.sampled_from(terms), st.integers(1, 2**27)))
    asked = query.draw(st.lists(st.sampled_from(collection.ids), unique=True))
    rows = store.find(asked)
    scores = store.scores(
        rows,
        np.array([store.vocabulary.get(t) for t in weights], np.int32),
        np.array([*weights.values()], np.int32),
    )
    documents = dict(zip(collection.ids, collection.rows, strict=True))
    assert scores.tolist() == [
        sum(weight * documents[doc_id].get(term, 0) for term, weight in weights.items())
        for doc_id in asked
    ]


@pytest.mark.parametrize("largest", [1, 255, 256, 65_535, 65_536, 2**31 - 1])
@pytest.mark.parametrize("first", [True, False], ids=["large first", "large last"])
def test_numbers_are_as_narrow_as_the_largest_needs(
    tmp_path: Path, largest: int, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("splade_bridge.formats.forward.COPY_AT_ONCE", 3)
    matrix = random_matrix(3, 40, 9, 0.6, min(largest, 200))
    matrix[0 if first else -1, 4] = largest
    out = exported(MemorySource(matrix, [f"d{i}" for i in range(40)], "abcdefghi"), tmp_path / "o")
    impacts = np.load(out / FORWARD_FOLDER / "impacts.npy", mmap_mode="r")
    assert impacts.dtype == np.min_scalar_type(largest)
    assert np.load(out / FORWARD_FOLDER / "terms.npy", mmap_mode="r").dtype == np.uint16
    read = np.concatenate([b.impacts for b in open_source(out).batches()])
    assert read.tolist() == matrix[matrix > 0].tolist()


def test_a_large_vocabulary_takes_wider_term_ids(tmp_path: Path) -> None:
    terms = [f"t{i}" for i in range(70_000)]

    class Wide(ImpactSource):
        def _read(self):
            for number, last in enumerate((65_535, 65_536, 69_999)):
                yield ImpactBatch(
                    [f"d{number}"], row_pointers([2]), np.array([3, last], np.int32),
                    np.array([1, 2], np.int32),
                )  # fmt: skip

    out = exported(Wide(Path("wide"), Vocabulary(terms), None), tmp_path / "out")
    store = ForwardStore(out)
    assert np.load(store.path / "terms.npy", mmap_mode="r").dtype == np.uint32
    assert [store.row(i)[0].tolist() for i in range(3)] == [[3, 65_535], [3, 65_536], [3, 69_999]]
    query = np.array([3, 65_536], np.int32), np.array([10, 100], np.int32)
    assert store.scores(np.array([2, 1, 0]), *query).tolist() == [10, 210, 10]


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(ids, min_size=1, max_size=60, unique=True),
    others=st.lists(st.one_of(ids, st.just("")), max_size=20),
    memory=st.sampled_from([1, 200, 10**9]),
    weak=st.sampled_from([1, 3, 2**64 - 1]),
)
def test_ids_find_their_rows_though_hashes_collide(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str], others: list[str], memory: int, weak: int,
) -> None:  # fmt: skip
    folder = tmp_path_factory.mktemp("ids")
    writer = DocIdWriter(folder)
    writer.add(names)
    writer.close()
    strong = id_table._hashes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_table, "_hashes", lambda *a: strong(*a) % np.uint64(weak))
        write_id_table(folder, memory)
        table = IdTable(folder)
        asked = others + names[::-1]
        rows = {name: row for row, name in enumerate(names)}
        assert table.find(asked).tolist() == [rows.get(name, -1) for name in asked]
    assert table.names(0, len(names)) == names
    assert table.names(1, len(names)) == names[1:]
    assert sorted(p.name for p in folder.iterdir()) == [
        "doc_ids.bin", "doc_offsets.npy", "id_buckets.npy", "id_rows.npy", "id_tags.npy",
    ]  # fmt: skip


def test_hashes_of_usual_ids_spread_evenly(tmp_path: Path) -> None:
    for name in ("{}", "MARCO_{}", "doc-{:08d}#0"):
        writer = DocIdWriter(tmp_path)
        writer.add([name.format(i) for i in range(50_000)])
        writer.close()
        write_id_table(tmp_path, 10**9)
        sizes = np.diff(np.load(tmp_path / "id_buckets.npy").astype(np.int64))
        assert sizes.sum() == 50_000
        assert sizes.max() < 12, f"{name}: one bucket holds {sizes.max()}"


def test_an_index_of_it_is_that_of_its_source(store: Path, tmp_path: Path) -> None:
    engine("exact").build(open_source(store), tmp_path / "index")
    with open_index(tmp_path / "index") as searcher:
        for batch in open_source(store).batches():
            for number, doc_id in enumerate(batch.ids[:20]):
                terms, impacts = batch.row(number)
                assert searcher.impacts(doc_id, terms.tolist()) == impacts.tolist()


def test_scale_is_refused(store: Path) -> None:
    from splade_bridge.data.quantize import QuantizeOptions

    wrong = QuantizeOptions(50.0), QuantizeOptions(rounding="down")
    for asked, told in zip(wrong, ("--scale 50", "--rounding down"), strict=True):
        with pytest.raises(UsageError, match=f"{told} "):
            open_source(store, quantize=asked)


def files_of(store: Path) -> list[str]:
    return sorted(p.name for p in (store / FORWARD_FOLDER).iterdir())


def test_every_flipped_bit_is_noticed_when_it_is_read_as_a_source(store: Path) -> None:
    rng = np.random.default_rng(0)
    for name in files_of(store):
        path = store / FORWARD_FOLDER / name
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 12).tolist():
            damaged = bytearray(whole)
            damaged[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(damaged)
            with pytest.raises(BadInputError):
                list(open_source(store).batches())
        path.write_bytes(whole)
    assert sum(len(b) for b in open_source(store).batches()) == 300


@pytest.mark.parametrize("with_manifest", [True, False])
def test_a_cut_file_is_noticed_when_it_is_opened(
    store: Path, tmp_path: Path, with_manifest: bool
) -> None:
    if not with_manifest:
        shutil.copytree(store / FORWARD_FOLDER, tmp_path / "alone" / FORWARD_FOLDER)
        store = tmp_path / "alone"
    for name in files_of(store):
        path = store / FORWARD_FOLDER / name
        whole = path.read_bytes()
        for size in (len(whole) - 1, len(whole) // 2, 3, 0):
            path.write_bytes(whole[:size])
            with pytest.raises(BadInputError):
                ForwardStore(store / FORWARD_FOLDER)
        path.write_bytes(whole)
    assert len(ForwardStore(store / FORWARD_FOLDER)) == 300


def test_damage_never_ends_in_a_traceback_while_scoring(store: Path) -> None:
    """Flipped bits of arrays, which opening cannot see: an error of ours, or another number."""
    rng = np.random.default_rng(1)
    known = [doc_id for batch in open_source(store).batches() for doc_id in batch.ids]
    query = np.arange(40, dtype=np.int32), np.ones(40, dtype=np.int32)
    noticed = 0
    for name in [n for n in files_of(store) if n.endswith(".npy")]:
        path = store / FORWARD_FOLDER / name
        whole = path.read_bytes()
        for place in rng.integers(128, len(whole), 25).tolist():
            damaged = bytearray(whole)
            damaged[place] ^= 128
            path.write_bytes(damaged)
            try:
                opened = ForwardStore(store)
                rows = opened.find(known)
                assert opened.scores(rows[rows >= 0], *query).dtype == np.int64
                noticed += (rows < 0).any()
            except BadInputError:
                noticed += 1
        path.write_bytes(whole)
    assert noticed > 25


@pytest.mark.parametrize("kind", ["index", "nothing", "jsonvector", "missing"])
def test_what_is_no_forward_store_is_told_so(tmp_path: Path, kind: str) -> None:
    source = MemorySource(np.ones((2, 2), np.int64), ["a", "b"], ["x", "y"])
    path = tmp_path / "it"
    if kind == "index":
        engine("exact").build(source, path)
    elif kind == "jsonvector":
        export(lambda: source, path, ExportOptions(("jsonvector",)))
    elif kind == "nothing":
        path.mkdir()
    with pytest.raises(BadInputError, match="forward store"):
        ForwardStore(path)


def test_rescoring_matches_a_dense_product_at_full_size(tmp_path: Path) -> None:
    documents = random_matrix(5, 5000, 300, 0.5, 300)
    out = exported(
        MemorySource(documents, [str(i) for i in range(5000)], [f"t{i}" for i in range(300)]),
        tmp_path / "out",
    )
    store = ForwardStore(out)
    rng = np.random.default_rng(2)
    rows = rng.permutation(5000)[:1000]
    query = random_matrix(6, 2, 300, 0.1, 300)[1]
    batch = batch_of(query[None], ["q"])
    assert store.find([str(i) for i in rows]).tolist() == rows.tolist()
    scores = store.scores(rows, batch.indices, batch.impacts)
    assert scores.tolist() == (documents[rows] @ query).tolist()
