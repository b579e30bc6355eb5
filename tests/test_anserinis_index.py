"""An impact index of Anserini's own becomes PISA, CIFF and JSONL, and gives the same runs.

One is built here by its IndexCollection, in two segments, and then loses a document; another is
real (``../shared``).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from small import MemorySource, queries_of, random_matrix, terms_of
from splade_bridge.conversion.build_index import build_index
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.jars import users_anserini
from splade_bridge.engines.java import environment, java_command
from splade_bridge.engines.registry import EngineName, engine
from splade_bridge.errors import MissingToolError
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.inspection.kinds import inspect_path
from splade_bridge.retrieval.search import SearchOptions, search_to_run
from test_foreign_lucene import Make, make  # noqa: F401

DOCUMENTS, GONE = 600, 17
K = 1000
TERMS = [t for t in terms_of(30) if t.split() == [t] and "\0" not in t]
IDS = [f"d{i:03}" for i in range(DOCUMENTS)]


def anserini_indexes(folder: Path, index: Path, threads: int) -> None:
    """Its IndexCollection, on a JsonVectorCollection; each thread takes a file, into a segment."""
    lucene = users_anserini()
    assert lucene is not None
    command = java_command(
        "io.anserini.index.IndexCollection", "-collection", "JsonVectorCollection",
        "-generator", "DefaultLuceneDocumentGenerator", "-input", folder, "-index", index,
        "-threads", str(threads), "-impact", "-pretokenized",
        class_path=lucene.class_path, heap_megabytes=1000,
    )  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=environment())


@pytest.fixture(scope="module")
def built(make: Make, anserini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """Two segments; a document is deleted with Lucene. None is empty: Anserini leaves those out."""
    folder = tmp_path_factory.mktemp("anserini")
    matrix = random_matrix(8, DOCUMENTS, len(TERMS), 0.3, 500)
    matrix[matrix.sum(axis=1) == 0, 0] = 1
    options = ExportOptions(docs_per_file=DOCUMENTS // 2)
    export(lambda: MemorySource(matrix, IDS, TERMS), folder / "export", options)
    anserini_indexes(folder / "export" / "jsonvector", folder / "index", 2)
    make(folder / "index", f"delete|{IDS[GONE]}")
    left = np.delete(matrix, GONE, axis=0), [d for d in IDS if d != IDS[GONE]], TERMS
    engine("exact").build(MemorySource(*left), folder / "oracle")
    return folder


ASKED = random_matrix(9, 20, len(TERMS) + 2, 0.2, 300)
QUERIES = queries_of(ASKED, [*TERMS, "unknown", "unknown.2"])
"""Of its terms, and of some that it does not have."""


@pytest.fixture(scope="module")
def expected(built: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The run of what is left, by brute force."""
    run = run_of(built / "oracle", QUERIES, tmp_path_factory.mktemp("oracle"))
    assert run.count(b"\n") > 5000 and f" {IDS[GONE]} ".encode() not in run
    return run


def run_of(index: Path, queries: Queries, folder: Path) -> bytes:
    out = folder / f"{index.name}.run"
    search_to_run(index, queries, out, SearchOptions(k=K))
    return out.read_bytes()


@pytest.mark.long
def test_its_segments_and_its_deletion_are_told(built: Path) -> None:
    found = inspect_path(built / "index")
    assert (found.kind, found.facts["segments"]) == ("lucene", 2)
    assert found.facts["deleted"] == 1
    oracle = open_source(built / "oracle")
    for _ in oracle.batches():
        pass
    assert found.counts is not None and found.counts.documents == DOCUMENTS - 1
    assert found.content is not None and found.content.computed == str(oracle.content)


@pytest.mark.long
def test_it_is_searched_as_it_is(built: Path, expected: bytes, tmp_path: Path) -> None:
    assert run_of(built / "index", QUERIES, tmp_path) == expected


@pytest.mark.long
@pytest.mark.parametrize("name", ["lucene", "pisa", "exact"])
def test_it_becomes_an_index_of_every_engine_with_the_same_run(
    name: EngineName, built: Path, expected: bytes, tmp_path: Path
) -> None:
    try:
        build_index(built / "index", tmp_path / name, name)
    except MissingToolError as error:
        pytest.skip(str(error))
    assert run_of(tmp_path / name, QUERIES, tmp_path) == expected


@pytest.mark.long
@pytest.mark.parametrize("to", ["ciff", "jsonvector", "pisa-canonical"])
def test_it_becomes_files_with_the_same_run(
    to: ConvertFormat, built: Path, expected: bytes, tmp_path: Path
) -> None:
    done = convert(built / "index", tmp_path / "out", to)
    assert done.manifest.counts.documents == DOCUMENTS - 1
    engine("exact").build(open_source(tmp_path / "out"), tmp_path / "exact")
    assert run_of(tmp_path / "exact", QUERIES, tmp_path) == expected


@pytest.mark.long
def test_what_became_jsonl_is_indexed_by_anserini_again_with_the_same_run(
    built: Path, expected: bytes, tmp_path: Path
) -> None:
    convert(built / "index", tmp_path / "out", "jsonvector")
    anserini_indexes(tmp_path / "out" / "jsonvector", tmp_path / "again", 1)
    assert run_of(tmp_path / "again", QUERIES, tmp_path) == expected


# ---------------------------------------------------------------- the real one


@pytest.fixture(scope="module")
def real(shared: Path, lucene: None, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The run of the index that Anserini 1.7.1 made of SPLADE-v3's NFCorpus."""
    return nfcorpus_run(
        shared / "splade-v3-nfcorpus" / "index.lucene-9.9.1",
        shared,
        tmp_path_factory.mktemp("real"),
    )


def nfcorpus_run(index: Path, shared: Path, folder: Path) -> bytes:
    queries = read_queries(shared / "splade-v3-nfcorpus/topics.nfcorpus.test.splade-v3.tsv.gz")
    return run_of(index, queries, folder)


@pytest.mark.shared
@pytest.mark.long
def test_the_real_one_becomes_pisa_with_the_same_run(
    shared: Path, real: bytes, tmp_path: Path
) -> None:
    try:
        build_index(shared / "splade-v3-nfcorpus/index.lucene-9.9.1", tmp_path / "pisa", "pisa")
    except MissingToolError as error:
        pytest.skip(str(error))
    assert nfcorpus_run(tmp_path / "pisa", shared, tmp_path) == real
    assert real.count(b"\n") > 300_000


@pytest.mark.shared
@pytest.mark.long
@pytest.mark.parametrize("to", ["ciff", "jsonvector", "pisa-canonical"])
def test_the_real_one_becomes_files_with_the_same_run(
    to: ConvertFormat, shared: Path, real: bytes, tmp_path: Path
) -> None:
    done = convert(shared / "splade-v3-nfcorpus/index.lucene-9.9.1", tmp_path / "out", to)
    assert done.manifest.counts.postings == 998_259
    build_index(tmp_path / "out", tmp_path / "exact", "exact")
    assert nfcorpus_run(tmp_path / "exact", shared, tmp_path) == real
