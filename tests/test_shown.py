"""Control characters of others: as escapes on a terminal, as they are in files and pipes."""

from __future__ import annotations

import json
import logging
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

import command_line
from small import trec_run
from splade_bridge.cli.command import log_to_stderr
from splade_bridge.files.shown import BIDIRECTIONAL, shown

ROOT = Path(__file__).parents[1]
EVIL = "d\x1b[2J\x9b31m\u202egpj"
TERM = "t\x1b]0;x\x07"


def test_what_is_shown_can_move_nothing() -> None:
    """Over all characters; what has no effect of its own stays."""
    for number in range(0x110000):
        character = chr(number)
        harmful = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        harmful = harmful or unicodedata.bidirectional(character) in (
            *("LRE", "RLE", "LRO", "RLO", "PDF"), *("LRI", "RLI", "FSI", "PDI"),
        )  # fmt: skip
        harmful = harmful or character in BIDIRECTIONAL
        text = shown(f"a{character}b")
        assert (text == f"a{character}b") != harmful, hex(number)
        if harmful:
            assert text.isascii()
            assert text[1] == "\\"
    assert shown("a\tb\nc\x1b", "\t\n") == "a\tb\nc\\x1b"
    assert shown("x" * 20_000, most=100) == "x" * 100 + " ..."


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An index with such ids and terms, queries, a run and judgements."""
    documents = [{"id": EVIL, "vector": {TERM: 3, "a": 1}}, {"id": "d2", "vector": {"a": 2}}]
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents))
    (tmp_path / "q.jsonl").write_text(json.dumps({"id": EVIL, "vector": {TERM: 2, "a": 1}}) + "\n")
    (tmp_path / "qrels").write_text(f"{EVIL} 0 {EVIL} 1\n")
    (tmp_path / "run").write_text(trec_run({EVIL: [(EVIL, 7)]}))
    arguments = ["index", "docs.jsonl", "-o", "i", "-e", "exact"]
    subprocess.run(
        [sys.executable, "-m", "splade_bridge", *arguments],
        check=True, cwd=tmp_path, capture_output=True, env=environment(),
    )  # fmt: skip
    return tmp_path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}


def on_terminal(folder: Path, *arguments: str) -> bytes:
    """What a terminal gets of both streams."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "splade_bridge", *arguments],
        cwd=folder, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, env=environment(),
    )  # fmt: skip
    os.close(theirs)
    seen = b""
    while True:
        try:
            some = os.read(ours, 1 << 16)
        except OSError:  # the terminal's other end is closed
            break
        if not some:
            break
        seen += some
    os.close(ours)
    assert process.wait(60) == 0, seen
    return seen


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "i", "-q", "q.jsonl", "-o", "-"),
        ("explain", "i", EVIL, EVIL, "-q", "q.jsonl"),
        ("explain", "i", EVIL, EVIL, "-q", "q.jsonl", "--json"),
        ("evaluate", "qrels", "run", "--per-query"),
        ("evaluate", "qrels", "run", "--per-query", "--json"),
    ],
    ids=lambda arguments: arguments[0] + arguments[-1].replace("-", " "),
)
@pytest.mark.sample(1)
def test_results_on_a_terminal(folder: Path, arguments: tuple[str, ...]) -> None:
    seen = on_terminal(folder, *arguments)
    evil = [b"\x1b[2J", b"\x1b]0", "\x9b".encode(), "\u202e".encode()]
    assert [part for part in evil if part in seen] == []
    assert b"[2J" in seen or b"]0;x" in seen, "it is shown"
    if "--json" in arguments:
        told = json.loads(seen[seen.index(b"{") :].decode())  # after warnings
        assert EVIL in (told.get("doc_id"), *told.get("per_query", ()))


def test_a_pipe_gets_the_bytes(
    folder: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    _, out, _ = command_line.run(capfd, "search", "i", "-q", "q.jsonl", "-o", "-")
    assert out.startswith(f"{EVIL} Q0 {EVIL} 1 7 ")
    _, out, _ = command_line.run(capfd, "explain", "i", EVIL, EVIL, "-q", "q.jsonl")
    assert TERM in out


def test_logs_are_escaped_and_others_keep_their_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_to_stderr(verbose=False)
    logging.getLogger("splade_bridge.x").warning("%s: odd", "a\x1b\nb")
    logging.getLogger("elsewhere").warning("two\nlines\x1b")
    assert capsys.readouterr().err == "warning: a\\x1b\\nb: odd\nwarning: two\nlines\\x1b\n"
