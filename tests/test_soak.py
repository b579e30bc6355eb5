"""The campaign of scripts/soak: its frame, a short sample of each subject, and that it can fail."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from soak.children import Children
from soak.commands import OUT, Shop, ShopSubject
from soak.frame import (
    MOST_FINDINGS,
    Campaign,
    Finding,
    Skip,
    Subject,
    markdown_of,
    report_of,
    write_report,
)
from soak.full_disk import FullDisk
from soak.fuzz import Fuzz
from soak.kills import Kills
from soak.loads import Loads
from soak.parity import Parity
from soak.processes import environment
from soak.subjects import SUBJECTS

TESTS = Path(__file__).parent


class Even(Subject):
    """Finds even numbers."""

    name: ClassVar[str] = "even"
    folders: ClassVar[list[Path]] = []

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        self.folders.append(folder)
        (folder / "left").write_text("x")
        if (number := rng.randrange(100)) % 2 == 0:
            raise Finding(f"{number} is even")
        return {"numbers": 1}


class Absent(Subject):
    """Cannot be tried here."""

    name: ClassVar[str] = "absent"

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        raise Skip("no such thing on this machine")


class Once(Subject):
    """Takes longer than the campaign has."""

    name: ClassVar[str] = "once"
    once: ClassVar[bool] = True

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        before = len(Even.folders)
        time.sleep(1.5)
        return {"tries": 1, "of others": len(Even.folders) - before}


def test_what_is_tried_once_runs_beside_the_others_to_its_end() -> None:
    campaign = Campaign([Once, Even], lambda line: None)
    campaign.run(5, 0.02)
    campaign.close()
    tries = campaign.tallies["once"].tries
    assert tries["tries"] == 1 and tries["of others"] > 1


def test_a_finding_is_told_with_the_seed_that_repeats_it(tmp_path: Path) -> None:
    told: list[str] = []
    campaign = Campaign([Even, Absent], told.append)
    campaign.run(7, 0.01)
    campaign.close()
    tally = campaign.tallies["even"]
    assert sum(tally.tries.values()) > 10 and 0 < len(tally.findings) < sum(tally.tries.values())
    assert len(tally.findings) <= MOST_FINDINGS
    assert not any(folder.exists() for folder in Even.folders)
    again, what = tally.findings[0]
    once = Campaign([Even], told.append)
    once.repeat("even", int(again.rpartition(":")[2]))
    once.close()
    assert once.tallies["even"].findings == [(again, what)]
    write_report(campaign, 7, tmp_path / "r.json")
    write_report(campaign, 7, tmp_path / "r.md")
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["subjects"]["even"]["findings"][0] == [again, what]
    assert report["subjects"]["absent"]["skipped"] == ["no such thing on this machine"]
    assert (
        (tmp_path / "r.md").read_text()
        == markdown_of(report)
        == markdown_of(report_of(campaign, 7))
    )
    assert f"`{again}`" in markdown_of(report)


def test_the_same_seed_tries_the_same() -> None:
    first, second = (Campaign([Even], lambda line: None) for _ in range(2))
    for campaign in (first, second):
        campaign.run(3, 0.003)
        campaign.close()
    one, two = (dict(campaign.tallies["even"].findings) for campaign in (first, second))
    both = one.keys() & two.keys()  # how many tries there are, the machine decides
    assert both and {seed: one[seed] for seed in both} == {seed: two[seed] for seed in both}


def test_ctrl_c_ends_it_with_its_report(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    campaign = subprocess.Popen(
        [sys.executable, "-m", "soak", "--only", "parity", "--seed", "1", "--report", str(report)],
        env={**environment(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert campaign.stdout is not None
    campaign.stdout.readline()  # it has begun
    time.sleep(0.3)
    campaign.send_signal(signal.SIGINT)
    try:
        out, _ = campaign.communicate(timeout=60)
    finally:
        campaign.kill()  # it would go on for two hours
    assert campaign.returncode == 0, out.decode()
    assert "parity" in json.loads(report.read_text())["subjects"]
    assert list((tmp_path / "tmp").iterdir()) == []


class LightKills(Kills):
    light: ClassVar[bool] = True


class LightDisk(FullDisk):
    light: ClassVar[bool] = True


class LightChildren(Children):
    light: ClassVar[bool] = True


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where subjects of this module share what they need."""
    folder = tmp_path_factory.mktemp("soak")
    (folder / "kills").mkdir()
    holder = LightKills(folder / "kills")
    yield folder
    holder.close()


@pytest.mark.long
@pytest.mark.parametrize("kind", [LightKills, LightDisk, LightChildren], ids=lambda k: k.name)
def test_a_sample_of_what_runs_commands(
    place: Path, tmp_path: Path, kind: type[ShopSubject]
) -> None:
    (place / "one").mkdir(exist_ok=True)
    subject = kind(place / "one")
    if kind is LightChildren and not any("pisa" in c.name for c in subject.shop.commands):
        pytest.skip("no PISA here, and so no children")
    for seed in range(1 if kind is LightChildren else 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        assert subject.attempt(random.Random(seed), folder)


def test_another_output_is_a_finding(place: Path, tmp_path: Path) -> None:
    shop: Shop = LightKills(place / "kills").shop
    command = next(c for c in shop.commands if c.name == "search exact")
    work = tmp_path / "work"
    words = shop.begin(command, work, overwrite=False)
    assert shop.start(words, work).finish("search").code == 0
    shop.check_whole(command, work, "search")
    (work / ".out.lock").touch()
    with pytest.raises(Finding, match=r"left beside the output: \['\.out\.lock'\]"):
        shop.check_whole(command, work, "search")
    run = (work / OUT).read_text().splitlines(keepends=True)
    (work / OUT).write_text("".join(run[:-1]))
    with pytest.raises(Finding, match="other output"):
        shop.check_whole(command, work, "search")
    with pytest.raises(Finding, match="neither old, new nor unfinished"):
        shop.state(command, work / OUT, overwrite=True)


QUICK = ["jsonvector", "ciff", "queries", "corpora", "qrels", "runs", "recipes", "specifications"]


@pytest.mark.long
def test_a_sample_of_damaged_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fuzz, "size", 0.05)
    (tmp_path / "fuzz").mkdir()
    fuzz = Fuzz(tmp_path / "fuzz")
    try:
        for number, reader in enumerate(QUICK):
            assert fuzz.batch(reader, number, tmp_path) == {reader: 15}
    finally:
        fuzz.close()


def test_a_reader_that_raises_what_is_not_ours_is_found(tmp_path: Path) -> None:
    from soak.fuzzer import Batches
    from soak.readers import Reader

    def make(folder: Path) -> None:
        (folder / "a.txt").write_text("1 2 3")

    def read(path: Path) -> object:
        return [int(word) for word in path.read_text().split()]

    batches = Batches(tmp_path)
    batches.readers = {"numbers": Reader("numbers", make, read)}
    with open(tmp_path / "told", "w") as told:
        batches.run({"reader": "numbers", "seed": 1, "first": 0, "cases": 20}, told)
    answers = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    faults = {answer["fault"].split(" in ")[0] for answer in answers if "fault" in answer}
    assert "ValueError" in faults and answers[-1] == {"done": True}


class EmbeddedLoads(Loads):
    engines: ClassVar[tuple[str, ...]] = ("qdrant",)


@pytest.mark.long
def test_a_sample_of_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("qdrant_edge")
    monkeypatch.setattr("soak.loads.DOCUMENTS", 300)
    subject = EmbeddedLoads(tmp_path)
    (tmp_path / "one").mkdir()
    assert subject.attempt(random.Random(1), tmp_path / "one")["loads of qdrant"] == 1


@pytest.mark.long
def test_a_load_that_holds_something_else_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qdrant_edge")
    monkeypatch.setattr("soak.loads.DOCUMENTS", 50)
    subject = EmbeddedLoads(tmp_path)
    (tmp_path / "one").mkdir()
    subject._content = "another"
    with pytest.raises(Finding, match="and not what was loaded"):
        subject.attempt(random.Random(1), tmp_path / "one")


def test_a_sample_of_random_collections(tmp_path: Path) -> None:
    parity = Parity(tmp_path)
    parity.engines = [name for name in parity.engines if name != "lucene"]
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
        assert parity.attempt(random.Random(seed), tmp_path / str(seed))["answers"] > 0


@pytest.mark.long
@pytest.mark.parametrize("kind", [kind for kind in SUBJECTS if not kind.once], ids=lambda k: k.name)
def test_one_try_of_each_subject(kind: type[Subject]) -> None:
    campaign = Campaign([kind])
    campaign.repeat(kind.name, 1)
    campaign.close()
    assert campaign.tallies[kind.name].findings == []
