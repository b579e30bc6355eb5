"""``splade-bridge prune`` as a user meets it: each kind of source to the same kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest

from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import EncodingInfo, Manifest
from splade_bridge.data.store import VectorStore, write_store
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.formats.queries import read_queries
from strategies import as_dictionaries
from test_cli import run

DOCS = [
    ("d1", {"cat": 3, "##s": 2, ".": 9}),
    ("d2", {"cat": 1, "dog": 5, "eel": 5}),
    ("d3", {"dog": 5}),
    ("d4", {}),
]
TOP_2 = [("d1", {".": 9, "cat": 3}), ("d2", {"dog": 5, "eel": 5}), ("d3", {"dog": 5}), ("d4", {})]
TOP_2_BOUND_5 = [
    ("d1", {".": 9}), ("d2", {"dog": 5, "eel": 5}), ("d3", {"dog": 5}), ("d4", {}),
]  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with documents as JSON lines and as a vector store, and queries."""
    monkeypatch.chdir(tmp_path)
    lines = [orjson.dumps({"id": i, "vector": vector}) + b"\n" for i, vector in DOCS]
    (tmp_path / "docs.jsonl").write_bytes(b"".join(lines))
    (tmp_path / "queries.tsv").write_text("q1\tcat cat dog . . .\nq2\tdog\nq3\t\n")
    save_store(tmp_path / "vectors", None)
    return tmp_path


def save_store(folder: Path, encoding: EncodingInfo | None) -> None:
    """The documents with a hundredth of their impacts as weights."""
    vocabulary = Vocabulary(["##s", ".", "cat", "dog", "eel"])
    rows = [sorted((vocabulary.get(t) or 0, v / 100) for t, v in row.items()) for _, row in DOCS]
    batch = SparseBatch(
        [i for i, _ in DOCS],
        row_pointers([len(row) for row in rows]),
        np.array([t for row in rows for t, _ in row], np.int32),
        np.array([v for row in rows for _, v in row], np.float32),
    )
    with write_store(folder, vocabulary, {}) as writer:
        writer.add(batch)
        writer.finish(encoding, {"corpus": "docs"})


def impacts_of(path: str | Path) -> list[tuple[str, dict]]:
    source = open_source(Path(path))
    return as_dictionaries(list(source.batches()), source.vocabulary)


def weights_of(path: Path) -> list[tuple[str, dict]]:
    """Rounded to impacts x 100."""
    store = VectorStore(path)
    return [
        (
            doc_id,
            {
                store.vocabulary[int(t)]: round(float(w) * 100)
                for t, w in zip(
                    batch.indices[batch.indptr[i] : batch.indptr[i + 1]],
                    batch.weights[batch.indptr[i] : batch.indptr[i + 1]],
                    strict=True,
                )
            },
        )
        for batch in store.batches()
        for i, doc_id in enumerate(batch.ids)
    ]


def test_json_lines_become_an_export_and_keep_their_history(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(
        capfd, "prune", "docs.jsonl", "-o", "p", "--method", "top-k", "--value", "2"
    )
    assert (status, out) == (0, "")
    assert "values are impacts" in err and "7 -> 5 postings" in err
    assert impacts_of("p") == impacts_of("p/jsonvector") == TOP_2
    status, out, _ = run(
        capfd, "prune", "p", "-o", "pp", "--method", "threshold", "--value", "5", "--gzip", "--json"
    )
    assert status == 0 and impacts_of("pp") == TOP_2_BOUND_5
    manifest = Manifest.load(work / "pp")
    assert [(s["method"], s["value"]) for s in manifest.pruning] == [("top-k", 2), ("threshold", 5)]
    assert orjson.loads(out)["pruning"] == manifest.pruning[1:]
    assert manifest.counts.postings == 4 and manifest.counts.empty == 1
    assert [f.path for f in manifest.files] == ["jsonvector/part-00000.jsonl.gz"]
    assert manifest.parents == [
        {"path": "jsonvector", "files": [f.sha256 for f in Manifest.load(work / "p").files]}
    ]


def test_several_steps_in_one_command_are_the_same_as_one_after_the_other(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = ["--method", "top-k", "--value", "2", "--method", "threshold", "--value", "5"]
    assert run(capfd, "prune", "docs.jsonl", "-o", "p", *steps)[0] == 0
    assert impacts_of("p") == TOP_2_BOUND_5


def test_a_vector_store_stays_one_and_is_pruned_by_weights(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = ["--method", "top-k", "--value", "2", "--method", "threshold", "--value", "0.05"]
    status, _, err = run(capfd, "prune", "vectors", "-o", "p", *steps)
    assert status == 0 and "values are weights" in err
    assert weights_of(work / "p") == TOP_2_BOUND_5
    before, after = Manifest.load(work / "vectors"), Manifest.load(work / "p")
    assert after.kind == "vectors" and after.vocabulary == before.vocabulary
    assert [s["unit"] for s in after.pruning] == ["weight", "weight"]
    assert after.parents == [{"path": "vectors", "files": [f.sha256 for f in before.files]}]
    assert after.options["corpus"] == "docs"
    again = ["--method", "max-share", "--value", "1", "--min-terms", "0"]
    assert run(capfd, "prune", "p", "-o", "p", *again, "--overwrite")[0] == 2  # it is read, too
    assert run(capfd, "prune", "p", "-o", "p2", *again)[0] == 0
    assert run(capfd, "prune", "p", "-o", "p2", *again)[0] == 2
    assert run(capfd, "prune", "p", "-o", "p2", *again, "--overwrite")[0] == 0
    assert len(Manifest.load(work / "p2").pruning) == 3
    assert impacts_of("p2") == TOP_2_BOUND_5


def test_ciff_stays_ciff_and_an_export_keeps_its_formats(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run(capfd, "export", "docs.jsonl", "-f", "jsonvector", "-f", "ciff", "-o", "x")
    step = ["--method", "list-cap", "--value", "1", "--min-terms", "0"]
    capped = [("d1", {"cat": 3, "##s": 2, ".": 9}), ("d2", {"dog": 5, "eel": 5}), ("d3", {}),
              ("d4", {})]  # fmt: skip
    assert run(capfd, "prune", "x", "-o", "both", *step)[0] == 0
    assert impacts_of("both/jsonvector") == impacts_of("both/index.ciff") == capped
    assert run(capfd, "prune", "x/index.ciff", "-o", "one", *step)[0] == 0
    assert impacts_of("one") == capped
    assert [f.path for f in Manifest.load(work / "one").files] == ["index.ciff"]
    assert Manifest.load(work / "one").pruning[0]["rows_emptied"] == 1


def test_min_terms_gives_back_what_would_be_empty(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    step = ["--method", "threshold", "--value", "6", "--json"]
    status, out, _ = run(capfd, "prune", "docs.jsonl", "-o", "p", *step)
    assert status == 0
    assert impacts_of("p") == [("d1", {".": 9}), ("d2", {"dog": 5}), ("d3", {"dog": 5}), ("d4", {})]
    (entry,) = orjson.loads(out)["pruning"]
    assert (entry["postings_restored"], entry["rows_emptied"]) == (2, 0)


def test_queries_stay_topics(work: Path, capfd: pytest.CaptureFixture[str]) -> None:
    step = ["--method", "top-k", "--value", "1", "--side", "query"]
    assert run(capfd, "prune", "queries.tsv", "-o", "q", *step)[0] == 0
    assert (work / "q" / "topics.tsv").read_text() == "q1\t. . .\nq2\tdog\nq3\t\n"
    assert run(capfd, "prune", "q", "-o", "qq", *step)[0] == 0
    assert [s["side"] for s in Manifest.load(work / "qq").pruning] == ["query", "query"]
    assert run(capfd, "prune", "docs.jsonl", "-o", "j", *step)[0] == 0
    queries = read_queries(work / "j" / "jsonvector")
    assert as_dictionaries([queries.batch], queries.vocabulary)[0] == ("d1", {".": 9})
    assert run(capfd, "prune", "j", "-o", "jj", *step)[0] == 0


def test_a_side_that_the_manifest_denies_is_refused(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save_store(work / "q", EncodingInfo("m", None, "0" * 64, "query", "max", 256, "float32"))
    step = ["--method", "top-k", "--value", "1"]
    status, _, err = run(capfd, "prune", "q", "-o", "p", *step, "--side", "document")
    assert status == 5 and "query side" in err and not (work / "p").exists()
    assert run(capfd, "prune", "q", "-o", "p", *step)[0] == 0
    assert Manifest.load(work / "p").pruning[0]["side"] == "query"


def test_float_weights_in_files_need_a_scale_and_are_pruned_after_it(
    work: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (work / "floats.jsonl").write_text('{"id":"d1","vector":{"a":0.5,"b":0.3,"c":0.001}}\n')
    step = ["-o", "p", "--method", "threshold", "--value", "31"]
    status, _, err = run(capfd, "prune", "floats.jsonl", *step)
    assert status == 4 and "--scale" in err
    status, _, err = run(capfd, "prune", "floats.jsonl", *step, "--scale", "100")
    assert status == 0 and "2 -> 1" in err
    assert impacts_of("p") == [("d1", {"a": 50})]
    assert Manifest.load(work / "p").quantization.scale == 100


@pytest.mark.parametrize(
    ("arguments", "status", "what"),
    [
        (["--method", "nope", "--value", "1"], 2, "'top-k', 'threshold'"),
        (["--method", "top-k", "--value", "0"], 2, "1 or more"),
        (["--method", "top-k", "--value", "nan"], 2, "not a number"),
        (["--method", "top-k"], 2, "--value"),
        (["--method", "top-k", "--value", "1", "--value", "2"], 2, "pairs"),
        (["--method", "threshold", "--value", "0.5"], 2, "x 100 it is 50"),
        (["--method", "max-share", "--value", "1.5"], 2, "at most 1"),
        (["--method", "postings", "--value", "1"], 2, "--min-terms 1 alone keeps 3 of 7"),
        (["--method", "bytes", "--value", "5"], 2, "--min-terms 1 alone keeps"),
        (["--method", "drop-terms", "--value", "absent.txt"], 4, "absent.txt"),
        (["--method", "drop-terms", "--value", "@all"], 2, "@english"),
        (["--method", "top-k", "--value", "1", "--side", "both"], 2, "'document', 'query'"),
        (["--method", "top-k", "--value", "1", "--from", "csv"], 2, "jsonvector"),
        (["--method", "top-k", "--value", "1", "--min-terms", "-1"], 2, "--min-terms"),
        (["--method", "threshold", "--value", "99", "--min-terms", "0"], 4, "has a term"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(
    work: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], status: int, what: str
) -> None:
    before = set(work.iterdir())
    got, _, err = run(capfd, "prune", "docs.jsonl", "-o", "p", *arguments)
    assert got == status
    assert what in err
    assert set(work.iterdir()) == before


@pytest.mark.parametrize(
    ("source", "status", "what"),
    [
        ("absent", 4, "no such file"),
        ("queries.tsv", 4, "jsonvector"),
        ("vectors/part-00000.parquet", 4, "holds float weights; give --scale"),
        ("empty", 4, "empty"),
    ],
)
def test_sources_that_cannot_be_pruned_are_refused(
    work: Path, capfd: pytest.CaptureFixture[str], source: str, status: int, what: str
) -> None:
    if source == "empty":
        with write_store(work / "empty", Vocabulary(["a"]), {}) as writer:
            none = np.empty(0, np.int32)
            writer.add(SparseBatch(["d"], np.zeros(2, np.int64), none, none.astype(np.float32)))
            writer.finish()
    step = ["--method", "top-k", "--value", "1", "--side", "document"]
    got, _, err = run(capfd, "prune", source, "-o", "p", *step)
    assert got == status
    assert what in err
    assert not (work / "p").exists()
