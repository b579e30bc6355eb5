"""What is claimed or repeated in an input costs no more than docs/formats.md says."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

from bad_input import made
from ranked import as_pairs, brute_force
from small import MemorySource, batch_of
from splade_bridge.data import doc_ids, id_table
from splade_bridge.data.doc_ids import DocIds, DocIdWriter
from splade_bridge.data.hits import Hits
from splade_bridge.data.id_table import IdTable, write_id_table
from splade_bridge.engines.registry import engine, open_index
from splade_bridge.formats import ciff_messages, ciff_postings
from splade_bridge.formats.queries import read_queries

ROOT = Path(__file__).parents[1]
MIB = 1 << 20
BASE = 200 * MIB
"""What Python, numpy, pyarrow and this program take themselves."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")


def run(tmp_path: Path, most: int, *arguments: object) -> tuple[int, str]:
    """Status and stderr of a command whose peak, above the program's own, is at most ``most``."""
    report = tmp_path / ".peak"
    done = subprocess.run(
        [
            sys.executable, ROOT / "tests" / "limited.py", str(4096 * MIB), report,
            *map(str, arguments),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    peak = int(report.read_text())
    assert peak < BASE + most, f"{(peak - BASE) / MIB:.0f} MiB"
    return done.returncode, done.stderr


def message(content: bytes) -> bytes:
    return ciff_messages.varint(len(content)) + content


def claiming(documents: int, docid: int = 0, lists: int = 1) -> bytes:
    """A CIFF file of one document that says it has ``documents``, one of them in a list."""
    kinds = ciff_messages.messages()
    header = kinds.Header(version=1, num_postings_lists=lists, num_docs=documents)
    postings = kinds.PostingsList(term="alpha", df=1, cf=3, postings=[{"docid": docid, "tf": 3}])
    record = kinds.DocRecord(docid=0, collection_docid="d1", doclength=3)
    return b"".join(message(m.SerializeToString()) for m in (header, postings, record))


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("claim", [2**31 - 1, 2**20])
@pytest.mark.sample(2)
def test_a_header_that_claims_documents(tmp_path: Path, suffix: str, claim: int) -> None:
    pack: dict[str, Callable[[bytes], bytes]] = {
        "": bytes, ".gz": gzip.compress, ".zst": zstandard.compress
    }  # fmt: skip
    file = tmp_path / f"a.ciff{suffix}"
    file.write_bytes(pack[suffix](claiming(claim, claim - 1)))
    status, said = run(
        tmp_path, 64 * MIB, "index", file, "-o", "out", "-e", "exact", "--memory", "1M"
    )
    assert (status, "documents" in said or "cut off" in said) == (4, True)


def test_a_message_that_claims_two_gibibytes(tmp_path: Path) -> None:
    content = claiming(1)
    at = content.index(b"\x0a\x05alpha")
    file = tmp_path / "a.ciff"
    file.write_bytes(content[: at - 1] + ciff_messages.varint(2**31 - 1) + content[at:])
    status, said = run(tmp_path, 64 * MIB, "index", file, "-o", "out", "-e", "exact")
    assert (status, "cut off" in said) == (4, True)


def test_a_long_list_is_decoded_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    gaps = rng.integers(0, 2**20, 5000).astype(np.int32)
    gaps[1:] = np.maximum(gaps[1:], 1)
    tfs = rng.integers(1, 2**31 - 1, 5000).astype(np.int32)
    content = np.frombuffer(ciff_postings.encode_postings(gaps, tfs)[0], np.uint8)
    for chunk in (64, 1000, 1 << 22):
        monkeypatch.setattr(ciff_postings, "DECODE_CHUNK", chunk)
        decoded = ciff_postings.decode_postings(content)
        assert decoded is not None
        assert [column.tolist() for column in decoded] == [gaps.tolist(), tfs.tolist()]
        assert ciff_postings.decode_postings(content[:-1]) is None


# ---------------------------------------------------------------- lines and JSON


BOMBS: dict[str, tuple[bytes, str]] = {
    "blanks": (b" ", "a line of more than 64 MiB"),
    "a string": (b"x", "MiB"),
}


@pytest.mark.sample(1)
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.tsv"])
@pytest.mark.parametrize("what", BOMBS)
def test_a_line_that_unpacks_to_hundreds_of_megabytes(
    tmp_path: Path, suffix: str, name: str, what: str
) -> None:
    byte, says = BOMBS[what]
    file = tmp_path / f"{name}{suffix}"
    start = b"" if what == "blanks" else b'{"id": "'
    if suffix == ".gz":
        with gzip.open(file, "wb", 1) as stream:
            stream.write(start)
            for _ in range(80):
                stream.write(byte * (4 * MIB))
    else:
        file.write_bytes(zstandard.compress(start + byte * (320 * MIB)))
    read = ("search", "index", "-q", file, "-o", "run") if name == "a.tsv" else ("index", file)
    more = () if name == "a.tsv" else ("-o", "out", "-e", "exact")
    made.exact(tmp_path / "index")
    status, said = run(tmp_path, 400 * MIB, *read, *more)
    if what == "blanks" and name != "a.tsv":  # white space, however much, is nothing
        assert status == 4
    else:
        assert (status, says in said) == (4, True), said


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a", "vector": {}, "more": [' + "[],[[]]," * 3_000_000 + "[]]}",
        '{"id": "a", "vector": {"a": 1}, "more": [' + "1," * 6_000_000 + "1]}",
        '{"id": "a", "vector": ' + '{"a":' * 2_000_000,
        "[" * 10_000_000,
    ],
    ids=["lists", "numbers", "deep", "brackets"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_json_of_many_values(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text(line)
    status, said = run(tmp_path, 700 * MIB, "index", name, "-o", "out", "-e", "exact")
    assert (status, "JSON" in said or "values" in said) == (4, True)


@pytest.mark.long
def test_repeated_tokens(tmp_path: Path) -> None:
    made.exact(tmp_path / "index")
    (tmp_path / "q.tsv").write_bytes(b"q1\t" + b"ab " * (40 * MIB))
    search = ("search", "index", "-o", "run", "-q")
    status, said = run(tmp_path, 400 * MIB, *search, "q.tsv")
    assert (status, "q.tsv:1: a line of more than 64 MiB" in said) == (4, True)
    (tmp_path / "q.tsv").write_bytes(b"q1\t" + b"ab " * (20 * MIB) + b"alpha\n")
    assert run(tmp_path, 400 * MIB, *search, "q.tsv")[0] == 0
    line = {"id": "q1", "vector": {"alpha": 200_000_000}}
    (tmp_path / "q.jsonl").write_text(json.dumps(line))
    status, said = run(tmp_path, 64 * MIB, "export", "q.jsonl", "-f", "topics", "-o", "out")
    assert (status, "1,200,000,000 bytes" in said) == (4, True)


def test_tokens_are_counted_alike_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(1)
    words = rng.choices(["a", "bb", "ccc", ""], k=500)
    (tmp_path / "q.tsv").write_text("q\t" + " ".join(words) + "\n")
    expected = {word: words.count(word) for word in ("a", "bb", "ccc")}
    for piece in (1, 2, 7, 100, 1 << 20):
        monkeypatch.setattr("splade_bridge.formats.queries.PIECE", piece)
        queries = read_queries(tmp_path / "q.tsv")
        ids, weights = queries.batch.row(0)
        found = {
            queries.vocabulary[i]: w for i, w in zip(ids.tolist(), weights.tolist(), strict=True)
        }
        assert found == expected


# ---------------------------------------------------------------- ids


def test_one_long_id_among_many_hits(tmp_path: Path) -> None:
    """In fixed width 5,000 hits would take 150 MB, and 2.5 GB on the way."""
    lines = [{"id": f"d{i}", "vector": {"alpha": 1}} for i in range(5000)]
    lines[7]["id"] = "x" * 30_000
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "q.tsv").write_text("q1\talpha\n")
    assert run(tmp_path, 100 * MIB, "index", "docs.jsonl", "-o", "i", "-e", "exact")[0] == 0
    search = ("search", "i", "-q", "q.tsv", "-o", "run", "-k", "10000")
    assert run(tmp_path, 64 * MIB, *search)[0] == 0
    found = [line.split()[2] for line in (tmp_path / "run").read_text().splitlines()]
    assert found == sorted(line["id"] for line in lines)


@pytest.mark.parametrize("free", [0, 1 << 16])
def test_ids_of_any_length_are_ranked_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    monkeypatch.setattr(doc_ids, "PADDED_FREE", free)
    monkeypatch.setattr(doc_ids, "PADDED_MOST", 0 if not free else 8)
    rng = random.Random(2)
    ids = list({"".join(rng.choices("aé\U0001d4b3z", k=rng.randint(1, 9))) for _ in range(300)})
    ids += ["a" * 3000, "a" * 2999 + "z"]
    writer = DocIdWriter(tmp_path)
    writer.add(ids)
    writer.close()
    scores = np.array([rng.randint(1, 5) for _ in ids])
    expected = sorted(zip((-scores).tolist(), ids, strict=True))
    for k in (1, 10, 200, 1000):
        found, best = DocIds(tmp_path).rank(np.arange(len(ids)), scores, k)
        assert list(zip((-best).tolist(), found, strict=True)) == expected[:k]


def test_the_table_of_ids_is_the_same_however_few_are_hashed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"d{i}" for i in range(500)] + ["x" * 20_000, "y" * 30_000, "z"]
    tables = []
    for name, most in (("all", 1 << 22), ("few", 100), ("one", 1)):
        (tmp_path / name).mkdir()
        writer = DocIdWriter(tmp_path / name)
        writer.add(ids)
        writer.close()
        monkeypatch.setattr(id_table, "BYTES_AT_ONCE", most)
        write_id_table(tmp_path / name, 1 << 20)
        assert IdTable(tmp_path / name).find(ids).tolist() == list(range(len(ids)))
        tables.append((tmp_path / name / id_table.ROWS).read_bytes())
    assert tables[0] == tables[1] == tables[2]


# ---------------------------------------------------------------- numbers that are asked for


@pytest.mark.parametrize("k", [2_000_000_000, 10**30])
@pytest.mark.sample(2)
def test_a_k_beyond_any_collection_gives_all(tmp_path: Path, engine_name: str, k: int) -> None:
    documents = np.array([[3, 0], [1, 2], [0, 5]])
    path = tmp_path / "i"
    engine(engine_name).build(MemorySource(documents, ["a", "b", "c"], ["x", "y"]), path)
    query = np.array([2, 1])
    with open_index(path) as searcher:
        found: list[Hits] = list(searcher.search(batch_of(query[None], ["q"]), k))
    assert as_pairs(found[0]) == brute_force(documents, ["a", "b", "c"], query, 3)
