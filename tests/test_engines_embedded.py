"""Engines that a library holds in a file or a folder: what is the same for both of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from command_line import run
from loaded import (
    TERMS,
    at,
    check_all,
    check_killed,
    check_nfcorpus,
    check_read,
    check_searches,
    json_lines,
    loaded,
    needs_milvus_lite,
    world,
)
from small import MemorySource, random_matrix
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.registry import connect, engine, open_index
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.address import Address


class Embedded(NamedTuple):
    """One of them.

    Attributes:
        file: name of its file or folder.
        begun: whether a load into that has begun to store.
        made: a key of what ``--dry-run`` prints.
    """

    engine: str
    module: str
    file: str
    begun: Callable[[Path], bool]
    made: str


ALL = {
    "qdrant": Embedded(
        "Qdrant", "qdrant_edge", "s", lambda path: (path / "segments").is_dir(), "sparse_vectors"
    ),
    "milvus": Embedded(
        "Milvus", "pymilvus", "m.db", lambda path: path.exists() and path.stat().st_size > 0,
        "collectionName",
    ),
}  # fmt: skip
SLOW = ["qdrant", pytest.param("milvus", marks=pytest.mark.long)]
"""Where Milvus takes ten seconds."""


@pytest.fixture
def place(scheme: str, tmp_path: Path) -> Address:
    """Nothing is there."""
    pytest.importorskip(ALL[scheme].module, exc_type=ImportError)
    if scheme == "milvus":
        needs_milvus_lite()
    return at(f"{scheme}:{tmp_path / ALL[scheme].file}")


@pytest.mark.parametrize("largest", [400, pytest.param(1 << 19, marks=pytest.mark.long)])
@pytest.mark.parametrize("scheme", ALL)
def test_what_is_loaded_is_found_and_read_back(place: Address, scheme: str, largest: int) -> None:
    check_all(place, largest)


@pytest.mark.parametrize("name", ["shards", "replicas"])
@pytest.mark.parametrize("scheme", ALL)
def test_shards_and_replicas_are_refused(
    place: Address, scheme: str, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UsageError, match=f"no {name}"):
        loaded(place, *world(1, 9, 9)[:2], made=RemoteOptions(**{name: 2}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ALL)
def test_an_alias_is_refused_before_anything_is_made(
    place: Address, scheme: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match="no aliases"):
        loaded(place, *world(1, 9, 9)[:2], alias="other")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", SLOW)
def test_another_plan_is_refused_and_overwrite_replaces(
    place: Address, scheme: str, tmp_path: Path
) -> None:
    matrix, ids, _ = world(1, 30, 9)

    def other(index: Any, **options: Any) -> None:
        def source() -> MemorySource:
            return MemorySource(matrix[:20], ids[:20], TERMS)

        load(index, source, LoadOptions(**options), plan={"other": 1})

    loaded(place, matrix, ids)
    with connect(place) as index:
        with pytest.raises(UsageError, match="is there already; --overwrite"):
            other(index)
        other(index, overwrite=True)
        state = index.state()
        assert state is not None
    check_searches(place, matrix[:20], ids[:20])
    with connect(place) as index:
        index.keep(type(state)(state.plan, 5, None))
        with pytest.raises(MismatchError, match="is being loaded from"):
            load(index, lambda: MemorySource(matrix, ids, TERMS))
    with pytest.raises(BadInputError, match="was interrupted after 5 documents"):
        open_index(place)
    if scheme == "qdrant":
        assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("scheme", ALL)
def test_weights_beyond_float32_are_refused(place: Address, scheme: str, tmp_path: Path) -> None:
    matrix, ids, _ = world(1, 30, 9)
    matrix[4, 3] = (1 << 24) + 1
    words = rf"{ALL[scheme].engine} keeps float32 .* would change 1 of"
    with pytest.raises(BadInputError, match=words):
        loaded(place, matrix, ids)
    assert list(tmp_path.iterdir()) == []
    loaded(place, matrix, ids, allow_loss=True)
    matrix[4, 3] = 1 << 24
    check_read(place, matrix, ids)


@pytest.mark.parametrize("scheme", SLOW)
def test_a_killed_load_goes_on(place: Address, scheme: str, tmp_path: Path) -> None:
    assert place.folder is not None
    path = place.folder
    check_killed(tmp_path, place, lambda: ALL[scheme].begun(path))
    if scheme == "qdrant":
        assert sorted(p.name for p in tmp_path.iterdir()) == ["docs.jsonl", "s"]


@pytest.mark.parametrize("scheme", ALL)
def test_the_command_line_both_ways(
    place: Address, scheme: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    matrix = random_matrix(1, 40, 9, 0.4, 9)
    ids, terms = [f"d{i}" for i in range(40)], list("abcdefghi")
    docs = json_lines(tmp_path / "docs.jsonl", matrix, ids, terms)
    status, out, _ = run(capfd, "index", docs, "-o", place, "--dry-run")
    assert status == 0 and json.loads(out)[ALL[scheme].made]
    assert not (tmp_path / ALL[scheme].file).exists()
    for _ in range(2):
        status, _, err = run(capfd, "index", docs, "-o", place)
        assert status == 0 and f"all read back from {scheme}" in err
    assert run(capfd, "convert", place, tmp_path / "back.ciff", "--to", "ciff")[0] == 0
    back, source = open_source(tmp_path / "back.ciff"), open_source(docs)
    assert list(back.batches()) and list(source.batches())
    assert str(back.content) == str(source.content)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("scheme", ALL)
def test_nfcorpus(place: Address, scheme: str, shared: Path, tmp_path: Path) -> None:
    folder = shared / "splade-v3-nfcorpus"
    engine("exact").build(open_source(folder / "docs.jsonl.gz"), tmp_path / "exact")
    check_nfcorpus(
        place, folder, tmp_path / "exact", tmp_path / "run", folder / "qrels.nfcorpus.test.trec"
    )
