"""Which Lucene is found, fetched and chosen: real jars and real indexes."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from small import MemorySource, batch_of
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines import jars
from splade_bridge.engines.jars import (
    PINS,
    fetch,
    found,
    lucene_for_reading,
    lucene_for_writing,
    pinned,
)
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.engines.lucene_version import (
    VERSION_CLASS,
    IndexVersion,
    Version,
    index_version,
    jar_version,
)
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.files.writing import asset
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.search import SearchOptions, search_to_run

TERMS = ["x", "y"]


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither Anserini nor variables nor a network; the repository, which is empty."""
    for variable in ("SPLADE_BRIDGE_LUCENE", "ANSERINI_JAR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setitem(sys.modules, "pyserini", None)
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    cut_off(monkeypatch)
    return tmp_path / "repository"


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")


def build(out: Path, version: str | None = None) -> Path:
    source = MemorySource(np.array([[1, 2], [3, 0]]), ["a", "b"], TERMS)
    engine("lucene", LuceneOptions(version=version)).build(source, out)
    return out


def answers(index: Path) -> list[tuple[str, int]]:
    with open_index(index) as searcher:
        (hits,) = searcher.search(batch_of(np.array([[1, 1]]), ["q"]), 5)
        return list(zip(hits.doc_ids, hits.scores.tolist(), strict=True))


def rewritten(index: Path, written: tuple[int, int, int], created: int, out: Path) -> Path:
    """A copy of a real index whose segments file names another Lucene."""
    shutil.copytree(index, out)
    (segments,) = out.glob("segments_*")
    content = bytearray(segments.read_bytes())
    at = content.index(b"segments") + len("segments") + 4 + 16 + 2  # format, id, suffix "1"
    assert tuple(content[at : at + 4]) == (9, 9, 1, 9)
    content[at : at + 4] = bytes((*written, created))
    segments.chmod(0o644)
    segments.write_bytes(content)
    return out


@pytest.fixture
def real_index(shared: Path) -> Path:
    """Anserini 1.7.1 made it."""
    return shared / "splade-v3-nfcorpus" / "index.lucene-9.9.1"


def test_versions_are_numbers() -> None:
    rising = [Version(9, 9, 1), Version(9, 9, 2), Version(9, 12), Version(10, 4), Version(10, 10)]
    assert all(one < other for one, other in pairwise(rising))
    assert str(Version(10, 4)) == "10.4.0"
    assert Version(10, 4, 1).fits("10.4") and Version(10, 4, 1).fits("10.4.1")
    assert not Version(10, 40, 1).fits("10.4") and not Version(10, 4, 1).fits("10.4.0")
    for wrong in ("10", "", "newest", "10.4-beta", "10.4.0.1", "-1.2"):
        with pytest.raises(UsageError, match="a version of Lucene is like"):
            Version(10, 4).fits(wrong)


@pytest.mark.parametrize(
    ("written", "created", "lucene", "opens"),
    [
        ((9, 9, 1), 9, (9, 9, 1), True),
        ((9, 9, 2), 9, (9, 9, 1), True),  # no new codec in a bugfix release
        ((9, 12, 3), 9, (9, 9, 1), False),
        ((9, 9, 1), 9, (9, 12, 3), True),
        ((9, 9, 1), 9, (10, 6, 0), True),
        ((10, 4, 0), 10, (9, 12, 3), False),
        ((10, 4, 0), 10, (10, 6, 0), True),
        ((10, 4, 0), 9, (11, 0, 0), False),  # begun in 9, gone on with in 10
        ((9, 9, 1), 9, (11, 0, 0), False),
    ],
)
def test_what_opens_what(
    written: tuple[int, int, int], created: int, lucene: tuple[int, int, int], opens: bool
) -> None:
    assert IndexVersion(Version(*written), created).opens_in(Version(*lucene)) == opens


def test_the_head_of_a_real_index(real_index: Path, tmp_path: Path) -> None:
    assert index_version(real_index) == IndexVersion(Version(9, 9, 1), 9)
    (segments,) = real_index.glob("segments_*")
    content = segments.read_bytes()
    for size in range(39):  # the head has 5 + 8 + 4 + 16 + 2 + 4 bytes
        (tmp_path / "segments_1").write_bytes(content[:size])
        with pytest.raises(BadInputError, match="segments_1"):
            index_version(tmp_path)
    (tmp_path / "segments_1").write_bytes(content[:39])
    assert index_version(tmp_path).created_major == 9
    (tmp_path / "segments_1").write_bytes(b"PK" + content[2:])
    with pytest.raises(BadInputError, match="not a Lucene index"):
        index_version(tmp_path)


def test_of_several_commits_the_newest_counts(real_index: Path, tmp_path: Path) -> None:
    newer = rewritten(real_index, (9, 12, 3), 9, tmp_path / "index")
    (newer / "segments_1").rename(newer / "segments_10")  # base 36, and after segments_z
    (newer / "segments_z").write_bytes((real_index / "segments_1").read_bytes())
    assert index_version(newer).written == Version(9, 12, 3)
    with pytest.raises(BadInputError, match="not a Lucene index"):
        index_version(tmp_path)


def test_an_index_that_is_too_new_is_refused_with_both_versions(
    real_index: Path, tmp_path: Path, anserini: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(anserini))
    future = rewritten(real_index, (11, 2, 0), 11, tmp_path / "future")
    what = r"Lucene 11\.2\.0;.*9\.9\.1.*later Lucene only"
    with pytest.raises(MissingToolError, match=what) as told:
        open_index(future)
    assert "SPLADE_BRIDGE_LUCENE" in str(told.value) and "--lucene-version" in str(told.value)
    past = rewritten(real_index, (7, 5, 0), 7, tmp_path / "past")
    with pytest.raises(MissingToolError, match=r"begun in Lucene 7"):
        open_index(past)


def test_the_users_anserini_writes(anserini: Path, tmp_path: Path) -> None:
    """What it is comes from inside the jar; names do not matter."""
    told = jar_version(anserini)
    assert told is not None and f"-{jars.anserini_version(anserini)}-" in anserini.name
    renamed = tmp_path / "renamed.jar"
    renamed.symlink_to(anserini)
    assert (jar_version(renamed), jars.anserini_version(renamed)) == (
        told,
        jars.anserini_version(anserini),
    )
    assert lucene_for_writing().version == told
    manifest = Manifest.load(build(tmp_path / "index"))
    assert manifest.tools["lucene"] == str(told) and "anserini" not in manifest.tools
    assert index_version(tmp_path / "index").written == told


def test_places_that_hold_no_lucene(
    anserini: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSERINI_JAR", str(tmp_path / "absent.jar"))
    with pytest.raises(MissingToolError, match=r"ANSERINI_JAR is .*absent\.jar"):
        jars.anserini_jar()
    monkeypatch.setenv("ANSERINI_JAR", str(anserini))
    assert jars.anserini_jar() == anserini
    empty, other = tmp_path / "empty", tmp_path / "other"
    empty.mkdir()
    other.mkdir()
    shutil.copy(asset("java_conf/splade-bridge-lucene.jar"), other / "a.jar")
    for place, what in ((empty, "no jar is"), (other, "holds no Lucene")):
        monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(place))
        with pytest.raises(MissingToolError, match=what):
            lucene_for_writing()
    with zipfile.ZipFile(anserini) as archive:
        version_class = archive.read(VERSION_CLASS)
    for name, content in (
        ("core.jar", version_class),
        ("older.jar", version_class.replace(b"LUCENE_9_9_1", b"LUCENE_9_8_1")),
    ):
        with zipfile.ZipFile(other / name, "w") as archive:
            archive.writestr(VERSION_CLASS, content)
    with pytest.raises(MissingToolError, match=r"jars of one version"):
        lucene_for_writing()


def test_the_variable_is_used_alone(anserini: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(anserini))
    (only,) = found()
    assert only.class_path == (anserini,) and lucene_for_writing(str(only.version)) == only
    with pytest.raises(UsageError, match=r"9\.9\.1.*10\.4 is asked for"):
        lucene_for_writing("10.4")


def test_anserinis_route_writes_with_anserinis_lucene(anserini: Path, tmp_path: Path) -> None:
    source = MemorySource(np.array([[1, 2], [3, 0]]), ["a", "b"], TERMS)
    options = LuceneOptions(route="anserini", version="10.4")
    with pytest.raises(UsageError, match=r"Anserini's own Lucene.*not 10\.4"):
        engine("lucene", options).build(source, tmp_path / "index")


def test_without_anserini_its_route_names_the_extra(nothing: Path) -> None:
    with pytest.raises(MissingToolError, match=r"\[pyserini\].*ANSERINI_JAR"):
        engine("lucene", LuceneOptions(route="anserini")).check_installed()


@pytest.mark.parametrize("with_jgo", [True, False])
def test_without_jar_and_network_all_three_ways_are_told(
    nothing: Path, with_jgo: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if with_jgo:
        pytest.importorskip("jgo")
    else:
        monkeypatch.setitem(sys.modules, "jgo", None)
    assert list(found()) == []
    for version in (None, "9.12"):
        with pytest.raises(MissingToolError) as told:
            lucene_for_writing(version)
        for way in ("[lucene]", "doctor --fetch", "[pyserini]", "SPLADE_BRIDGE_LUCENE"):
            assert way in str(told.value)
    assert list(nothing.rglob("*")) == []


def test_a_version_that_nobody_pinned_is_not_fetched(nothing: Path) -> None:
    with pytest.raises(MissingToolError, match=r"9\.11.*10\.6\.0.*SPLADE_BRIDGE_LUCENE"):
        lucene_for_writing("9.11")


def test_the_pins_are_those_of_sha256sum() -> None:
    for version, names in pinned().items():
        assert sorted(names) == sorted(f"{artifact}-{version}.jar" for artifact in jars.ARTIFACTS)
    assert len(pinned()) == len({c for names in pinned().values() for c in names.values()}) / 3
    assert lucene_for_default() in pinned()


def lucene_for_default() -> Version:
    return max(version for version in pinned() if version.fits(jars.WITHOUT_ANSERINI))


@pytest.mark.models
def test_fetching_once(
    nothing: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("jgo")
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable)
    caplog.set_level(logging.INFO, "splade_bridge.engines.jars")
    lucene = lucene_for_writing()
    assert lucene.version == lucene_for_default() == jar_version(lucene.class_path[0])
    (line,) = [r.getMessage() for r in caplog.records if r.name == jars.log.name]
    assert f"Lucene {lucene.version}" in line and "MB" in line and "SHA-256 as pinned" in line
    text = "".join(
        f"{line.split()[0]}  {jar}\n"
        for jar in lucene.class_path
        for line in asset(PINS).read_text().splitlines()
        if line.endswith(jar.name)
    )
    assert text.count("\n") == 3
    subprocess.run(["sha256sum", "-c"], input=text, text=True, check=True, capture_output=True)
    assert {p.suffix for p in nothing.rglob("*") if p.is_file()} == {".jar"}
    cut_off(monkeypatch)
    caplog.clear()
    assert lucene_for_writing() == lucene and list(found()) == [lucene] and not caplog.records
    damaged = lucene.class_path[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    jars._in_repository.cache_clear()
    assert list(found()) == []
    with pytest.raises(MissingToolError, match="cannot be fetched"):
        lucene_for_writing()
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable)
    assert fetch(lucene.version) == lucene and list(found()) == [lucene]


@pytest.mark.models
@pytest.mark.parametrize("version", ["9.12", "10.4", "10.6"])
def test_an_index_opens_in_its_own_lucene_and_in_later_ones(
    version: str,
    tmp_path: Path,
    lucene_folder: Callable[[str], Path],
    anserini: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = {v: lucene_folder(v) for v in ("9.12", "10.4", "10.6")}
    index = build(tmp_path / "index", version)
    numbers = index_version(index).written
    assert numbers.fits(version) and Manifest.load(index).tools["lucene"] == str(numbers)
    expected = [("a", 3), ("b", 3)]
    newest = max(lucene.version for lucene in found())
    assert lucene_for_reading(index).version == newest
    assert answers(index) == expected
    for other in folders:
        monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(folders[other]))
        if tuple(map(int, other.split("."))) >= tuple(map(int, version.split("."))):
            assert answers(index) == expected
        else:
            with pytest.raises(MissingToolError, match=rf"{version}.*{other}.*later Lucene only"):
                answers(index)
    monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(anserini))
    with pytest.raises(MissingToolError, match=r"later Lucene only"):
        answers(index)


@pytest.mark.models
@pytest.mark.shared
@pytest.mark.parametrize("version", ["9.12", "10.4", "10.6"])
def test_every_lucene_gives_the_same_run(
    version: str,
    shared: Path,
    tmp_path: Path,
    lucene_folder: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of an index that Anserini made with 9.9, and of one that it writes itself."""
    data = shared / "splade-v3-nfcorpus"
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    engine("exact").build(open_source(data / "docs.jsonl.gz"), tmp_path / "exact")
    search_to_run(tmp_path / "exact", queries, tmp_path / "exact.run", SearchOptions(k=100))
    monkeypatch.setenv("SPLADE_BRIDGE_LUCENE", str(lucene_folder(version)))
    engine("lucene").build(open_source(data / "docs.osirrc.ciff.gz"), tmp_path / "own")
    for index in (tmp_path / "own", data / "index.lucene-9.9.1"):
        search_to_run(index, queries, tmp_path / "run", SearchOptions(k=100))
        assert (tmp_path / "run").read_bytes() == (tmp_path / "exact.run").read_bytes()


def test_doctor_fetches_nothing_by_itself(nothing: Path) -> None:
    told = {finding.name: finding for finding in engine("lucene").findings()}
    assert told["Lucene"].found is None and "--fetch" in told["Lucene"].remedy
    assert told["Anserini"].found is None and "[pyserini]" in told["Anserini"].remedy
    assert not nothing.exists()


def test_doctor_fetch_without_a_network_is_exit_code_3(nothing: Path, tmp_path: Path) -> None:
    hide = "import sys; sys.modules['pyserini'] = None; sys.argv = ['x', 'doctor', '--fetch']\n"
    code = hide + "from splade_bridge.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 3 and "three ways" in done.stderr, done.stderr
