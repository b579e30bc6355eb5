"""Corpora by ir_datasets id, with a data set that is registered from local files."""

from __future__ import annotations

from pathlib import Path

import pytest

import command_line
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.encode_queries import query_texts
from splade_bridge.text.corpora import read_texts

ir_datasets = pytest.importorskip("ir_datasets")


@pytest.fixture
def local_dataset(tmp_path: Path) -> str:
    from ir_datasets.formats import TrecQrels, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    (tmp_path / "docs.tsv").write_text("d1\tone text\nd2\tanother\n")
    (tmp_path / "queries.tsv").write_text("7\twhat is it\n")
    (tmp_path / "qrels").write_text("7 0 d1 1\n7 0 d2 0\n")
    name = f"splade-bridge-test/{tmp_path.name.replace('_', '-')}"
    if name not in ir_datasets.registry:
        ir_datasets.registry.register(
            name,
            ir_datasets.Dataset(
                TsvDocs(LocalDownload(tmp_path / "docs.tsv", mkdir=False)),
                TsvQueries(LocalDownload(tmp_path / "queries.tsv", mkdir=False)),
                TrecQrels(LocalDownload(tmp_path / "qrels", mkdir=False), {0: "no", 1: "yes"}),
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


def test_judgements_of_a_data_set(local_dataset: str) -> None:
    assert read_qrels(Path(local_dataset)) == {"7": {"d1": 1, "d2": 0}}


def test_a_data_set_stands_wherever_a_file_does(
    local_dataset: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.write_text("7 Q0 d1 1 9 t\n7 Q0 d2 2 8 t\n")
    status, out, _ = command_line.run(capfd, "evaluate", local_dataset, str(run), "-M", "P@2")
    assert (status, out.split()) == (0, ["P@2", "all", "0.5000"])
    with pytest.raises(BadInputError, match=r"no such file.*name a model with --model"):
        read_queries(Path(local_dataset))
    assert [t.text for t in query_texts(local_dataset)] == ["what is it"]
