"""The user's own PISA programs (PISA_BIN or --pisa-bin): the same files, other processes.

Queries name lists by number, an id repeated as often as its weight; the query id is a number too,
because PISA cuts it at the first colon.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splade_bridge.engines.base import ReadBack
from splade_bridge.engines.library_server import NOTHING, Answer
from splade_bridge.engines.pisa_worker import Index
from splade_bridge.errors import ExternalProgramError, MissingToolError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.formats.pisa import BASENAME, DOC_NAMES, RAW_FILES

PROGRAMS = ("create_wand_data", "compress_inverted_index", "evaluate_queries")
REORDER = "reorder-docids"


def check(programs: Path, *, reorder: bool = False) -> None:
    """Raise MissingToolError if one of the programs is not in the folder."""
    wanted = (*PROGRAMS, REORDER) if reorder else PROGRAMS
    missing = [p for p in wanted if not (programs / p).is_file()]
    if missing:
        raise MissingToolError(
            f"{programs}: no {', '.join(missing)}; PISA_BIN must be the bin folder of a PISA build"
        )


def index_files(folder: Path, encoding: str, block_size: int) -> tuple[Path, Path]:
    """Compressed index and wand data, under the names that the wheel's library looks for."""
    wand = folder / f"quantized.q0.bmw.{block_size}"
    return folder / f"{wand.name}.{encoding}", wand


def reorder(programs: Path, folder: Path) -> None:
    """Number the documents anew by recursive graph bisection (``--bp``).

    Answers name documents by their old numbers, because the names move with them.
    """
    with scratch_folder(folder) as scratch:
        new, names = scratch / BASENAME, scratch / DOC_NAMES
        _run(
            programs / REORDER, "--bp", "-c", str(folder / BASENAME), "-o", str(new),
            "--documents", str(folder / DOC_NAMES), "--reordered-documents", str(names),
        )  # fmt: skip
        for file in (*RAW_FILES, DOC_NAMES):
            (scratch / file).replace(folder / file)


def build(programs: Path, folder: Path, encoding: str, block_size: int) -> None:
    """Wand data and compressed index from the canonical files; PISA checks what it compressed."""
    index, wand = index_files(folder, encoding, block_size)
    collection = str(folder / BASENAME)
    _run(
        programs / "create_wand_data",
        "-c", collection, "-o", str(wand), "-b", str(block_size), "-s", "quantized",
    )  # fmt: skip
    _run(
        programs / "compress_inverted_index",
        "-c", collection, "-o", str(index), "-e", encoding, "--check",
    )  # fmt: skip


def read_back(folder: Path) -> ReadBack:
    """Counts of the canonical files, which ``--check`` compared with the compressed index."""
    docs = np.memmap(folder / f"{BASENAME}.docs", dtype="<u4", mode="r")
    freqs = np.memmap(folder / f"{BASENAME}.freqs", dtype="<u4", mode="r")
    postings = impact_sum = at = 0
    while at < len(freqs):
        length = int(freqs[at])
        postings += length
        impact_sum += int(freqs[at + 1 : at + 1 + length].sum(dtype=np.int64))
        at += 1 + length
    return ReadBack(int(docs[1]), postings, impact_sum)


def search(
    programs: Path,
    folder: Path,
    queries: list[dict[int, int]],
    k: int,
    *,
    encoding: str,
    block_size: int,
    algorithm: str,
    threads: int,
    documents: int,
) -> Iterator[Answer]:
    """Answers to ``queries`` (list number -> weight), in order.

    Queries whose last result ties with the k-th are asked again, twice as deep, until none is.
    """
    answers: dict[int, Answer] = {}
    open_queries = [i for i, query in enumerate(queries) if query]
    depth = min(k + Index.extra, documents)
    while open_queries:
        asked = {i: queries[i] for i in open_queries}
        files = index_files(folder, encoding, block_size)
        answers.update(
            _evaluate(programs, folder, asked, depth, encoding, files, algorithm, threads)
        )
        if depth == documents:
            break
        open_queries = [
            i for i in open_queries
            if len(answers[i].scores) == depth and answers[i].scores[-1] == answers[i].scores[k - 1]
        ]  # fmt: skip
        depth = min(2 * depth, documents)
    for i in range(len(queries)):
        yield answers.get(i, NOTHING)


def _evaluate(
    programs: Path,
    folder: Path,
    queries: dict[int, dict[int, int]],
    depth: int,
    encoding: str,
    files: tuple[Path, Path],
    algorithm: str,
    threads: int,
) -> dict[int, Answer]:
    index, wand = files
    with scratch_folder() as scratch:
        asked = scratch / "queries"
        with open(asked, "w") as file:
            for number, query in queries.items():
                terms = " ".join(f"{i} " * weight for i, weight in query.items())
                file.write(f"{number}:{' '.join(terms.split())}\n")
        output = _run(
            programs / "evaluate_queries",
            "-e", encoding, "-i", str(index), "-w", str(wand), "-a", algorithm, "-k", str(depth),
            "-s", "quantized", "--weighted", "--tokenizer", "whitespace", "-q", str(asked),
            "--documents", str(folder / DOC_NAMES), "-j", str(threads),
        )  # fmt: skip
    rows: dict[int, list[tuple[int, int]]] = {number: [] for number in queries}
    for line in output.splitlines():
        query_id, _, name, _, score, *_ = line.split()
        rows[int(query_id)].append((int(name), round(float(score))))
    return {
        number: Answer(
            np.array([d for d, _ in found], np.int64), np.array([s for _, s in found], np.int64), 0
        )
        for number, found in rows.items()
    }


def _run(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExternalProgramError(f"{program} ended with {done.returncode}: {last[0]}")
    return done.stdout
