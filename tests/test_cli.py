"""The command as a user meets it: exit codes, messages, what is left behind, stdin and stdout."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

import command_line
from checkpoints import VOCABULARY, save_checkpoint
from small import hear_sigint

DOCS = (
    '{"id":"d1","vector":{"cat":3,"##s":2}}\n'
    '{"id":"d2","vector":{"cat":1,"dog":5}}\n'
    '{"id":"d3","vector":{"dog":5}}\n'
)
QUERIES = "q1\tcat cat\nq2\tdog\nq3\t\nq4\tbird\n"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with documents, queries and an exact index."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs.jsonl").write_text(DOCS)
    (tmp_path / "queries.tsv").write_text(QUERIES)
    return tmp_path


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; whatever goes wrong, people see no traceback."""
    status, out, err = command_line.run(capfd, *arguments)
    assert "Traceback" not in err
    return status, out, err


@pytest.mark.parametrize("kind", ["jsonl", "ciff", "forward"])
def test_a_clip_of_integers_clips_them_and_nothing_else(
    work: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    (work / "docs.jsonl").write_text('{"id":"d1","vector":{"cat":12,"dog":240,"owl":300}}\n')
    source = {"jsonl": "docs.jsonl", "ciff": "e/index.ciff", "forward": "e/forward"}[kind]
    assert run(capfd, "export", "docs.jsonl", "-o", "e", "-f", "ciff", "-f", "forward")[0] == 0
    status, _, err = run(capfd, "index", source, "--engine", "exact", "-o", "i", "--clip", "255")
    assert status == 0 and "1 impacts were clipped to 255" in err
    (work / "q.tsv").write_text("q1\tcat\nq2\tdog\nq3\towl owl owl\n")
    status, out, _ = run(capfd, "search", "i", "-q", "q.tsv", "-o", "-", "--clip", "2")
    assert status == 0
    assert [line.split()[4] for line in out.splitlines()] == ["12", "240", str(2 * 255)]
    told = orjson.loads((work / "i" / "manifest.json").read_bytes())["quantization"]
    assert (told["scale"], told["clip"], told["clipped"]) == (None, 255, 1)
    assert run(capfd, "inspect", "i")[1].count("scale unknown; 0 dropped to zero, 1 clipped") == 1


def test_a_clip_of_an_export_of_ours_keeps_its_scale(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (work / "floats.jsonl").write_text('{"id":"d1","vector":{"cat":0.12,"dog":2.4,"owl":3}}\n')
    assert run(capfd, "export", "floats.jsonl", "-o", "e", "--scale", "50")[0] == 0
    status, _, err = run(capfd, "index", "e", "-e", "exact", "-o", "i", "--clip", "119", "--json")
    assert status == 0, err
    told = orjson.loads((work / "i" / "manifest.json").read_bytes())
    assert told["counts"]["impact_sum"] == 6 + 119 + 119
    made = told["quantization"]
    assert (made["scale"], made["rounding"], made["clip"], made["clipped"]) == (
        50,
        "nearest",
        119,
        2,
    )


@pytest.mark.sample(1)
def test_index_search_evaluate_from_end_to_end(
    work: Path, capfd: pytest.CaptureFixture[str], engine_name: str
) -> None:
    assert run(capfd, "index", "docs.jsonl", "--engine", engine_name, "-o", "i")[0] == 0
    status, out, err = run(
        capfd, "search", "i", "--queries", "queries.tsv", "-k", "2", "-o", "-", "--latencies", "ms"
    )
    assert status == 0
    assert out.splitlines() == [
        "q1 Q0 d1 1 6 splade-bridge",
        "q1 Q0 d2 2 2 splade-bridge",
        "q2 Q0 d2 1 5 splade-bridge",
        "q2 Q0 d3 2 5 splade-bridge",
    ]
    assert "q3" in err and "q4" in err
    assert [line.split("\t")[0] for line in (work / "ms").read_text().splitlines()] == [
        "q1", "q2", "q3", "q4",
    ]  # fmt: skip
    (work / "run").write_text(out)
    (work / "qrels").write_text("q1 0 d2 1\nq2 0 d3 1\nq4 0 d1 1\n")
    status, out, err = run(
        capfd, "evaluate", "qrels", "run", "-M", "RR@10", "--json", "--per-query"
    )
    assert status == 0
    result = orjson.loads(out)
    # Equal scores stand in descending order of ids for trec_eval, so d3 comes before d2.
    assert result["per_query"] == {"q1": {"RR@10": 0.5}, "q2": {"RR@10": 1.0}, "q4": {"RR@10": 0.0}}
    assert result["measures"] == {"RR@10": 0.5} and result["missing"] == ["q4"]
    status, out, _ = run(capfd, "explain", "i", "q1", "d1", "--queries", "queries.tsv", "--json")
    assert status == 0 and orjson.loads(out)["score"] == 6


def test_formats_lead_from_one_to_the_other(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    formats = ["-f", "jsonvector", "-f", "ciff", "-f", "topics"]
    assert run(capfd, "export", "docs.jsonl", *formats, "--gzip", "-o", "x")[0] == 0
    for source in ("x", "x/jsonvector", "x/index.ciff.gz", "docs.jsonl"):
        target = source.replace("/", "-") + ".i"
        status, out, _ = run(capfd, "index", source, "-e", "exact", "-o", target, "--json")
        assert status == 0
        assert orjson.loads(out)["counts"]["impact_sum"] == 16
        assert run(capfd, "inspect", target)[0] == 0
    indexes = [p.name for p in work.glob("*.i")]
    assert len(indexes) == 4
    assert run(capfd, "verify", *indexes, "--queries", "x/topics.tsv.gz", "-k", "5")[0] == 0
    status, out, _ = run(capfd, "search", "x.i", "-q", "queries.tsv", "-o", "-",
                         "--output-format", "msmarco", "--remove-query")  # fmt: skip
    assert (status, out) == (0, "q1\td1\t1\nq1\td2\t2\nq2\td2\t1\nq2\td3\t2\n")


@pytest.mark.parametrize(
    ("content", "place", "what"),
    [
        (DOCS + "[1, 2]\n", "bad.jsonl:4", "object"),
        (DOCS + '{"id":"d4","vector"\n', "bad.jsonl:4", "JSON"),
        (DOCS + '{"id":"d1","vector":{}}\n', "bad.jsonl:4", "'d1' was there before"),
        (DOCS + '{"id":"d4"}\n', "bad.jsonl:4", "vector"),
        (DOCS + '{"vector":{}}\n', "bad.jsonl:4", "no field id"),
        (DOCS + '{"id":"d4","vector":{"a":0.5}}\n', "bad.jsonl:4", "--scale"),
        (DOCS + '{"id":"d4","vector":{"a":-1}}\n', "bad.jsonl:4", "-1"),
        ("", "bad.jsonl", "no documents"),
    ],
)
@pytest.mark.sample(10)
def test_bad_vectors_name_the_line_and_leave_nothing(
    work: Path,
    capfd: pytest.CaptureFixture[str],
    engine_name: str,
    content: str,
    place: str,
    what: str,
) -> None:
    (work / "bad.jsonl").write_text(content)
    before = set(work.iterdir())
    status, _, err = run(capfd, "index", "bad.jsonl", "--engine", engine_name, "-o", "i")
    assert status == 4
    assert place in err and what in err
    assert set(work.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["index", "docs.jsonl", "--engine", "anserini", "-o", "i"], 2, "'pisa', 'exact'"),
        (["index", "docs.jsonl", "-e", "exact", "-o", "queries.tsv"], 2, "only a folder is"),
        (["index", "docs.jsonl", "-e", "exact", "-o", "i", "--memory", "much"], 2, "500M"),
        (["index", "docs.jsonl", "-e", "exact", "-o", "i", "--from", "csv"], 2, "jsonvector"),
        (["index", "docs.jsonl", "-e", "exact"], 2, "-o"),
        (["index", "absent.jsonl", "-e", "exact", "-o", "i"], 4, "absent.jsonl"),
        (["search", "absent", "-q", "queries.tsv", "-o", "r"], 4, "absent"),
        (["search", ".", "-q", "queries.tsv", "-o", "r"], 4, "manifest.json"),
        (["search", "good", "-q", "absent.tsv", "-o", "r"], 4, "absent.tsv"),
        (["search", "good", "-q", "queries.tsv", "-o", "r", "--algorithm", "x"], 2, "exhaustive"),
        (["search", "good", "-q", "queries.tsv", "-o", "r", "-k", "0"], 2, "k"),
        (["search", "good", "-q", "queries.tsv", "-o", "r", "--output-format", "x"], 2, "msmarco"),
        (["search", "good", "-q", "other.tsv", "-o", "r"], 5, "vocabularies"),
        (["search", "good", "-q", "docs.jsonl", "-m", "no/such-model", "-o", "r"], 4, "no"),
        (["encode", "texts.jsonl", "-m", "./absent", "-o", "v"], 4, "absent"),
        (["encode", "docs.jsonl", "-m", "model", "-o", "v"], 4, "docs.jsonl:1"),
        (["encode", "array.jsonl", "-m", "model", "-o", "v"], 4, "array.jsonl:2"),
        (["encode", "twice.jsonl", "-m", "model", "-o", "v"], 4, "twice.jsonl:2"),
        (["evaluate", "queries.tsv", "docs.jsonl"], 4, "queries.tsv:1"),
        (["evaluate", "qrels", "empty", "-M", "nDCG@10"], 4, "empty by qrels: the run is empty"),
        (["evaluate", "qrels", "run", "-M", "speed"], 2, "nDCG@10"),
        (["verify", "good", "-q", "queries.tsv"], 2, "two"),
        (["verify", "good", "other", "-q", "queries.tsv"], 7, "query q1, rank 1"),
        (["explain", "good", "q9", "d1", "-q", "queries.tsv"], 4, "q9"),
        (["explain", "good", "q1", "d9", "-q", "queries.tsv"], 4, "d9"),
        (["inspect", "nothing"], 4, "nothing: no such file or folder"),
        (["export", "docs.jsonl", "-f", "avro", "-o", "x"], 2, "ciff"),
        (["nonsense"], 2, "nonsense"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
@pytest.mark.sample(12)
def test_mistakes_get_their_message_and_exit_code(
    work: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, what: str
) -> None:
    (work / "other.jsonl").write_text(DOCS.replace('"cat":3', '"cat":4'))
    (work / "other.tsv").write_text("q1\tnothing known\n")
    (work / "texts.jsonl").write_text('{"id":"a","text":"one"}\n')
    (work / "array.jsonl").write_text('{"id":"a","text":"one"}\n["b","two"]\n')
    (work / "twice.jsonl").write_text('{"id":"a","text":"one"}\n{"id":"a","text":"two"}\n')
    (work / "qrels").write_text("q1 0 d1 1\n")
    (work / "run").write_text("q1 Q0 d1 1 5 x\n")
    (work / "empty").write_text("")
    if arguments[0] == "encode" or "no/such-model" in arguments:
        pytest.importorskip("torch")
    if "model" in arguments:
        save_checkpoint(work / "model")
    for name in ("good", "other"):
        source = "docs.jsonl" if name == "good" else "other.jsonl"
        assert run(capfd, "index", source, "-e", "exact", "-o", name)[0] == 0
    before = set(work.rglob("*"))
    found, out, err = run(capfd, *arguments)
    assert (found, what in err) == (status, True), err
    assert out == ""
    assert set(work.rglob("*")) == before


def test_missing_java_is_exit_code_3(
    work: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, lucene: None
) -> None:
    monkeypatch.setenv("SPLADE_BRIDGE_JAVA", "/nowhere/java")
    status, _, err = run(capfd, "index", "docs.jsonl", "-e", "lucene", "-o", "i")
    assert status == 3 and "pip install" in err
    status, out, _ = run(capfd, "doctor", "--json")
    assert status == 3
    findings = orjson.loads(out)["findings"]
    assert [f["found"] for f in findings if f["name"] == "Java >= 21"] == [None]


def test_queries_of_another_vocabulary_are_refused(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (work / "texts.jsonl").write_text('{"id":"a","text":"the cat"}\n{"id":"b","text":"a dog"}\n')
    save_checkpoint(work / "model")
    wide = [*VOCABULARY, "zebra"]
    save_checkpoint(work / "wider", width=len(wide), vocabulary=wide)
    for name, model, side in (("v", "model", "document"), ("q", "wider", "query")):
        arguments = ["encode", "texts.jsonl", "-m", model, "--side", side, "-o", name]
        status, _, err = run(capfd, *arguments)
        assert status == 0, err
    assert run(capfd, "index", "v", "-e", "exact", "-o", "i")[0] == 0
    for queries in (["-q", "q"], ["-q", "texts.jsonl", "-m", "wider"]):
        status, _, err = run(capfd, "search", "i", *queries, "-o", "r")
        assert status == 5 and "vocabulary" in err
        assert not (work / "r").exists()
    assert run(capfd, "search", "i", "-q", "texts.jsonl", "-m", "model", "-o", "r")[0] == 0


def test_ctrl_c_is_exit_code_130_and_leaves_nothing(work: Path) -> None:
    (work / "many.jsonl").write_text(
        "".join(f'{{"id":"d{i}","vector":{{"t{i % 99}":3}}}}\n' for i in range(200_000))
    )
    before = set(work.iterdir())
    for _ in range(5):  # on a busy machine it may be through before we look
        process = subprocess.Popen(
            [sys.executable, "-m", "splade_bridge", "index", "many.jsonl", "-e", "exact", "-o", "i",
             "--overwrite"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=hear_sigint,
        )  # fmt: skip
        while process.poll() is None and not (work / ".i.partial").exists():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
        if process.returncode:
            break
        shutil.rmtree(work / "i")
    # Where Ctrl-C met Python code that an extension runs (an import, say), Python ends itself with
    # the signal after our message and our exit code; a shell calls that 130, too.
    assert process.returncode in (130, -signal.SIGINT), err
    assert "interrupted" in err and "Traceback" not in err
    assert set(work.iterdir()) == before


def test_a_reader_that_goes_away_is_no_error(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "index", "docs.jsonl", "-e", "exact", "-o", "i")[0] == 0
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "splade_bridge", "search", "i", "-q", "queries.tsv", "-o", "-"],
        stdout=write, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_exit_code_6(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(capfd, "index", "docs.jsonl", "-e", "exact", "-o", "i")[0] == 0
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "splade_bridge", "search", "i", "-q", "queries.tsv", "-o", "-"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 6, done.stderr
    assert "No space left" in done.stderr


def test_contents_come_from_the_corpus_that_was_encoded(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (work / "texts.jsonl").write_text('{"id":"a","text":"the cat"}\n{"id":"b","text":""}\n')
    save_checkpoint(work / "model")
    status, _, err = run(
        capfd, "export", "texts.jsonl", "-m", "model", "--with-contents", "texts.jsonl", "-o", "x"
    )
    assert status == 0, err
    lines = (work / "x" / "jsonvector" / "part-00000.jsonl").read_text().splitlines()
    records = [orjson.loads(line) for line in lines]
    assert [(r["id"], r["contents"]) for r in records] == [("a", "the cat"), ("b", "")]
    assert records[0]["vector"] and not records[1]["vector"]
    (work / "fewer.jsonl").write_text('{"id":"a","text":"the cat"}\n')
    for changed in ("fewer.jsonl", "docs.jsonl"):
        status, _, err = run(
            capfd, "export", "x", "--with-contents", changed, "-o", "y", "-f", "jsonvector"
        )
        assert status == 4, err
        assert not (work / "y").exists()
