"""Kinds 5 and 16: files that are not as they were written, and whole numbers beyond float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bad_input import Content, Row, made
from splade_bridge.conversion.export import ExportOptions, export


def exported(name: str) -> Callable[[Path], object]:
    """An export of the documents in one format."""
    return lambda path: export(made.source, path, ExportOptions((name,)))  # type: ignore[arg-type]


def flipped(make: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    """What ``make`` makes, with one bit of one file turned over."""

    def damage(path: Path) -> None:
        make(path)
        content = bytearray((path / name).read_bytes())
        content[len(content) // 2] ^= 4
        (path / name).write_bytes(content)

    return damage


def with_file(make: Callable[[Path], object], name: str) -> Callable[[Path], object]:
    """What ``make`` makes, and one file more."""

    def add(path: Path) -> None:
        make(path)
        (path / name).write_bytes(b"x")

    return add


def numbers(*values: str) -> str:
    """JSON lines whose documents have one term each."""
    lines = [f'{{"id": "d{i}", "vector": {{"alpha": {v}}}}}\n' for i, v in enumerate(values)]
    return "".join(lines)


ASKED: dict[str, Content] = {"q.tsv": made.TOPICS}
CHANGED = "was changed or damaged after it was written"
BAD: dict[str, Content] = {"bad": flipped(made.exact, "impacts.bin"), **ASKED}
EDGE = numbers(str(2**24 - 1), str(2**24), str(2**24 + 1), str(2**31 - 1))

ROWS = [
    *(
        Row(f"{command.split()[0]}: an index with a bit turned over", command, 4,
            ("bad: impacts.bin", CHANGED, "--no-check"), {**BAD, "good": made.exact})
        for command in (
            "search bad -q q.tsv -o run",
            "verify good bad -q q.tsv",
            "bench bad -q q.tsv",
            "explain bad q1 d1 -q q.tsv",
            "inspect bad",
        )
    ),
    Row("the index of the exact results has a bit turned over",
        "search good -q q.tsv -o run --check-against bad", 4, ("bad: impacts.bin", CHANGED),
        {**BAD, "good": made.exact}),
    Row("a PISA index with a bit turned over", "search bad -q q.tsv -o run", 4,
        ("bad: quantized.q0.bmw.64", CHANGED),
        {"bad": flipped(made.pisa, "quantized.q0.bmw.64"), **ASKED}),
    Row("a Lucene index with a bit turned over", "search bad -q q.tsv -o run", 4,
        ("bad: vocabulary.json", CHANGED),
        {"bad": flipped(made.lucene, "vocabulary.json"), **ASKED}),
    *(
        Row(f"{command.split()[0]}: a vector store with a bit turned over", command, 4,
            ("bad: part-00000.parquet", CHANGED),
            {"bad": flipped(made.vectors, "part-00000.parquet")})
        for command in (
            "index bad -o out -e exact",
            "export bad -o out",
            "prune bad -o out --method top-k --value 1",
            "quantize-study bad -q bad",
        )
    ),
    *(
        Row(f"an export with a bit turned over: {name}", "index bad -o out -e exact", 4,
            (Path(file).name, CHANGED), {"bad": flipped(exported(name), file)})
        for name, file in (
            ("jsonvector", "jsonvector/part-00000.jsonl"),
            ("ciff", "index.ciff"),
            ("forward", "forward/impacts.npy"),
        )
    ),
    Row("the first of a file of an export is damaged, and it is named itself",
        "index bad/index.ciff -o out -e exact", 4, ("bad: index.ciff", CHANGED),
        {"bad": flipped(exported("ciff"), "index.ciff")}),
    Row("two steps over a damaged forward store", "search good -q q.tsv -o run --two-step bad", 4,
        ("forward/impacts.npy", CHANGED),
        {"bad": flipped(exported("forward"), "forward/impacts.npy"), "good": made.exact, **ASKED}),
    Row("a part too many in a vector store", "index bad -o out -e exact", 4,
        ("part-00001.parquet does not belong to it",),
        {"bad": with_file(made.vectors, "part-00001.parquet")}),
    Row("a file too many in a JsonVectorCollection", "index bad -o out -e exact", 4,
        ("jsonvector/more.jsonl does not belong to it",),
        {"bad": with_file(exported("jsonvector"), "jsonvector/more.jsonl")}),
    Row("a Lucene index that something was added to", "search bad -q q.tsv -o run", 4,
        ("segments_9 does not belong to it",),
        {"bad": with_file(made.lucene, "segments_9"), **ASKED}),
    Row("a damaged index that is searched all the same", "search bad -q q.tsv -o run --no-check", 0,
        ("2 queries",), BAD, made=("run",)),
    Row("sizes are compared even without the check", "search bad -q q.tsv -o run --no-check", 4,
        ("doc_ids.bin", "bytes instead of"),
        {"bad": lambda p: (made.exact(p), (p / "doc_ids.bin").write_bytes(b"")), **ASKED}),
    Row("impacts over 2^24 for PISA", "index docs.jsonl -o out -e pisa", 4,
        ("2 of 4 impacts are over 2^24", "2,147,483,647", "--scale", "engine exact"),
        {"docs.jsonl": EDGE}),
    Row("impacts over 2^31 - 1", "index docs.jsonl -o out -e exact", 4,
        ("docs.jsonl:1", "over 2^31 - 1"), {"docs.jsonl": numbers(str(2**31))}),
    Row("a whole number that float32 does not hold, with a scale",
        "index docs.jsonl -o out -e exact --scale 1", 4,
        ("docs.jsonl:3", "16777217", "would make 16777216 of it", "leave --scale out"),
        {"docs.jsonl": numbers("16777215.0", "16777216.0", "16777217.0")}),
    Row("scores over 2^24 in Lucene", "search idx -q q.tsv -o run", 0, ("from 16777216 on",),
        {"idx": made.lucene, "q.tsv": "q1\t" + "delta " * 56_000}, made=("run",)),
]  # fmt: skip
