"""Files of training data that break their layout."""

from __future__ import annotations

from bad_input import Content, Row

RECIPE = """\
title = "small"
[model]
tokenizer = "tokenizer"
[model.config]
model_type = "bert"
hidden_size = 16
num_hidden_layers = 1
num_attention_heads = 1
intermediate_size = 16
[data]
format = "{form}"
path = "{name}"
[loss]
{loss} = 1
[train]
steps = 1
batch_size = 4
"""


def tokenizer(path: object) -> None:
    """A tokenizer of a few words."""
    from checkpoints import wordpiece_tokenizer

    wordpiece_tokenizer().save_pretrained(path)


def data(
    title: str, form: str, name: str, content: Content, *words: str, loss: str = "contrastive"
) -> Row:
    """A file that is refused; the folder of the training keeps the recipe."""
    recipe = RECIPE.format(form=form, name=name, loss=loss)
    files = {"recipe.toml": recipe, "tokenizer": tokenizer, name: content}
    code = 2 if loss != "contrastive" else 4
    needed = ("sentence_transformers", "accelerate")
    made = ("out.training", ".out.training.lock")
    return Row(title, "train recipe.toml -o out", code, words, files, made, imports=needed)


ROWS = [
    data("a line of more columns", "triples", "x.tsv", "a\tb\tc\nd\te\tf\tg\n", "x.tsv:2", "4 col"),
    data("a line that was cut", "triples", "x.tsv", "a\tb\tc\nd\te\n", "x.tsv:2", "2 columns"),
    data("a column of numbers for texts", "triples", "x.tsv", "7\tb\tc\n", "x.tsv:1", "column 1"),
    data(
        "a score that is no number",
        "triples",
        "x.tsv",
        "a\tb\tc\t2\t1\n" * 100 + "a\tb\tc\t2\tx\n",
        "x.tsv:101",
        "score 'x'",
    ),
    data(
        "lines of two layouts",
        "jsonl",
        "x.jsonl",
        '{"query": "a", "pos": "b", "negs": ["c"]}\n{"anchor": "a", "positive": "b"}\n',
        "x.jsonl:2",
        "OpenSearch",
    ),
    data("objects of no layout", "jsonl", "x.jsonl", '{"text": "a"}\n', "x.jsonl:1", "no layout"),
    data("numbers for texts", "jsonl", "x.jsonl", '{"query": "a", "pos": [7]}', "data.collection"),
    data("an array that was cut", "jsonl", "x.json", '[{"query": "a", "pos": "b"}', "x.json"),
    data("a table that is none", "dataset", "x.parquet", b"PAR1", "x.parquet", "Parquet"),
    data(
        "no scores for a loss that needs them",
        "jsonl",
        "x.jsonl",
        '{"query": "a", "positive": "b", "negative": "c", "margin": 3}\n',
        "teacher scores",
        "not read of the data: margin (x.jsonl:1)",
        loss="margin_mse",
    ),
]
