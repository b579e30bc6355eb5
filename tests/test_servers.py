"""The servers of the tests: they start, answer, keep what they hold, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import layouts
from servers.kinds import HOST, KINDS, Kind
from servers.pool import MOST_JAVA, Pool
from servers.server import Server
from splade_bridge.errors import ExternalProgramError, MissingToolError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a guard needs Linux")

TESTS = Path(__file__).parent
SOON = 30.0
HTTP = [name for name, kind in KINDS.items() if kind.is_java]


def ask(url: str, body: object = None, method: str | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.05)


def takes_connections(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex((HOST, port)) == 0


def is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Echo(Kind):
    """A server that takes a moment: what a Server does is tried on it without Java."""

    code = (
        "import os, socket, sys, time\n"
        "held = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "open('starts', 'a').write('x')\n"
        "print('listening', flush=True)\n"
        "while True: held.accept()[0].close()\n"
    )

    def fetch(self) -> None:
        pass

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        return [sys.executable, "-c", self.code, str(port)]

    def answers(self, port: int) -> bool:
        return takes_connections(port)


class Java(Echo):
    """One that counts as a JVM."""

    is_java = True


@pytest.fixture(autouse=True)
def further_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in {"echo": Echo(), "a": Java(), "b": Java(), "c": Java()}.items():
        monkeypatch.setitem(KINDS, name, kind)  # type: ignore[arg-type]


@pytest.fixture
def echo() -> Iterator[Server]:
    with Server("echo") as server:
        yield server


def processes(server: Server) -> tuple[int, int]:
    running = server._running()
    assert running is not None
    return running


@pytest.mark.parametrize("how", ["stop", "kill", "close"])
def test_nothing_runs_after_the_end(echo: Server, how: str) -> None:
    guard, process = processes(echo)
    getattr(echo, how)()
    assert not is_alive(process) and not is_alive(guard)
    assert not takes_connections(echo.port) if how != "close" else not echo.folder.exists()


@pytest.mark.long
def test_a_server_keeps_its_port_and_its_folder(echo: Server) -> None:
    port = echo.port
    assert echo.restart().port == port and takes_connections(port)
    echo.kill()
    assert echo.start().port == port
    assert (echo.folder / "starts").read_text() == "xxx"
    assert echo.start().is_running(), "and is started once"
    assert (echo.folder / "starts").read_text() == "xxx"


def test_two_handles_are_one_server(echo: Server) -> None:
    other = Server("echo", echo.folder)
    assert other.is_running() and other.url == echo.url
    other.stop()
    assert not echo.is_running()


def test_a_paused_server_answers_when_it_goes_on(echo: Server) -> None:
    with echo.paused(), socket.create_connection((HOST, echo.port), timeout=0.3) as waiting:
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(SOON)
        os.killpg(processes(echo)[1], signal.SIGCONT)
        assert waiting.recv(1) == b""


def test_a_server_ends_with_its_owner_and_its_guard(tmp_path: Path) -> None:
    code = (
        "import sys, test_servers as t\n"
        "t.KINDS['echo'] = t.Echo()\n"
        "server = t.Server('echo', t.Path(sys.argv[1])).start()\n"
        "print(*t.processes(server), flush=True)\n"
        "sys.stdin.read()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
    for victim in ("owner", "guard"):
        owner = subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / victim],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment,
        )  # fmt: skip
        with owner:
            assert owner.stdout is not None
            guard, process = map(int, owner.stdout.readline().split())
            assert is_alive(guard) and is_alive(process)
            os.kill(owner.pid if victim == "owner" else guard, signal.SIGKILL)
            until(lambda guard=guard, process=process: not is_alive(process))
            owner.kill()
        if victim == "owner":
            until(lambda guard=guard: not is_alive(guard))
            assert not (tmp_path / victim).exists(), "the guard removed what was held"


def test_a_server_that_ends_at_once_is_told_with_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Echo, "code", "import sys; sys.exit('no room')")
    server = Server("echo")
    with pytest.raises(ExternalProgramError, match="no room"):
        server.start()
    server.close()
    assert not server.folder.exists()


def test_another_port_is_taken_where_one_was_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken, Server("echo") as one:
        taken.bind((HOST, 0))
        free = one.ports
        one.close()
        ports = iter([(taken.getsockname()[1], 0), free])
        monkeypatch.setattr("servers.server._free_ports", lambda: next(ports))
        with Server("echo") as server:
            assert server.ports == free and takes_connections(server.port)


@pytest.mark.long
def test_few_jvms_run_at_once_and_the_one_unused_longest_is_stopped(tmp_path: Path) -> None:
    pool = Pool(tmp_path, os.getpid())
    running: list[list[str]] = []
    for names in (["a"], ["b"], ["a"], ["c"], ["echo"], ["b"]):
        with pool.use(names):
            assert all(pool.server(name).is_running() for name in names)
            running.append(
                [n for n in ("a", "b", "c", "echo")
                 if (tmp_path / n).is_dir() and pool.server(n).is_running()]
            )  # fmt: skip
        time.sleep(0.02)
    assert running == [["a"], ["a", "b"], ["a", "b"], ["a", "c"], ["a", "c", "echo"],
                       ["b", "c", "echo"]]  # fmt: skip
    with pool.use(["a", "b", "c"]):
        assert all(pool.server(name).is_running() for name in "abc"), "one test may use more"
    pool.close()
    assert not any((tmp_path / name).exists() for name in KINDS)
    assert MOST_JAVA == 2


@pytest.mark.long
def test_what_is_used_is_not_stopped_and_alone_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock belongs to an open file, so two uses in one process are like two processes."""
    monkeypatch.setattr("servers.pool.WAIT", 0.3)
    pool = Pool(tmp_path, os.getpid())
    with pool.use(["a"]), pool.use(["b"]), pool.use(["c"]):
        assert all(pool.server(name).is_running() for name in "abc"), "after it has waited"
        with pytest.raises(ExternalProgramError, match="other tests use a"):
            pool.use(["a"], alone=True).__enter__()
        with pool.use(["a"]):
            pass
    with pool.use(["a"], alone=True), pytest.raises(ExternalProgramError), pool.use(["a"]):
        pass
    pool.close()


def test_what_cannot_be_had_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def missing(*_: object) -> list[str]:
        tried.append(1)
        raise MissingToolError("there is no such thing here")

    monkeypatch.setattr(Echo, "command", missing)
    for _ in range(2):
        with pytest.raises(pytest.skip.Exception, match="no such thing"):
            Pool(tmp_path, os.getpid()).use(["echo"]).__enter__()
    assert len(tried) == 1


# Artifacts


@pytest.mark.parametrize("name", HTTP)
def test_every_artifact_is_pinned_once(name: str) -> None:
    found = list(layouts.artifacts(name))
    places = [(artifact.folder, artifact.name, artifact.classifier) for artifact in found]
    assert len(places) == len(set(places)) > 50
    assert all(len(bytes.fromhex(artifact.sha256)) == 32 for artifact in found)


def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checksum: str) -> None:
    (tmp_path / "pins").mkdir()
    (tmp_path / "pins" / "x.sha256").write_text(f"{checksum}  g.h:a:1  lib\n")
    monkeypatch.setattr(layouts, "PINS", tmp_path / "pins")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "m2"))
    for variable in ("HTTPS_PROXY", "https_proxy"):  # a port where nobody listens
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    jar = tmp_path / "m2" / "g" / "h" / "a" / "1" / "a-1.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"jar")


def test_a_layout_is_made_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(tmp_path, monkeypatch, "7" * 64)
    with pytest.raises(MissingToolError, match=r"a-1\.jar cannot be fetched"):
        layouts.layout("x", lambda _: None)
    assert list((tmp_path / "cache" / "splade-bridge-servers").iterdir()) == []


def test_a_layout_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hashlib

    pin(tmp_path, monkeypatch, hashlib.sha256(b"jar").hexdigest())
    finished: list[Path] = []
    places = {layouts.layout("x", finished.append) for _ in range(2)}
    assert len(finished) == 1 and len(places) == 1
    assert (places.pop() / "lib" / "a-1.jar").read_bytes() == b"jar"
    assert layouts.layout("x", finished.append, "another recipe") not in places


# The servers themselves


@pytest.mark.server
@pytest.mark.parametrize("name", HTTP)
def test_a_search_server_answers_and_keeps_its_documents(
    name: str, server_of: Callable[[str], Server]
) -> None:
    server = server_of(name)
    index = f"{server.url}/of-test-servers"
    field = {"type": "sparse_vector" if name.startswith("elastic") else "rank_features"}
    ask(index, {"mappings": {"properties": {"v": field}}}, "PUT")
    try:
        written = ask(f"{index}/_doc/x?refresh=true", {"v": {"tea": 3.0}}, "PUT")
        assert written["result"] == "created"
        assert ask(f"{index}/_count")["count"] == 1
    finally:
        ask(index, method="DELETE")


@pytest.mark.server(alone=True)
@pytest.mark.parametrize("name", ["elasticsearch8", "opensearch2"])
def test_a_killed_search_server_has_what_it_acknowledged(
    name: str, server_of: Callable[[str], Server]
) -> None:
    server = server_of(name)
    index = f"{server.url}/of-test-killed"
    ask(f"{index}/_doc/x", {"a": 1}, "PUT")
    _, process = processes(server)
    server.kill()
    assert not takes_connections(server.port) and not is_alive(process)
    server.start()
    assert ask(f"{index}/_doc/x")["_source"] == {"a": 1}
    ask(index, method="DELETE")


@pytest.mark.server
def test_milvus_answers(milvus_server: Server) -> None:
    pymilvus = pytest.importorskip("pymilvus")
    client = pymilvus.MilvusClient(milvus_server.url)
    try:
        client.create_collection("of_test_servers", dimension=4)
        client.insert("of_test_servers", [{"id": 1, "vector": [1.0, 2, 3, 4]}])
        (row,) = client.query("of_test_servers", ids=[1], output_fields=["vector"])
        assert list(row["vector"]) == [1, 2, 3, 4]
    finally:
        client.drop_collection("of_test_servers")
        client.close()


@pytest.mark.server(alone=True)
def test_postgres_has_vectors_and_keeps_them(postgres: Server) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("create extension if not exists vector")
        connection.execute("create table of_test_servers (v sparsevec(5))")
        connection.execute("insert into of_test_servers values ('{1:2.5}/5')")
    postgres.kill()
    postgres.start()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        found = connection.execute("select v from of_test_servers").fetchall()
        connection.execute("drop table of_test_servers")
    assert found == [("{1:2.5}/5",)]


@pytest.mark.server
def test_the_script_starts_lists_and_stops(tmp_path: Path) -> None:
    """scripts/servers but for its first lines, which set the environment up."""
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": str(tmp_path),
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]),
    }

    def script(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "servers", *arguments],
            capture_output=True, text=True, env=environment,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    name = "milvus_server"
    status, said = script("fetch", name)
    if status:
        pytest.skip(said)
    assert script("status", name) == (0, f"{name}: does not run\n")
    status, said = script("start", name)
    assert status == 0
    try:
        url = said.split()[1]
        assert script("start", name) == (0, f"{name}: {url}\n"), "it runs already"
        assert script("status", name) == (0, f"{name}: {url}\n")
        assert takes_connections(int(url.rpartition(":")[2]))
    finally:
        assert script("stop") == (0, f"{name}: stopped\n")
    assert script("status", name) == (0, f"{name}: does not run\n")
    assert not takes_connections(int(url.rpartition(":")[2]))
    assert script("start", "solr")[0] == 2
