"""Kind 1: an option changes what it does not name, or nothing at all."""

from __future__ import annotations

from bad_input import Row, made

ROWS = [
    Row(
        "a scale that is no number",
        "index docs.jsonl -o out -e exact --scale nan",
        4,
        ("a scale must be greater than 0",),
        {"docs.jsonl": made.JSON_LINES},
    ),
]
