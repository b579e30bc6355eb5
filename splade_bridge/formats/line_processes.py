"""JSON lines made into batches by several processes, since Python reads them on one core.

What comes of it is what reading them here gives: rows, ids of terms, errors. A block in which a
process finds a fault, and one whose process died, is read here as all are without processes.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from splade_bridge.data.closing import Closing
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.json_objects import is_json_lines, json_objects
from splade_bridge.files.lines import COMPRESSED, json_object, numbered_lines
from splade_bridge.files.own_process import OwnProcess
from splade_bridge.formats.line_worker import Block, Made, Reading, ToRecord, made
from splade_bridge.formats.records import BATCH_ROWS, VectorBuilder, VectorRecord, added

log = logging.getLogger(__name__)

SWITCH = "SPLADE_BRIDGE_READERS"
MOST_READERS = 4
"""By then what is done with the batches takes longer than reading them."""
WORTH_BYTES = 1 << 25
"""Bytes of files below which starting a process takes longer than it saves."""
SHRUNK = 4
"""Bytes of lines that a byte of a compressed file is taken for."""
BLOCK_BYTES = 1 << 22
IN_FLIGHT = 2
"""Blocks for each process: the one that it reads, and the next."""


def readers_for(files: Sequence[Path]) -> int:
    """How many processes are to read ``files``; 0 where this one does it.

    As many as there are cores, and at most four; ``SPLADE_BRIDGE_READERS`` says otherwise.
    """
    wanted = os.environ.get(SWITCH, "")
    if wanted.isdecimal():
        return int(wanted)
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += file.stat().st_size * (SHRUNK if file.suffix in COMPRESSED else 1)
    cores = usable_cores()
    return 0 if cores < 2 or size < WORTH_BYTES else min(cores, MOST_READERS)


def lines_by_processes(
    files: Sequence[Path], to_record: ToRecord, builder: VectorBuilder, readers: int
) -> Iterator[None]:
    """Add the documents of ``files`` to ``builder``, and stop wherever a batch may be full.

    A file that is JSON, but not one object a line, is read here.

    Args:
        readers: processes, 1 or more.

    Raises:
        BadInputError: see :func:`.records.added`.
    """
    with _Readers(readers, Reading(to_record, builder.weights), builder.vocabulary) as pool:
        waiting: deque[tuple[_Block, Future[Made | None]]] = deque()
        fault: BadInputError | None = None

        def take() -> Iterator[None]:
            block, made = waiting.popleft()
            if (found := made.result()) is not None and _append(builder, found):
                yield
            else:
                yield from added(block.records(to_record), builder)

        for block in _until_fault(_blocks(files)):
            if isinstance(block, BadInputError):
                fault = block
                break
            waiting.append((block, pool.read(block)))
            if len(waiting) > readers * IN_FLIGHT:
                yield from take()
        while waiting:
            yield from take()
    if fault is not None:
        raise fault


def _until_fault(blocks: Iterator[_Block]) -> Iterator[_Block | BadInputError]:
    """The blocks, and the error that ends them: what stands before it is told before it."""
    try:
        yield from blocks
    except BadInputError as error:
        yield error


def _append(builder: VectorBuilder, made: Made) -> bool:
    """Whether ``builder`` took the rows; else they are to be added one by one."""
    batch = made.batch
    if not builder.reserve(batch):
        return False
    if made.terms:
        ids = np.arange(made.known + len(made.terms), dtype=np.int32)
        ids[made.known :] = builder.vocabulary.add_all(made.terms)
        batch = batch.remap(ids)
    builder.append(batch, made.tallies)
    return True


class _Lines(NamedTuple):
    """Lines that follow one another in a file."""

    path: Path
    lines: list[tuple[int, bytes]]

    def records(self, to_record: ToRecord) -> Iterator[VectorRecord]:
        for number, line in self.lines:
            place = f"{self.path}:{number}"
            yield to_record(json_object(line, place), place)


class _Whole(NamedTuple):
    """A file of JSON that is not one object a line."""

    path: Path

    def records(self, to_record: ToRecord) -> Iterator[VectorRecord]:
        for value, place in json_objects(self.path):
            yield to_record(value, place)


_Block = _Lines | _Whole


def _blocks(files: Sequence[Path]) -> Iterator[_Block]:
    """All that is no blank line, cut where a batch is full by its rows."""
    rows = 0
    for path in files:
        if not is_json_lines(path):
            yield _Whole(path)
            continue
        lines: list[tuple[int, bytes]] = []
        size = 0
        try:
            for number, line in numbered_lines(path):
                if line.strip():
                    lines.append((number, line))
                    size += len(line)
                    rows += 1
                    if rows == BATCH_ROWS or size >= BLOCK_BYTES:
                        yield _Lines(path, lines)
                        lines, size, rows = [], 0, rows % BATCH_ROWS
        except BadInputError:
            if lines:
                yield _Lines(path, lines)
            raise
        if lines:
            yield _Lines(path, lines)


class _Reader(OwnProcess):
    """A process, and how many terms of the vocabulary it was told."""

    def __init__(self, reading: Reading) -> None:
        super().__init__(made.__module__)
        self.told = 0
        self.dead = False
        self.connection.send(reading)


class _Readers(Closing):
    """The processes, and for each a thread that waits for its answers.

    Raises:
        OSError: a process cannot be started.
    """

    def __init__(self, count: int, reading: Reading, vocabulary: Vocabulary) -> None:
        self._closed = False
        self._vocabulary = vocabulary
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="lines")
        self._idle: SimpleQueue[_Reader] = SimpleQueue()
        self._readers: list[_Reader] = []
        try:
            for _ in range(count):
                self._readers.append(_Reader(reading))
                self._idle.put(self._readers[-1])
        except BaseException:
            self.close()
            raise

    def read(self, block: _Block) -> Future[Made | None]:
        """What a process makes of ``block``; None where that is read here."""
        if isinstance(block, _Whole):
            nothing: Future[Made | None] = Future()
            nothing.set_result(None)
            return nothing
        return self._threads.submit(self._ask, block)

    def _ask(self, block: _Lines) -> Made | None:
        reader = self._idle.get()  # there are no more threads than processes
        try:
            terms = list(self._vocabulary.terms[reader.told :])
            reader.connection.send(Block([line for _, line in block.lines], terms))
            reader.told += len(terms)
            answer: Made | None = reader.connection.recv()
            return answer
        except (EOFError, OSError):
            if not (reader.dead or self._closed):
                pid = reader.process.pid
                log.warning("process %d, which read lines, has died: they are read here", pid)
            reader.dead = True
            return None
        finally:
            self._idle.put(reader)

    def close(self) -> None:
        """End the processes, and wait for the threads."""
        self._closed = True
        for reader in self._readers:
            reader.process.kill()
        self._threads.shutdown(cancel_futures=True)
        for reader in self._readers:
            reader.connection.close()
            reader.join()
