"""Damage to the files inside of artefacts: a value of another type, a key, a byte.

Where a manifest lists a damaged file, the list is made to fit again, as a faulty tool or somebody
who means harm would leave it: what must notice is the reader of that file.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from splade_bridge.files.outputs import manifest_file

MISSING = object()
"""In place of a value: the key is taken out."""


def set_value(path: Path, keys: tuple[Any, ...], value: Any) -> None:
    """Put ``value`` at ``keys`` of the JSON file ``path``."""
    tree = json.loads(path.read_bytes())
    *above, last = keys
    at = tree
    for key in above:
        at = at[key]
    if value is MISSING:
        del at[last]
    else:
        at[last] = value
    path.write_text(json.dumps(tree))


def list_again(file: Path) -> None:
    """Give the manifest above ``file`` its size and hash."""
    for folder in file.parents:
        manifest = manifest_file(folder)
        if manifest.is_file() and manifest != file:
            tree = json.loads(manifest.read_bytes())
            for entry in tree["files"]:
                if folder / entry["path"] == file:
                    content = file.read_bytes()
                    entry["bytes"] = len(content)
                    entry["sha256"] = hashlib.sha256(content).hexdigest()
            manifest.write_text(json.dumps(tree))
            return


def damaged(
    make: Callable[[Path], object], file: str, keys: tuple[Any, ...], value: Any
) -> Callable[[Path], None]:
    """What makes an artefact with ``value`` at ``keys`` of its file ``file``."""

    def content(path: Path) -> None:
        make(path)
        set_value(path / file, keys, value)
        list_again(path / file)

    return content


def rewritten(
    make: Callable[[Path], object], file: str, change: Callable[[bytes], bytes]
) -> Callable[[Path], None]:
    """What makes an artefact with other bytes in its file ``file``."""

    def content(path: Path) -> None:
        make(path)
        (path / file).write_bytes(change((path / file).read_bytes()))
        list_again(path / file)

    return content


def deep(levels: int) -> bytes:
    """A list in a list in a list."""
    return b"[" * levels + b"]" * levels


VALUES: list[Any] = [
    None, True, -1, 0, 1, 7, 1.5, -0.0, 1e300, 2**31, 2**63, 2**70, 10**400, float("nan"),
    float("inf"), "", "x", "../x", "/etc/passwd", "a\0b", "\u202e\x1b[2J", "x" * 100_000, [], [1],
    ["x"], [[]], {}, {"x": 1}, {"": None}, MISSING,
]  # fmt: skip
"""What a value becomes."""


def places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The keys that lead to every value of a tree."""
    items: Any = ()
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list):
        items = enumerate(tree[:8])
    for key, value in items:
        yield (*above, key)
        yield from places(value, (*above, key))


def mutated_json(content: bytes, rng: random.Random) -> bytes:
    """``content`` with one value, one key, or some bytes changed."""
    tree = json.loads(content)
    there = list(places(tree))
    kind = rng.randrange(10)
    if kind < 6 and there:
        *above, last = rng.choice(there)
        at = tree
        for key in above:
            at = at[key]
        value = rng.choice(VALUES)
        if value is MISSING:
            del at[last]
        else:
            at[last] = value
        return json.dumps(tree).encode()
    if kind == 6 and there:
        tables = [t for t in (tree, *(_at(tree, p) for p in there)) if isinstance(t, dict)]
        if tables:
            rng.choice(tables)[rng.choice(["x", "", "path", "0"])] = rng.choice(VALUES[:-1])
            return json.dumps(tree).encode()
    if kind == 7:
        whole = [b"", b"null", b"[]", b"{}", b"3", b'"x"', b"\xff", b"\xef\xbb\xbf{}", deep(5000)]
        return rng.choice([*whole, b'{"version": 1, "version": 1}', content + content])
    return mutated_bytes(content, rng)


def _at(tree: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        tree = tree[key]
    return tree


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """``content`` cut, with a byte changed, or a run of it removed or repeated."""
    if not content:
        return b"\0"
    at = rng.randrange(len(content))
    stop = min(len(content), at + rng.randrange(1, 40))
    kind = rng.randrange(4)
    if kind == 0:
        return content[:at]
    if kind == 1:
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 2:
        return content[:at] + content[stop:]
    return content[:stop] + content[at:]
