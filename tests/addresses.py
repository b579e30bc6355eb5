"""Random documents to be put behind an address; the fixture ``address`` gives one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from small import write_json_lines
from splade_bridge.conversion.load_index import load_index
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.remote.load import LoadOptions
from splade_bridge.files.address import Address

TERMS = [*"abcdefgh", "a.b", "%2E", "##x", "[CLS]", "two words", "日本", "'", '"', "\\", "0"]
IDS = [f"d{i}" for i in range(40)] + ["it's", "a%27b", "é漢😀", "-1", "{}", "\x01", "null"]
Documents = dict[str, dict[str, int]]


def documents(seed: int, ids: list[str], terms: list[str] = TERMS, largest: int = 400) -> Documents:
    """Some are empty."""
    drawn = random.Random(seed)
    return {
        doc_id: {
            term: drawn.randint(1, largest)
            for term in drawn.sample(terms, drawn.randrange(min(9, len(terms) + 1)))
        }
        for doc_id in ids
    }


def file(path: Path, some: Documents) -> Path:
    return write_json_lines(path, [{"id": i, "vector": v} for i, v in some.items()])


def loaded(address: Address, tmp_path: Path, some: Documents, **more: Any) -> Manifest:
    return load_index(file(tmp_path / "first.jsonl", some), address, LoadOptions(**more))
