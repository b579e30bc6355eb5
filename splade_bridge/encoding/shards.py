"""Which parts of a store one of several machines makes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from splade_bridge.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """Every ``count``-th part, from number ``index`` on.

    Parts are dealt out in turn, so that shards are of one size without anybody knowing how long
    the corpus is. Shards count from 0, as job arrays of SLURM mostly do (``--array=0-7`` and
    ``--shard $SLURM_ARRAY_TASK_ID/8``).
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard ``i/n``.

        Raises:
            UsageError: not of this form, or i is not between 0 and n - 1.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if not found:
            raise UsageError(f"--shard {text}: must be i/n, as 0/4")
        shard = cls(int(found[1]), int(found[2]))
        if shard.index >= shard.count:
            raise UsageError(
                f"--shard {text}: shards count from 0, so the last of {shard.count} is "
                f"{max(0, shard.count - 1)}/{shard.count}"
            )
        return shard

    def has(self, part: int) -> bool:
        """Whether part number ``part`` is one of this shard's."""
        return part % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
