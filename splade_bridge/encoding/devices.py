"""Several devices of one machine: a process for each, and the parts dealt out among them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import time
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import Any, NoReturn

import torch

from splade_bridge import errors
from splade_bridge.data.closing import Closing
from splade_bridge.encoding.encoder import EncodeStats, Progress
from splade_bridge.encoding.parts import CorpusEnd, CorpusWalk, PartStore
from splade_bridge.encoding.runner import Provenance
from splade_bridge.encoding.worker import (
    Done,
    EncoderSpec,
    Failed,
    Message,
    Moved,
    Ready,
    Written,
)
from splade_bridge.errors import ExternalProgramError, MismatchError, MissingToolError, UsageError
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.own_process import OwnProcess
from splade_bridge.files.read_ahead import ReadAhead

IN_FLIGHT = 2
"""Parts that a process has: one to encode, and the next, so that it never waits."""


def parse_devices(wanted: str) -> list[str]:
    """The devices that ``--devices`` names.

    ``auto`` is all GPUs, or the CPU where there is none; a number is so many GPUs; ``cpu:N`` is N
    processes on the CPU; else a list as ``cuda:0,cuda:1``.

    Raises:
        UsageError: none of these, or a GPU twice.
        MissingToolError: more GPUs than torch sees.
    """
    there = torch.cuda.device_count()
    if wanted == "auto":
        return [f"cuda:{n}" for n in range(there)] or ["cpu"]
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= there:
            raise MissingToolError(
                f"--devices {wanted}: torch {torch.__version__} sees {there} CUDA devices; "
                "cpu:N is N processes on the CPU"
            )
        return [f"cuda:{n}" for n in range(int(wanted))]
    found: list[str] = []
    for name in wanted.split(","):
        if not re.fullmatch(r"cpu(:[1-9]\d*)?|cuda(:\d+)?", name):
            raise UsageError(f"--devices {wanted}: auto, a number of GPUs, cpu, cpu:N, cuda:0,...")
        kind, _, number = name.partition(":")
        if kind == "cpu":
            found += ["cpu"] * int(number or 1)
        else:
            found.append(f"cuda:{number or 0}")
            if int(number or 0) >= there:
                raise MissingToolError(
                    f"--devices {wanted}: torch {torch.__version__} sees {there} CUDA devices; "
                    "install a CUDA build of torch and a driver, or use --devices cpu"
                )
    if twice := {name for name in found if name != "cpu" and found.count(name) > 1}:
        raise UsageError(f"--devices {wanted}: {', '.join(sorted(twice))} stands there twice")
    return found


class DeviceRunner(Closing):
    """Encodes in one process a device; a context manager, whose end is that of the processes.

    Args:
        spec: the encoder; its device is replaced.
        devices: of one kind, as :func:`parse_devices` gives them.

    Raises:
        ExternalProgramError: a process died.
        MismatchError: the devices would not compute the same.
        SpladeBridgeError: what loading the encoder raises.
    """

    def __init__(self, spec: EncoderSpec, devices: Sequence[str]) -> None:
        if len({name.partition(":")[0] for name in devices}) != 1:
            raise UsageError("--devices: CPU and CUDA round differently; name one kind")
        threads = spec.options.threads or max(1, usable_cores() // len(devices))
        self._workers: list[_Worker] = []
        self._began: float | None = None
        self._ended = 0.0
        try:
            for device in devices:
                options = dataclasses.replace(spec.options, device=device, threads=threads)
                self._workers.append(_Worker(dataclasses.replace(spec, options=options)))
            found = [worker.ready() for worker in self._workers]
        except BaseException:
            self.close()
            raise
        for worker, other in zip(self._workers, found, strict=True):
            if other.plan != found[0].plan:
                differing = sorted(k for k, v in other.plan.items() if v != found[0].plan[k])
                self.close()
                raise MismatchError(
                    f"{self._workers[0].device} and {worker.device} differ in "
                    f"{', '.join(differing)}: encode on one of them"
                )
        self.provenance: Provenance = found[0]

    @property
    def stats(self) -> EncodeStats:
        """Of all processes together; the seconds are those that passed here."""
        total = EncodeStats()
        for worker in self._workers:
            for field in dataclasses.fields(EncodeStats):
                value = getattr(total, field.name) + getattr(worker.stats, field.name)
                setattr(total, field.name, value)
        if self._began is not None:
            total.seconds = (self._ended or time.perf_counter()) - self._began
        return total

    def run(self, walk: CorpusWalk, store: PartStore, progress: Progress | None) -> CorpusEnd:
        """See :class:`splade_bridge.encoding.runner.Runner`."""
        self._began = time.perf_counter()
        try:
            for worker in self._workers:
                worker.send(store.folder)
            with contextlib.closing(ReadAhead(walk)) as parts:
                for part in parts:
                    while min(w.in_flight for w in self._workers) >= IN_FLIGHT:
                        self._listen(store, progress)
                    worker = min(self._workers, key=lambda w: w.in_flight)
                    worker.in_flight += 1
                    worker.send(part)
                    self._listen(store, progress, timeout=0)
            for worker in self._workers:
                worker.send(None)
            while not all(worker.done for worker in self._workers):
                self._listen(store, progress)
        except BaseException:
            self.close()  # nobody writes into the store after this
            raise
        finally:
            self._ended = time.perf_counter()
        assert walk.end is not None
        return walk.end

    def _listen(
        self, store: PartStore, progress: Progress | None, timeout: float | None = None
    ) -> None:
        """Hear what the processes have to say, waiting for something unless told not to."""
        by_connection: dict[Any, _Worker] = {w.connection: w for w in self._workers if not w.done}
        for connection in wait(list(by_connection), timeout):
            worker = by_connection[connection]
            match worker.receive():
                case Moved(step) if progress:
                    progress(*step)
                case Written(number, note, counts):
                    worker.in_flight -= 1
                    store.written(number, note, counts)
                case Done(stats):
                    worker.done, worker.stats = True, stats

    def close(self) -> None:
        """End the processes; what they have not finished is left undone."""
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            worker.join()


class _Worker(OwnProcess):
    """One process, seen from here."""

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__("splade_bridge.encoding.worker")
        self.device = spec.options.device
        self.in_flight = 0
        self.done = False
        self.stats = EncodeStats()
        self.send(spec)

    def ready(self) -> Provenance:
        message = self.receive()
        assert isinstance(message, Ready)
        return message.provenance

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            while True:  # until its last word, or its end
                self.receive()

    def receive(self) -> Message:
        """The next message.

        Raises:
            SpladeBridgeError: the one that ended the process.
            ExternalProgramError: it died without a word.
        """
        try:
            message: Message = self.connection.recv()
        except (EOFError, OSError):
            self._refuse_death()
        if isinstance(message, Failed):
            raise rebuilt(message.kind, message.message, self.device)
        return message

    def _refuse_death(self) -> NoReturn:
        status = self.join()
        how = f"with status {status}"
        if status < 0:
            how = f"by {signal.Signals(-status).name}"
            if status == -signal.SIGKILL:
                how += " (by the system, if memory ran out: use fewer processes or --batch-tokens)"
        raise ExternalProgramError(
            f"the process for {self.device} (pid {self.process.pid}) was ended {how}; finished "
            "parts are kept, and the same command goes on from there"
        )


def rebuilt(kind: str, message: str, where: str) -> errors.SpladeBridgeError:
    """The error that another process has met."""
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, errors.SpladeBridgeError):
        return known(message)
    return ExternalProgramError(f"the process for {where} failed: {message}")
