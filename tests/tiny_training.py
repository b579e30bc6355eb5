"""A collection, queries and a recipe so small that a training takes a second."""

from __future__ import annotations

import random
from pathlib import Path

from checkpoints import WORDS, save_checkpoint
from small import write_json_lines, write_texts

DOCUMENTS, QUERIES = 60, 40


class World:
    """Files of a training in ``folder``; each document has words in an order of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = random.Random(0)
        self.documents = {
            f"d{i}": " ".join(rng.choice(WORDS) for _ in range(12)) for i in range(DOCUMENTS)
        }
        self.queries = {
            f"q{i}": " ".join(rng.sample(self.documents[f"d{i}"].split(), 3))
            for i in range(QUERIES)
        }
        groups = [(i, rng.sample(range(QUERIES, DOCUMENTS), 2)) for i in range(QUERIES)]
        write_json_lines(
            folder / "train.jsonl",
            (
                {
                    "query": self.queries[f"q{i}"],
                    "positive": self.documents[f"d{i}"],
                    "negatives": [self.documents[f"d{j}"] for j in others],
                    "scores": [9.0, 3.0, 1.0],
                }
                for i, others in groups
            ),
        )
        for name, texts in (("corpus", self.documents), ("queries", self.queries)):
            write_texts(folder / f"{name}.jsonl", texts)
        self.qrels = {f"q{i}": {f"d{i}": 1} for i in range(20)}
        (folder / "qrels.tsv").write_text("".join(f"q{i} 0 d{i} 1\n" for i in range(20)))
        self.checkpoint = save_checkpoint(folder / "tiny")

    def recipe(self, name: str = "tiny", text: str = "") -> Path:
        """A recipe file; ``text`` is added at its end."""
        path = self.folder / f"{name}.toml"
        path.write_text(
            f"""
            title = "tiny"

            [model]
            base = "{self.checkpoint}"

            [data]
            format = "jsonl"
            path = "{self.folder / "train.jsonl"}"
            negatives = 2

            [loss]
            contrastive = 1
            margin_mse = 0.1

            [regularizer]
            ramp_steps = 6
            query = {{ penalty = "l1", weight = 1e-3 }}
            document = {{ penalty = "flops", weight = 1e-2 }}

            [train]
            steps = 12
            batch_size = 8
            learning_rate = 1e-3
            log_every = 4
            save_every = 4
            {text}
            """
        )
        return path

    def validation(self, **settings: object) -> list[str]:
        """Overrides that add a validation set."""
        paths = {"corpus": "corpus.jsonl", "queries": "queries.jsonl", "qrels": "qrels.tsv"}
        given = {k: self.folder / v for k, v in paths.items()} | {"every": 4} | settings
        return [f"validation.{key}={value}" for key, value in given.items()]
