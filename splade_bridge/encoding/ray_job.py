"""Many machines: the same encoder as a Ray Data job.

One read task walks the corpus on the machine that the job was started on and yields a block for
each part that is missing; a pool of actors encodes them (``map_batches``); their results come back
as the bytes of Parquet files, which the driver writes. So machines need the model and this package,
but no file system in common, and Ray holds back the read task while the actors are behind. An actor
that dies is started again and its part with it; a part's bytes depend on its texts only, so the
store does not show it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import ipaddress
import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splade_bridge.data.closing import Closing
from splade_bridge.data.counts import Counts
from splade_bridge.data.parts import part_name, write_parquet
from splade_bridge.encoding.encoder import EncodeStats, Progress
from splade_bridge.encoding.parts import (
    CorpusEnd,
    CorpusWalk,
    Part,
    PartNote,
    PartStore,
)
from splade_bridge.encoding.passages import PartEncoder
from splade_bridge.encoding.ray_rows import as_table, corpus_source, from_table
from splade_bridge.encoding.runner import Provenance, provenance
from splade_bridge.encoding.worker import EncoderSpec
from splade_bridge.errors import (
    ExternalProgramError,
    MismatchError,
    MissingToolError,
    SpladeBridgeError,
    install,
)
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.writing import atomic_writer

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0

TASK_RETRIES = 3
"""How often a part is tried again after the process that had it died."""


@dataclass(frozen=True)
class EncodedPart:
    """A part as an actor hands it back; ``file`` holds the bytes of its Parquet file."""

    number: int
    note: PartNote
    counts: Counts
    file: bytes
    tokens: int
    computed_tokens: int


class RayRunner(Closing):
    """Encodes on a Ray cluster; a context manager that connects to it.

    Args:
        spec: the encoder; device ``auto`` is a GPU for each worker where the cluster has any.
        address: of the cluster; None for the one that ``RAY_ADDRESS`` or ``ray start`` names,
            else a local one; ``auto`` for any that runs on this machine.
        workers: size of the pool; None for as many as the cluster has GPUs, or CPUs.

    Raises:
        MissingToolError: Ray is not installed.
        ExternalProgramError: the cluster cannot be reached, or has no room for a worker.
        SpladeBridgeError: what loading the encoder raises.
    """

    def __init__(
        self, spec: EncoderSpec, *, address: str | None = None, workers: int | None = None
    ) -> None:
        try:
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read when it is imported
            import ray
            import ray.data
        except ImportError as error:
            raise MissingToolError(
                f"--cluster ray: Ray cannot be loaded ({error}); {install('ray')}"
            ) from error
        self._ray: Any = ray
        _check_address(address)
        if not log.isEnabledFor(logging.INFO):
            for name in ("ray", "ray.data"):
                logging.getLogger(name).setLevel(logging.ERROR)
        self._ours = not ray.is_initialized()
        if self._ours:
            try:
                _connect(ray, address)
            except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
                where = address or "here"
                remedy = "; set RAY_TMPDIR to a shorter path" if "AF_UNIX" in str(error) else ""
                raise ExternalProgramError(
                    f"no Ray cluster at {where} ({error}){remedy}"
                ) from error
        try:
            self._set_up(spec, workers)
        except BaseException:
            self.close()
            raise

    def _set_up(self, spec: EncoderSpec, workers: int | None) -> None:
        there = self._ray.cluster_resources()
        gpus = int(there.get("GPU", 0)) if spec.options.device != "cpu" else 0
        threads = spec.options.threads or 1
        spec = dataclasses.replace(spec, options=dataclasses.replace(spec.options, threads=threads))
        self._resources = {"num_gpus": 1} if gpus else {"num_cpus": threads, "num_gpus": 0}
        room = gpus or int(there.get("CPU", 0)) // threads
        if not room:  # Ray would wait for more machines, for ever where none come
            raise ExternalProgramError(
                f"the Ray cluster has {there.get('CPU', 0):g} CPUs, a worker needs {threads}: "
                "pass --threads"
            )
        self._workers = workers or room
        self._spec = spec
        self.stats = EncodeStats()
        describe = self._ray.remote(**self._resources, max_retries=1)(_describe)
        try:
            found = self._ray.get(describe.remote(spec))
        except self._ray.exceptions.RayError as error:
            raise _readable(error) from error
        if isinstance(found, SpladeBridgeError):
            raise found
        self.provenance: Provenance = found

    def run(self, walk: CorpusWalk, store: PartStore, progress: Progress | None) -> CorpusEnd:
        """See :class:`splade_bridge.encoding.runner.Runner`; the texts of ``walk`` are pickled."""
        began = time.perf_counter()
        end: CorpusEnd | None = None
        try:
            for found in self._results(walk):
                match found:
                    case CorpusEnd():
                        end = found
                    case EncodedPart():
                        self._keep(found, store, progress)
                    case SpladeBridgeError():
                        raise found
        except self._ray.exceptions.RayError as error:
            raise _readable(error) from error
        finally:
            self.stats.seconds = time.perf_counter() - began
        if end is None:
            raise ExternalProgramError("Ray lost the end of the corpus; give the command again")
        return end

    def _results(self, walk: CorpusWalk) -> Iterator[object]:
        """What the actors hand back, in any order."""
        data = self._ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        # A part is a block: larger ones would be encoded, and after a death repeated, together.
        context.target_max_block_size = 1
        here = self._ray.get_runtime_context().get_node_id()
        texts = data.read_datasource(
            corpus_source(walk),
            override_num_blocks=1,
            num_cpus=0,
            label_selector={"ray.io/node-id": here},
        )
        with warnings.catch_warnings():
            # Ray Data would try a part for ever; there is no other way yet to tell it.
            warnings.simplefilter("ignore", self._ray.util.annotations.RayDeprecationWarning)
            encoded = texts.map_batches(
                _Actor,
                batch_size=1,
                batch_format="pyarrow",
                compute=data.ActorPoolStrategy(size=self._workers, max_tasks_in_flight_per_actor=2),
                fn_constructor_args=(self._spec, self.provenance.plan),
                max_task_retries=TASK_RETRIES,
                **self._resources,
            )
        for table in encoded.iter_batches(batch_size=1, batch_format="pyarrow"):
            yield from_table(table)

    def _keep(self, found: EncodedPart, store: PartStore, progress: Progress | None) -> None:
        with atomic_writer(store.folder / part_name(found.number)) as out:
            out.write(found.file)
        store.written(found.number, found.note, found.counts)
        self.stats.texts += found.note.texts
        self.stats.tokens += found.tokens
        self.stats.computed_tokens += found.computed_tokens
        self.stats.truncated += found.note.truncated
        self.stats.replaced += found.note.replaced
        if progress:
            progress(found.note.texts, found.tokens)

    def close(self) -> None:
        """Leave the cluster, which ends the job; a local one ends with it."""
        if self._ours:
            self._ray.shutdown()


class _Actor:
    """Encodes parts; what is no part is handed on."""

    def __init__(self, spec: EncoderSpec, plan: dict[str, Any]) -> None:
        self._encoder: PartEncoder | SpladeBridgeError
        try:
            self._encoder = spec.load()
            found = provenance(self._encoder)
            if found.plan != plan:
                differing = sorted(k for k in plan if found.plan.get(k) != plan[k])
                self._encoder = MismatchError(
                    f"workers of the cluster differ in {', '.join(differing)}: give all machines "
                    "the same model, packages and kind of device"
                )
            self._vocabulary_size = len(found.vocabulary)
        except SpladeBridgeError as error:
            self._encoder = error

    def __call__(self, table: pa.Table) -> pa.Table:
        found = from_table(table)
        if not isinstance(found, Part):
            return table
        if isinstance(self._encoder, SpladeBridgeError):
            return as_table(self._encoder)
        try:
            return as_table(self._encode(self._encoder, found))
        except SpladeBridgeError as error:
            return as_table(error)

    def _encode(self, encoder: PartEncoder, part: Part) -> EncodedPart:
        stats = encoder.encoder.stats
        before = stats.tokens, stats.computed_tokens
        batch, note = encoder.encode(encoder.tokenize(part))
        counts = Counts()
        counts.add(batch)
        file = io.BytesIO()
        write_parquet(file, batch, self._vocabulary_size, note)
        return EncodedPart(
            part.number,
            note,
            counts,
            file.getvalue(),
            stats.tokens - before[0],
            stats.computed_tokens - before[1],
        )


def _connect(ray: Any, address: str | None) -> None:
    """Join the cluster at ``address``, or of Ray's own settings, or start one for this job alone.

    Ray's ``auto`` would join any Ray that runs on this machine, the one that another job has
    started for itself included, and would end with it. A cluster of our own listens on loopback
    only, and has no dashboard.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not (address or "").startswith("ray://"):
        quiet["job_config"] = _job_config(ray)
    if address not in (None, "local") or (address is None and _is_started()):
        ray.init(address=address, **quiet)
        return
    with _on_loopback():
        ray.init(address="local", include_dashboard=False, num_cpus=usable_cores(), **quiet)
    if not is_loopback(found := ray.util.get_node_ip_address()):
        log.warning("this Ray cannot be kept to this machine: others can reach it at %s", found)


def _is_started() -> bool:
    """Whether somebody listens at the address that ``ray start`` has left on this machine."""
    from ray._common.utils import get_ray_address_file

    try:
        _check_address(Path(get_ray_address_file(None)).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError, ExternalProgramError):
        return False  # no cluster, or what is left of one
    return True


def _job_config(ray: Any) -> Any:
    """Settings of a job whose workers do not look for modules in our working directory.

    Ray puts that, and the folder of the script that was started, on its workers' paths, unless the
    job brings a working directory of its own.
    """

    class Settings(ray.job_config.JobConfig):  # type: ignore[misc]
        def _runtime_env_has_working_dir(self) -> bool:
            return True

    return Settings()


def is_loopback(address: str) -> bool:
    """Whether an IP address is of this machine only."""
    return ipaddress.ip_address(address).is_loopback


@contextlib.contextmanager
def _on_loopback() -> Iterator[None]:
    """While it lasts, a Ray that starts takes 127.0.0.1 for the address of this machine.

    Ray does so by itself on macOS and Windows, and makes ``_node_ip_address="127.0.0.1"`` the
    address in the network everywhere else. Its own processes read the variable, and this one has
    read it when Ray was imported.
    """
    from ray._private import ray_constants as constants

    variable = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
    before = os.environ.get(variable), getattr(constants, "ENABLE_RAY_CLUSTER", None)
    os.environ[variable], constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before[1]
        if before[0] is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before[0]


def _check_address(address: str | None) -> None:
    """Raise ExternalProgramError where nobody listens; Ray itself would try for minutes."""
    if address in (None, "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if not host or not port.isdecimal():
            raise OSError("an address is host:port, ray://host:port or auto")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise ExternalProgramError(f"no Ray cluster at {address} ({error})") from error


def _describe(spec: EncoderSpec) -> Provenance | SpladeBridgeError:
    """Run on a worker: what the encoder is there."""
    try:
        return provenance(spec.load())
    except SpladeBridgeError as error:
        return error


def _readable(error: Exception) -> ExternalProgramError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ExternalProgramError(
        f"the Ray job failed ({type(error).__name__}: {lines[-1] if lines else 'no message'}); "
        "finished parts are kept, and the same command goes on from there"
    )
