"""docs/notebooks: their form, that they run from beginning to end, and what their cells show."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import splade_bridge as sb

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FIRST_LOOK = ROOT / "docs" / "notebooks" / "first-look.ipynb"


def content(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def code_of(notebook: dict[str, Any]) -> list[str]:
    """The source of each cell of code."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def unknown_names(cells: list[str]) -> list[str]:
    """Names that are used before they are bound, attributes and keywords that the package lacks."""
    bound = set(dir(builtins))
    wrong: list[str] = []
    for number, cell in enumerate(cells):
        tree = ast.parse(cell, f"cell {number}")  # a cell that does not compile ends it here
        wrong += _not_there(tree)
        nodes = list(ast.walk(tree))
        for node in nodes:
            if isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
        used = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        wrong += sorted(used - bound)
    return wrong


def _not_there(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            yield from (a.name for a in node.names if not hasattr(module, a.name))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "sb":
            if node.attr not in sb.__all__:
                yield f"sb.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).startswith("sb."):
            name = ast.unparse(node.func).removeprefix("sb.")
            known = inspect.signature(getattr(sb, name)).parameters if name in sb.__all__ else {}
            yield from (f"{name}({k.arg})" for k in node.keywords if k.arg not in known)


def test_what_is_wrong_with_a_cell_is_seen() -> None:
    assert unknown_names(["import splade_bridge as sb", "sb.serch(1)", "print(later)"]) == [
        "sb.serch", "later",
    ]  # fmt: skip
    assert unknown_names(["import splade_bridge as sb\nsb.terms(1, hits=2)"]) == ["terms(hits)"]
    assert unknown_names(["a = [x for x in range(3)]", "a[0]"]) == []
    with pytest.raises(SyntaxError):
        unknown_names(["a ="])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs_and_names_what_is_there(path: Path) -> None:
    """No outputs: they hold times, and texts of the Python that ran it, so they would be stale."""
    notebook = content(path)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[\w-]{1,64}", i) for i in ids)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    cells = code_of(notebook)
    assert unknown_names(cells) == []
    texts = [node.value for cell in cells for node in ast.walk(ast.parse(cell))
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    # A person with a pip install has no checkout, and nothing of a network is asked.
    assert not [t for t in texts if t.startswith(("/", "~", "..", "http"))]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_has_the_form_of_notebooks(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.read(path, as_version=4))


@pytest.mark.long
def test_the_first_look_runs_and_its_cells_show_what_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that is no checkout, by a kernel of its own, without a network."""
    pytest.importorskip("torch", reason="the notebook encodes text")
    pytest.importorskip("ipykernel")
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.setenv("TMPDIR", str(made))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    (tmp_path / "cwd").mkdir()
    notebook = nbformat.read(FIRST_LOOK, as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "cwd")}}
    ).execute()
    assert list((tmp_path / "cwd").iterdir()) == []  # all that is made lies where it says
    shown = {cell.id: _html(cell) for cell in notebook.cells if cell.cell_type == "code"}
    for name in ("terms", "search", "explain", "run", "measures", "sweep", "pruned", "verify"):
        assert shown[name].count('class="splade-bridge"') == 1, name
    assert 'class="bar typed"' in shown["terms"] and 'class="bar expansion"' in shown["explain"]
    assert "tempfile.TemporaryDirectory" in shown["search"]
    assert "133 judged queries count" in shown["measures"]
    charts = re.findall(r"<svg.*?</svg>", shown["sweep"], re.DOTALL)
    assert len(charts) == 3 and all('class="front"' in chart for chart in charts)
    assert "Not equal" in shown["verify"]
    (folder,) = made.glob("first-look-*")
    assert (folder / "sweep" / "report.html").is_file()


def _html(cell: Any) -> str:
    return "".join(o.data["text/html"] for o in cell.outputs if "text/html" in o.get("data", {}))
