"""The tables of docs/reliability.md; ``scripts/reliability`` calls it."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import rivals

from bad_input import Row, all_rows
from soak.frame import markdown_of

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"
OTHERS = ROOT / "tests" / "bad_input" / "others.json"
SOAK = ROOT / "tests" / "soak" / "report.json"
MOST = 260
"""Characters of a cell."""


def key_of(module: str, row: Row) -> str:
    """What a row is saved under."""
    return f"{module}: {row.title}"


def said(row: Row) -> str:
    """What splade-bridge says to a row: its exit code and what it has on stderr."""
    with tempfile.TemporaryDirectory() as place:
        folder, log = Path(place) / "folder", Path(place) / "log"
        folder.mkdir()
        row.lay_out(folder)
        child = os.fork()  # everything is loaded already
        if child == 0:
            _become(row, folder, log)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        told = log.read_text(errors="replace").replace(f"{folder.resolve()}/", "")
        lines = [line for line in told.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("error: ")]
        if status != row.code:
            print(f"{row.title}: exit code {status}, not {row.code}\n{told}", file=sys.stderr)
        shown = " ".join(errors or [line for line in lines if line.startswith("warning: ")])
        return f"{status}: {cell(shown.removeprefix('error: '))}"


def _become(row: Row, folder: Path, log: Path) -> None:
    """Run the row's command in this process, and end it."""
    status: object = 1
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT)
        os.dup2(target, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.chdir(folder)
        sys.argv = ["splade-bridge", *row.arguments]
        from splade_bridge.cli.app import main

        main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def cell(text: str) -> str:
    """A text for a cell of a table."""
    named = text.replace("\n", "\\n").replace("\t", "\\t")
    plain = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in named)
    short = plain if len(plain) <= MOST else plain[: MOST - 4] + " ..."
    return short.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "\\`")


def given(row: Row) -> str:
    """The command line and the beginning of small files."""
    words = " ".join(row.arguments)
    files = []
    for name, content in row.files.items():
        if isinstance(content, str) and 0 < len(content) <= 70 and name in words:
            files.append(f"{name}: {content.rstrip()}")
    return "; ".join(f"`` {cell(text)} ``".replace("\\\\", "\\") for text in (words, *files))


def tables() -> Iterator[str]:
    """A table for each module of rows."""
    others: dict[str, dict[str, str]] = json.loads(OTHERS.read_text()) if OTHERS.exists() else {}
    modules: dict[str, list[Row]] = {}
    for module, row in all_rows():
        modules.setdefault(module, []).append(row)
    for module, rows in modules.items():
        known = {row.title: others.get(key_of(module, row), {}) for row in rows}
        beside = any(known.values())
        yield f"### {module}"
        yield ""
        heads = ["what is wrong", "given", "splade-bridge"]
        heads += ["Anserini's IndexCollection", "PISA"] if beside else []
        yield f"| {' | '.join(heads)} |"
        yield f"|{'---|' * len(heads)}"
        for row in rows:
            cells = [cell(row.title), given(row), said(row)]
            if beside:
                cells += [cell(known[row.title].get(name, "")) for name in ("anserini", "pisa")]
            yield f"| {' | '.join(cells)} |"
        yield ""


def forget() -> None:
    """Let go of what others said of rows that are not there any more."""
    if OTHERS.exists():
        rows = {key_of(module, row) for module, row in all_rows()}
        save_others({k: v for k, v in json.loads(OTHERS.read_text()).items() if k in rows})


def save_others(found: dict[str, dict[str, str]]) -> None:
    """By their keys, a line an answer."""
    OTHERS.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def summary() -> str:
    """How many rows there are, and how they end elsewhere."""
    rows = list(all_rows())
    others: dict[str, dict[str, str]] = json.loads(OTHERS.read_text()) if OTHERS.exists() else {}
    there = [others[key] for key in (key_of(m, r) for m, r in rows if r.code) if key in others]
    told = []
    for name, who in (("anserini", "Anserini's indexer"), ("pisa", "PISA")):
        given = [one[name] for one in there if name in one]
        well = sum(answer.startswith("0: ") for answer in given)
        told.append(f"{who} was given {len(given)} and ended {well} of them with exit code 0")
    return (
        f"{len(rows)} rows. Of those that splade-bridge refuses, {len(there)} are a "
        f"JsonVectorCollection or a CIFF file, which others can be given as well: "
        f"{'; '.join(told)}."
    )


def fill(name: str, text: str) -> None:
    """Replace what stands between two marks of the page."""
    page = PAGE.read_text()
    marks = f"<!-- {name}: made by scripts/reliability -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(marks[0]) + ".*?" + re.escape(marks[1]), re.DOTALL)
    assert len(pattern.findall(page)) == 1, f"{PAGE}: the marks of {name} are missing"
    PAGE.write_text(pattern.sub(lambda _: f"{marks[0]}\n{text.strip()}\n{marks[1]}", page))


def run_others(ciff2pisa: str | None) -> None:
    """Give the rows that are new to Anserini and PISA, and save what came of it."""
    known: dict[str, dict[str, str]] = json.loads(OTHERS.read_text()) if OTHERS.exists() else {}
    found: dict[str, dict[str, str]] = {}
    for module, row in all_rows():
        if not (name := rivals.collection_of(row)):
            continue
        if key_of(module, row) in known:
            found[key_of(module, row)] = known[key_of(module, row)]
        else:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                row.lay_out(folder)
                found[key_of(module, row)] = rivals.answers(folder, name, ciff2pisa)
                save_others(known | found)
            print(key_of(module, row), found[key_of(module, row)], file=sys.stderr, flush=True)
    save_others(found)


def main() -> None:
    """Fill the page."""
    parser = argparse.ArgumentParser(prog="scripts/reliability")
    parser.add_argument("--others", action="store_true", help="run Anserini and PISA, too")
    parser.add_argument("--ciff2pisa", default=shutil.which("ciff2pisa"), help="PISA's reader")
    parser.add_argument("--soak", type=Path, help="the report of scripts/soak, as JSON")
    asked = parser.parse_args()
    if asked.others:
        run_others(asked.ciff2pisa)
    if asked.soak:
        shutil.copyfile(asked.soak, SOAK)
    forget()
    fill("summary", summary())
    fill("tables", "\n".join(tables()))
    if SOAK.exists():
        fill("soak", markdown_of(json.loads(SOAK.read_text())))


if __name__ == "__main__":
    main()
