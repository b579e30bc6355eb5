"""Fixtures: real data beside the checkout, engines that are installed, small collections."""

from __future__ import annotations

import gc
import importlib.util
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from splade_bridge.engines.jars import anserini_jar, lucene_for_writing
from splade_bridge.engines.registry import EXACT, engine
from splade_bridge.errors import EXTRAS, MissingToolError
from splade_bridge.evaluation import bench

if TYPE_CHECKING:
    from tiny_training import World

pytest_plugins = ["servers.fixtures"]

# What a search would leave to a process in the background; those that test it switch it on.
os.environ["SPLADE_BRIDGE_JAVA_CACHE"] = "off"

# No test asserts a time, neither its examples'.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


HEAVY = {"tokenizers"}.union(*(EXTRAS[extra] for extra in ("encode", "dense", "train")))
ABSENT = {package for package in HEAVY if importlib.util.find_spec(package) is None}
"""What encoding and training need and this environment, thin on purpose, does not have."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays, so nobody goes through it to look for garbage.

    There are some million objects, of which every worker would do that many times.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test with ``sample(n)``, all but n, evenly spread, are ``long``.

    ``sample(n, of="exact")`` are n of those whose id says so.

    So are those of Milvus where a test is of several engines: its core takes seconds to start.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if "[milvus" in item.nodeid:
            item.add_marker("long")
        if item.get_closest_marker("sample"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for among in cases.values():
        marker = among[0].get_closest_marker("sample")
        assert marker is not None
        size, word = marker.args[0], marker.kwargs.get("of", "")
        named = [item for item in among if word in item.name.partition("[")[2]]
        kept = {named[i * len(named) // size] for i in range(size)} if named else set()
        for item in among:
            if item not in kept:
                item.add_marker("long")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A module that cannot be imported for want of torch and the like is skipped, not broken."""
    report = yield
    call = getattr(report, "call", None)
    cause = call.excinfo.value.__cause__ if call and call.excinfo else None
    name = (getattr(cause, "name", None) or "").partition(".")[0]
    if report.failed and isinstance(cause, ModuleNotFoundError) and name in ABSENT:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {name} is not installed")
    return report


@pytest.fixture(scope="session", autouse=True)
def short_measurements() -> Iterator[None]:
    """What tests bench in this process is no figure for anybody."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WARM_SECONDS", "WARM_SECONDS_AGAIN", "PASS_SECONDS", "LOAD_SECONDS"):
            patch.setattr(bench, name, 0.01)
        patch.setattr(bench, "MOST_TIMES", 1)
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real collections; they are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


FURTHER_LUCENES = ("9.12", "10.6")
"""Beside the default, which is pyserini's 9.9 where that is installed."""


@pytest.fixture(scope="session")
def lucene_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with the jars of a Lucene, for ``SPLADE_BRIDGE_LUCENE``; fetched if missing."""
    made: dict[str, Path] = {}

    def folder(version: str) -> Path:
        if version not in made:
            try:
                lucene = lucene_for_writing(version)
            except MissingToolError as error:
                pytest.skip(str(error))
            made[version] = tmp_path_factory.mktemp(f"lucene-{version}")
            for jar in lucene.class_path:
                (made[version] / jar.name).symlink_to(jar)
        return made[version]

    return folder


@pytest.fixture(
    params=[
        *EXACT,
        *(pytest.param(f"lucene {v}", marks=pytest.mark.models) for v in FURTHER_LUCENES),
    ]
)
def engine_name(
    request: pytest.FixtureRequest,
    lucene_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Every engine in turn; Lucene in several versions."""
    name, _, version = str(request.param).partition(" ")
    if version:
        monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(lucene_folder(version)))
    try:
        engine(name).check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="session")
def anserini() -> Path:
    """The fat jar; skip where there is none."""
    try:
        return anserini_jar()
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def lucene() -> None:
    """Skip where Java or every Lucene is missing."""
    try:
        engine("lucene").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The files of a training that takes a second."""
    from tiny_training import World  # torch, which most tests do without

    return World(tmp_path_factory.mktemp("world"))
