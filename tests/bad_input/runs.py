"""Runs that break their format."""

from __future__ import annotations

from bad_input import Content, Row, made


def evaluate(title: str, content: Content, *words: str, name: str = "run.txt") -> Row:
    """A run that ``evaluate`` refuses."""
    return Row(
        title, f"evaluate qrels.txt {name}", 4, words, {"qrels.txt": made.QRELS, name: content}
    )


def line(score: str) -> str:
    """A run whose second line has this score."""
    return f"q1 Q0 d3 1 480 t\nq1 Q0 d1 2 {score} t\n"


ROWS = [
    evaluate("five columns", "q1 Q0 d1 1 7\n", "run.txt:1: 5 columns; a line must be"),
    evaluate("seven columns, from an id with a blank", "q1 Q0 d 1 1 7 t\n", "run.txt:1: 7 columns"),
    evaluate("a score that is text", line("high"), "run.txt:2: 'high' is not a number"),
    evaluate("a score that is NaN", line("nan"), "run.txt:2: a score must be finite, not nan"),
    evaluate("a score that is infinite", line("inf"), "run.txt:2: a score must be finite, not inf"),
    evaluate("a score beyond float64", line("1e999"), "run.txt:2: a score must be finite"),
    evaluate(
        "a document twice",
        line("7") + "q1 Q0 d1 3 6 t\n",
        "run.txt:3: document d1 stands twice for query q1",
    ),
    evaluate("a rank that is text", "q1\td1\tfirst\n", "run.txt:1: 'first' is not a number"),
    evaluate("a rank of 400 digits", f"q1\td1\t{'9' * 400}\n", "run.txt:1: a score must be finite"),
    evaluate("a line that was cut", f"{made.RUN}q2 Q0 d4", "run.txt:5: 3 columns, where the first"),
    evaluate(
        "ranks from 0",
        "q1\td3\t0\nq1\td1\t1\nq2\td2\t0\n",
        "run.txt: three columns, and the last may be a rank or a score",
    ),
    evaluate(
        "a rank twice", "q1\td3\t1\nq1\td1\t1\n", "query q1: the last column is a rank by the"
    ),
    evaluate("a score among ranks", "q1\td3\t1\nq1\td1\t0.5\n", "run.txt:2: '0.5' is not a rank"),
    evaluate("JSON with a score that is text", '{"q1": {"d1": "a"}}', "query q1: document d1: 'a'"),
    evaluate("JSON of a list", '{"q1": ["d1"]}', "query q1: must be {document id: score}"),
    *made.unreadable(evaluate, "run.txt", made.RUN, "q1 Q0 é 1 7 t\n"),
    evaluate(
        "gzip that is none",
        made.RUN,
        "run.txt.gz: the compressed file is cut off or damaged",
        name="run.txt.gz",
    ),
    Row(
        "no such file",
        "evaluate qrels.txt run.txt",
        4,
        ("run.txt: cannot be read",),
        {"qrels.txt": made.QRELS},
    ),
    Row(
        "an empty run finds nothing, and says so",
        "evaluate qrels.txt run.txt",
        4,
        ("run.txt",),
        {"qrels.txt": made.QRELS, "run.txt": ""},
    ),
    Row(
        "a run of other queries",
        "evaluate qrels.txt run.txt",
        4,
        ("run.txt",),
        {"qrels.txt": made.QRELS, "run.txt": made.RUN.replace("q", "x")},
    ),
    Row(
        "an exact run that is broken",
        "search index -q topics.tsv -o out.txt --exact-run run.txt",
        4,
        ("run.txt:1: 1 columns",),
        {"index": made.exact, "topics.tsv": made.TOPICS, "run.txt": "q1\n"},
    ),
]
