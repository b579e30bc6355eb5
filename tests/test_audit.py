"""What must not stand in the package: ways by which a file or a text becomes a program.

Ruff's rules of flake8-bandit (S, in pyproject.toml) refuse most of it; this looks at the rest, and
at the rules themselves.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

SERIALIZERS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
PICKLES = {
    "splade_bridge/encoding/ray_rows.py",  # between processes of one job
    "splade_bridge/engines/library_process.py",  # between us and our own process, through pipes
    "splade_bridge/engines/library_server.py",
    "splade_bridge/training/score_files.py",  # published score files; imports nothing
}
"""Who may import pickle, and why."""

CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "os.execv", "os.spawnv",
    "subprocess.getoutput", "subprocess.getstatusoutput", "yaml.load", "yaml.unsafe_load",
    "torch.hub.load", "torch.jit.load", "runpy.run_path", "runpy.run_module", "tempfile.mktemp",
}  # fmt: skip
ARGUMENTS = {
    "shell": True,
    "allow_pickle": True,
    "weights_only": False,
    "trust_remote_code": True,
    "verify": False,
}
HARMLESS = (
    "exec('')",
    "torch.jit.load(str(file), map_location='cpu')",  # what export-model wrote a moment ago
)
ASKED = {"torch.load": ("weights_only", True)}
FROM_PRETRAINED = ("trust_remote_code", False)
PASSED_ON = "trust_remote_code"
"""What may stand for False: a flag of that name, which is False where nobody gives it."""


def sources() -> Iterator[Path]:
    for folder in ("splade_bridge", "scripts"):
        yield from (p for p in (ROOT / folder).rglob("*.py") if "_assets" not in p.parts)


def faults(text: str, name: str) -> list[str]:
    """What is wrong with a module, by line."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            for module in {str(n).partition(".")[0] for n in names} & SERIALIZERS:
                if module != "pickle" or name not in PICKLES:
                    found.append(f"{name}:{node.lineno}: imports {module}")
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {k.arg: getattr(k.value, "value", ...) for k in node.keywords}
        if called in CALLS and ast.unparse(node) not in HARMLESS:
            found.append(f"{name}:{node.lineno}: calls {called}")
        for key, value in ARGUMENTS.items():
            if given.get(key) is value:
                found.append(f"{name}:{node.lineno}: {key}={value}")
        wanted = ASKED.get(called)
        if called.startswith("Auto") and called.endswith(".from_pretrained"):
            wanted = FROM_PRETRAINED
        passed_on = any(k.arg == ast.unparse(k.value) == PASSED_ON for k in node.keywords)
        if wanted and given.get(wanted[0]) is not wanted[1] and not passed_on:
            found.append(f"{name}:{node.lineno}: {called} without {wanted[0]}={wanted[1]}")
    return found


def test_no_file_becomes_a_program() -> None:
    found = [f for p in sources() for f in faults(p.read_text(), str(p.relative_to(ROOT)))]
    assert found == []


@pytest.mark.parametrize(
    "bad",
    [
        "import dill", "from pickle import loads", "import joblib.numpy_pickle", "eval(x)",
        "exec(x)", "os.system(x)", "yaml.load(x)", "f(shell=True)", "np.load(p, allow_pickle=True)",
        "torch.load(p)", "torch.load(p, weights_only=False)", "get(u, verify=False)",
        "AutoModel.from_pretrained(p)", "AutoModel.from_pretrained(p, trust_remote_code=True)",
    ],
)  # fmt: skip
def test_the_audit_sees(bad: str) -> None:
    assert faults(bad, "module")


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle\npickle.loads(b'')", "eval('1')", "exec('1')", "import os\nos.system('x')",
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import yaml\nyaml.load('x')",
        "import requests\nrequests.get('x', verify=False, timeout=1)",
    ],
)  # fmt: skip
def test_ruff_sees(bad: str) -> None:
    pytest.importorskip("ruff")
    line = [sys.executable, "-m", "ruff", "check", "--no-cache", "--stdin-filename"]
    done = subprocess.run(
        [*line, "splade_bridge/x.py", "-"], input=f'"""x"""\n{bad}\n', capture_output=True,
        text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 1 and " S" in done.stdout.replace("\n", " "), done.stdout


def test_the_rules_are_switched_on() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert "S" in lint["select"]
    assert {r for r in lint["ignore"] if r[0] == "S" and r[1].isdecimal()} == {
        "S101", "S311", "S603", "S607",
    }  # fmt: skip


def test_the_page_lists_the_variables_that_are_read() -> None:
    page = (ROOT / "docs" / "security.md").read_text()
    read = re.compile(r'(?:environ(?:\.get|\.setdefault)?[(\[]|variable = )"([A-Z0-9_]+)"')
    found = {name for path in sources() for name in read.findall(path.read_text())}
    assert {"SPLADE_BRIDGE_LUCENE", "PISA_BIN", "RAY_ADDRESS"} <= found
    assert {name for name in found if name not in page} == set()
