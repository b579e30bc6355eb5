"""What export-model writes, run by OpenSearch's own ml-commons, and ``verify --probe`` of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch

import command_line
from checkpoints import VOCABULARY, one_thread, save_checkpoint  # noqa: F401
from servers.server import Server
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.encoding.exports import opensearch
from splade_bridge.encoding.exports.export_model import export_model
from splade_bridge.encoding.exports.term_weights import TermWeights
from splade_bridge.engines.registry import connect
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError
from splade_bridge.evaluation.probe import probe
from splade_bridge.files.address import Address, place_of
from test_json import faults
from test_onnx import WIDER, inference_free


def registered(address: Address, folder: Path) -> str:
    """The id of an export that ml-commons has taken in and deployed, by its documented API."""
    index: Any = connect(address)
    try:
        told = json.loads((folder / opensearch.CONFIG).read_text())
        model: str = index._ask("POST", "/_plugins/_ml/models/meta", told)["model_id"]
        content = (folder / opensearch.ARCHIVE).read_bytes()
        for number in range(told["total_chunks"]):
            part = content[number * opensearch.CHUNK :][: opensearch.CHUNK]
            index._ask("POST", f"/_plugins/_ml/models/{model}/chunk/{number}", part)
        task = index._ask("POST", f"/_plugins/_ml/models/{model}/_deploy")["task_id"]
        for _ in range(120):
            state = index._ask("GET", f"/_plugins/_ml/tasks/{task}")
            if state["state"] not in ("CREATED", "RUNNING"):
                break
            threading.Event().wait(0.5)
        assert state["state"] == "COMPLETED", state
        return model
    finally:
        index.close()


@pytest.mark.server
def test_ml_commons_runs_what_is_exported(
    opensearch_ml: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = opensearch_ml.url.replace("http://", "opensearch://") + "/nothing"
    address = place_of(place)
    assert isinstance(address, Address)
    checkpoint = save_checkpoint(tmp_path / "bert", width=len(VOCABULARY) + WIDER)
    monkeypatch.setattr(opensearch, "CHUNK", 50_000)  # several of them
    export_model(str(checkpoint), tmp_path / "out", "opensearch")
    model = registered(address, tmp_path / "out")
    command = ("verify", place, "-m", checkpoint, "--probe", model)
    code, _, said = command_line.run(capfd, *command)
    assert code == 0
    assert said.count("the same") == 4
    code, out, _ = command_line.run(capfd, *command, "--json")
    found = orjson.loads(out)
    assert list(faults(found, RESULTS["verify --probe"])) == []
    assert all(p["largest_difference"] < 1e-5 for p in found["probes"])

    code, _, said = command_line.run(capfd, *command, "--max-length", 32)
    assert code == 7 and "it reads up to 64 tokens" in said and said.count("the same") == 2
    assert "texts are cut at another length there" in said

    def first_position(self: TermWeights, ids: Any, mask: Any, types: Any) -> torch.Tensor:
        logits = self.network(input_ids=ids, attention_mask=mask).logits
        return self._activated(logits[:, 0, : self.width])

    monkeypatch.setattr(TermWeights, "_pooled", first_position)
    monkeypatch.setattr(opensearch, "largest_difference", lambda *_: 0.0)
    export_model(str(checkpoint), tmp_path / "unpooled", "opensearch")
    model = registered(address, tmp_path / "unpooled")
    code, _, said = command_line.run(capfd, "verify", place, "-m", checkpoint, "--probe", model)
    assert code == 7 and "the same" not in said
    assert "it was imported without pooling over positions, or from another checkpoint" in said
    with pytest.raises(ExternalProgramError, match="OpenSearch has no model nosuch"):
        probe(address, str(checkpoint), {"query": "nosuch"})


@pytest.mark.server
def test_ml_commons_looks_tokens_up(opensearch_ml: Server, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    bert = save_checkpoint(tmp_path / "bert", width=len(VOCABULARY) + WIDER)
    inference_free(tmp_path / "model", bert)
    export_model(str(tmp_path / "model"), tmp_path / "out", "opensearch")
    address = place_of(opensearch_ml.url.replace("http://", "opensearch://") + "/nothing")
    assert isinstance(address, Address)
    models: Any = {
        side: registered(address, tmp_path / "out" / side) for side in ("document", "query")
    }
    found = probe(address, str(tmp_path / "model"), models)
    assert [(p.side, p.text, p.equal) for p in found] == [
        (side, text, True) for side in ("document", "query") for text in ("short", "long")
    ]
    assert all(p.terms == p.engine_terms > 0 for p in found)


class Documented(BaseHTTPRequestHandler):
    """Answers as Elasticsearch's documentation says; proves the form of requests and no more."""

    asked: list[tuple[str, str, Any]]

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        self.asked.append((self.command, self.path, body))
        status, answer = 404, {}
        if self.path == "/_ml/trained_models/splade":
            config = {"inference_config": {"text_expansion": {}}, "input": {"field_names": ["t"]}}
            status, answer = 200, {"trained_model_configs": [config]}
        elif self.path == "/_ml/trained_models/dense":
            status, answer = 200, {"trained_model_configs": [{"inference_config": {"ner": {}}}]}
        elif self.path.endswith("/_infer"):
            results = [
                {"predicted_value": {"the": 1.5}, "is_truncated": True} for _ in body["docs"]
            ]
            status, answer = 200, {"inference_results": results}
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("X-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def documented() -> Iterator[tuple[Address, list[tuple[str, str, Any]]]]:
    Documented.asked = []
    server = HTTPServer(("127.0.0.1", 0), Documented)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = place_of(f"elasticsearch://127.0.0.1:{server.server_port}/nothing")
    assert isinstance(address, Address)
    yield address, Documented.asked
    server.shutdown()
    server.server_close()


def test_how_elasticsearch_is_asked(documented: tuple[Address, list[Any]]) -> None:
    """No server that runs models can be had here: the form of the requests is all that is held."""
    pytest.importorskip("elasticsearch")
    address, asked = documented
    index = connect(address)
    try:
        assert index.encoded_by("splade", ["one", "two"]) == [{"the": 1.5}] * 2
        assert asked[-1][:2] == ("POST", "/_ml/trained_models/splade/_infer")
        assert asked[-1][2] == {"docs": [{"t": "one"}, {"t": "two"}]}
        with pytest.raises(BadInputError, match="model dense is not for text_expansion"):
            index.encoded_by("dense", ["one"])
        with pytest.raises(ExternalProgramError, match="Elasticsearch has no model none"):
            index.encoded_by("none", ["one"])
    finally:
        index.close()


def test_probes_that_cannot_be_meant(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index").mkdir()
    for arguments, said in (
        ((tmp_path / "index", "-m", "m", "--probe", "id"), "give one address"),
        (("opensearch://h/a", "opensearch://h/b", "-m", "m", "--probe", "id"), "give one address"),
        (("opensearch://h/a", "-m", "m", "--probe", "id", "-q", "q"), "--queries has no effect"),
        (("opensearch://h/a", "-m", "m", "--probe", "id", "-k", "9"), "-k has no effect"),
        (("opensearch://h/a", "--probe", "id"), "--probe has no effect without --model"),
        ((tmp_path / "index", tmp_path / "index"), "no queries: pass --queries, or --probe"),
    ):
        code, _, told = command_line.run(capfd, "verify", *arguments)
        assert (code, said in told) == (2, True), told


def test_an_engine_that_runs_no_models(tmp_path: Path) -> None:
    pytest.importorskip("qdrant_edge")
    checkpoint = save_checkpoint(tmp_path / "bert")
    address = place_of(f"qdrant:{tmp_path / 'here'}")
    assert isinstance(address, Address)
    with pytest.raises(UsageError, match="Qdrant runs no models that encode text"):
        probe(address, str(checkpoint), {"query": "id"})
