"""Terms that cannot be shown, and probes of models inside engines that cannot be meant."""

from __future__ import annotations

from bad_input import Row, made
from bad_input.checkpoints import made as checkpoint

TORCH = ("torch", "transformers")
PROBE = "verify opensearch://127.0.0.1:9/i -m m --probe id"


def asked(title: str, command: str, *words: str) -> Row:
    """Flags that cannot be meant together."""
    return Row(title, command, 2, words, {"i": made.exact, "q.tsv": made.TOPICS})


ROWS = [
    asked("both a text and an id", "terms i x --id d1", "a text, which a checkpoint encodes, or"),
    asked("a number of terms below 1", "terms i --id d1 --top 0", "--top"),
    asked("a setting of a model for vectors", "terms i --id d1 --normalize",
          "--normalize has no effect without a text"),
    Row("terms by a model that is not there", "terms no/x/y x", 4,
        ("no/x/y: neither a folder nor",), imports=TORCH),
    Row("terms of a text by an index", "terms i x", 4,
        ("i: neither config.json nor modules.json in it: not a checkpoint",),
        {"i": made.exact}, imports=TORCH),
    Row("terms by a prompt that there is not", "terms m x --prompt-name q9", 2,
        ("--prompt-name q9: m has no such prompt ('query', 'document')",), {"m": checkpoint()},
        imports=TORCH),
    Row("terms read to no text at all", "terms m x --max-length 2", 2, ("--max-length 2",),
        {"m": checkpoint()}, imports=TORCH),
    Row("terms of what holds none", "terms f --id d1", 4, ("f",), {"f": made.GARBAGE}),
    Row("terms of what is not there", "terms none --id d1", 4, ("none: no such file",)),
    asked("a probe of an index of files", "verify i -m m --probe id",
          "--probe asks one engine: give one address"),
    asked("a probe of two engines", f"{PROBE} milvus:x.db".replace("verify ", "verify i ", 1),
          "--probe asks one engine: give one address"),
    asked("a probe without a model", "verify opensearch://127.0.0.1:9/i --probe id",
          "--probe has no effect without --model"),
    asked("a probe with queries", f"{PROBE} -q q.tsv", "--queries has no effect with --probe"),
    asked("a probe with a prompt", f"{PROBE} --prompt x", "--prompt has no effect with --probe"),
    asked("a probe of queries alone", "verify opensearch://127.0.0.1:9/i -m m --probe-query id",
          "--probe-query has no effect without --probe"),
    asked("neither queries nor a probe", "verify i i", "no queries: pass --queries, or --probe"),
    Row("a probe of an engine that cannot be reached", PROBE, 6, ("127.0.0.1:9",),
        {"m": checkpoint()}, imports=(*TORCH, "opensearchpy")),
    Row("a probe of an engine that runs no models", "verify qdrant:x -m m --probe id", 2,
        ("Qdrant runs no models that encode text",), {"m": checkpoint()},
        imports=(*TORCH, "qdrant_edge")),
]  # fmt: skip
