"""Judgements that break their format."""

from __future__ import annotations

from bad_input import Content, Row, made


def evaluate(title: str, content: Content, *words: str, name: str = "qrels.txt") -> Row:
    """Judgements that ``evaluate`` refuses."""
    return Row(title, f"evaluate {name} run.txt", 4, words, {name: content, "run.txt": made.RUN})


ROWS = [
    evaluate("two columns", "q1 d1\n", "qrels.txt:1: 2 columns; a line must be"),
    evaluate("five columns", f"{made.QRELS}q1 0 d1 1 x\n", "qrels.txt:3: 5 columns"),
    evaluate(
        "a line that was cut",
        "1 0 11 1\n2 0 12\n",
        "qrels.txt:2: 3 columns, where the first line has 4: was the line cut",
    ),
    evaluate("a first line that is a header alone", "qid docid rel\n", "holds no judgements"),
    evaluate("JSON of no judgements", '{"q1": 7}\n', "qrels.txt: query 'q1': must be {document"),
    evaluate(
        "JSON with a grade that is text", '{"q1": {"d1": "a"}}', "query q1, document d1", "'a'"
    ),
    evaluate("JSON with a query twice", '{"q1": {"d": 1}, "q1": {"e": 1}}', "stands twice"),
    evaluate("JSON that is cut", '{"q1": {"d1": 1', "qrels.txt: not"),
    Row(
        "a split that is not there",
        "evaluate beir run.txt --split dev",
        4,
        ("beir: no qrels/dev.tsv in this folder; --split is one of test",),
        {"beir/qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n", "run.txt": made.RUN},
    ),
    Row(
        "a split of a file",
        "evaluate qrels.txt run.txt --split dev",
        2,
        ("qrels.txt: --split dev is for a BEIR folder",),
        {"qrels.txt": made.QRELS, "run.txt": made.RUN},
    ),
    evaluate("a grade that is text", "q1 0 d1 yes\n", "qrels.txt:1: grade 'yes' is not an integer"),
    evaluate("a grade with a fraction", "q1 0 d1 0.5\n", "qrels.txt:1: grade '0.5'"),
    evaluate("a grade that is NaN", "q1 0 d1 nan\n", "qrels.txt:1: grade 'nan'"),
    evaluate(
        "two grades for a document", "q1 0 d1 1\nq1 0 d1 2\n", "qrels.txt:2:", "graded 1 before"
    ),
    evaluate("an empty file", "", "qrels.txt: holds no judgements"),
    evaluate("a header alone", "query-id\tcorpus-id\tscore\n", "qrels.txt: holds no judgements"),
    *made.unreadable(evaluate, "qrels.txt", made.QRELS, "q1 0 é 1\n"),
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
