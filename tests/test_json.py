"""``--json`` is an interface: every command prints what docs/json.md says, errors included."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

import command_line
from checkpoints import one_thread, save_checkpoint, save_dense  # noqa: F401
from documented import ROOT, TABLES, faults
from splade_bridge.cli.schemas import RESULTS, Error


def test_a_wrong_object_is_noticed() -> None:
    good = {"equal": True, "queries": 1, "results": 2, "differing": {"i": 0}, "differences": [],
            "recall": {}}  # fmt: skip
    assert list(faults(good, RESULTS["verify"])) == []
    changes: list[dict[str, Any]] = [{"equal": 1}, {"queries": True}, {"differing": {"i": "0"}}]
    for change in [*changes, {"new": 1}, {"differences": [{}]}]:
        assert list(faults(good | change, RESULTS["verify"]))
    assert list(faults({k: v for k, v in good.items() if k != "results"}, RESULTS["verify"]))


DOCS = "".join(f'{{"id":"d{i}","text":"the cat is on {w}"}}\n' for i, w in enumerate("abcdefgh"))
SPEC = """
title = "small"
baseline = "full"
[data]
documents = "v"
queries = "qv"
qrels = "qrels"
measures = ["nDCG@10"]
depth = 10
[engines]
exact = []
[bench]
ks = [2]
repeat = 1
queries = 2
[[variant]]
name = "full"
[[variant]]
name = "less"
prune_documents = [{ method = "top-k", value = 3 }]
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that the commands below read."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "texts.jsonl").write_text(DOCS)
    (folder / "questions.tsv").write_text("q1\tthe cat\nq2\ta\n")
    (folder / "qrels").write_text("q1 0 d1 1\nq2 0 d0 1\n")
    (folder / "spec.toml").write_text(SPEC)
    (folder / "toy" / "qrels").mkdir(parents=True)
    (folder / "toy" / "corpus.jsonl").write_text(DOCS)
    (folder / "toy" / "queries.jsonl").write_text('{"_id": "q1", "text": "the cat"}\n')
    (folder / "toy" / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    save_checkpoint(folder / "model")
    return folder


@pytest.fixture(scope="module")
def dense_model(work: Path) -> Path:
    """The same for dense vectors."""
    return save_dense(work / "dense-model")


COMMANDS: list[tuple[str, str]] = [
    ("encode", "texts.jsonl -m model -o v"),
    ("encode", "questions.tsv -m model --side query -o qv"),
    ("encode", "texts.jsonl -m model -o s0 --shard 0/1"),
    ("merge", "s0 -o merged"),
    ("inspect", "v"),
    ("export", "v -o x -f jsonvector -f forward"),
    ("convert", "x c --to hf"),
    ("export", "questions.tsv -m model --side query -o qx"),
    ("index", "v -e exact -o i"),
    ("index", "x -e exact -o i2"),
    ("inspect", "i"),
    ("inspect", "x"),
    ("inspect", "x/forward --quick"),
    ("inspect", "s0"),
    ("inspect", "model"),
    ("inspect", "qrels"),
    ("inspect", "questions.tsv"),
    ("inspect", "texts.jsonl"),
    ("search", "i -q qv -o run -k 3"),
    ("search", "i -q questions.tsv -m model -o run2 --two-step x/forward --exact-run run"),
    ("search WORDS", "i cat -m model --corpus texts.jsonl -k 3"),
    ("fuse", "run run2 -o fused"),
    ("fuse", "run run2 -o fused2 --fusion combsum --tune nDCG@10 --qrels qrels --folds 2"),
    ("fuse", "run run2 -o q.json --as-query milvus --query-field sparse:v --query-field text:t"),
    ("rerank", "run -m model --scorer sparse --corpus texts.jsonl -q questions.tsv -o reranked"),
    ("evaluate", "qrels run -M nDCG@10 -M AP"),
    ("evaluate", "qrels run --per-query"),
    ("inspect", "run"),
    ("verify", "i i2 -q qv"),
    ("bench", "i -q questions.tsv -m model -k 2 --repeat 1 -o bench.csv --threads 1"),
    ("bench", "i -q qv -k 2 --repeat 1 --two-step x/forward --frontier bench.svg"),
    ("explain", "i q1 d1 -q qv"),
    ("terms", "model cat --side query --top 3"),
    ("terms", "i --id d1"),
    ("prune", "v -o pruned --method top-k --value 2"),
    ("prune", "x -o pruned2 --method threshold --value 2 --method postings --value 90%"),
    ("quantize-study", "v -q qv --qrels qrels --scale 10 -o study.csv"),
    ("compare", "spec.toml -o compared"),
    ("inspect", "compared"),
    ("beir", "toy -m model -o measured"),
    ("train --list", "--list"),
    ("help", ""),
    ("help PAGE", "errors"),
]


def printed(
    capfd: pytest.CaptureFixture[str], command: str, *arguments: str, status: int = 0
) -> Any:
    """The object that a command prints."""
    found, out, err = command_line.run(capfd, *command.split()[:1], *arguments, "--json")
    assert found == status, err
    return orjson.loads(out)


def test_every_command_prints_what_is_documented(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    for command, arguments in COMMANDS:
        content = printed(capfd, command, *arguments.split())
        assert list(faults(content, RESULTS[command], command)) == []
        if " -o " in arguments:
            written = arguments.split()[arguments.split().index("-o") + 1]
            assert content["output"] == written and Path(written).exists()
    assert (work / "qx" / "topics.tsv").read_text().startswith("q1\t")  # what queries become


def test_dense_vectors(
    work: Path,
    dense_model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.chdir(work)
    for command, arguments in (
        ("dense", "texts.jsonl -m dense-model -o dense"),
        ("inspect", "dense"),
        ("search", "dense -q questions.tsv -m dense-model -o dense-run -k 3"),
    ):
        content = printed(capfd, command, *arguments.split())
        assert list(faults(content, RESULTS[command], command)) == []


def test_what_is_installed(capfd: pytest.CaptureFixture[str]) -> None:
    status, out, err = command_line.run(capfd, "doctor", "--json")
    assert status in (0, 3), err
    assert list(faults(orjson.loads(out), RESULTS["doctor"])) == []


def test_the_bm25_baseline(
    work: Path, lucene: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    content = printed(capfd, "bm25", "texts.jsonl", "-q", "questions.tsv", "-o", "bm25")
    assert list(faults(content, RESULTS["bm25"])) == []
    assert content["counts"]["documents"] == 8


def test_all_commands_are_documented_and_their_keys_mean_one_thing() -> None:
    assert set(RESULTS) == {
        *dict(TABLES["commands"]()),
        "train --list",
        "verify --probe",
        "help PAGE",
        "search WORDS",
    }
    kinds: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for command, result in RESULTS.items():
        for key, hint, meaning, _ in TABLES["keys"](result):
            assert meaning, (command, key)
            if not command.startswith("train "):  # stages have accounts of their own
                shown = TABLES["type_name"](hint, {}).removesuffix(" or null")
                kinds[key][shown].append(command)
    assert {key: dict(told) for key, told in kinds.items() if len(told) > 1} == {}
    for command in ("train recipe", "train mine", "train score", "train mlm"):
        assert "output" in {key for key, *_ in TABLES["keys"](RESULTS[command])}


def test_the_page_is_made_from_the_code_and_leaves_nothing_unsaid() -> None:
    page = TABLES["json_page"]()
    assert (ROOT / "docs" / "json.md").read_text() == page, "run scripts/docs"
    assert "|  |" not in page


@pytest.mark.parametrize(
    ("arguments", "status", "kind", "place", "what"),
    [
        ("index absent -e exact -o i", 4, "BadInputError", "absent", "no such file"),
        ("index bad.jsonl -e exact -o i", 4, "BadInputError", "bad.jsonl:2", "JSON"),
        ("index bad.jsonl -e none -o i", 2, "UsageError", None, "exact"),
        ("index bad.jsonl -e exact", 2, "UsageError", None, "--output"),
        ("index bad.jsonl -e exact -o .", 2, "UsageError", None, "contains"),
        ("index bad.jsonl -e exact -o i --nonsense", 2, "UsageError", None, "--nonsense"),
        ("nonsense", 2, "UsageError", None, "nonsense"),
        ("search i -q q -o -", 2, "UsageError", None, "both write to stdout"),
        ("train no-such-recipe -o o", 4, "BadInputError", None, "splade-max"),
        ("train mine -q q --qrels r -o o --choice x", 2, "UsageError", None, "--choice"),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_errors_are_an_object_on_stderr(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: str,
    status: int,
    kind: str,
    place: str | None,
    what: str,
    before: bool,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"id":"a","vector":{"x":1}}\n{"id":\n')
    (tmp_path / "q").write_text("q")
    line = ["--json", *arguments.split()] if before else [*arguments.split(), "--json"]
    found, out, err = command_line.run(capfd, *line)
    told = orjson.loads(err.splitlines()[-1])
    assert list(faults(told, Error)) == []
    error = told["error"]
    assert (found, error["exit_code"], error["type"]) == (status, status, kind), error
    assert error["place"] == place or (place is None and kind == "BadInputError"), error
    assert what in error["message"] and out == ""


def test_warnings_stand_before_the_error_and_a_failed_check_still_prints(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, impact in (("a", 3), ("b", 4)):
        lines = f'{{"id":"d1","vector":{{"x":{impact}}}}}\n{{"id":"d2","vector":{{}}}}\n'
        (tmp_path / f"{name}.jsonl").write_text(lines)
        found, out, err = command_line.run(
            capfd, "--json", "index", f"{name}.jsonl", "-e", "exact", "-o", name
        )
        assert found == 0 and "warning" in err and orjson.loads(out)["output"] == name
    (tmp_path / "q.tsv").write_text("q1\tx\nq2\t\n")
    found, out, err = command_line.run(capfd, "verify", "a", "b", "-q", "q.tsv", "--json")
    assert found == 7
    assert list(faults(orjson.loads(out), RESULTS["verify"])) == []
    first, *_, last = err.splitlines()
    assert first.startswith("warning: ")
    assert orjson.loads(last)["error"]["type"] == "CheckFailedError"


def test_verbose_is_understood_after_the_command_too(
    work: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text('{"id":"d1","vector":{"x":3}}\n')
    (tmp_path / "q.tsv").write_text("q1\tx unknown\n")
    assert command_line.run(capfd, "index", "d.jsonl", "-e", "exact", "-o", "i")[0] == 0
    said = []
    for line in (["search"], ["-v", "search"], ["search", "-v"], ["search", "--verbose"]):
        more = ["i", "-q", "q.tsv", "-o", "r", "--overwrite"]
        status, _, err = command_line.run(capfd, *line, *more)
        assert status == 0
        said.append("info: q.tsv: 1 query terms are in no document" in err)
    assert said == [False, True, True, True]


def test_the_old_letter_of_measures_is_understood_with_a_note(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "qrels").write_text("q1 0 d1 1\n")
    (tmp_path / "run").write_text("q1 Q0 d1 1 5 x\n")
    new = command_line.run(capfd, "evaluate", "qrels", "run", "-M", "RR@1", "-M", "AP")
    old = command_line.run(capfd, "evaluate", "qrels", "run", "-m", "RR@1", "-m", "AP")
    assert new[:2] == old[:2] and new[1].count("1.0000") == 2
    assert new[2] == "" and old[2].count("\n") == 1 and "-M" in old[2]


def test_help_answers_without_what_is_heavy() -> None:
    """``scripts/docs`` may need numpy; commands do not, see test_architecture."""
    code = "import sys, splade_bridge.cli.app; print('splade_bridge.cli.schemas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
