"""Kind 1: flags that would do nothing for what a file or an index is.

Those that need another flag are in ``tests/test_needs.py``.
"""

from __future__ import annotations

from bad_input import Row, made

INDEX = {"i": made.exact, "q.tsv": made.TOPICS}
ONE_THREAD = "--threads 4 has no effect: this engine searches in one thread; leave it out"

ROWS = [
    Row(
        "threads for an engine that has one",
        "search i -q q.tsv -o run --threads 4",
        2,
        (ONE_THREAD,),
        INDEX,
    ),
    Row(
        "threads for an engine that searches in one",
        "bench i -q q.tsv --threads 2",
        2,
        ("--threads 2 has no effect", "leave it out"),
        {**INDEX, "q.tsv": made.TOPICS},
    ),
    Row(
        "figures in a file that is called JSON",
        "bench i -q q.tsv -o figures.json",
        2,
        ("--output must end in .csv, not 'figures.json'",),
        INDEX,
    ),
    Row(
        "contents that no format holds",
        "export docs.jsonl -o out -f ciff --with-contents /nosuch",
        2,
        ("--with-contents has no effect without --format jsonvector: add that, or leave",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "a whole recipe as JSON",
        "train splade-max --show --json",
        2,
        ("--show prints TOML: leave --json out",),
    ),
    Row(
        "an option of another engine",
        "index docs.jsonl -o out -e exact --pisa-block-size 64",
        2,
        ("--pisa-block-size is for --engine pisa",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "weights of 8 bits where results are to be exact",
        "index docs.jsonl -o qdrant:passages --qdrant-datatype uint8",
        2,
        ("--qdrant-datatype: makes results approximate; add --approximate, or leave it out",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "approximate, of an engine that has nothing of the kind",
        "index docs.jsonl -o milvus:m.db --approximate",
        2,
        ("--approximate has no effect: milvus has none at loading; leave it out",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "float weights that are scaled and stay what they are",
        "index docs.jsonl -o qdrant:passages --keep-weights --scale 100",
        2,
        ("--keep-weights and --scale, --rounding or --clip: one or the other",),
        {"docs.jsonl": made.JSON_LINES},
    ),
    Row(
        "exact results named twice",
        "search i -q q.tsv -o run --exact-run r --check-against i",
        2,
        ("--exact-run and --check-against: one of them",),
        {**INDEX, "r": made.RUN},
    ),
]
