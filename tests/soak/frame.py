"""Round after round over the subjects, each try with a seed of its own, and a report of counts."""

from __future__ import annotations

import hashlib
import json
import random
import shlex
import shutil
import tempfile
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError

ROUNDS = 8
"""Rounds of a campaign; what the time is divided by, and a subject's share of it."""


MOST_FINDINGS = 50
"""Of a subject; then it is not tried any more: something is broken that all its tries need."""


class Finding(Exception):
    """A try that ended as it must not; the message says what was seen.

    Args:
        tried: what was tried, where it was not one thing.
    """

    def __init__(self, message: str, tried: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.tried = tried or {"tries": 1}


class Skip(Exception):
    """A subject, or a part of it, that cannot run on this machine; the message says why."""


def installed(name: str) -> bool:
    """Whether an engine of that name can be used on this machine."""
    try:
        engine(name).check_installed()
    except MissingToolError:
        return False
    return True


class Subject(ABC):
    """One way of breaking things.

    Args:
        folder: for what all tries share; it is made, and removed at the end.

    Attributes:
        name: on the command line and in the report.
        share: of the campaign's time, in proportion to the other subjects'.
        once: whether one try is all there is, made beside the rounds of the others.
    """

    name: ClassVar[str]
    share: ClassVar[float] = 1
    once: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abstractmethod
    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        """One try.

        Args:
            rng: what is random comes from it, so that a seed repeats it.
            folder: an empty one, removed afterwards.

        Returns:
            how many things of which kind were tried, for the report.

        Raises:
            Finding: something was lost, wrong or left behind.
            Skip: this machine cannot do it.
        """

    def close(self) -> None:  # noqa: B027 - most subjects have nothing to close
        """Give back what the subject holds."""


@dataclass
class Tally:
    """What came of a subject.

    Attributes:
        tries: things tried, by kind.
        findings: (command that repeats it, what was seen).
        skipped: reasons, each once.
        seconds: spent on it.
    """

    tries: dict[str, int] = field(default_factory=dict)
    findings: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def told(self) -> str:
        """The tries in words."""
        return ", ".join(f"{n:,} {kind}" for kind, n in sorted(self.tries.items())) or "none"

    def add(self, tried: Mapping[str, int]) -> None:
        for kind, number in tried.items():
            self.tries[kind] = self.tries.get(kind, 0) + number


class Campaign:
    """Tries of subjects, and their tallies.

    Args:
        kinds: the subjects' classes.
        say: takes lines for people.
    """

    def __init__(self, kinds: Sequence[type[Subject]], say: Callable[[str], None] = print) -> None:
        self.tallies = {kind.name: Tally() for kind in kinds}
        self._kinds = list(kinds)
        self._say = say
        self._began = time.monotonic()
        self._made: dict[str, Subject] = {}
        self._root = Path(tempfile.mkdtemp(prefix="splade-bridge-soak-"))

    def run(self, seed: int, minutes: float) -> None:
        """Go round until the time is over; each subject has at least one try a round."""
        end = time.monotonic() + minutes * 60
        beside = [
            threading.Thread(target=self._slice, args=(kind, f"{seed}/0", end), daemon=True)
            for kind in self._kinds
            if kind.once
        ]
        for thread in beside:
            thread.start()
        number = 0
        while time.monotonic() < end:
            kinds = [k for k in self._kinds if self._goes_on(k) and not k.once]
            if not kinds:
                break
            shares = sum(k.share for k in kinds)
            for kind in kinds:
                span = minutes * 60 / ROUNDS * kind.share / shares
                stop = min(end, time.monotonic() + span)
                self._slice(kind, f"{seed}/{number}", stop)
                if time.monotonic() >= end:
                    break
            number += 1
        for thread in beside:
            thread.join()

    def repeat(self, name: str, seed: int) -> None:
        """One try again, as a finding told it."""
        kind = next(kind for kind in self._kinds if kind.name == name)
        self._try(kind, seed)

    def _slice(self, kind: type[Subject], base: str, stop: float) -> None:
        number, tally = 0, self.tallies[kind.name]
        while self._goes_on(kind) and (number == 0 or time.monotonic() < stop):
            if not self._try(kind, seed_of(f"{base}/{kind.name}/{number}")) or kind.once:
                break
            number += 1
        self._say(
            f"round {base.partition('/')[2]}: {kind.name}: {tally.told}; {len(tally.findings)} "
            f"findings, {tally.seconds:,.0f} s so far"
        )

    def _goes_on(self, kind: type[Subject]) -> bool:
        """Whether it was not skipped, and finds something only now and then."""
        tally = self.tallies[kind.name]
        return not tally.skipped and len(tally.findings) < MOST_FINDINGS

    def _try(self, kind: type[Subject], seed: int) -> bool:
        """Whether it could be tried."""
        tally = self.tallies[kind.name]
        began = time.monotonic()
        folder = self._folder(f"try-{kind.name}")
        try:
            if kind.name not in self._made:
                self._made[kind.name] = self._make(kind)
            tally.add(self._made[kind.name].attempt(random.Random(seed), folder))
        except Finding as finding:
            self._found(kind, seed, str(finding), finding.tried)
        except Skip as skip:
            if str(skip) not in tally.skipped:
                tally.skipped.append(str(skip))
                self._say(f"{kind.name}: skipped: {skip}")
            return False
        except Exception:  # a fault of the subject is not passed over, either
            self._found(kind, seed, traceback.format_exc(), {"tries": 1})
        finally:
            tally.seconds += time.monotonic() - began
            shutil.rmtree(folder, ignore_errors=True)
        return True

    def _make(self, kind: type[Subject]) -> Subject:
        """A subject; what it needs before its first try is no try, and fails once."""
        if any("cannot begin" in reason for reason in self.tallies[kind.name].skipped):
            raise Skip("cannot begin")
        try:
            return kind(self._folder(kind.name))
        except Skip:
            raise
        except Exception:
            self.tallies[kind.name].skipped.append("cannot begin")
            raise

    def _found(self, kind: type[Subject], seed: int, what: str, tried: Mapping[str, int]) -> None:
        again = f"scripts/soak --repeat {shlex.quote(f'{kind.name}:{seed}')}"
        tally = self.tallies[kind.name]
        tally.add(tried)
        tally.findings.append((again, what))
        self._say(f"FINDING ({kind.name}, seed {seed}): {what}\n  again: {again}")

    def _folder(self, name: str) -> Path:
        folder = self._root / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        """Close the subjects and remove what they made."""
        for subject in self._made.values():
            subject.close()
        self._made.clear()
        shutil.rmtree(self._root, ignore_errors=True)

    @property
    def minutes(self) -> float:
        """By the clock, since it was made."""
        return (time.monotonic() - self._began) / 60

    @property
    def findings(self) -> int:
        """Of all subjects."""
        return sum(len(tally.findings) for tally in self.tallies.values())


def seed_of(text: str) -> int:
    """A number of 48 bits that a text stands for."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def report_of(campaign: Campaign, seed: int) -> dict[str, Any]:
    """The report as a tree: seed, minutes by the clock, and the tally of each subject."""
    tallies = {name: asdict(tally) for name, tally in campaign.tallies.items()}
    return {"seed": seed, "minutes": round(campaign.minutes, 1), "subjects": tallies}


def markdown_of(report: Mapping[str, Any]) -> str:
    """A report for people: a line for each subject, then what was skipped and found."""
    tallies = {name: Tally(**tally) for name, tally in report["subjects"].items()}
    lines = [
        f"Seed {report['seed']}, {report['minutes']:,.0f} minutes.",
        "",
        "| subject | tries | findings | seconds |",
        "|---|---|---|---|",
    ]
    for name, tally in tallies.items():
        lines.append(f"| {name} | {tally.told} | {len(tally.findings)} | {tally.seconds:,.0f} |")
    for name, tally in tallies.items():
        lines += [f"\n{name}: skipped: {reason}" for reason in tally.skipped]
        for again, what in tally.findings:
            quoted = "\n".join(f"    {line}" for line in what.splitlines())
            lines += ["", f"{name}: `{again}`", "", quoted]
    return "\n".join(lines) + "\n"


def write_report(campaign: Campaign, seed: int, path: Path) -> None:
    """JSON where the name ends so, else Markdown."""
    report = report_of(campaign, seed)
    as_json = path.suffix == ".json"
    path.write_text(json.dumps(report, indent=2) + "\n" if as_json else markdown_of(report))
