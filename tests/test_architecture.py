"""The rules of ARCHITECTURE.md, checked: who imports whom, and what --help may load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "splade_bridge"

FLOORS = [
    {"errors"},
    {"files"},
    {"data"},
    {"text", "embeddings"},
    {"formats", "encoding", "demo"},
    {"engines"},
    {"conversion"},
    {"pruning", "inspection"},
    {"retrieval", "doctor"},
    {"evaluation"},
    {"report", "training"},
    {"comparison", "server"},
    {"cli"},
]
"""A room may import from its own floor's rooms above, and from all floors above, in this list."""

LEVEL = {name: level for level, names in enumerate(FLOORS) for name in names}
HEAVY_ROOMS = ("encoding", "training")
MOST_LOOSE_MODULES = 8

MODULES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
    for p in sorted(PACKAGE.rglob("*.py"))
    if "_assets" not in p.parts
}


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, anywhere in it: modules of ours by their full name.

    Imports inside functions count, those for types only too, and so do the registry's strings.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{module}: relative import"
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            named = [name for name in below if name in MODULES]
            found.update(named)
            if len(named) < len(below) or node.module.split(".")[0] != "splade_bridge":
                found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Constant):
            found.update(re.findall(r"^(splade_bridge(?:\.\w+)+):\w+$", str(node.value)))
    return frozenset(found)


@cache
def import_graph() -> dict[str, set[str]]:
    return {m: {i for i in imports(m) if i in MODULES and i != "splade_bridge"} for m in MODULES}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected sets of more than one node (Tarjan 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        number[node] = low[node] = len(number)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in number:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], number[other])
        if low[node] == number[node]:
            members = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(members) > 1:
                found.append(sorted(members))

    for node in graph:
        if node not in number:
            visit(node)
    return found


def test_there_is_no_circle_between_modules() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    assert circles(import_graph()) == []


def test_imports_between_rooms_run_one_way() -> None:
    wrong = []
    for module, others in import_graph().items():
        mine = room(module)
        if mine in ("__init__", "__main__", "library"):
            continue
        assert mine in LEVEL, f"give {mine} a floor"
        for other in map(room, others):
            if other != mine and not LEVEL[other] < LEVEL[mine]:
                wrong.append(f"{module} imports {other}, which is not below it")
    assert wrong == []


def test_few_modules_lie_loose_on_the_ground_floor() -> None:
    loose = [p.name for p in PACKAGE.glob("*.py")]
    assert len(loose) <= MOST_LOOSE_MODULES, loose


def test_only_encoding_and_training_know_torch() -> None:
    wrong = [
        module
        for module in MODULES
        if room(module) not in (*HEAVY_ROOMS, "doctor")
        and {m.split(".")[0] for m in imports(module)} & {"torch", "transformers"}
    ]
    assert wrong == []


HEAVY = {
    "torch", "transformers", "sentence_transformers", "datasets", "huggingface_hub", "pyarrow",
    "scipy", "pandas", "jnius", "pyserini", "ir_measures", "google", "faiss",
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


if __name__ == "__main__":  # the figures of the house: rooms, floors, arrows, circles
    graph = import_graph()
    arrows = {(room(a), room(b)) for a, bs in graph.items() for b in bs if room(a) != room(b)}
    rooms = {room(m) for m in MODULES}
    floor: dict[str, int] = {}
    while len(floor) < len(rooms):
        for r in rooms - floor.keys():
            if (below := {b for a, b in arrows if a == r}) <= floor.keys():
                floor[r] = 1 + max((floor[b] for b in below), default=0)
    print(f"{len(rooms)} rooms on {max(floor.values())} floors, {len(arrows)} arrows between rooms")
    number = sum(map(len, graph.values()))
    print(f"{len(MODULES)} modules, {number} arrows, circles: {circles(graph)}")
