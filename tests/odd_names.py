"""Run by tests: index and search in folders with odd names; prints how many searches were right.

Arguments: a folder, then engines. The JVM's locale is ours, as where libc has no C.UTF-8.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix
from splade_bridge.engines import java
from splade_bridge.engines.registry import engine, open_index

NAMES = (b"\xff\xfe", "ä 漢".encode())


def check_in_a_plain_locale(folder: Path, engine_name: str, **environment: str) -> None:
    """Run this file for one engine where the locale knows no other letters than ASCII."""
    here = Path(__file__).parent
    path = f"{here.parent}{os.pathsep}{here}"
    done = subprocess.run(
        [sys.executable, __file__, folder, engine_name],
        env={**os.environ, "LC_ALL": "C", "PYTHONPATH": path, **environment},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.stdout == f"{3 * len(NAMES)}\n", done.stderr


def main() -> None:
    java.environment = os.environ.copy
    documents, doc_ids, terms = random_matrix(1, 20, 3, 0.5, 9), [f"d{i}" for i in range(20)], "abc"
    weights, right = documents[:3], 0
    for name in sys.argv[2:]:
        for odd in NAMES:
            folder = Path(sys.argv[1], name + os.fsdecode(odd))
            folder.mkdir()
            source = MemorySource(documents, doc_ids, list(terms))
            engine(name).build(source, folder / "-i")
            os.chdir(folder)
            with open_index(Path("-i")) as searcher:
                found = list(searcher.search(queries_of(weights, list(terms)).batch, 5))
            for hits, query in zip(found, weights, strict=True):
                right += as_pairs(hits) == brute_force(documents, doc_ids, query, 5)
            assert [p.name for p in Path().iterdir()] == ["-i"]
    print(right)


if __name__ == "__main__":
    main()
