"""The cores that a process may use: affinity and control groups, version 1 and 2."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from splade_bridge.files.cores import quota, usable_cores

V2 = "30 24 0:26 {root} {place} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "31 24 0:27 {root} {place} rw,nosuid shared:7 - cgroup cgroup rw,{controllers}"


def process(tmp_path: Path, groups: str, mounts: list[str], files: dict[str, str]) -> Path:
    """A folder as /proc/self, and control groups with these files, all below ``tmp_path``."""
    for name, content in files.items():
        file = tmp_path / "mounted" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text(groups)
    other = "22 28 0:20 / /proc rw,nosuid - proc proc rw"
    (proc / "mountinfo").write_text("\n".join([other, *mounts, "damaged"]) + "\n")
    return proc


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"job/inner/cpu.max": "150000 100000\n"}, 1.5),
        ({"job/inner/cpu.max": "max 100000\n"}, math.inf),
        ({"job/inner/cpu.max": "400000 100000\n", "job/cpu.max": "50000 100000\n"}, 0.5),
        ({"job/cpu.max": "200000 100000\n"}, 2.0),
        ({"other/cpu.max": "100000 100000\n"}, math.inf),
        ({"job/inner/cpu.max": "damaged\n"}, math.inf),
        ({}, math.inf),
    ],
)
def test_version_2(tmp_path: Path, files: dict[str, str], wanted: float) -> None:
    mount = V2.format(root="/", place=tmp_path / "mounted")
    assert quota(process(tmp_path, "0::/job/inner\n", [mount], files)) == wanted


@pytest.mark.parametrize("own", ["/docker/1f/job", "/elsewhere"])
def test_a_container_sees_its_own_part_of_the_groups(tmp_path: Path, own: str) -> None:
    mount = V2.format(root="/docker/1f", place=tmp_path / "mounted")
    files = {"cpu.max": "300000 100000\n", "job/cpu.max": "max 100000\n"}
    assert quota(process(tmp_path, f"0::{own}\n", [mount], files)) == 3


@pytest.mark.parametrize(("most", "wanted"), [("250000", 2.5), ("-1", math.inf), ("0", math.inf)])
def test_version_1(tmp_path: Path, most: str, wanted: float) -> None:
    """Beside version 2, which then has no controller of processors."""
    mounts = [
        V2.format(root="/", place=tmp_path / "mounted/unified"),
        V1.format(root="/", place=tmp_path / "mounted/memory", controllers="memory"),
        V1.format(root="/", place=tmp_path / "mounted/cpu", controllers="cpu,cpuacct"),
    ]
    files = {
        "cpu/job/cpu.cfs_quota_us": f"{most}\n",
        "cpu/job/cpu.cfs_period_us": "100000\n",
        "memory/job/cpu.cfs_quota_us": "1\n",
        "memory/job/cpu.cfs_period_us": "100000\n",
    }
    groups = "5:memory:/job\n4:cpu,cpuacct:/job\n1:name=systemd:/job\n0::/\n"
    assert quota(process(tmp_path, groups, mounts, files)) == wanted


def test_without_control_groups(tmp_path: Path) -> None:
    assert quota(tmp_path) == math.inf


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_counts() -> None:
    """Of a child that may run on one core only."""
    script = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from splade_bridge.files.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"1\n"
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)


def test_part_of_a_core_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splade_bridge.files.cores.quota", lambda: 0.2)
    assert usable_cores() == 1
