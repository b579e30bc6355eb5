"""What a wheel holds, and that it works away from the checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_wheel_brings_its_assets_and_only_our_package(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    beside = {n.partition(".data/")[2] for n in names if ".data/" in n}
    assert beside == {"data/share/man/man1/splade-bridge.1"}
    own = {n.split("/")[0] for n in names if ".dist-info/" not in n and ".data/" not in n}
    assert own == {"splade_bridge"}
    templates = {str(p.relative_to(ROOT)) for p in (ROOT / "splade_bridge").rglob("*.jinja")}
    assert templates and templates <= set(names)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import splade_bridge; assert splade_bridge.__file__.startswith(sys.argv[1])\n"
        "from splade_bridge.files.writing import asset\n"
        "from splade_bridge.demo import collection\n"
        "for name in ('java_conf/jvm.options', 'java_conf/log4j2.xml', 'pisa/README.md',\n"
        "             'java_conf/lucene.sha256',\n"
        "             'java_conf/splade-bridge-lucene.jar', 'training/README.md',\n"
        "             'docs/errors.md'):\n"
        "    assert str(asset(name)).startswith(sys.argv[1]), name\n"
        "assert collection.queries_path().exists() and collection.qrels_path().exists()\n"
        "assert (collection.model_path() / 'config.json').exists()\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "site")], check=True, cwd=tmp_path)
