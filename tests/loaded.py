"""What an index behind an address must hold: loaded, searched and read back against a matrix.

Shared by the tests of engines in which terms are numbers.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines.registry import connect, open_index, read_remote
from splade_bridge.engines.remote.base import RemoteIndex
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import ImpactSource, WeightSource
from strategies import AWKWARD_TERMS, as_dictionaries

ROOT = Path(__file__).parents[1]
TERMS = [*AWKWARD_TERMS, ".", "%", "a.b", "%2E", "''", "x" * 32_766]
AWKWARD_IDS = [
    "it's", 'q"x', "back\\slash", "a%27b", "%", "%25", "')_OR_1=1_--", "é漢😀", "\u200b", "-1", "7",
    "x" * 512, "{}", "$id", "A", "a", "\x01", "null", "0" * 36, "\ufeff",
]  # fmt: skip


def needs_milvus_lite() -> None:
    """Skip where Milvus' core is not there."""
    try:
        version = importlib.metadata.version("milvus-lite")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("milvus-lite is not installed")
    if not version.startswith("2.5."):
        pytest.skip(f"milvus-lite {version} is not Milvus' core")


def at(text: object) -> Address:
    found = place_of(str(text))
    assert isinstance(found, Address)
    return found


def world(seed: int, rows: int, largest: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Documents, their ids and their terms, all of them awkward; some documents are empty."""
    matrix = random_matrix(seed, rows, len(TERMS), 0.2, largest)
    matrix[0] = 0
    ids = [*AWKWARD_IDS, *(f"d/{i}'é" for i in range(rows))][:rows]
    return matrix, ids, TERMS


def impacts_of(source: ImpactSource | WeightSource) -> dict[str, list[int]]:
    """Impacts of each document by its id, in the order of their terms."""
    return {
        batch.ids[n]: batch.row(n)[1].tolist()
        for batch in source.batches()
        for n in range(len(batch))
    }


def check_searches(address: Address, matrix: np.ndarray, ids: Sequence[str], seed: int = 9) -> None:
    """Every hit, score and place in the order; an empty query is among the queries."""
    asked = random_matrix(seed, 12, len(TERMS), 0.3, 4)
    asked[0] = 0
    asked[1] = asked[1].clip(max=1)  # many equal scores
    with open_index(address) as searcher:
        for k in (1, 7, len(ids) // 2, len(ids) + 5):
            for threads in (1, 3):
                queries = searcher.aligned(queries_of(asked, TERMS))
                found = list(searcher.search(queries, k, threads=threads))
                assert [as_pairs(hits) for hits in found] == [
                    brute_force(matrix, ids, query, k) for query in asked
                ]


def rows_of(source: ImpactSource) -> dict[str, dict[str, int]]:
    return dict(as_dictionaries(list(source.batches()), source.vocabulary))


def check_read(address: Address, matrix: np.ndarray, ids: Sequence[str]) -> None:
    """All that is read back, and how it is told."""
    ours, theirs = MemorySource(matrix, ids, TERMS), read_remote(address)
    assert isinstance(theirs, ImpactSource)
    assert rows_of(theirs) == rows_of(ours)
    assert str(theirs.content) == str(ours.content)
    assert theirs.counts.documents == len(ids)


def loaded(
    address: Address, matrix: np.ndarray, ids: Sequence[str], **options: Any
) -> list[ImpactSource]:
    """Load it; the sources that were opened for that."""
    opened: list[ImpactSource] = []

    def source() -> ImpactSource:
        opened.append(MemorySource(matrix, ids, TERMS))
        return opened[-1]

    with connect(address) as index:
        load(index, source, LoadOptions(**options))
    return opened


def check_all(address: Address, largest: int) -> None:
    """Loaded, searched, read; loaded again; some replaced and some deleted."""
    matrix, ids, _ = world(3, 150, largest)
    loaded(address, matrix, ids)
    check_searches(address, matrix, ids)
    check_read(address, matrix, ids)
    (again,) = loaded(address, matrix, ids)
    assert not again.counts.documents  # nothing of it was read: it is already there
    with connect(address) as index:
        changed = dict(zip(ids[5:9], random_matrix(4, 4, len(TERMS), 0.4, largest), strict=True))
        for number, row in enumerate(changed.values()):
            matrix[5 + number] = row
        write(index, np.array(list(changed.values())), list(changed))
        assert index.delete([ids[1], "nobody", ids[20]]) == 2
        assert index.delete(["nobody"]) == 0
        assert index.count() == len(ids) - 2
        assert index.get(["nobody"]) == []
        (row,) = index.get([ids[6]])
        assert dict(zip(row.names, row.weights, strict=True)) == {
            int(t): int(matrix[6][t]) for t in np.flatnonzero(matrix[6])
        }
    left = [i for i in range(len(ids)) if i not in (1, 20)]
    check_searches(address, matrix[left], [ids[i] for i in left])
    check_read(address, matrix[left], [ids[i] for i in left])


def write(index: RemoteIndex, matrix: np.ndarray, ids: list[str]) -> None:
    """Store documents in an index that is whole."""
    from splade_bridge.formats.feeds.names import Names

    source = MemorySource(matrix, ids, TERMS)
    for batch in source.batches():
        items = index.items(batch, Names(source.vocabulary, "number"), None)
        index.write([item for item, _ in items])
    index.finish(merge=False)


def json_lines(path: Path, matrix: np.ndarray, ids: Sequence[str], terms: Sequence[str]) -> Path:
    """The same as a JsonVectorCollection."""
    with path.open("w") as out:
        for doc_id, row in zip(ids, matrix, strict=True):
            vector = {terms[int(t)]: int(row[t]) for t in np.flatnonzero(row)}
            out.write(json.dumps({"id": doc_id, "contents": "", "vector": vector}) + "\n")
    return path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "splade_bridge", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def check_killed(tmp_path: Path, address: Address, halfway: Callable[[], bool]) -> None:
    """A load of 2,000 documents, killed twice, goes on with the same command.

    Args:
        halfway: whether the load that runs has begun to store; asked again and again.
    """
    rows = 2000
    matrix = random_matrix(7, rows, 60, 0.5, 300)
    terms, ids = [f"t{i}" for i in range(60)], [f"d{i}" for i in range(rows)]
    source = json_lines(tmp_path / "docs.jsonl", matrix, ids, terms)
    line = command("index", source, "-o", address)
    for pause in (0.0, 0.3):
        process = subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE)
        end = time.monotonic() + 60
        while not halfway() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    query = random_matrix(8, 1, 60, 0.3, 5)
    with open_index(address) as searcher:
        assert searcher.manifest is not None and searcher.manifest.counts.documents == rows
        (found,) = searcher.search(searcher.aligned(queries_of(query, terms)), rows)
        assert as_pairs(found) == brute_force(matrix, ids, query[0], rows)
    read = read_remote(address)
    assert isinstance(read, ImpactSource)
    assert rows_of(read) == rows_of(MemorySource(matrix, ids, terms))


WITHOUT = """
import sys
class Nobody:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Nobody())
sys.argv = ["splade-bridge", "search", {address!r}, "-q", "q.jsonl", "-o", "r"]
from splade_bridge.cli.app import main
main()
"""


def check_missing_client(address: Address, blocked: set[str], extra: str, cwd: Path) -> None:
    """Without its package an engine names the extra that brings it."""
    (cwd / "q.jsonl").write_text('{"id": "q", "vector": {"a": 1}}\n')
    code = WITHOUT.format(blocked=blocked, address=str(address))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 3, done.stderr
    assert f"[{extra}]" in done.stderr and "pip install" in done.stderr
    assert "Traceback" not in done.stderr


def check_nfcorpus(address: Address, folder: Path, exact: Path, run: Path, qrels: Path) -> None:
    """Real vectors: read back as they went in, searched as ``exact`` does, with its figure."""
    from splade_bridge.conversion.detect import open_source
    from splade_bridge.conversion.load_index import load_index
    from splade_bridge.evaluation.evaluate import evaluate
    from splade_bridge.evaluation.qrels import read_qrels
    from splade_bridge.evaluation.verify import verify
    from splade_bridge.formats.queries import read_queries
    from splade_bridge.retrieval.runs import read_run
    from splade_bridge.retrieval.search import SearchOptions, search_to_run

    docs = folder / "docs.jsonl.gz"
    manifest = load_index(docs, address)
    assert manifest.counts.documents == 3633 and manifest.counts.postings == 998_259
    source, read = open_source(docs), read_remote(address)
    for one in (source, read):
        for _ in one.batches():
            pass
    assert str(read.content) == str(source.content) == manifest.content
    queries = read_queries(folder / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(address) as searcher, open_index(exact) as oracle:
        result = verify([oracle, searcher], queries, 1000)
    assert result.equal and result.queries == 323 and result.results > 300_000
    search_to_run(address, queries, run, SearchOptions(k=1000, remove_query=True))
    found = evaluate(read_qrels(qrels), read_run(run), ["ndcg_cut_10"], missing="skip")
    assert round(found.means["ndcg_cut_10"], 4) == 0.3624
