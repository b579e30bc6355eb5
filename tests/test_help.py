"""Help that helps: whole summaries, examples that can be typed, pages, completion, a man page."""

from __future__ import annotations

import functools
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import command_line
from documented import TABLES
from splade_bridge.cli.app import COMMANDS, app
from splade_bridge.cli.command import complete
from splade_bridge.cli.examples import EXAMPLES, shown
from splade_bridge.cli.train import STAGES, command, stage_function

ROOT = Path(__file__).resolve().parents[1]
NAMES = sorted({*EXAMPLES} | {name for name, _ in TABLES["commands"]() if name})
FUNCTIONS: dict[str, Any] = {
    **{module.NAME: module.command for module in COMMANDS},
    "train recipe": command,
}


def help_of(name: str) -> str:
    """What ``--help`` prints in a terminal of 80 columns."""
    found = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "80"})
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize("name", ["", *(n for n in NAMES)])
def test_help_is_text_for_people(name: str) -> None:
    text = help_of(name)
    assert (
        re.findall(r"``|:(?:mod|class|func|meth|data|attr):|Args:|Raises:|options\.\w", text) == []
    )
    if "Commands:" in text:
        summaries = re.findall(r"^  ([a-z0-9-]+) {2,}(.+)$", text.split("Commands:")[1], re.M)
        assert summaries
        for command_name, summary in summaries:
            assert summary.endswith(".") and "..." not in summary, command_name
    if name:
        lines = [f"  splade-bridge {name} {e}".rstrip() for e in EXAMPLES[name]]
        assert len(lines) >= 2 and all(f"  {line}\n" in text for line in lines)


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == {name for name, _ in TABLES["commands"]() if name} | {"train"}


CASES = [(name, each) for name in EXAMPLES if name != "train" for each in EXAMPLES[name]]


@pytest.mark.parametrize(("name", "line"), CASES, ids=[f"{n} {e}" for n, e in CASES])
def test_an_example_can_be_typed(
    name: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parsed with all its rules, of what a flag needs and of places, up to its first act."""
    called = []
    real = FUNCTIONS.get(name)

    def record(**given: Any) -> None:
        called.append(given)

    if real is None:  # a stage: made by `complete` already
        made = stage_function(name.partition(" ")[2])
        real = inspect.unwrap(made)
        assert real is not made
    stand_in = functools.wraps(real)(record)
    stand_in.__signature__ = inspect.signature(real, eval_str=True)  # type: ignore[attr-defined]
    one = typer.Typer(rich_markup_mode=None)
    one.command()(complete(stand_in))
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(one, shlex.split(line))
    assert found.exit_code == 0, f"{found.output}\n{found.exception}"
    assert len(called) == 1


def test_what_an_example_shows_of_training(capfd: pytest.CaptureFixture[str]) -> None:
    """`train` is a group whose first word may be a recipe."""
    for line in EXAMPLES["train"][:2]:
        status, out, err = command_line.run(capfd, "train", *shlex.split(line))
        assert status == 0 and out, err
    assert set(STAGES) == {name.partition(" ")[2] for name in EXAMPLES if " " in name} - {"recipe"}
    assert shown("doctor").splitlines()[2] == "  splade-bridge doctor"


# ---------------------------------------------------------------- pages


def test_pages_are_those_of_docs(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = command_line.run(capfd, "help")
    assert status == 0 and "help PAGE" in err
    names = {line.split()[0] for line in out.splitlines()}
    assert names >= {"formats", "topics", "errors", "install", "engines/milvus"}
    assert all(len(line.split()) > 1 for line in out.splitlines())
    for name in ("errors", "exit-codes"):
        assert command_line.run(capfd, "help", name)[1] == (ROOT / "docs/errors.md").read_text()


def test_a_page_that_there_is_not(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = command_line.run(capfd, "help", "../README")
    assert (status, out) == (2, "")
    assert "error: no page '../README': splade-bridge help lists them" in err


def test_every_exit_code_has_its_line() -> None:
    from splade_bridge import errors

    kinds = [k for _, k in inspect.getmembers(errors, inspect.isclass) if hasattr(k, "exit_code")]
    codes = {kind.exit_code for kind in kinds if kind is not errors.SpladeBridgeError}
    told = re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs/errors.md").read_text(), re.MULTILINE)
    assert {int(code) for line in told for code in line.split(",")} == codes | {0, 143}


# ---------------------------------------------------------------- completion


def completed(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The program under the name that completion is for, by a script as pip makes it."""
    program = home / "splade-bridge"
    program.write_text(f"#!{sys.executable}\nfrom splade_bridge.__main__ import main\nmain()\n")
    program.chmod(0o755)
    env = {**os.environ, "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run([program, *arguments], env=env, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("splade-bridge ex", {"export", "export-model", "explain"}),
        ("splade-bridge search --out", {"--output", "--output-format"}),
        ("splade-bridge train m", {"mine", "mlm"}),
    ],
)
def test_bash_is_told_what_may_follow(tmp_path: Path, words: str, wanted: set[str]) -> None:
    done = completed(
        tmp_path, _SPLADE_BRIDGE_COMPLETE="complete_bash", COMP_WORDS=words,
        COMP_CWORD=str(len(words.split()) - 1),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == wanted


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_completion_is_installed_where_bash_finds_it(tmp_path: Path) -> None:
    # Typer looks for a shell among the processes above, of which there may be none.
    named = {"SHELL": "/bin/bash", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = completed(tmp_path, "--install-completion", "bash", **named)
    assert done.returncode == 0, done.stderr
    written = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "splade-bridge"]
    assert any("_SPLADE_BRIDGE_COMPLETE" in p.read_text() for p in written), written
    for script in written:
        subprocess.run(["bash", "-n", str(script)], check=True)


# ---------------------------------------------------------------- man page


def test_the_man_page_holds_all_help() -> None:
    """`scripts/docs` has written it; taken back from roff it is the help of all commands."""
    page = (ROOT / "docs/splade-bridge.1").read_text()
    commands = (ROOT / "docs/cli.md").read_text()
    held = re.findall(r"^\.nf\n(.*?)^\.fi$", page, re.MULTILINE | re.DOTALL)
    plain = [re.sub(r"^\\&", "", text, flags=re.MULTILINE) for text in held]
    plain = [text.replace("\\-", "-").replace("\\e", "\\") for text in plain]
    assert plain == re.findall(r"^```\n(.*?)^```$", commands, re.MULTILINE | re.DOTALL)
    assert len(plain) > 25


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff")
def test_groff_has_nothing_to_say_of_the_man_page() -> None:
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(ROOT / "docs/splade-bridge.1")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == "" and "splade-bridge" in done.stdout
