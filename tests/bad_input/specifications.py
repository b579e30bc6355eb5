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


def encoded(title: str, more: str, *words: str) -> Row:
    """A variant whose queries a model encodes; its documents are vectors."""
    text = changed('queries = "topics.tsv"\n', 'topics = "topics.tsv"\n')
    return compare(title, f'{text}query_model = "m"\n{more}', "spec.toml", *words)


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
    Row(
        "memory for a comparison whose engines take none",
        "compare spec.toml -o out --memory 2G",
        2,
        ("--memory is for the JVM", "exact: not one", "leave it out"),
        {**FILES, "spec.toml": SPEC},
    ),
    Row(
        "too little memory for a comparison",
        "compare spec.toml -o out --memory 1M",
        2,
        ("a JVM needs a heap of 32MiB or more",),
        {**FILES, "spec.toml": changed("exact = []", "exact = []\nlucene = []")},
    ),
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
    encoded(
        "two prompts of a side",
        'query_prompt = "a"\nquery_prompt_name = "b"\n',
        "variant 'full' query_prompt_name: cannot be together with query_prompt",
    ),
    encoded(
        "a specification that lets a checkpoint's code run",
        "trust_remote_code = true\n",
        "no specification lets a checkpoint's code run",
        "give --trust-remote-code",
    ),
    encoded(
        "a prompt of documents that are vectors",
        'document_prompt = "a"\n',
        "document_prompt: is for text that a model encodes, and documents are vectors",
    ),
    encoded(
        "a setting that is no truth",
        'normalize = "yes"\n',
        "variant 'full' normalize: must be true or false, not 'yes'",
    ),
    encoded(
        "a mode that there is not",
        'query_mode = "idfs"\n',
        "variant 'full' query_mode: is 'idfs'; it can be model, bow, idf",
    ),
    compare(
        "a revision of vectors",
        SPEC + 'revision = "v2"\n',
        "spec.toml",
        "variant 'full' revision: is for text that a model encodes, and both sides are vectors",
    ),
    compare(
        "a revision of what a recipe trains",
        changed("[data]", '[data]\ncorpus = "topics.tsv"\ntopics = "topics.tsv"')
        + 'recipe = "tiny"\nrevision = "v2"\n',
        "variant 'full' revision: is of a hub name",
        "model.revision",
    ),
    compare(
        "a mode of queries for a cross-encoder",
        changed("[data]", '[data]\ncorpus = "topics.tsv"\ntopics = "topics.tsv"')
        + 'rerank = { model = "m", query_mode = "bow" }\n',
        "variant 'full' rerank query_mode: has no effect without scorer = sparse",
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
