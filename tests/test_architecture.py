"""The rules of ARCHITECTURE.md, checked: who imports whom, and what --help may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "splade_bridge"

LAYERS = [
    {"errors"},
    {"closing", "assets", "docstrings"},
    {"files", "vectors"},
    {"vocab", "docids"},
    {"manifest"},
    {"quantize", "store", "corpora", "invert", "qrels"},
    {"encode", "formats"},
    {"topics", "merge"},
    {"prune"},
    {"engines"},
    {"runs", "explain", "export", "passages", "two_step", "bm25"},
    {"search", "evaluate", "verify", "agreement", "significance", "bench", "doctor"},
    {"quantize_study", "report", "training"},
    {"compare"},
    {"demo"},
    {"cli"},
]
"""A module may import from its own layer's part and from all layers above it in this list."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def top_level(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "splade_bridge" and len(parts) > 1 else None


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module)
            if node.module == "splade_bridge":
                found |= {f"splade_bridge.{a.name}" for a in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_assets" not in p.parts)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    mine = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if mine in ("__init__", "__main__"):
        return
    assert mine in LEVEL, f"give {mine} a layer"
    for module in imports(path):
        other = top_level(module)
        if other is None or other == mine or other.startswith("__"):
            continue
        assert LEVEL[other] < LEVEL[mine], f"{mine} imports {other}, which is not below it"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_encode_and_training_know_torch(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0] in ("encode", "training", "doctor.py"):
        return
    heavy = {m.split(".")[0] for m in imports(path)} & {"torch", "transformers"}
    assert not heavy


HEAVY = {
    "torch", "transformers", "sentence_transformers", "datasets", "huggingface_hub", "pyarrow",
    "scipy", "pandas", "jnius", "pyserini", "ir_measures", "google",
}  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "told", "heavy"),
    [
        ("--help", "Usage", {"numpy"}),
        ("train --help", "mlm", set()),
        ("train mlm --help", "--vocab-size", set()),
        ("train --list", "splade-max", set()),
        ("train splade-max --show", "learning_rate = 2e-05", set()),
    ],
)
def test_what_only_tells_loads_nothing_heavy(arguments: str, told: str, heavy: set[str]) -> None:
    code = (
        f"import sys; sys.argv = ['splade-bridge', *{arguments.split()}]\n"
        "from splade_bridge.cli.app import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert told in done.stdout
    assert not loaded & (HEAVY | heavy)
