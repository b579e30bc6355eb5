"""Models of the hub: revisions, and why one is not here, as huggingface_hub itself says it.

A server on loopback answers as the hub does; nothing else is reached.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from checkpoints import save_checkpoint
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.errors import UsageError

MAIN, OTHER, GRAPH = "a" * 40, "b" * 40, "c" * 40
GATED = "someone/gated"


class Hub(BaseHTTPRequestHandler):
    """``someone/model`` at some revisions, one that is gated, and nothing else."""

    folders: dict[str, Path]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        if path.startswith(f"api/models/{GATED}"):
            self.answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        elif path.startswith("api/models/someone/model/"):
            self.listed(path.removeprefix("api/models/someone/model/"))
        elif path.startswith("api/models/"):
            self.answer(401, {"error": "no"}, {"X-Error-Code": "RepoNotFound"})
        else:
            _, _, _, commit, *name = path.split("/")
            self.content(commit, self.folders[commit].joinpath(*name))

    def listed(self, path: str) -> None:
        what, _, revision = path.partition("/")
        known = {"main": MAIN, "v2": OTHER, "graph": GRAPH}
        commit = known.get(revision, revision if revision in known.values() else None)
        if commit is None:
            self.answer(404, {"error": "no"}, {"X-Error-Code": "RevisionNotFound"})
        elif what == "revision":
            self.answer(200, {"id": "someone/model", "sha": commit, "siblings": []})
        else:
            files = sorted(p for p in self.folders[commit].rglob("*") if p.is_file())
            entries = [
                {
                    "type": "file", "size": p.stat().st_size, "oid": digest(p),
                    "path": p.relative_to(self.folders[commit]).as_posix(),
                }
                for p in files
            ]  # fmt: skip
            self.answer(200, entries)

    def content(self, commit: str, file: Path) -> None:
        self.send_response(200)
        headers = {"ETag": f'"{digest(file)}"', "X-Repo-Commit": commit,
                   "Content-Length": str(file.stat().st_size)}  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(file.read_bytes())

    def answer(self, status: int, content: Any, headers: Mapping[str, str] = {}) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in ({**headers} | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("hub")
    folders = {
        MAIN: save_checkpoint(place / "a"),
        OTHER: save_checkpoint(place / "b", seed=1),
        GRAPH: save_checkpoint(place / "c"),
    }
    (place / "c" / "model.safetensors").unlink()
    for commit in (MAIN, GRAPH):
        (folders[commit] / "onnx").mkdir()
        for name in ("model.onnx", "model.onnx_data", "model_quantized.onnx"):
            (folders[commit] / "onnx" / name).write_bytes(b"none")
    handler = type("TheirHub", (Hub,), {"folders": folders})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def run(cache: Path, endpoint: str, *words: str, offline: bool = False) -> tuple[int, str]:
    """A command in a process of its own, since huggingface_hub reads its settings once."""
    settings = {
        "HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1", "PATH": "", "PYTHONPATH": str(Path(__file__).parents[1]),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "splade_bridge", *words],
        capture_output=True, text=True, env=settings, timeout=300, cwd=cache,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    (tmp_path / "c.jsonl").write_text('{"id": "1", "text": "the cat"}\n')
    return tmp_path


@pytest.mark.long
def test_revisions(cache: Path, endpoint: str) -> None:
    """A branch, a tag and a commit are other models, and each is said in the manifest."""

    def encoded(*words: str, offline: bool = False) -> dict[str, Any]:
        status, err = run(
            cache, endpoint, "encode", "c.jsonl", "-m", "someone/model", "-o", "v", "--overwrite",
            *words, offline=offline,
        )  # fmt: skip
        assert status == 0, err
        manifest = json.loads((cache / "v" / "_manifest.json").read_text())
        return dict(manifest["encoding"])

    main, tag = encoded(), encoded("--revision", "v2")
    assert (main["revision"], tag["revision"]) == (MAIN, OTHER)
    assert main["sha256"] != tag["sha256"]
    assert encoded("--revision", OTHER, offline=True) == tag
    assert encoded(offline=True) == main


@pytest.mark.long
def test_a_graph_is_fetched_where_there_are_no_other_weights(cache: Path, endpoint: str) -> None:
    pytest.importorskip("onnx")
    asked = ("encode", "c.jsonl", "-m", "someone/model", "-o", "v", "--revision")
    for revision, fetched in ((MAIN, []), ("graph", ["model.onnx", "model.onnx_data"])):
        status, err = run(cache, endpoint, *asked, revision)
        assert status == (4 if fetched else 0), err
        if fetched:  # it holds nothing
            assert "model.onnx: not a graph of ONNX" in err
        [snapshot] = cache.glob(f"hub/*/snapshots/{GRAPH if fetched else MAIN}")
        assert sorted(p.name for p in snapshot.glob("onnx/*")) == fetched


NETWORK = "http://127.0.0.1:9"  # nothing listens there
WHY: list[tuple[str, list[str], bool, str | None, str]] = [
    (
        "a name that there is not",
        ["-m", "nobody/nothing"], False, None,
        "nobody/nothing: neither a folder nor a model of the Hugging Face hub that may be read "
        "without logging in: check the name, or set HF_TOKEN if it is private",
    ),
    (
        "a gated one",
        ["-m", GATED], False, None,
        f"{GATED}: the Hugging Face hub gives it only to who has asked for access: ask on its "
        "page, then set HF_TOKEN",
    ),
    (
        "a revision that there is not",
        ["-m", "someone/model", "--revision", "v9"], False, None,
        "someone/model: the Hugging Face hub has it, but not at revision v9: check --revision",
    ),
    (
        "offline",
        ["-m", "someone/model", "--revision", "v2"], True, None,
        "someone/model: no folder, and not at revision v2 in the cache of the Hugging Face hub, "
        "which is not asked because HF_HUB_OFFLINE is set: unset it, or check the name",
    ),
    (
        "no network",
        ["-m", "someone/model"], False, NETWORK,
        "someone/model: no folder, and not in the cache of the Hugging Face hub, which cannot be "
        "reached (",
    ),
]  # fmt: skip


@pytest.mark.sample(1)
@pytest.mark.parametrize(("words", "offline", "other", "message"), [w[1:] for w in WHY],
                         ids=[w[0] for w in WHY])  # fmt: skip
def test_why_a_model_is_not_here(
    cache: Path, endpoint: str, words: list[str], offline: bool, other: str | None, message: str
) -> None:
    status, err = run(
        cache, other or endpoint, "encode", "c.jsonl", "-o", "v", *words, offline=offline
    )
    assert status == 4, err
    assert f"error: {message}" in err
    assert not (cache / "v").exists()


def test_a_folder_has_no_revisions(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with pytest.raises(UsageError, match=r"--revision v2: .* is a folder, and revisions are of"):
        find_snapshot(str(tmp_path / "model"), "v2")
