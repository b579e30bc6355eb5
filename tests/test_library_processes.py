"""The processes in which libraries live: their failure and death are told, and are no wait."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from children import children
from odd_names import check_in_a_plain_locale
from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix, shuffled_ids, terms_of
from splade_bridge.engines import impact_index_worker, pisa_worker, process, seismic_worker
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.engines.seismic_options import SeismicOptions
from splade_bridge.errors import ExternalProgramError, MissingToolError

DOCUMENTS = random_matrix(31, 100, 30, 0.3, 9)
DOC_IDS, TERMS = shuffled_ids(100, 31), terms_of(30)
WEIGHTS = random_matrix(32, 12, 30, 0.3, 9)
BATCH = queries_of(WEIGHTS, TERMS).batch
EXPECTED = [brute_force(DOCUMENTS, DOC_IDS, query, 10) for query in WEIGHTS]


class Library(NamedTuple):
    """An engine whose library has a process, and what that is called in messages."""

    engine: str
    shown: str
    worker: ModuleType
    options: Any = None


LIBRARIES = [
    Library("pisa", "PISA", pisa_worker),
    Library(
        "seismic",
        "Seismic",
        seismic_worker,
        SeismicOptions(n_postings=10_000, query_cut=1000, heap_factor=0.0),  # finds all
    ),
    Library("impact-index", "impact-index", impact_index_worker),
]


@pytest.fixture(scope="module", params=LIBRARIES, ids=lambda library: library.engine)
def library(request: pytest.FixtureRequest) -> Library:
    found: Library = request.param
    return found


@pytest.fixture(scope="module")
def index(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("library") / "index"
    try:
        engine(library.engine, library.options).build(MemorySource(DOCUMENTS, DOC_IDS, TERMS), path)
    except MissingToolError as error:
        pytest.skip(str(error))
    return path


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('out', flush=True); print('err', file=sys.stderr); sys.exit(3)",
         r"index: {} ended with status 3: (out \| err|err \| out)"),
        ("import os; os.abort()", "SIGABRT"),
        ("import os, sys, time; os.close(int(sys.argv[2])); time.sleep(60)", "stopped"),
        ("import os, sys, time; os.write(int(sys.argv[2]), b'noise'); time.sleep(60)", "stopped"),
    ],
    ids=["a status", "an abort", "a closed pipe", "noise"],
)  # fmt: skip
def test_one_that_fails_is_an_error_and_no_wait_for_ever(
    library: Library, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    program: str, message: str,
) -> None:  # fmt: skip
    (tmp_path / "worker.py").write_text(program)
    monkeypatch.setattr(library.worker, "__file__", str(tmp_path / "worker.py"))
    monkeypatch.setattr(process, "PATIENCE", 0.5)
    told = message.format(library.shown)
    with open_index(index) as searcher, pytest.raises(ExternalProgramError, match=told):
        next(searcher.search(BATCH, 10))


def test_one_that_is_killed_is_an_error_and_the_next_search_has_another(index: Path) -> None:
    with open_index(index) as searcher:
        before = children()
        search = searcher.search(BATCH, 10)
        next(search)
        (worker,) = children() - before
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ExternalProgramError, match="if memory ran out"):
            list(search)
        assert [as_pairs(h) for h in searcher.search(BATCH, 10)] == EXPECTED


def test_odd_names_in_a_plain_locale(library: Library, index: Path, tmp_path: Path) -> None:
    check_in_a_plain_locale(tmp_path, library.engine)
