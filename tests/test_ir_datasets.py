"""Corpora by ir_datasets id, with a data set that is registered from local files."""

from __future__ import annotations

from pathlib import Path

import pytest

from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import read_texts

ir_datasets = pytest.importorskip("ir_datasets")


@pytest.fixture
def local_dataset(tmp_path: Path) -> str:
    from ir_datasets.formats import TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    (tmp_path / "docs.tsv").write_text("d1\tone text\nd2\tanother\n")
    (tmp_path / "queries.tsv").write_text("7\twhat is it\n")
    name = "splade-bridge-test/local"
    if name not in ir_datasets.registry:
        ir_datasets.registry.register(
            name,
            ir_datasets.Dataset(
                TsvDocs(LocalDownload(tmp_path / "docs.tsv", mkdir=False)),
                TsvQueries(LocalDownload(tmp_path / "queries.tsv", mkdir=False)),
            ),
        )
    return name


def test_documents_and_queries_of_a_data_set(local_dataset: str) -> None:
    assert [(t.id, t.text) for t in read_texts(local_dataset)] == [
        ("d1", "one text"), ("d2", "another"),
    ]  # fmt: skip
    assert [(t.id, t.text) for t in read_texts(local_dataset, "queries")] == [("7", "what is it")]


def test_an_unknown_id_is_refused() -> None:
    with pytest.raises(BadInputError, match="neither a file or folder nor an ir_datasets id"):
        list(read_texts("no-such-collection"))
