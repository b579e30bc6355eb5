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

import numpy as np

from loaded import json_lines
from servers.server import Server
from small import as_pairs, brute_force, queries_of, random_matrix
from soak.frame import Finding, Skip, Subject
from soak.processes import environment, start_fresh
from splade_bridge.conversion.detect import open_source
from splade_bridge.engines.registry import connect, open_index, read_remote
from splade_bridge.errors import BadInputError, ExternalProgramError, MissingToolError
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.base import ImpactSource

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
        self._matrix = random_matrix(1, DOCUMENTS, len(TERMS), 0.5, 300)
        self._ids = [f"d{i}" for i in range(DOCUMENTS)]
        self._docs = json_lines(folder / "docs.jsonl", self._matrix, self._ids, TERMS)
        source = open_source(self._docs)
        source.read_all()
        self._content = str(source.content)
        self._seconds: dict[str, float] = {}

    def close(self) -> None:
        """See :class:`Subject`."""
        if self._server is not None:
            self._server.close()

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        engine = rng.choice(self._engines)
        if engine not in self._seconds:
            began = time.monotonic()
            self._load(self._address(engine, folder, "first"), folder, None)
            self._seconds[engine] = time.monotonic() - began
        address = self._address(engine, folder, f"n{rng.randrange(1 << 40)}")
        told, kills = [f"index -o {address}"], 0
        for _ in range(rng.choice((1, 2, 3))):
            moment = rng.uniform(0.1, 1) * self._seconds[engine]
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
        self._check(address, rng, what)
        return {f"kills of {engine}": kills, f"loads of {engine}": 1}

    def _address(self, engine: str, folder: Path, name: str) -> Address:
        found = place_of(
            {
                "milvus": f"milvus:{folder / name}.db",
                "qdrant": f"qdrant:{folder / name}",
                "postgresql": f"postgresql://postgres@{self._server.host}:{self._server.port}"
                f"/postgres/{name}_{os.getpid()}" if self._server else "",
            }[engine]
        )  # fmt: skip
        assert isinstance(found, Address)
        return found

    def _load(self, address: Address, folder: Path, killed_after: float | None) -> int:
        """The exit code of one command that loads."""
        words = ["index", str(self._docs), "-o", str(address)]
        env = environment(folder)
        running = start_fresh(words, folder, folder / "log", env)
        if killed_after is not None and not running.ended(killed_after):
            running.signal(signal.SIGKILL)
        return running.finish(" ".join(words)).code

    def _said(self, folder: Path) -> str:
        return (folder / "log").read_text(errors="replace")

    def _check(self, address: Address, rng: random.Random, what: str) -> None:
        """What is there is what was loaded, once, and is found as a product of matrices says."""
        try:
            read = read_remote(address)
            assert isinstance(read, ImpactSource)
            read.read_all()
        except BadInputError as error:
            raise Finding(f"{what}\ncannot be read back: {error}") from error
        if str(read.content) != self._content:
            raise Finding(f"{what}\nholds {read.counts}, and not what was loaded")
        query = random_matrix(rng.randrange(1 << 30), 1, len(TERMS), 0.3, 5)
        with open_index(address) as searcher:
            (found,) = searcher.search(searcher.aligned(queries_of(query, TERMS)), 100)
        if as_pairs(found) != brute_force(self._matrix, self._ids, np.asarray(query[0]), 100):
            raise Finding(f"{what}\nanswers otherwise than the product")
        if address.folder is None:
            with connect(address) as index:
                index.drop()
