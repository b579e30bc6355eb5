"""Loads into search engines, killed at random moments and given again: nothing is lost or doubled.

``SPLADE_BRIDGE_SOAK_DOCUMENTS`` says how many documents (2,000). Milvus Lite and Qdrant Edge need
no server; PostgreSQL is started once. ``benchmarks/load_killed.py`` does the same with many more
documents, and measures.
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from loaded import json_lines
from servers.server import Server
from small import random_matrix
from soak.frame import Finding, Skip, Subject
from soak.processes import environment, start_fresh
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.registry import connect, engine
from splade_bridge.errors import ExternalProgramError, MissingToolError
from splade_bridge.files.address import Address, place_of

DOCUMENTS = int(os.environ.get("SPLADE_BRIDGE_SOAK_DOCUMENTS", "2000"))
TERMS = [f"t{i}" for i in range(60)]
CLIENTS = {"milvus": "milvus_lite", "qdrant": "qdrant_edge", "postgresql": "psycopg"}


class Loads(Subject):
    """One load, killed once or more often, then given until it is whole."""

    name: ClassVar[str] = "loads"
    share: ClassVar[float] = 10
    engines: ClassVar[tuple[str, ...]] = tuple(CLIENTS)

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._engines = [e for e in self.engines if importlib.util.find_spec(CLIENTS[e])]
        self._server: Server | None = None
        if "postgresql" in self._engines:
            try:
                self._server = Server("postgres").start()
            except (MissingToolError, ExternalProgramError):
                self._engines.remove("postgresql")
        if not self._engines:
            raise Skip(f"none of the clients {', '.join(CLIENTS.values())} is installed")
        self._docs, self._queries, self._exact = (
            folder / name for name in ("docs.jsonl", "queries.jsonl", "exact")
        )
        for file, seed, rows, share, largest in (
            (self._docs, 1, DOCUMENTS, 0.5, 300), (self._queries, 2, 20, 0.3, 5),
        ):  # fmt: skip
            matrix = random_matrix(seed, rows, len(TERMS), share, largest)
            json_lines(file, matrix, [f"d{i}" for i in range(rows)], TERMS)
        source = open_source(self._docs)
        engine("exact").build(source, self._exact)
        self._content = str(source.content)
        self._seconds: dict[str, float] = {}

    def close(self) -> None:
        """See :class:`Subject`."""
        if self._server is not None:
            self._server.close()

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        name = rng.choice(self._engines)
        if name not in self._seconds:
            began = time.monotonic()
            self._load(self._address(name, folder, "first"), folder, None)
            self._seconds[name] = time.monotonic() - began
        address = self._address(name, folder, f"n{rng.randrange(1 << 40)}")
        told, kills = [f"index -o {address}"], 0
        for _ in range(rng.choice((1, 2, 3))):
            moment = rng.uniform(0.1, 1) * self._seconds[name]
            told.append(f"killed after {moment:.2f} s")
            code = self._load(address, folder, moment)
            if code == 0:
                told[-1] = "whole"
                break
            if code != -signal.SIGKILL:
                raise Finding("\n".join((*told, f"exit code {code}", self._said(folder))))
            kills += 1
        what = "\n".join(told)
        if (code := self._load(address, folder, None)) != 0:
            raise Finding(f"{what}\nthen exit code {code}\n{self._said(folder)}")
        self._check(address, folder, what)
        return {f"kills of {name}": kills, f"loads of {name}": 1}

    def _address(self, name: str, folder: Path, of: str) -> Address:
        text = f"{name}:{folder / of}{'.db' * (name == 'milvus')}"
        if name == "postgresql":
            assert self._server is not None
            server = f"postgres@{self._server.host}:{self._server.port}"
            text = f"postgresql://{server}/postgres/{of}_{os.getpid()}"
        found = place_of(text)
        assert isinstance(found, Address)
        return found

    def _load(self, address: Address, folder: Path, killed_after: float | None) -> int:
        """The exit code of one command that loads."""
        words = ["index", str(self._docs), "-o", str(address)]
        return self._run(words, folder, killed_after)

    def _run(self, words: list[str], folder: Path, killed_after: float | None = None) -> int:
        running = start_fresh(words, folder, folder / "log", environment(folder))
        if killed_after is not None and not running.ended(killed_after):
            running.signal(signal.SIGKILL)
        return running.finish(" ".join(words)).code

    def _said(self, folder: Path) -> str:
        return (folder / "log").read_text(errors="replace")

    def _check(self, address: Address, folder: Path, what: str) -> None:
        """What is there is what was loaded, once, and is found as by a product of integers.

        By commands, in processes of their own: gRPC, by which Milvus is asked, ends a process that
        was forked from one where it runs.
        """
        back = folder / "back"
        for words in (
            ["convert", str(address), str(back), "--to", "npz"],
            ["verify", str(self._exact), str(address), "-q", str(self._queries), "-k", "100"],
        ):
            if code := self._run(words, folder):
                said = self._said(folder)
                raise Finding(f"{what}\nthen {' '.join(words)}: exit code {code}\n{said}")
        read = open_source(back)
        read.read_all()
        if str(read.content) != self._content:
            raise Finding(f"{what}\nholds {read.counts}, and not what was loaded")
        if address.folder is None:
            with connect(address) as index:
                index.drop()
