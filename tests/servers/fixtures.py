"""Fixtures of pytest: real servers, started when a test first needs one.

A test names a server as its fixture (:data:`servers.kinds.KINDS`), or takes its name as a parameter
and asks ``server_of`` for it. The fixtures are of the session: one server serves all tests and all
processes of a run, so a test makes indexes of names that no other has. A test that kills, stops or
fills a server is marked ``pytest.mark.server(alone=True)``, and no other test uses it meanwhile.

A server may be stopped between two tests to make room for another, and then keeps its address and
what it holds: it surely runs from the start of the fixtures of a test that names it to their end.
"""

from __future__ import annotations

import contextlib
import os
import uuid
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from servers.kinds import KINDS, SEARCH_SERVERS
from servers.pool import Pool
from servers.server import Server
from splade_bridge.engines.registry import connect
from splade_bridge.files.address import Address, place_of
from splade_bridge.files.locks import scratch_folder

RUN = "SPLADE_BRIDGE_TEST_SERVERS"
"""Holds the folder of the run and the process that owns it, for the workers of pytest-xdist."""

USED = pytest.StashKey[dict[str, contextlib.ExitStack]]()
"""What the running test uses, in the stash of the configuration."""


def _pool() -> Pool:
    owner, _, folder = os.environ[RUN].partition(":")
    return Pool(Path(folder), int(owner))


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder of the run, in the process that starts the others."""
    config.stash[USED] = {}
    if hasattr(config, "workerinput"):
        return
    run = contextlib.ExitStack()
    folder = run.enter_context(scratch_folder())
    folder.chmod(0o711)  # some servers run as another user
    os.environ[RUN] = f"{os.getpid()}:{folder}"
    run.callback(_pool().close)
    config.add_cleanup(run.close)


def named(item: pytest.Item) -> list[str]:
    """The servers that a test names, as fixtures or parameters."""
    told = set(getattr(item, "fixturenames", ()))
    callspec: Any = getattr(item, "callspec", None)
    if callspec is not None and item.get_closest_marker("server"):
        told.update(value for value in callspec.params.values() if isinstance(value, str))
    return [name for name in KINDS if name in told]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of servers come last, those of one server together, so that few are started twice.

    Five search servers take half an hour for all that :func:`address` is used for; each test is
    asked of one of them, and ``scripts/test -m '' -k opensearch3`` asks that one for all.
    """
    asked = {item: _is_left(item, config.option.keyword) for item in items}
    config.hook.pytest_deselected(items=[item for item, left in asked.items() if not left])
    items[:] = sorted((item for item, left in asked.items() if left), key=named)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What a test used may be stopped when it is over."""
    try:
        return (yield)
    finally:
        used = item.config.stash[USED]
        for held in used.values():
            held.close()
        used.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """The servers that a test names run before its fixtures are made."""
    names = named(item)
    if names:
        alone = any(mark.kwargs.get("alone") for mark in item.iter_markers("server"))
        _use(item.config, names, alone)


def _use(config: pytest.Config, names: list[str], alone: bool = False) -> None:
    used = config.stash[USED]
    held = contextlib.ExitStack()
    held.enter_context(_pool().use(names, alone))
    used[" ".join(names)] = held


@pytest.fixture(scope="session")
def server_of(pytestconfig: pytest.Config) -> Callable[[str], Server]:
    """The server of a name, running."""

    def server(name: str) -> Server:
        if not any(name in names.split() for names in pytestconfig.stash[USED]):
            _use(pytestconfig, [name])
        return _pool().server(name)

    return server


def _fixture(name: str) -> Any:
    @pytest.fixture(scope="session", name=name)
    def server(server_of: Callable[[str], Server]) -> Server:
        return server_of(name)

    return server


elasticsearch8 = _fixture("elasticsearch8")
elasticsearch9 = _fixture("elasticsearch9")
opensearch2 = _fixture("opensearch2")
opensearch_neural = _fixture("opensearch_neural")
opensearch3 = _fixture("opensearch3")
opensearch_ml = _fixture("opensearch_ml")
milvus_server = _fixture("milvus_server")
postgres = _fixture("postgres")


def _is_left(item: pytest.Item, keyword: str) -> bool:
    """Whether a case is of the search server that its test is asked of, or of one that -k names."""
    callspec: Any = getattr(item, "callspec", None)
    name = callspec.params.get("address") if callspec is not None else None
    if name not in SEARCH_SERVERS or name in keyword:
        return True
    test = item.nodeid.rpartition("/")[2].partition("[")[0]
    return name == list(SEARCH_SERVERS)[zlib.crc32(test.encode()) % len(SEARCH_SERVERS)]


@pytest.fixture(
    params=[
        "qdrant",
        "milvus",
        *(pytest.param(name, marks=pytest.mark.server) for name in ("postgres", *SEARCH_SERVERS)),
    ]
)
def address(
    request: pytest.FixtureRequest, server_of: Callable[[str], Server], tmp_path: Path
) -> Iterator[Address]:
    """An address at which nothing is, of each engine."""
    name = request.param
    index = f"changed-{uuid.uuid4().hex[:12]}"
    if name == "qdrant":
        pytest.importorskip("qdrant_edge")
        yield _at(f"qdrant:{tmp_path / 'shard'}")
        return
    if name == "milvus":
        pytest.importorskip("pymilvus", exc_type=ImportError)
        pytest.importorskip("pkg_resources")
        yield _at(f"milvus:{tmp_path / 'm.db'}")
        return
    server = server_of(name)
    if name == "postgres":
        psycopg = pytest.importorskip("psycopg")
        with contextlib.suppress(psycopg.errors.UniqueViolation):  # another worker makes it now
            url = f"{server.url.rpartition('/')[0]}/postgres"
            with psycopg.connect(url, autocommit=True) as session:
                session.execute("create extension if not exists vector")
        place = _at(f"postgresql://postgres@{server.host}:{server.port}/postgres/{index}")
    else:
        place = _at(f"{SEARCH_SERVERS[name]}://{server.host}:{server.port}/{index}")
    yield place
    with connect(place) as made:
        if made.exists():
            made.drop()


def _at(text: str) -> Address:
    found = place_of(text)
    assert isinstance(found, Address)
    return found
