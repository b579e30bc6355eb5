"""The process that encodes on one device; started by splade_bridge/encoding/devices.py.

It is handed parts of the corpus and writes their files into the store itself, so that vectors never
travel between processes. Messages are pickles on one socket, from and to our own parent only; when
the parent is gone the process ends at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, NamedTuple

from splade_bridge.data.counts import Counts
from splade_bridge.data.manifest import Side
from splade_bridge.data.parts import write_part
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding.encoder import EncodeOptions, EncodeStats, load_encoder
from splade_bridge.encoding.parts import Part, PartNote
from splade_bridge.encoding.passages import LongOptions, PartEncoder
from splade_bridge.encoding.runner import Provenance, encode_parts, provenance
from splade_bridge.errors import SpladeBridgeError


@dataclass(frozen=True)
class EncoderSpec:
    """How to load an encoder anywhere: the arguments of :func:`load_encoder`."""

    model: str
    side: Side
    options: EncodeOptions
    long: LongOptions = LongOptions()

    def on(self, device: str) -> EncoderSpec:
        """The same on one device."""
        return replace(self, options=replace(self.options, device=device))

    def load(self) -> PartEncoder:
        """The encoder; raises what :func:`load_encoder` raises."""
        return PartEncoder(load_encoder(self.model, self.side, self.options), self.long)


class Ready(NamedTuple):
    """The model is loaded."""

    provenance: Provenance


class Moved(NamedTuple):
    """Arguments for the progress callback."""

    step: tuple[Any, ...]


class Written(NamedTuple):
    """A part is on the disk."""

    number: int
    note: PartNote
    counts: Counts


class Done(NamedTuple):
    """All parts are on the disk."""

    stats: EncodeStats


class Failed(NamedTuple):
    """The error that ended the process."""

    kind: str
    message: str


Message = Ready | Moved | Written | Done | Failed


def main(handle: int) -> None:
    """Load the encoder that the first message describes, then encode parts until None comes.

    Args:
        handle: file descriptor of the socket.
    """
    parent = Connection(handle)
    lock = Lock()  # progress comes from one thread, written parts from another

    def send(message: Message) -> None:
        with lock:
            parent.send(message)

    inbox: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_receive, args=(parent, inbox), daemon=True).start()
    try:
        encoder = inbox.get().load()
        found = provenance(encoder)
        send(Ready(found))
        folder: Path = inbox.get()

        def write(number: int, batch: SparseBatch, note: PartNote) -> None:
            counts = write_part(folder, number, batch, len(found.vocabulary), note)
            send(Written(number, note, counts))

        encode_parts(encoder, _parts(inbox), write, lambda *step: send(Moved(step)))
        send(Done(encoder.encoder.stats))
    except SpladeBridgeError as error:
        send(Failed(type(error).__name__, str(error)))
    except Exception as error:
        send(Failed("", f"{type(error).__name__}: {error}"))


def _receive(parent: Connection, inbox: SimpleQueue[Any]) -> None:
    try:
        while True:
            inbox.put(parent.recv())
    except (EOFError, OSError):
        os._exit(1)  # the parent is gone: nobody would hear of what is done from now on


def _parts(inbox: SimpleQueue[Any]) -> Iterator[Part]:
    while (part := inbox.get()) is not None:
        yield part
