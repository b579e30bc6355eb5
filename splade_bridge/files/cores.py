"""How many cores this process may use, which in a container is less than the machine has."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self")
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"


def usable_cores() -> int:
    """Cores that this process may use, 1 or more.

    Those that it may be scheduled on, and no more than its control groups pay for: part of a core
    counts as one, as the JVM has it.
    """
    there = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # there is none on macOS
        there = len(os.sched_getaffinity(0))
    return max(1, math.ceil(min(there, quota())))


def quota(proc: Path = PROC) -> float:
    """Cores that the control groups of this process pay for; infinity where none says.

    Read are ``cpu.max`` of version 2 and the quota of the scheduler of version 1, of the process's
    group and of all groups above it that can be seen (Linux, cgroup-v2.rst and sched-bwc.rst).

    Args:
        proc: the process's folder below /proc.
    """
    return min(map(_paid, _groups(proc)), default=math.inf)


def _groups(proc: Path) -> Iterator[Path]:
    """The folders of the control groups that decide about a process, from its own one upwards."""
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return
    # "4:cpu,cpuacct:/path"; of version 2 "0::/path".
    paths = {
        controller: path
        for _, controllers, path in (line.split(":", 2) for line in groups if line.count(":") >= 2)
        for controller in controllers.split(",")
    }
    for line in mounts:
        # "36 35 98:0 /root /mount/point options - type source superblock-options"
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        controller = {"cgroup2": "", "cgroup": "cpu"}.get(kind[0])
        if controller not in paths or (controller and controller not in kind[2].split(",")):
            continue
        root, place = fields[3].rstrip("/"), Path(fields[4])
        path = paths[controller]
        below = path.removeprefix(root).strip("/") if path.startswith(f"{root}/") else ""
        group = place / below
        yield group
        yield from (above for above in group.parents if above.is_relative_to(place))


def _paid(group: Path) -> float:
    """Cores that one group is given."""
    with contextlib.suppress(OSError, ValueError):
        most, _, period = (group / "cpu.max").read_text().partition(" ")
        return float(most.replace("max", "inf")) / float(period)
    with contextlib.suppress(OSError, ValueError):
        most = (group / QUOTA).read_text()
        if int(most) > 0:
            return int(most) / int((group / PERIOD).read_text())
    return math.inf
