"""Fixtures: real data beside the checkout, engines that are installed, small collections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from splade_bridge.engines.registry import NAMES, engine
from splade_bridge.errors import MissingToolError

if TYPE_CHECKING:
    from tiny_training import World

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The real collections; they are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(params=NAMES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Every engine in turn."""
    try:
        engine(request.param).check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.fixture(scope="session")
def lucene() -> None:
    """Skip where Java or the jar is missing."""
    try:
        engine("lucene").check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The files of a training that takes a second."""
    from tiny_training import World  # torch, which most tests do without

    return World(tmp_path_factory.mktemp("world"))
