"""Specifications of a comparison that cannot be meant, and PISA profiles."""

from __future__ import annotations

from bad_input import Content, Row, made

SPEC = """\
title = "small"
[data]
documents = "docs.jsonl"
queries = "topics.tsv"
qrels = "qrels.txt"
measures = ["nDCG@10"]
[engines]
exact = []
[[variant]]
name = "full"
"""
FILES: dict[str, Content] = {
    "docs.jsonl": made.JSON_LINES,
    "topics.tsv": made.TOPICS,
    "qrels.txt": made.QRELS,
}
ALGORITHM = 'block_size = 64\n[algorithm]\n1000 = "maxscore"\n'


def compare(title: str, content: Content, *words: str) -> Row:
    """A specification that is refused."""
    return Row(title, "compare spec.toml -o out", 4, words, {**FILES, "spec.toml": content})


def changed(old: str, new: str) -> str:
    """The specification with something else in it."""
    assert old in SPEC
    return SPEC.replace(old, new)


def profile(title: str, content: Content, *words: str) -> Row:
    """A PISA profile that is refused."""
    return Row(
        title,
        "index docs.jsonl -o out -e pisa --pisa-profile mine.toml",
        4,
        words,
        {"docs.jsonl": made.JSON_LINES, "mine.toml": content},
    )


ROWS = [
    compare("an empty file", "", "spec.toml"),
    compare("no TOML", "title = ", "spec.toml"),
    compare("bytes that are no text", made.GARBAGE, "spec.toml"),
    compare("an unknown section", SPEC + "[bnech]\nks = [1]\n", "spec.toml", "bnech"),
    compare("an unknown key", changed("[engines]", "query = 'x'\n[engines]"), "spec.toml", "query"),
    compare("no variants", SPEC.partition("[[variant]]")[0], "spec.toml", "variant"),
    compare("two variants of one name", SPEC + '[[variant]]\nname = "full"\n', "spec.toml", "full"),
    compare("a variant without a name", changed('name = "full"', "scale = 1"), "spec.toml", "name"),
    compare("no engines", changed("exact = []", ""), "spec.toml", "engines"),
    compare("an unknown engine", changed("exact = []", "solr = []"), "spec.toml", "solr"),
    compare("an unknown algorithm", changed("exact = []", 'exact = ["wand"]'), "wand"),
    compare(
        "an unknown measure", changed("nDCG@10", "goodness"), "spec.toml", "measures", "goodness"
    ),
    compare("measures that are a number", changed('["nDCG@10"]', "10"), "spec.toml", "measures"),
    compare(
        "documents that are not there",
        changed("docs.jsonl", "gone.jsonl"),
        "gone.jsonl: no such file",
    ),
    compare(
        "queries that are not there", changed("topics.tsv", "gone.tsv"), "gone.tsv: no such file"
    ),
    compare("judgements that are not there", changed("qrels.txt", "gone.txt"), "gone.txt"),
    compare(
        "a baseline that is not there",
        changed("[data]", 'baseline = "other"\n[data]')
        .replace('baseline = "other"\n[data]', "[data]")
        .replace('title = "small"', 'baseline = "other"'),
        "spec.toml",
        "other",
    ),
    compare(
        "judgements whose name no file system takes",
        changed("qrels.txt", "q" * 5000),
        "File name too long",
    ),
    compare("a k of zero", SPEC + "[bench]\nks = [0]\n", "spec.toml", "ks"),
    compare("a repeat of zero", SPEC + "[bench]\nrepeat = 0\n", "spec.toml", "repeat"),
    compare("a memory that is no size", SPEC + '[index]\nmemory = "lots"\n', "spec.toml", "memory"),
    compare(
        "a confidence above 1",
        SPEC + "[significance]\nconfidence = 95\n",
        "spec.toml",
        "confidence",
    ),
    compare(
        "a confidence that is NaN",
        SPEC + "[significance]\nconfidence = nan\n",
        "spec.toml",
        "confidence",
    ),
    compare(
        "a method of pruning that is unknown",
        SPEC + 'prune_documents = [{ method = "half", value = 1 }]\n',
        "spec.toml",
        "half",
    ),
    compare(
        "a value of pruning that is negative",
        SPEC + 'prune_documents = [{ method = "top-k", value = -1 }]\n',
        "spec.toml",
        "top-k",
    ),
    compare(
        "a sweep without values",
        SPEC + '[[sweep]]\nmethod = "top-k"\nvalues = []\n',
        "spec.toml",
        "values",
    ),
    Row("no such specification", "compare spec.toml -o out", 4, ("spec.toml",)),
    Row(
        "a folder for a specification",
        "compare spec.toml -o out",
        4,
        ("spec.toml",),
        {"spec.toml/x": ""},
    ),
    profile("a profile that is no TOML", "encoding", "mine.toml"),
    profile(
        "a profile with an unknown encoding",
        f'encoding = "zip"\n{ALGORITHM}',
        "mine.toml",
        "encoding",
    ),
    profile("a profile with an unknown key", 'encodng = "single"\n', "mine.toml", "encodng"),
    profile(
        "a profile with a block size of 1",
        'encoding = "ef"\nblock_size = 1\n[algorithm]\n1000 = "maxscore"\n',
        "mine.toml",
        "block",
    ),
]
