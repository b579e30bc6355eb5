"""What a command does with what a parameter names: marks of its annotations.

Paths are read unless they are marked with :data:`WRITES`, and texts that may be a path are marked
with :data:`READS`. ``cli/command.py`` refuses outputs that contain an input by these marks,
``tests/test_flags.py`` holds that each is there.
"""

from __future__ import annotations

from enum import Enum


class Use(Enum):
    """What a command does with what a parameter names."""

    READS = "reads"
    WRITES = "writes"
    ADDS_TO = "adds to"
    """A folder that may hold other things, which stay."""


READS, WRITES, ADDS_TO = Use.READS, Use.WRITES, Use.ADDS_TO
