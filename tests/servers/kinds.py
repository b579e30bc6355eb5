"""What each server needs, how it is laid out and started, and when it answers."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import os
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
        stops: it ends soon after SIGTERM; others are killed, which loses nothing that was
            acknowledged.
    """

    is_java = False
    refuses_root = False
    stops = True

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
        url = f"{self.url(port)}/_cluster/health?wait_for_status=green&timeout=1s"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["status"] == "green"
        except (OSError, urllib.error.HTTPError):
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

    @property
    def stops(self) -> bool:  # type: ignore[override]
        """In 2.x it waits 30 s for threads of netty that have ended."""
        return not self.version.startswith("2.")

    def fetch(self) -> None:
        java(self.oldest, self.newest)
        self._layout()

    def _layout(self) -> Path:
        return layouts.layout(self.name, self._finish, inspect.getsource(inspect.getmodule(self)))

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


def _for_all(program: Path) -> bool:
    """Whether every user may come to ``program``."""
    real = program.resolve()
    return all(folder.stat().st_mode & 0o001 for folder in (real, *real.parents))


KINDS: Mapping[str, Kind] = {
    "elasticsearch8": Elasticsearch("elasticsearch8", 17, 23),
    "elasticsearch9": Elasticsearch("elasticsearch9", 21),
    "opensearch2": OpenSearch("opensearch2", 17, 23, "2.19.6"),
    "opensearch_neural": OpenSearch("opensearch_neural", 17, 23, "2.19.1"),
    "opensearch3": OpenSearch("opensearch3", 21, None, "3.9.0"),
}
