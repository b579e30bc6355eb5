"""The process that makes blocks of JSON lines into batches; started by ``line_processes.py``.

It says nothing about what is wrong: a block that holds a fault is given back, and is read where
faults have a place.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import NamedTuple

from splade_bridge.data.vectors import ImpactBatch, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import json_object
from splade_bridge.formats.line_columns import SpelledTerms, ToRecord, columns
from splade_bridge.formats.records import Tallies, VectorBuilder


class Asked(NamedTuple):
    """What a process is asked.

    Attributes:
        lines: of JSON, none of them blank.
        terms: that the vocabulary has got since the last block this process was given.
    """

    lines: list[bytes]
    terms: list[str]


class Made(NamedTuple):
    """What became of a block.

    Attributes:
        batch: its rows; a term that the process had not been told has an id from ``known`` on.
        terms: those, in the order in which they came.
        known: terms that the process had been told.
        tallies: what is counted while a block is read.
    """

    batch: ImpactBatch | SparseBatch
    terms: list[str]
    known: int
    tallies: Tallies


class Reading(NamedTuple):
    """The first message: how all blocks are read."""

    to_record: ToRecord
    weights: bool


def main(handle: int) -> None:
    """Answer blocks until the socket ends.

    Args:
        handle: file descriptor of the socket.
    """
    with Connection(handle) as parent:
        try:
            reading: Reading = parent.recv()
            vocabulary = Vocabulary(observed=True)
            terms = SpelledTerms(vocabulary)
            while True:
                parent.send(made(parent.recv(), reading, vocabulary, terms))
        except (EOFError, OSError):
            os._exit(1)  # nobody wants the rest


def made(
    block: Asked, reading: Reading, vocabulary: Vocabulary, terms: SpelledTerms
) -> Made | None:
    """What becomes of a block; None where something is wrong with it.

    Args:
        vocabulary: the terms that the process has been told; those of ``block`` are added.
        terms: of ``vocabulary``.
    """
    vocabulary.add_all(block.terms)
    known = len(vocabulary)
    builder = VectorBuilder(vocabulary, None, weights=reading.weights)
    try:
        found = columns(block.lines, reading.to_record, terms)
        if found is None or not builder.add_columns(found):
            for line in block.lines:
                builder.add(reading.to_record(json_object(line, ""), ""))
        batch = builder.take_weights() if reading.weights else builder.take()
        return Made(batch, list(vocabulary.terms[known:]), known, builder.tallies)
    except BadInputError:
        return None
    finally:
        vocabulary.forget(known)
        terms.forget(known)
