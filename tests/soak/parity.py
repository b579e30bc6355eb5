"""Random collections: all formats there and back, all engines against a dense integer product."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ranked import as_pairs, brute_force
from small import MemorySource, queries_of, random_matrix, shuffled_ids, terms_of
from soak.frame import Finding, Subject, installed
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.engines.base import BuildOptions
from splade_bridge.engines.registry import EXACT, engine, open_index
from splade_bridge.formats.base import ImpactSource


class Parity(Subject):
    """One collection through a chain of formats into every engine."""

    name: ClassVar[str] = "parity"
    share: ClassVar[float] = 10

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.engines = [name for name in EXACT if installed(name)]

    def attempt(self, rng: random.Random, folder: Path) -> Mapping[str, int]:
        size, width = rng.choice((1, 7, 60, 400, 1500)), rng.choice((1, 5, 60, 300))
        largest = rng.choice((1, 3, 300, 60_000))
        seed, density = rng.getrandbits(31), rng.choice((0.02, 0.2, 0.9))
        documents = random_matrix(seed, size, width, density, largest)
        documents[rng.randrange(size), rng.randrange(width)] = largest
        weights = random_matrix(seed + 1, 12, width, density, rng.choice((1, 4, 300)))
        if largest * int(weights.sum(axis=1).max()) >= 2**24:
            weights = np.minimum(weights, 1) if width * largest < 2**24 else weights * 0
        ids = shuffled_ids(min(size, 900), seed)
        ids += [f"more-{i}" for i in range(size - len(ids))]
        # What a format cannot hold, as white space in a JsonVectorCollection, is refused by it.
        odd = rng.random() < 0.5
        terms = terms_of(width) if odd else [f"##t{i}" for i in range(width)]
        memory = rng.choice((10_000, 1 << 30))

        def collection() -> ImpactSource:
            return MemorySource(documents, ids, terms)

        source = collection
        told = f"{size} documents, {width} terms, largest {largest}, density {density}, seed {seed}"
        steps: list[str] = []
        for number in range(0 if odd else rng.randrange(4)):
            kind = rng.choice(("jsonvector", "ciff", "forward"))
            steps.append(kind)
            source = _again(source, folder / f"step{number}", kind, memory, rng)
            if contents(source()) != contents(collection()):
                raise Finding(f"{told}: other impacts after {' -> '.join(steps)}")
        told += "".join(f", through {kind}" for kind in steps)
        compared = 0
        for name in self.engines:
            place = folder / name
            engine(name).build(source(), place, BuildOptions(memory=memory))
            compared += self._compare(place, told, documents, ids, terms, weights, rng)
        return {"collections": 1, "formats": len(steps), "answers": compared}

    def _compare(
        self,
        place: Path,
        told: str,
        documents: np.ndarray,
        ids: list[str],
        terms: list[str],
        weights: np.ndarray,
        rng: random.Random,
    ) -> int:
        """How many answers of an index were compared."""
        queries, compared = queries_of(weights, terms), 0
        if weights.any() and not (weights.any(0) & documents.any(0)).any():
            return 0  # nothing in common is refused as another vocabulary
        with open_index(place) as searcher:
            batch = queries.aligned(searcher.vocabulary, place)
            for algorithm in searcher.algorithms:
                k = rng.choice((1, 3, 10, 100, 2000))
                threads = rng.choice((1, 2))
                found = list(searcher.search(batch, k, algorithm=algorithm, threads=threads))
                if [hits.query_id for hits in found] != queries.batch.ids:
                    raise Finding(f"{told}: {place.name} {algorithm}: not all queries are answered")
                for hits, query in zip(found, weights, strict=True):
                    if as_pairs(hits) != brute_force(documents, ids, query, k):
                        right = brute_force(documents, ids, query, k)
                        raise Finding(
                            f"{told}: {place.name} {algorithm} k={k} query {hits.query_id}: "
                            f"{as_pairs(hits)[:5]}..., not {right[:5]}..."
                        )
                    compared += 1
        return compared


def contents(source: ImpactSource) -> list[tuple[str, dict[str, int]]]:
    """(id, {term: impact}) of each document, in their order."""
    return [
        (doc_id, {source.vocabulary[int(t)]: int(i) for t, i in zip(*batch.row(n), strict=True)})
        for batch in source.batches()
        for n, doc_id in enumerate(batch.ids)
    ]


def _again(
    source: Callable[[], ImpactSource], place: Path, kind: str, memory: int, rng: random.Random
) -> Callable[[], ImpactSource]:
    """What opens a source, written in a format."""
    compress, rows = rng.random() < 0.5, rng.choice((3, 10**5))
    options = ExportOptions((kind,), compress=compress and kind != "forward", memory=memory)
    if kind == "jsonvector":
        options = replace(options, docs_per_file=rows)
    export(source, place, options)
    return lambda: open_source(place, memory=memory)
