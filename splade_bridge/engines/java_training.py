"""The process that makes the cache of :mod:`.java_cache`: it searches an index and keeps what the
JVM has learnt; started in the background, it says nothing, and nobody waits for it.
"""

from __future__ import annotations

import os
import random
from itertools import islice
from pathlib import Path

from splade_bridge.engines.java_cache import JavaCache, java_cache
from splade_bridge.engines.lucene_index import LuceneIndex, Query
from splade_bridge.errors import SpladeBridgeError
from splade_bridge.files.locks import folder_lock

NICE = 19
TERMS, QUERIES, QUERY_TERMS = 3000, 400, 25
KS = (10, 1000)
PATIENCE = 300.0
"""Seconds that a JVM may take to write."""


def main(index: str, heap: str, key: str) -> None:
    """Make the cache ``key`` by searching ``index`` with a heap of so many bytes."""
    os.nice(NICE)
    try:
        place = Path(index)
        found = LuceneIndex(place, heap=int(heap), flags=())
        cache = java_cache(found.lucene.class_path, int(heap))
        if cache is None or cache.key != key:
            return
        with folder_lock(cache.folder / f"{key}.lock", cache.folder):
            if cache.find() is None:
                learn(cache, place, int(heap))
    except (SpladeBridgeError, OSError):
        return  # there is none


def learn(cache: JavaCache, place: Path, heap: int) -> None:
    """Search, keep what the JVM has written, and give up where it cannot be started with that.

    Raises:
        SpladeBridgeError: the index cannot be searched.
        OSError: nothing can be written.
    """
    written = cache.folder / f"{cache.key}.{os.getpid()}"
    try:
        with LuceneIndex(place, heap=heap, flags=[f"-XX:AOTCacheOutput={written}"]) as index:
            search(index)
            index.finish(PATIENCE)
        try:
            # Java would pass over a cache that does not suit it, unless it is told not to.
            flags = [f"-XX:AOTCache={written}", "-XX:AOTMode=on"]
            with LuceneIndex(place, heap=heap, flags=flags) as index:
                index.statistics()
        except SpladeBridgeError:
            cache.give_up()
        else:
            cache.keep(written)
    finally:
        for file in cache.folder.glob(f"{written.name}*"):
            file.unlink(missing_ok=True)


def search(index: LuceneIndex) -> None:
    """Queries of the index's own terms, as they are asked: few documents and many."""
    draw = random.Random(0)
    terms = [term.encode() for term in islice(index.terms(), TERMS)]
    queries = [
        Query(str(number), asked, [draw.randint(1, 300) for _ in asked])
        for number in range(QUERIES if terms else 0)
        for asked in [draw.sample(terms, min(QUERY_TERMS, len(terms)))]
    ]
    for k in KS:
        for exhaustive in (False, True):
            for _ in index.search(queries, k, exhaustive=exhaustive):
                pass
