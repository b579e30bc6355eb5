"""``search`` of words: what a person reads, in a pipe and on a terminal, and at a prompt.

The oracles are ``search`` itself, the corpus and the model's own terms.
"""

from __future__ import annotations

import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import splade_bridge as sb
from bad_input import made
from checkpoints import one_thread  # noqa: F401
from command_line import run
from documented import faults
from served import HOSTILE, descendants, is_alive, make_indexes
from small import hear_sigint
from splade_bridge.cli.reading import Paper, Piece
from splade_bridge.cli.schemas import RESULTS
from splade_bridge.engines.registry import engine
from splade_bridge.errors import MissingToolError

pytest.importorskip("torch")

from splade_bridge.cli.prompt import converse
from splade_bridge.server.opening import ServeOptions, opened

TEXT = "the cat is not on his mat"
HIT = re.compile(r"^ *(\d+)  (?:(.*)  )?(\S+)  ([\d,]+)$")
"""Rank, title, id and score."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a random model, a full and a pruned index."""
    return make_indexes(tmp_path_factory.mktemp("reading"), 30, 4)


@pytest.fixture(autouse=True)
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def corpus() -> dict[str, Any]:
    lines = Path("corpus.jsonl").read_text().splitlines()
    return {record["_id"]: record for record in map(json.loads, lines)}


def hits(out: str) -> list[tuple[int, str, str, int]]:
    found = [match for line in out.splitlines() if (match := HIT.match(line))]
    return [(int(m[1]), m[2] or "", m[3], int(m[4].replace(",", ""))) for m in found]


def unmarked(text: str) -> str:
    return re.sub(r"[*_]", "", text)


def test_words_find_what_a_run_of_search_finds(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(
        capfd, "search", "full", TEXT, "-m", "model", "--corpus", "corpus.jsonl", "-k", "30"
    )
    assert status == 0, err
    wanted = sb.search("full", {"q": TEXT}, model="model", k=30)["q"]
    texts, terms = corpus(), sb.terms("model", TEXT, side="query")
    assert [(doc_id, score) for _, _, doc_id, score in hits(out)] == list(wanted.items())
    assert [rank for rank, *_ in hits(out)] == list(range(1, len(wanted) + 1))
    typed = {term.word for term in terms if term.original}
    added = {term.word for term in terms} - typed
    for _, title, doc_id, _ in hits(out):
        assert unmarked(title) == " ".join(texts[doc_id]["title"].split())
    plain = "\n".join(line for line in out.splitlines() if HOSTILE.strip() not in unmarked(line))
    for mark, words in (("*", typed), ("_", added)):
        pieces = "|".join(re.escape(word.removeprefix("##")) for word in words)
        found = re.findall(rf"[{mark}]([^{mark}]+)[{mark}]", plain)
        assert found and all(re.fullmatch(f"(?:{pieces})+", word) for word in found)
    first = out.splitlines()[0]
    told = re.fullmatch(r" +typed: (.*?)(?: and \d+ more)?; added: (.*?)(?: and \d+ more)?", first)
    assert told
    assert {each.rpartition(" ")[0] for each in told[1].split(", ")} <= typed
    assert not {each.rpartition(" ")[0] for each in told[2].split(", ")} & typed
    assert re.search(rf"{len(wanted)} documents; encoded in [\d.]+ ms, found in [\d.]+ ms", err)


def test_without_a_corpus_there_are_ids_and_terms(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capfd, "search", "full", TEXT, "-m", "model")
    assert status == 0, err
    wanted = sb.search("full", {"q": TEXT}, model="model", k=10)["q"]
    assert [(title, doc_id, score) for _, title, doc_id, score in hits(out)] == [
        ("", doc_id, score) for doc_id, score in wanted.items()
    ]
    assert len(out.splitlines()) == 1 + 2 * len(wanted)


def test_lines_of_stdin_are_queries_and_json_is_documented(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags in (["--json"], []):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n\n x42 \n")))
        status, out, err = run(
            capfd, "search", "full", "-", "-m", "model", "--corpus", "corpus.jsonl", "-k", "3",
            *flags,
        )  # fmt: skip
        assert status == 0, err
        wanted = sb.search("full", {"a": "the cat", "b": "x42"}, model="model", k=3)
        if flags:
            told = json.loads(out)
            assert list(faults(told, RESULTS["search WORDS"])) == []
            assert (told["index"], [f["query"] for f in told["found"]]) == (
                "full", ["the cat", "x42"],
            )  # fmt: skip
            for found, ranking in zip(told["found"], wanted.values(), strict=True):
                assert {h["doc_id"]: h["score"] for h in found["hits"]} == ranking
        else:
            lines = out.splitlines()
            assert [line for line in lines if line in ("the cat", "x42")] == ["the cat", "x42"]
            assert len(hits(out)) == 6


def test_a_line_that_is_no_text_is_named(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"the cat\n\xff\n")))
    status, out, err = run(capfd, "search", "full", "-", "-m", "model")
    assert (status, out) == (4, "") and "stdin:2: is not UTF-8" in err
    status, out, err = run(capfd, "search", "full", "a\udcff", "-m", "model")
    assert (status, out) == (2, "") and "not valid Unicode" in err


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        ("full cat -m model --corpus none", 4, "none"),
        ("alien cat -m model", 5, "alien: the queries were encoded with another vocabulary"),
    ],
)
def test_words_that_cannot_be_searched_for(
    capfd: pytest.CaptureFixture[str], command: str, code: int, words: str
) -> None:
    if not Path("alien").exists():
        made.exact(Path("alien"))
    status, out, err = run(capfd, "search", *command.split())
    assert (status, out) == (code, "") and words in err.splitlines()[-1]


class Terminal(io.StringIO):
    """What a terminal would get."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colours_and_nothing_that_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    hostile = "\x1b]0;owned\x07\u202eb [red]x[/red] :cat:"
    paper = Paper()
    paper.line(Piece("cat", "typed", True), Piece(" and "), Piece("feline", "added", True))
    paper.line(Piece(hostile), indent=3)
    paper.line(Piece("word " * 30), indent=5)
    said = terminal.getvalue()
    assert "\x1b[1;36mcat\x1b[0m and \x1b[3;33mfeline\x1b[0m" in said
    assert "\x1b]" not in said and "\x07" not in said and "\u202e" not in said
    assert "\\x1b]0;owned\\x07\\u202eb" in said and "[red]x[/red]" in said and ":cat:" in said
    lines = [line for line in said.splitlines() if "word" in line]
    assert len(lines) > 3 and all(len(line) <= 40 and line[:5] == " " * 5 for line in lines)


def test_a_pipe_gets_marks(capsys: pytest.CaptureFixture[str]) -> None:
    Paper().line(
        Piece("cat", "typed", True), Piece(" or "), Piece("feline", "added", True),
        Piece("x", "typed"), indent=2,
    )  # fmt: skip
    assert capsys.readouterr().out == "  *cat* or _feline_x\n"


# The prompt


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Any]:
    options = ServeOptions((str(folder / "model"),), corpus=str(folder / "corpus.jsonl"))
    with opened([folder / "full"], options) as found:
        yield found


def said(served: Any, capsys: pytest.CaptureFixture[str], *lines: str, k: int = 3) -> list[str]:
    """What is told of lines that are typed, on stdout and then on stderr; an empty one ends it."""
    typed = iter([*lines, ""])
    converse(served, k, lambda: next(typed))
    assert next(typed, None) is None
    out, err = capsys.readouterr()
    return [out, err]


def test_a_prompt_answers_until_an_empty_line(
    served: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = said(served, capsys, "the cat", ":k 2", "x42", ":k")
    wanted = [
        (doc_id, score)
        for query, k in (("the cat", 3), ("x42", 2))
        for doc_id, score in sb.search("full", {"q": query}, model="model", k=k)["q"].items()
    ]
    assert [(doc_id, score) for _, _, doc_id, score in hits(out)] == wanted
    assert err.count("encoded in") == err.count("found in") == 2
    assert err.count("2 documents a query") == 2


def test_a_prompt_explains(served: Any, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = said(served, capsys, "the cat", ":terms", k=1)
    terms = sb.terms("model", "the cat", side="query")
    weights = {t.term: round(t.weight * 100) for t in terms if round(t.weight * 100)}
    shown = [line.split() for line in out.splitlines()[-len(weights) :]]
    assert [int(words[0].replace(",", "")) for words in shown] == sorted(
        weights.values(), reverse=True
    )
    out, _ = said(served, capsys, "the cat", ":explain d3", k=1)
    score = sum(c.score for c in sb.explain("full", "the cat", "d3", model="model"))
    assert out.splitlines()[-1].split() == [f"{score:,}", "in", "sum"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (":explain", "nothing was asked yet"),
        (":terms", "nothing was asked yet"),
        (":k none", "a whole number from 1, not 'none'"),
        (":k 0", "a whole number from 1"),
        (":nonsense", "no command ':nonsense'; :help tells"),
        ("a\udcff", "not valid Unicode"),
        (":help", ":explain ID"),
    ],
)
def test_what_is_wrong_at_a_prompt_is_told_and_it_goes_on(
    served: Any, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    line = f"{line} d3" if line == ":explain" else line
    out, err = said(served, capsys, line, "the cat", ":explain nowhere", ":explain", k=2)
    assert words in err and len(hits(out)) == 2
    assert "no document 'nowhere'" in err and ":explain takes the id" in err


@contextmanager
def typing(*arguments: str) -> Iterator[Any]:
    """The program on a terminal of its own, and what types there and waits for words."""
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()

    def begin() -> None:
        hear_sigint()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "splade_bridge", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=begin,
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200"},
    )  # fmt: skip
    os.close(theirs)

    def talk(line: str, until: str) -> str:
        os.write(ours, line.encode())
        heard, end = "", time.monotonic() + 120
        while until not in heard:
            assert time.monotonic() < end, heard
            if select.select([ours], [], [], 0.2)[0]:
                heard += os.read(ours, 65536).decode(errors="replace")
        return heard.replace("\r\n", "\n")

    talk.process = process  # type: ignore[attr-defined]
    try:
        yield talk
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.long
@pytest.mark.parametrize("name", ["exact", "lucene", "pisa", "qdrant"])
def test_a_prompt_on_a_terminal(folder: Path, tmp_path: Path, name: str) -> None:
    """Over each kind of index: it answers, and Ctrl-C ends it with no child left."""
    place = str(tmp_path / name)
    if name == "qdrant":
        pytest.importorskip("qdrant_edge")
        place = f"qdrant:{tmp_path}/shard"
        sb.index(folder / "vectors", place)
    else:
        try:
            engine(name).check_installed()
        except MissingToolError as error:
            pytest.skip(str(error))
        sb.index(folder / "vectors", place, engine=name)
    wanted = sb.search(place, {"q": "the cat"}, model="model", k=2)["q"]
    command = ("search", place, "-m", "model", "--corpus", "corpus.jsonl", "--interactive")
    with typing(*command, "-k", "2") as talk:
        talk("", "search> ")
        heard = talk("the cat\n", "search> ")
        assert [(d, s) for _, _, d, s in hits(heard)] == list(wanted.items())
        below = descendants(talk.process.pid)
        assert bool(below) == (name in ("lucene", "pisa"))
        time.sleep(1)  # until readline waits: it hears of no signal that came before
        talk("\x03", "\n")
        assert talk.process.wait(60) == 0
        assert [pid for pid in below if is_alive(pid)] == []


@pytest.mark.long
def test_a_prompt_ends_at_ctrl_d_and_at_sigterm(folder: Path) -> None:
    command = ("search", "full", "-m", "model", "--interactive")
    with typing(*command) as talk:
        talk("", "search> ")
        talk("\x04", "\n")
        assert talk.process.wait(60) == 0
    with typing(*command) as talk:
        talk("", "search> ")
        time.sleep(1)  # until readline waits: it hears of no signal that came before
        talk.process.send_signal(signal.SIGTERM)
        assert talk.process.wait(60) == 143
