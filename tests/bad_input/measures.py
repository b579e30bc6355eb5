"""Measures, judgements and runs that cannot be evaluated, and memory where it does nothing."""

from __future__ import annotations

from bad_input import Row
from bad_input.made import JSON_LINES, QRELS, RUN, TOPICS, exact

FILES = {"qrels": QRELS, "run": RUN}


def measure(title: str, asked: str, *words: str, code: int = 2) -> Row:
    """A row that asks for a measure of sound files."""
    return Row(title, f"evaluate qrels run -M {asked!r}", code, words, FILES)


def judged(title: str, line: str, *words: str) -> Row:
    """A row whose judgements have a bad third line."""
    return Row(
        title, "evaluate qrels run", 4, ("qrels:3", *words), {**FILES, "qrels": QRELS + line}
    )


def ranked(title: str, line: str, *words: str) -> Row:
    """A row whose run has a bad fifth line."""
    return Row(title, "evaluate qrels run", 4, ("run:5", *words), {**FILES, "run": RUN + line})


ROWS = [
    measure("a cutoff of 0", "P@0", "P@0", "from 1 to"),
    measure("a cutoff below 0", "nDCG@-1", "from 1 to"),
    measure("a cutoff beyond 2^64", "P@99999999999999999999", "from 1 to"),
    measure("a cutoff that is no number", "AP@x", "cutoff must be a plain value"),
    measure("a cutoff with a fraction", "R@1.5", "whole number"),
    measure("a measure without what it needs", "INSQ", "needs max_rel"),
    measure("a measure without its cutoff", "Success", "needs cutoff", "Success@10"),
    measure("a level of relevance of 0", "R(rel=0)@10", "rel must be"),
    measure("a parameter that the measure has not", "AP(p=0.5)", "no parameter p"),
    measure("a recall level of three decimals", "IPrec@0.125", "two decimals"),
    measure("a name with something behind it", "P_10x", "no measure 'P_10x'"),
    measure("the second of two measures is unknown", "AP nope", "no measure 'nope'"),
    measure("parameters that nothing computes", "NumRel(rel=2)", "NumRel(rel=2)"),
    measure("a gain of hundreds of millions", "nDCG(gains={1: 600000000})@10", "gains must be"),
    measure("an expression", "__import__('os')", "no measure"),
    judged("a grade of hundreds of millions", "q2 0 d9 600000000\n", "600000000 is out of range"),
    judged("a grade far below 0", "q2 0 d9 -600000000\n", "out of range"),
    judged("a grade of a thousand digits", f"q2 0 d9 {'7' * 5000}\n", "out of range"),
    judged("a grade with a fraction", "q2 0 d9 1.5\n", "'1.5' is not an integer"),
    judged("a grade as only Python writes it", "q2 0 d9 1_0\n", "'1_0' is not an integer"),
    Row(
        "a grade beyond those that ERR knows",
        "evaluate qrels run -M ERR@10",
        4,
        ("ERR@10 is defined for grades up to 4", "document d9", "query q2"),
        {**FILES, "qrels": QRELS + "q2 0 d9 5\n"},
    ),
    ranked("a score as only Python writes it", "q2 Q0 d9 3 1_0 t\n", "'1_0' is not a number"),
    ranked("a score beyond any number", "q2 Q0 d9 3 1e999 t\n", "finite"),
    ranked("a line of three columns", "q2\td9\t3\n", "3 columns, where the first line has 6"),
    Row(
        "a run that is less deep than the measure looks",
        "evaluate qrels run -M R@1000",
        0,
        ("run holds at most 2 documents a query: R@1000",),
        FILES,
    ),
    *(
        Row(
            f"{command} with memory for an engine that takes none",
            f"{line} -q topics.tsv --memory 2G",
            2,
            ("--memory is for the JVM", "leave it out"),
            {"index": exact, "topics.tsv": TOPICS},
        )
        for command, line in {
            "search": "search index -o out",
            "verify": "verify index index",
            "bench": "bench index",
            "explain": "explain index q1 d1",
        }.items()
    ),
    Row(
        "memory that is no size",
        "search index -q topics.tsv -o out --memory much",
        2,
        ("'much' is not a size",),
        {"index": exact, "topics.tsv": TOPICS},
    ),
    Row(
        "memory to build with that is no size",
        "index docs.jsonl -e exact -o index --memory 0",
        2,
        ("at least 1M",),
        {"docs.jsonl": JSON_LINES},
    ),
]
