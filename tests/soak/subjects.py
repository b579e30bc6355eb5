"""The subjects, in the order of a round."""

from __future__ import annotations

from soak.frame import Subject
from soak.fuzz import Fuzz
from soak.kills import Kills

SUBJECTS: list[type[Subject]] = [Kills, Fuzz]
