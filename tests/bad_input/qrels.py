"""Judgements that break their format."""

from __future__ import annotations

from bad_input import Content, Row, made


def evaluate(title: str, content: Content, *words: str, name: str = "qrels.txt") -> Row:
    """Judgements that ``evaluate`` refuses."""
    return Row(title, f"evaluate {name} run.txt", 4, words, {name: content, "run.txt": made.RUN})


ROWS = [
    evaluate("two columns", "q1 d1\n", "qrels.txt:1: 2 columns; a line must be"),
    evaluate("five columns", f"{made.QRELS}q1 0 d1 1 x\n", "qrels.txt:3: 5 columns"),
    evaluate("a grade that is text", "q1 0 d1 yes\n", "qrels.txt:1: grade 'yes' is not an integer"),
    evaluate("a grade with a fraction", "q1 0 d1 0.5\n", "qrels.txt:1: grade '0.5'"),
    evaluate("a grade that is NaN", "q1 0 d1 nan\n", "qrels.txt:1: grade 'nan'"),
    evaluate(
        "two grades for a document", "q1 0 d1 1\nq1 0 d1 2\n", "qrels.txt:2:", "graded 1 before"
    ),
    evaluate("an empty file", "", "qrels.txt: holds no judgements"),
    evaluate("a header alone", "query-id\tcorpus-id\tscore\n", "qrels.txt: holds no judgements"),
    evaluate("bytes that are no text", made.GARBAGE, "qrels.txt:1: not UTF-8"),
    evaluate("UTF-16", made.QRELS.encode("utf-16"), "qrels.txt:1: not UTF-8"),
    evaluate("Latin-1", "q1 0 é 1\n".encode("latin-1"), "qrels.txt:1: not UTF-8"),
    evaluate(
        "gzip that is cut",
        made.cut(made.gz(made.QRELS * 40)),
        "qrels.txt.gz: the compressed file is cut off",
        name="qrels.txt.gz",
    ),
    evaluate(
        "zstd that is none",
        made.QRELS,
        "qrels.txt.zst: the compressed file is cut off or damaged",
        name="qrels.txt.zst",
    ),
    Row(
        "no such file",
        "evaluate qrels.txt run.txt",
        4,
        ("qrels.txt: cannot be read",),
        {"run.txt": made.RUN},
    ),
    Row(
        "judgements and run in each other's place",
        "evaluate run.txt qrels.txt",
        4,
        ("run.txt:1: 6 columns",),
        {"qrels.txt": made.QRELS, "run.txt": made.RUN},
    ),
]
