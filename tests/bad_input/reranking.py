"""Runs that cannot be reranked, and folders that are no data sets of BEIR."""

from __future__ import annotations

from bad_input import Content, Row, made

TEXTS = {"run": made.RUN, "c.tsv": "d1\ta\nd2\tb\nd3\tc\n", "q.tsv": "q1\ta\nq2\tb\n",
         "m/config.json": '{"architectures": ["BertForMaskedLM"]}'}  # fmt: skip
COMMAND = "rerank run -m m --corpus c.tsv -q q.tsv -o out"
TORCH = ("torch", "sentence_transformers")


def rerank(title: str, changes: dict[str, Content], *words: str, flags: str = "") -> Row:
    """A sound run with texts, and what is wrong with them."""
    return Row(title, f"{COMMAND} {flags}", 4, words, TEXTS | changes, imports=TORCH)


def asked(title: str, flags: str, *words: str) -> Row:
    """Flags that cannot be meant."""
    return Row(title, f"{COMMAND} {flags}", 2, words, TEXTS, imports=TORCH)


BEIR = 'folders = ["d"]\n[[model]]\nmodel = "m"\n'
SETS: dict[str, Content] = {
    "d/corpus.jsonl": '{"_id": "d1", "text": "a"}\n',
    "d/queries.jsonl": '{"_id": "q1", "text": "a"}\n',
    "d/qrels/test.tsv": "query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


def beir(
    title: str, content: Content, *words: str, code: int = 4, flags: str = "", file: str = "b.toml"
) -> Row:
    """A TOML of BEIR that is refused before anything is encoded."""
    files = {**SETS, **TEXTS, file: content}
    return Row(title, f"beir b.toml -o out {flags}".strip(), code, words, files)


ROWS = [
    rerank("an empty run to be reranked", {"run": ""}, "run: the run is empty"),
    rerank("a run with five columns to be reranked", {"run": "q1 Q0 d1 1 7\n"}, "run:1: 5 columns"),
    rerank("a reranked query without text", {"q.tsv": "q1\ta\n"},
           "run: 1 of 2 queries (q2) have no text"),
    rerank("a reranked document without text", {"c.tsv": "d1\ta\nd3\tb\n"},
           "run: 1 of 3 documents (d2) to be scored are not in the corpus"),
    rerank("a reranker without a head for pairs", {}, "it is a BertForMaskedLM",
           "would be given a random one"),
    rerank("a reranker that is not there", {}, "no/x/y: neither a folder nor", flags="-m no/x/y"),
    rerank("a reranker that is a file", {"f": "x"}, "this is a file", flags="-m f"),
    rerank("a reranker whose configuration is no JSON", {"m/config.json": "{"}, "config.json"),
    asked("a run to be reranked that is its own output", "-o run", "run"),
    asked("a prompt for a cross-encoder", "--query-prompt x",
          "--query-prompt has no effect without --scorer dense or --scorer sparse"),
    asked("a mode of queries for dense vectors", "--scorer dense --query-mode bow",
          "--query-mode has no effect without --scorer sparse"),
    asked("two prompts for a reranker's queries",
          "--scorer sparse --query-prompt x --query-prompt-name y",
          "--query-prompt-name has no effect with --query-prompt"),
    asked("a revision of a reranker's folder", "--revision v2", "--revision v2: m is a folder"),
    asked("a depth of no documents", "--depth 0", "--depth"),
    Row("a run to be reranked that is not there", COMMAND.replace("run", "gone"), 4, ("gone",),
        TEXTS, imports=TORCH),
    rerank("a corpus to rerank that is not there", {}, "gone.tsv", flags="--corpus gone.tsv"),
    rerank("queries to rerank that are not there", {}, "gone.tsv", flags="-q gone.tsv"),
    rerank("a reranker of dense vectors that says nothing of them", {}, "m",
           flags="--scorer dense"),
    rerank("a reranker of terms without weights", {}, "m", flags="--scorer sparse"),
    Row("a run to be reranked from stdin into a file",
        "rerank - -m m --corpus c.tsv -q q.tsv -o out", 2, ("can be read once only",), TEXTS,
        imports=TORCH),
    Row("a folder that holds no data set of BEIR", "beir d -m m -o out", 4,
        ("d: neither a data set in BEIR's layout",), {"d/a.txt": "a", **TEXTS}),
    Row("a data set of BEIR that is not there", "beir none -m m -o out", 4,
        ("none: no such folder",), TEXTS),
    Row("a data set of BEIR without judgements", "beir d -m m -o out", 4,
        ("d: no qrels/test.tsv",), {"d/corpus.jsonl": "", **TEXTS}),
    Row("a data set of BEIR twice", "beir d d -m m -o out", 2, ("two data sets are called d",),
        {"d/corpus.jsonl": "", "d/qrels/test.tsv": "q1\td1\t1\n", **TEXTS}),
    beir("a TOML of BEIR that is empty", "", "b.toml: folders: must be a list of one or more"),
    beir("a TOML of BEIR that is none", "folders = ", "b.toml: not TOML"),
    beir("a TOML of BEIR that is not there", "", "b.toml", file="c.toml"),
    beir("a TOML of BEIR without models", 'folders = ["d"]\n', "at least one [[model]] is needed"),
    beir("a model of BEIR without a name", 'folders = ["d"]\n[[model]]\nname = "x"\n',
         "b.toml: [[model]] 1 model: is missing"),
    beir("two models of BEIR that are called the same", BEIR + '[[model]]\nmodel = "x/m"\n',
         "two models are called 'm'"),
    beir("an unknown key of BEIR", f"corpus = 1\n{BEIR}", "b.toml: unknown key 'corpus'"),
    beir("an unknown key of a model of BEIR", f"{BEIR}prompts = 'x'\n",
         "b.toml: model 'm': unknown key 'prompts'; did you mean prompt?"),
    beir("a TOML that lets a checkpoint's code run", f"{BEIR}trust_remote_code = true\n",
         "model 'm' trust_remote_code: no specification lets a checkpoint's code run",
         "give --trust-remote-code"),
    beir("two prompts of a model of BEIR", f"{BEIR}query_prompt = 'x'\nquery_prompt_name = 'y'\n",
         "model 'm' query_prompt_name: cannot be together with query_prompt"),
    beir("a prompt before the tokens of a query", f"{BEIR}prompt = 'x'\nquery_mode = 'bow'\n",
         "model 'm': --prompt has no effect with --query-mode bow"),
    beir("a setting of both sides that is said of each",
         f"{BEIR}max_length = 9\nquery_max_length = 8\ndocument_max_length = 7\n",
         "model 'm' max_length: is said of each side"),
    beir("a length of no tokens", f"{BEIR}max_length = 0\n",
         "model 'm' max_length: must be 1 or more, not 0"),
    beir("a pooling that there is not", f"{BEIR}pooling = 'mean'\n",
         "model 'm' pooling: is 'mean'; it can be max, sum, last"),
    beir("a revision that is a number", f"{BEIR}revision = 2\n",
         "revision: must be a string, not 2"),
    beir("an engine that there is not, in a TOML", f"engine = 'solr'\n{BEIR}",
         "b.toml: ", "'solr'"),
    beir("a measure that nobody knows, in a TOML", f"measure = ['nope']\n{BEIR}",
         "b.toml: measure: ", "nope"),
    beir("a folder of a TOML that is not there", BEIR.replace('"d"', '"gone"'),
         "gone: no such folder"),
    beir("a TOML of BEIR beside folders", BEIR, "b.toml: a TOML names all folders and models",
         code=2, flags="d"),
    beir("a TOML of BEIR beside a model", BEIR, "b.toml: a TOML names all folders and models",
         code=2, flags="-m m"),
    beir("a flag that a TOML of BEIR says", BEIR, "--engine has no effect without --model",
         code=2, flags="-e pisa"),
    Row("BEIR without a model", "beir d -o out", 2, ("--model is missing",), {**SETS}),
    Row("one revision of two models", "beir d -m m -m n -o out --revision v2", 2,
        ("--revision v2: is of one model, and there are 2",), {**SETS, **TEXTS}),
    Row("BEIR by a measure that nobody knows", "beir d -m m -o out -M nope", 2, ("nope",),
        {"d/corpus.jsonl": "", "d/qrels/test.tsv": "q1\td1\t1\n", **TEXTS}),
]  # fmt: skip
