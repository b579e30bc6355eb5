"""Runs that cannot be fused, and fusions that cannot be meant."""

from __future__ import annotations

from bad_input import Content, Row, made

TWO = {"a.run": made.RUN, "b.run": made.RUN.replace("d3", "d4"), "qrels.txt": made.QRELS}
QUERY = "--as-query {} --query-field sparse:v --query-field text:t"


def fuse(title: str, flags: str, *words: str, code: int = 2) -> Row:
    """Two sound runs, and what is asked of them."""
    return Row(title, f"fuse a.run b.run -o out {flags}", code, words, TWO)


def broken(title: str, content: Content, *words: str) -> Row:
    """The second run is broken."""
    return Row(title, "fuse a.run b.run -o out", 4, words, {**TWO, "b.run": content})


ROWS = [
    Row("one run", "fuse a.run -o out", 2, ("two runs or more",), TWO),
    broken("an empty run", "", "b.run: the run is empty"),
    broken("a run with five columns", "q1 Q0 d1 1 7\n", "b.run:1: 5 columns"),
    broken("a score that is NaN", "q1 Q0 d1 1 nan t\n", "b.run:1: a score must be finite"),
    broken(
        "a document twice, of a query whose lines stand apart",
        f"{made.RUN}q1 Q0 d3 3 1 t\n",
        "b.run:5: document d3 stands twice for query q1",
    ),
    broken("ranks from 0", "q1\td3\t0\nq1\td1\t1\n", "may be a rank or a score"),
    Row("a run that is not there", "fuse a.run none -o out", 4, ("none: cannot be read",), TWO),
    Row("a run that is the output", "fuse a.run b.run -o b.run", 2, ("is read, too",), TWO),
    fuse("too few weights", "--weight 1", "1 weights for 2 runs"),
    fuse("no weight above 0", "--weight 0 --weight 0", "needs a weight above 0"),
    fuse("a negative weight", "--weight 1 --weight -1", "--weight must be 0, or from"),
    fuse("a weight that is NaN", "--weight 1 --weight nan", "--weight must be 0, or from"),
    fuse("combmnz of z-scores", "--fusion combmnz --normalization z-score", "take min-max"),
    fuse("a negative constant", "--rank-constant -1", "--rank-constant must be from 0"),
    fuse(
        "several constants and nothing to choose them by",
        "--rank-constant 1 --rank-constant 60",
        "several are for --tune",
    ),
    fuse("a depth of 0", "--depth 0", "--depth"),
    fuse("a tag of two words", "--tag 'a b'", "--tag must be one word"),
    fuse("tuning without judgements", "--tune AP", "without --qrels"),
    fuse("an unknown measure", "--tune nothing --qrels qrels.txt", "no measure 'nothing'"),
    fuse(
        "two measures to tune for",
        "--tune 'AP RR' --qrels qrels.txt --folds 2",
        "--tune takes one measure, not AP, RR",
    ),
    fuse(
        "more folds than judged queries",
        "--tune AP --qrels qrels.txt",
        "--folds 5: there are 2 judged queries only",
    ),
    fuse(
        "nothing to choose from",
        "--tune AP --qrels qrels.txt --folds 2 --weight 1 --weight 2",
        "there is nothing to choose from",
    ),
    Row(
        "a run without a judged query",
        "fuse a.run b.run -o out --tune AP --qrels qrels.txt --folds 2",
        4,
        ("b.run: has results for none of 2 judged queries",),
        {**TWO, "b.run": made.RUN.replace("q", "x")},
    ),
    fuse("a request without fields", "--as-query milvus", "needs --query-field KIND:NAME for each"),
    fuse(
        "a field of no kind",
        "--as-query milvus --query-field v --query-field text:t",
        "--query-field v: must be KIND:NAME",
    ),
    fuse(
        "combmnz, which no engine has",
        f"--fusion combmnz {QUERY.format('opensearch')}",
        "OpenSearch has no combmnz",
    ),
    fuse(
        "z-scores in Elasticsearch",
        f"--fusion combsum --normalization z-score {QUERY.format('elasticsearch')}",
        "Elasticsearch has no z-scores",
    ),
    fuse(
        "weights of rrf in Milvus",
        f"--weight 1 --weight 2 {QUERY.format('milvus')}",
        "Milvus has no weights for rrf",
    ),
    fuse(
        "more documents than Elasticsearch gives",
        f"--depth 20000 {QUERY.format('elasticsearch')}",
        "Elasticsearch gives at most 10,000",
    ),
    fuse(
        "a window smaller than the answer",
        f"--depth 10 -k 20 {QUERY.format('elasticsearch')}",
        "--hits 20 is more than --depth 10",
    ),
    fuse(
        "a constant that engines refuse",
        f"--rank-constant 0 {QUERY.format('opensearch')}",
        "OpenSearch takes a --rank-constant from 1",
    ),
    fuse(
        "one list only",
        f"--weight 1 --weight 0 {QUERY.format('milvus')}",
        "there is nothing to fuse",
    ),
]
