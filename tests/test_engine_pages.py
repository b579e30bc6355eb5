"""Each engine's page in docs/engines is run as it stands, from a model and texts, and back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from loaded import at
from pages import PAGES, run_page
from servers.server import Server
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.registry import connect
from splade_bridge.engines.registry import engine as engine_named
from splade_bridge.errors import MissingToolError

ROWS = 30
IN_FOLDERS = ("impact-index", "seismic")
"""Engines of ours; the others hold an index behind an address."""


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a page begins with, in the working directory: a model, texts and queries."""
    checkpoints = pytest.importorskip("checkpoints")
    with checkpoints.single_thread():
        checkpoints.save_checkpoint(tmp_path / "model")
    (tmp_path / "texts").mkdir()
    checkpoints.write_corpus(tmp_path / "texts" / "texts.jsonl", ROWS)
    queries = [f"q{i}\t{text}" for i, text in enumerate(["the cat to be", "42, of cat"])]
    (tmp_path / "queries.tsv").write_text("\n".join(queries) + "\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_back(texts: Path) -> None:
    """What came back is what was encoded; the search has found something."""
    back, source = open_source(texts / "ciff"), open_source(texts / "vectors")
    back.read_all()
    source.read_all()
    assert str(back.content) == str(source.content)
    assert source.counts.documents == ROWS
    assert (texts / "run.txt").read_text()


@pytest.mark.parametrize(
    ("engine", "client", "address"),
    [("milvus", "milvus_lite", "milvus:passages.db"), ("qdrant", "qdrant_edge", "qdrant:passages")],
)
def test_a_page_without_a_server(
    engine: str, client: str, address: str, texts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(client, exc_type=ImportError)
    page = PAGES / f"{engine}.md"
    assert f"`ADDRESS` is `{address}`" in page.read_text()
    run_page(page, address, capfd)
    check_back(texts)


@pytest.mark.long
@pytest.mark.parametrize("name", IN_FOLDERS)
def test_a_page_of_an_engine_in_a_folder(
    name: str, texts: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        engine_named(name).check_installed()
    except MissingToolError as error:
        pytest.skip(str(error))
    page = PAGES / f"{name}.md"
    assert "`ADDRESS` is the folder `passages`" in page.read_text()
    run_page(page, "passages", capfd)
    check_back(texts)
    assert (texts / "frontier.svg").read_text().startswith("<?xml")


@pytest.mark.server
@pytest.mark.parametrize(
    ("engine", "server"), [("elasticsearch", "elasticsearch9"), ("opensearch", "opensearch3")]
)
def test_a_page_with_a_server(
    engine: str,
    server: str,
    server_of: Callable[[str], Server],
    texts: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = server_of(server)
    address = f"{engine}://{there.host}:{there.port}"
    own = f"page-{os.getpid()}"
    page = texts / "page.md"  # with names of its own, as the server is everybody's
    text = (PAGES / f"{engine}.md").read_text()
    page.write_text(
        text.replace("/passages", f"/{own}").replace("--alias passages", f"--alias {own}")
    )
    try:
        run_page(page, address, capfd)
        check_back(texts)
        with connect(at(f"{address}/{own}-1")) as index:
            assert not index.exists()
    finally:
        for number in (1, 2):
            with connect(at(f"{address}/{own}-{number}")) as index:
                index.drop()


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_every_page_goes_there_and_back(page: Path) -> None:
    """Texts, vectors, a load, an alias that is switched, the old index dropped, files again.

    An index in a folder has no alias: how much it finds approximately stands in that place.
    """
    text, at = page.read_text(), 0
    apart = page.stem in IN_FOLDERS
    for step in (
        "splade-bridge encode texts -m MODEL",
        "splade-bridge index vectors -o ADDRESS",
        "splade-bridge search ADDRESS",
        "splade-bridge verify exact ADDRESS",
        "--frontier frontier.svg" if apart else "Load anew without a gap",
        "And back, into files",
        "splade-bridge convert ADDRESS",
        "splade-bridge inspect ciff",
    ):
        at = text.index(step, at)
    assert apart or ("alias" in text and "--alias passages --drop-old" in text)


def test_every_page_has_its_test() -> None:
    """PostgreSQL's, with its SQL, is in test_engine_postgresql.py."""
    assert {page.stem for page in PAGES.glob("*.md")} == {
        "elasticsearch", "opensearch", "milvus", "qdrant", "postgresql", *IN_FOLDERS,
    }  # fmt: skip
