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

import numpy as np

from splade_bridge.data.closing import Closing
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.lines import COMPRESSED
from splade_bridge.files.own_process import OwnProcess
from splade_bridge.formats.line_blocks import Block, Lines, Whole, blocks
from splade_bridge.formats.line_columns import ToRecord
from splade_bridge.formats.line_worker import Asked, Made, Reading, made
from splade_bridge.formats.records import VectorBuilder, added

log = logging.getLogger(__name__)

SWITCH = "SPLADE_BRIDGE_READERS"
MOST_READERS = 4
"""By then what is done with the batches takes longer than reading them."""
WORTH_BYTES = 1 << 26
"""Bytes of files below which starting a process takes longer than it saves."""
SHRUNK = 4
"""Bytes of lines that a byte of a compressed file is taken for."""
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
        waiting: deque[tuple[Block, Future[Made | None]]] = deque()
        fault: BadInputError | None = None

        def take() -> Iterator[None]:
            block, made = waiting.popleft()
            if (found := made.result()) is not None and _append(builder, found):
                yield
            else:
                yield from added(block.records(to_record), builder)

        for block in _until_fault(files):
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


def _until_fault(files: Sequence[Path]) -> Iterator[Block | BadInputError]:
    """The blocks, and the error that ends them: what stands before it is told before it."""
    try:
        yield from blocks(files)
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

    def read(self, block: Block) -> Future[Made | None]:
        """What a process makes of ``block``; None where that is read here."""
        if isinstance(block, Whole):
            nothing: Future[Made | None] = Future()
            nothing.set_result(None)
            return nothing
        return self._threads.submit(self._ask, block)

    def _ask(self, block: Lines) -> Made | None:
        reader = self._idle.get()  # there are no more threads than processes
        try:
            terms = list(self._vocabulary.terms[reader.told :])
            reader.connection.send(Asked(block.bare, terms))
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
