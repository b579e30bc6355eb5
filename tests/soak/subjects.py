"""The subjects, in the order of a round."""

from __future__ import annotations

from soak.children import Children
from soak.frame import Subject
from soak.full_disk import FullDisk
from soak.fuzz import Fuzz
from soak.kills import Kills
from soak.loads import Loads
from soak.parity import Parity
from soak.suite import Suite

SUBJECTS: list[type[Subject]] = [Kills, FullDisk, Children, Loads, Fuzz, Parity, Suite]
