"""Inputs: pipes are read once or refused, files stay as they are, folders are read whole."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

import command_line
from bad_input import made
from splade_bridge.conversion.detect import open_source, path_opener
from splade_bridge.encoding.parts import files_content
from splade_bridge.engines.jars import users_anserini
from splade_bridge.engines.java import environment, java_command
from splade_bridge.engines.lucene_index import LuceneIndex, Query
from splade_bridge.errors import BadInputError
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.files.inputs import all_files, steady
from splade_bridge.files.lines import text_lines
from splade_bridge.formats.ciff import CiffSource
from splade_bridge.formats.jsonvector import JsonVectorSource
from splade_bridge.formats.queries import read_queries
from splade_bridge.pruning.terms import DropTerms
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import CorpusOptions, read_texts
from strategies import as_dictionaries

ROOT = Path(__file__).parents[1]
ROWS = 20_000
"""So many lines that a file is longer than any block it is read by."""


def shell(command: str, folder: Path, *, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A line of bash, with ``bridge`` for the program."""
    program = f'bridge() {{ {sys.executable} -m splade_bridge "$@"; }}; '
    return subprocess.run(
        ["bash", "-c", program + command],
        cwd=folder,
        input=given,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


# ---------------------------------------------------------------- pipes


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("index <(zcat docs.jsonl.gz) --from jsonvector -o out -e exact", "is a pipe"),
        ("index <(cat docs.jsonl.gz) -o out -e exact", "is a pipe"),
        ("export <(zcat docs.jsonl.gz) --from jsonvector -o out", "is a pipe"),
        ("prune <(zcat docs.jsonl.gz) -o out --method top-k --value 1", "is a pipe"),
        ("encode <(zcat docs.jsonl.gz) -m model -o out", "- read JSON lines from stdin"),
        ("evaluate - -", "stdin: was read already"),
    ],
)  # fmt: skip
@pytest.mark.sample(2)
def test_what_is_read_twice_is_no_pipe(tmp_path: Path, command: str, needs: str) -> None:
    lines = "".join(f'{{"id": "d{i}", "vector": {{"alpha": 1}}}}\n' for i in range(ROWS))
    (tmp_path / "docs.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    done = shell(f"bridge {command}", tmp_path, given=made.QRELS.encode())
    assert done.returncode == 4, done.stderr
    assert needs in done.stderr.decode()
    assert [p.name for p in tmp_path.iterdir()] == ["docs.jsonl.gz"]


@contextlib.contextmanager
def fed(path: Path, content: bytes) -> Iterator[Path]:
    """A pipe beside ``path`` into which somebody writes ``content``, once."""
    pipe = path.with_name(f"{path.name}.pipe{path.suffix}")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    writer.start()
    yield pipe
    writer.join(30)
    assert not writer.is_alive(), "nobody read to the end"


READ_ONCE: dict[str, tuple[Callable[[Path], Any], bytes]] = {
    "qrels.txt": (read_qrels, b"".join(b"q%d 0 d%d 1\n" % (i, i) for i in range(ROWS))),
    "run.txt": (read_run, b"".join(b"q%d Q0 d 1 2.5 t\n" % i for i in range(ROWS))),
    "topics.tsv": (
        lambda path: as_dictionaries([(q := read_queries(path)).batch], q.vocabulary),
        b"".join(b"q%d\talpha beta alpha t%d\n" % (i, i % 9) for i in range(ROWS)),
    ),
    "terms.txt": (
        lambda path: DropTerms.of(str(path)).listed,
        b"".join(b"term%d\n" % i for i in range(ROWS)),
    ),
}


@pytest.mark.parametrize("name", READ_ONCE)
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstandard.compress])
@pytest.mark.sample(4)
def test_what_is_read_once_may_be_a_pipe(
    tmp_path: Path, name: str, compress: Callable[[bytes], bytes]
) -> None:
    read, content = READ_ONCE[name]
    suffix = {gzip.compress: ".gz", zstandard.compress: ".zst"}.get(compress, "")
    path = tmp_path / (name + suffix)
    path.write_bytes(compress(content))
    expected = read(path)
    assert len(expected) == ROWS
    with fed(path, path.read_bytes()) as pipe:
        assert read(pipe) == expected


def test_a_search_whose_queries_and_an_evaluation_whose_files_are_pipes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made.exact(tmp_path / "index")
    for name, content in (("topics.tsv", made.TOPICS), ("qrels.txt", made.QRELS)):
        (tmp_path / name).write_text(content)
    run = tmp_path / "run.txt"
    found = command_line.run(
        capfd, "search", tmp_path / "index", "-q", tmp_path / "topics.tsv", "-o", run
    )
    assert found[0] == 0
    status, measured, _ = command_line.run(capfd, "evaluate", tmp_path / "qrels.txt", run)
    assert status == 0
    done = shell(
        "bridge search index -q <(cat topics.tsv) -o piped.txt && "
        "bridge evaluate <(cat qrels.txt) <(cat piped.txt) && "
        "bridge evaluate - run.txt < qrels.txt",
        tmp_path,
    )
    assert (done.returncode, done.stdout.decode()) == (0, measured * 2), done.stderr
    assert (tmp_path / "piped.txt").read_bytes() == run.read_bytes()


# ---------------------------------------------------------------- files that change


def json_lines(first: int) -> bytes:
    return b"".join(
        b'{"id": "d%d", "text": "x", "vector": {"t": 1}}\n' % i for i in range(first, first + 5000)
    )


def array(lines: bytes) -> bytes:
    return b"[" + lines.rstrip().replace(b"\n", b",\n") + b"]"


def rows(first: int) -> bytes:
    return b"".join(b"d%d\tx x\n" % i for i in range(first, first + ROWS))


def parquet(path: Path) -> None:
    pq.write_table(pa.table({"id": [f"d{i}" for i in range(5000)], "text": ["x"] * 5000}), path)


def texts(path: Path) -> Iterator[Any]:
    return read_texts(str(path))


def opened(path: Path) -> Iterator[Any]:
    return open_source(path).batches()


STREAMS: dict[str, tuple[Callable[[Path], object], Callable[[Path], Iterator[Any]]]] = {
    "a.jsonl": (lambda p: p.write_bytes(json_lines(0)), opened),
    "a.json": (lambda p: p.write_bytes(array(json_lines(0))), opened),
    "a.jsonl.gz": (lambda p: p.write_bytes(gzip.compress(json_lines(0))), opened),
    "a.jsonl.zst": (lambda p: p.write_bytes(zstandard.compress(json_lines(0))), opened),
    "index.ciff": (made.ciff, lambda p: CiffSource(p, 1 << 20).batches()),
    "texts.jsonl": (lambda p: p.write_bytes(json_lines(0)), texts),
    "texts.tsv": (lambda p: p.write_bytes(rows(0)), texts),
    "texts.parquet": (parquet, texts),
    "lines.txt": (lambda p: p.write_bytes(rows(0)), text_lines),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("how", ["grows", "is written over", "is replaced"])
@pytest.mark.sample(9)
def test_a_file_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, name: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, read = STREAMS[name]
    path = tmp_path / name
    make(path)
    whole = path.read_bytes()

    def change() -> None:
        if how == "grows":
            with path.open("ab") as stream:
                stream.write(whole[-1:])
        elif how == "is written over":
            os.utime(path, ns=(0, 0))  # as if long ago: the clock of a file system has its steps
            path.write_bytes(whole)
        else:
            (tmp_path / "new").write_bytes(whole)
            (tmp_path / "new").replace(path)

    assert len(list(read(path))) > 0
    stream = read(path)
    if name == "index.ciff":  # read to its end before its first batch
        from splade_bridge.formats import ciff_reader

        real = ciff_reader.CiffReader.documents
        monkeypatch.setattr(ciff_reader.CiffReader, "documents", lambda r: (change(), real(r))[1])
    else:
        next(stream)
        change()
    with pytest.raises(
        BadInputError, match=r"changed while it was read|after the last record|not a "
    ):
        list(stream)


@pytest.mark.parametrize("read", [opened, texts])
@pytest.mark.parametrize("how", ["one more", "one less", "another name", "one that was read"])
def test_a_folder_that_changes_while_it_is_read_is_an_error(
    tmp_path: Path, read: Callable[[Path], Iterator[Any]], how: str
) -> None:
    for number, name in enumerate("bcd"):
        (tmp_path / f"{name}.jsonl").write_bytes(json_lines(5000 * number))
    stream = read(tmp_path)
    next(stream)
    if how == "one more":
        (tmp_path / "a.jsonl").write_bytes(json_lines(20_000))
    elif how == "one less":
        (tmp_path / "d.jsonl").unlink()
    elif how == "another name":
        (tmp_path / "d.jsonl").rename(tmp_path / "a.jsonl")
    else:
        for _ in range(5000 // 2048 if read is opened else 5000):
            next(stream)
        (tmp_path / "b.jsonl").write_bytes(json_lines(0) + b"\n")
        if read is texts:  # its texts are whole and all the same: nothing was mixed
            assert len(list(stream)) == 9999
            return
    with pytest.raises(BadInputError, match=r"changed while it was read|cannot be read"):
        list(stream)


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.ciff", "docs"])
def test_a_source_that_changes_between_two_passes_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "docs":
        path.mkdir()
        (path / "a.jsonl").write_text(made.JSON_LINES)
    elif name == "docs.ciff":
        made.ciff(path)
    else:
        path.write_text(made.JSON_LINES)
    again = path_opener(path, quantize=None)
    assert len(list(again().batches())) == 1
    assert len(list(again().batches())) == 1
    inside = path / "a.jsonl" if name == "docs" else path
    os.utime(inside, ns=(0, 0))
    with pytest.raises(BadInputError, match=f"{name}: changed while it was read"):
        again()


def test_a_file_that_is_left_before_its_end_may_change(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_bytes(rows(0))
    lines = text_lines(path)
    next(lines)
    path.write_bytes(b"")
    lines.close()  # type: ignore[attr-defined]
    with pytest.raises(BadInputError, match="changed"), steady(path):
        path.write_bytes(b"x")


# ---------------------------------------------------------------- folders


def document(name: str) -> str:
    return json.dumps({"id": name, "contents": "x", "vector": {"a": 2}})


def lay_out(folder: Path) -> None:
    """A folder with what people and programs leave in one, beside another that it links to."""
    other = folder.with_name("other")
    other.mkdir()
    (other / "l.jsonl").write_text(document("linked1") + "\n")
    single = folder.with_name("single.jsonl")
    single.write_text(document("single1") + "\n")
    files: dict[str, bytes | str] = {
        "a.jsonl": f"{document('a1')}\n{document('a2')}\n",
        "b.gz": gzip.compress(document("b1").encode()),
        "two.jsonl.gz": b"".join(gzip.compress(document(d).encode()) for d in ("c1", "c2")),
        "part-00001": document("p1"),
        "e.txt": document("e1") + "\n",
        ".hidden.jsonl": document("h1"),
        ".folder/x": document("h2"),
        "sub/deep/x.json": document("s1"),
        "array.json": f"[{document('r1')}, {document('r2')}]",
        "array.jsonl": f"[{document('r3')},\n{document('r4')}]",
        "pretty.json": json.dumps(json.loads(document("pp")), indent=2),
        "pretty.jsonl": json.dumps(json.loads(document("pq")), indent=2),
        "one-after-another.csv": document("o1") + document("o2"),
        "crlf.jsonl": f"{document('w1')}\r\n{document('w2')}\r\n",
        "_SUCCESS": b"",
        "blank.jsonl": "\n\n",
    }  # fmt: skip
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (folder / "linked").symlink_to(other)
    (folder / "link.jsonl").symlink_to(single)
    (folder / "sub" / "up").symlink_to("..")


TAKEN = {"a1", "a2", "b1", "c1", "c2", "p1", "e1", "h1", "h2", "s1", "r1", "r2", "r3", "r4", "pp"}
TAKEN |= {"pq", "o1", "o2", "w1", "w2", "linked1", "single1"}


def ids_of(path: Path, *, skip_others: bool = False) -> list[str]:
    source = JsonVectorSource(path, skip_others=skip_others)
    return [doc_id for batch in source.batches() for doc_id in batch.ids]


def test_a_folder_of_vectors_is_read_whole(tmp_path: Path) -> None:
    lay_out(tmp_path / "docs")
    found = ids_of(tmp_path / "docs")
    assert len(found) == len(TAKEN)
    assert set(found) == TAKEN
    files = [p.relative_to(tmp_path / "docs").parts for p in all_files(tmp_path / "docs")]
    assert files == sorted(files)


@pytest.mark.long
def test_a_folder_of_vectors_is_read_as_anserini_reads_it(tmp_path: Path, anserini: Path) -> None:
    lay_out(tmp_path / "docs")
    others = {"README.md": b"# x", "z.bz2": b"BZh9", "z.jsonl.zst": b""}
    for name, content in others.items():
        (tmp_path / "docs" / name).write_bytes(content)
    (tmp_path / "docs" / "B.GZ").write_bytes(gzip.compress(document("upper").encode()))
    lucene = users_anserini()
    assert lucene is not None
    command = java_command(
        "io.anserini.index.IndexCollection", "-collection", "JsonVectorCollection",
        "-generator", "DefaultLuceneDocumentGenerator", "-input", tmp_path / "docs",
        "-index", tmp_path / "index", "-threads", "1", "-impact", "-pretokenized", "-optimize",
        class_path=lucene.class_path, heap_megabytes=1000,
    )  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, env=environment())
    with LuceneIndex(tmp_path / "index", lucene) as index:
        (found,) = index.search([Query("q", [b"a"], np.array([1], np.int32))], 1000)
        theirs = index.statistics().documents
    assert theirs == len(found.doc_ids)
    with pytest.raises(BadInputError, match=r"docs: not JSON: README\.md, z\.bz2\."):
        ids_of(tmp_path / "docs")
    ours = ids_of(tmp_path / "docs", skip_others=True)
    assert sorted(ours) == sorted([*found.doc_ids, "upper"]), "more than Anserini, never less"


def test_a_corpus_folder_is_read_whole(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    lines = {"a.jsonl": "a", "sub/b.jsonl": "b", ".hidden/c.ndjson": "c", "part-0": "d"}
    for name, text_id in lines.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"id": text_id, "text": "x"}))
    (folder / "e.tsv.gz").write_bytes(gzip.compress(b"e\tx\n"))
    (folder / "f.gz").write_bytes(gzip.compress(b'{"id": "f", "text": "x"}'))
    pq.write_table(pa.table({"id": ["g"], "text": ["x"]}), folder / "sub" / "g.parquet")
    (folder / "qrels").mkdir()
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    (tmp_path / "other.txt").write_text("h\tx\n")
    (folder / "h.txt").symlink_to("../other.txt")
    found = [text.id for text in read_texts(str(folder))]
    assert found == ["c", "a", "e", "f", "h", "d", "b", "g"]
    (folder / "z.doc").write_text("id,text\n")
    with pytest.raises(BadInputError, match=r"corpus: not texts .*: z\.doc\."):
        list(read_texts(str(folder)))
    options = CorpusOptions(skip_others=True)
    assert [text.id for text in read_texts(str(folder), "documents", options)] == found


def test_a_beir_folder_names_what_looks_like_its_corpus_and_is_not_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "x"}')
    (tmp_path / "README.md").write_text("# x")
    assert [t.id for t in read_texts(str(tmp_path))] == ["a"]
    assert caplog.text == ""
    (tmp_path / "corpus.jsonl.gz").write_bytes(gzip.compress(b'{"_id": "b", "text": "x"}'))
    assert [t.id for t in read_texts(str(tmp_path))] == ["a"]
    assert "only corpus.jsonl is read, not corpus.jsonl.gz" in caplog.text


def test_files_of_one_name_in_two_folders_are_two_for_a_plan(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tsv").write_text(f"{name}\tx\n")
    files = [tmp_path / "one" / "a.tsv", tmp_path / "two" / "a.tsv"]
    assert list(files_content(files)) == ["one/a.tsv", "two/a.tsv"]
    assert list(files_content(files[:1])) == ["a.tsv"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["docs/a.jsonl", "docs/sub"])
def test_what_may_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "docs" / "sub").mkdir(parents=True)
    (tmp_path / "docs" / "a.jsonl").write_text(made.JSON_LINES)
    (tmp_path / name).chmod(0)
    try:
        with pytest.raises(BadInputError, match=f"{name}: cannot be read .Permission denied"):
            ids_of(tmp_path / "docs", skip_others=True)
    finally:
        (tmp_path / name).chmod(0o700)


def test_every_command_that_says_so_can_leave_files_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.jsonl").write_text(made.JSON_LINES)
    (tmp_path / "docs" / "b.pdf").write_bytes(b"%PDF")
    for command in (
        ["index", "docs", "-o", "i", "-e", "exact"],
        ["export", "docs", "-o", "x", "-f", "jsonvector", "-f", "ciff"],
        ["prune", "docs", "-o", "p", "--method", "postings", "--value", "50%"],
    ):
        status, _, err = command_line.run(capfd, *command)
        assert (status, "not JSON: b.pdf" in err) == (4, True), err
        status, _, err = command_line.run(capfd, *command, "--skip-others")
        assert (status, "docs: left out, as not JSON: b.pdf" in err) == (0, True), err


def test_a_folder_in_itself_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "x.jsonl").write_text(document("x"))
    (tmp_path / "a" / "b" / "self").symlink_to("..")
    (tmp_path / "a" / "b" / "root").symlink_to(tmp_path)
    assert ids_of(tmp_path) == ["x"]
    shutil.rmtree(tmp_path / "a" / "b")
    assert ids_of(tmp_path) == ["x"]
