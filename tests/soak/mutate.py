"""Damage to files: what disks, hands and other programs do to them."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

Bytes = Callable[[random.Random, bytes], bytes]

EDGES = [
    "0", "-1", "-0", "1.5", "0.0", "1e-40", "1e39", "1e400", "-1e400", "NaN", "Infinity",
    "2147483647", "2147483648", "4294967295", "4294967296", "9007199254740993",
    "9223372036854775807", "18446744073709551616", "1" * 400, "0x10", "1_000", "٣", "+1", "01",
]  # fmt: skip
ODD_TEXT = [
    "\0", "\x1b[2J", "\u00a0", "\u2028", "\x85", "\u202e", "\ufeff", "\ufffe", "é", "e\u0301", "漢",
    "\U0001f600", " ", "\t", "\r", "\r\n", "\n", '"', "\\", "\\u0000", "\\ud800", "{", "}", "[",
    "]", ",", ":", "null", "true", "#", "'", "=", "a" * 5000,
]  # fmt: skip
RAW = [
    b"\xff",
    b"\xfe\xff",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\x80",
    b"\x1f\x8b",
    b"\0" * 64,
]
NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 1.5, 2**31, 2**63, -(2**63), 10**30, 1e300, "", "x", "../x",
    "/etc/passwd", "\0", "é" * 100, [], {}, [1], ["x"], {"x": 1}, [[]], [None], float("nan"),
]  # fmt: skip


def _place(rng: random.Random, content: bytes) -> int:
    return rng.randrange(len(content) + 1)


def _span(rng: random.Random, content: bytes) -> tuple[int, int]:
    start = _place(rng, content)
    return start, min(len(content), start + 1 + int(rng.paretovariate(0.6)))


def flip_bit(rng: random.Random, content: bytes) -> bytes:
    """One bit changes."""
    if not content:
        return content
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def cut_end(rng: random.Random, content: bytes) -> bytes:
    """The end is missing."""
    return content[: _place(rng, content)]


def cut_out(rng: random.Random, content: bytes) -> bytes:
    """A piece is missing."""
    start, end = _span(rng, content)
    return content[:start] + content[end:]


def double(rng: random.Random, content: bytes) -> bytes:
    """A piece comes twice."""
    start, end = _span(rng, content)
    return content[:end] + content[start:end] + content[end:]


def swap(rng: random.Random, content: bytes) -> bytes:
    """Two pieces change places."""
    a, b, c, d = sorted((*_span(rng, content), *_span(rng, content)))
    return content[:a] + content[c:d] + content[b:c] + content[a:b] + content[d:]


def zero(rng: random.Random, content: bytes) -> bytes:
    """A piece is zeros, as after a crash of the machine."""
    start, end = _span(rng, content)
    return content[:start] + bytes(end - start) + content[end:]


def insert_odd(rng: random.Random, content: bytes) -> bytes:
    """Something odd stands somewhere."""
    at = _place(rng, content)
    odd = rng.choice([*(text.encode() for text in ODD_TEXT), *RAW])
    return content[:at] + odd + content[at:]


def edge_number(rng: random.Random, content: bytes) -> bytes:
    """A number is another one, at an edge of some type."""
    found = list(NUMBER.finditer(content))
    if not found:
        return insert_odd(rng, content)
    match = rng.choice(found)
    return content[: match.start()] + rng.choice(EDGES).encode() + content[match.end() :]


def lines_changed(rng: random.Random, content: bytes) -> bytes:
    """A line is doubled, missing, joined to the next, or put elsewhere."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines[at] = lines[at].rstrip(b"\r\n")
    else:
        lines.insert(rng.randrange(len(lines)), lines.pop(at))
    return b"".join(lines)


def recoded(rng: random.Random, content: bytes) -> bytes:
    """Another encoding, or other line ends."""
    text = content.decode(errors="surrogateescape")
    kind = rng.choice(["utf-16", "utf-8-sig", "latin-1", "crlf", "cr"])
    if kind in ("crlf", "cr"):
        return content.replace(b"\n", b"\r\n" if kind == "crlf" else b"\r")
    return text.encode(kind, errors="replace")


def json_value(rng: random.Random, content: bytes) -> bytes:
    """In a line of JSON (or the whole, if it is one) a value has another type, or a key is gone."""
    lines = content.splitlines(keepends=True)
    try:
        json.loads(content)
        lines = [content]
    except ValueError:
        pass
    if not lines:
        return content
    at = rng.randrange(len(lines))
    try:
        tree = json.loads(lines[at])
    except ValueError:
        return edge_number(rng, content)
    lines[at] = json.dumps(_changed(rng, tree)).encode() + b"\n"
    return b"".join(lines)


def _changed(rng: random.Random, tree: Any) -> Any:
    """``tree`` with one node changed."""
    nodes: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            nodes.append((value, key))
            if isinstance(inner, dict | list):
                walk(inner)

    if not isinstance(tree, dict | list) or not tree:
        return rng.choice(VALUES)
    walk(tree)
    holder, key = rng.choice(nodes)
    kind = rng.randrange(4)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[rng.choice([*map(str, holder), *ODD_TEXT])] = holder[key]
    else:
        holder[key] = rng.choice(VALUES)
    return tree


ANY: list[Bytes] = [flip_bit, cut_end, cut_out, double, swap, zero, insert_odd]
TEXT: list[Bytes] = [*ANY, edge_number, edge_number, lines_changed, lines_changed, recoded]
JSON: list[Bytes] = [*TEXT, json_value, json_value, json_value]


def bytes_of(rng: random.Random, content: bytes, kinds: list[Bytes]) -> bytes:
    """One to three changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(kinds)(rng, content)
    return content


def kinds_of(name: str) -> list[Bytes]:
    """What fits a file of that name."""
    if name.endswith((".json", ".jsonl")):
        return JSON
    if name.endswith((".tsv", ".txt", ".toml", ".run", ".qrels")):
        return TEXT
    return ANY


def file(rng: random.Random, path: Path) -> None:
    """Change a file: what is compressed inside its compression, or outside."""
    content = path.read_bytes()
    inner, suffix = path.name, path.suffix
    inside = rng.random() < 0.6
    if suffix == ".gz" and inside:
        changed = bytes_of(rng, gzip.decompress(content), kinds_of(inner[:-3]))
        path.write_bytes(gzip.compress(changed, mtime=0))
    elif suffix == ".zst" and inside:
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(content)
        changed = bytes_of(rng, plain, kinds_of(inner[:-4]))
        path.write_bytes(zstandard.compress(changed))
    elif suffix == ".parquet" and inside:
        parquet(rng, path)
    else:
        path.write_bytes(bytes_of(rng, content, kinds_of(inner)))


def parquet(rng: random.Random, path: Path) -> None:
    """Other values, types or columns in a Parquet file that is whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    name = rng.choice(table.column_names)
    at = table.column_names.index(name)
    values = table[name].to_pylist()
    kind = rng.randrange(6)
    if kind == 0:
        table = table.drop_columns([name])
    elif kind == 1:
        table = table.set_column(at, name, pa.array([str(v) for v in values]))
    elif kind == 2 and values:
        values[rng.randrange(len(values))] = None
        table = table.set_column(at, name, pa.array(values, table[name].type))
    elif kind == 3 and values:
        table = pa.concat_tables([table, table.slice(rng.randrange(len(values)), 1)])
    elif kind == 4:
        table = table.rename_columns([n + "x" * (n == name) for n in table.column_names])
    else:
        table = _odd_element(rng, table, at, values)
    pq.write_table(table, path)


def _odd_element(rng: random.Random, table: Any, at: int, values: list[Any]) -> Any:
    import pyarrow as pa

    rows = [i for i, value in enumerate(values) if value]
    if not rows:
        return table
    row = rng.choice(rows)
    value = values[row]
    if isinstance(value, str):
        values[row] = rng.choice(["", *ODD_TEXT])
    else:
        edges = [0, 65535, 1, -1, float("nan"), float("inf"), 1e38, 1e-45]
        value[rng.randrange(len(value))] = rng.choice(edges)
        if rng.random() < 0.3:
            value.reverse()
        if rng.random() < 0.2:
            value.pop()
    name = table.column_names[at]
    for type_ in (table[name].type, pa.list_(pa.float64()), pa.list_(pa.int64())):
        try:
            return table.set_column(at, name, pa.array(values, type_))
        except (pa.ArrowInvalid, OverflowError, TypeError, pa.ArrowTypeError):
            continue
    return table
