"""Lucene through a small Java helper (java_conf/src): impacts in, Anserini-compatible index out.

The helper takes a document's impacts as term frequencies, so nothing is written impact-many times
and tokenised again, and whatever is wrong ends it with a message; Anserini's own route loses
documents silently. Queries are scored by Lucene and collected by (score, id).
"""

from __future__ import annotations

import contextlib
import logging
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import orjson

from splade_bridge.data.hits import Hits
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vectors import ImpactBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.base import VOCABULARY, BuildOptions, Engine, ReadBack, Searcher
from splade_bridge.engines.findings import Finding, attempt
from splade_bridge.engines.impact_stream import write_stream
from splade_bridge.engines.jars import (
    Lucene,
    anserini_jar,
    anserini_version,
    fetch_ahead,
    found,
    lucene_for_reading,
    lucene_for_writing,
    users_anserini,
)
from splade_bridge.engines.java import HELPER, java, java_command, java_version
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.errors import BadInputError, ExternalProgramError, UsageError, install
from splade_bridge.files import asset
from splade_bridge.formats.base import ImpactSource, refuse_empty
from splade_bridge.formats.jsonvector import JsonVectorWriter

log = logging.getLogger(__name__)

MAIN = "splade_bridge.Main"
DOCS_PER_FILE = 100_000
MEGABYTE = 1 << 20
SEARCH_HEAP = 1024 * MEGABYTE


class LuceneEngine(Engine):
    """Builds impact indexes that Anserini and Pyserini open."""

    name = "lucene"
    algorithms = ("exhaustive", "block_max_maxscore")
    options: LuceneOptions

    def check_installed(self) -> None:
        """Look for Java and a Lucene to write with, which is fetched if it is missing."""
        java()
        self._lucene()

    def _lucene(self) -> Lucene:
        """What an index is written with."""
        if self.options.route == "helper":
            return lucene_for_writing(self.options.version)
        anserini_jar()
        lucene = users_anserini()
        assert lucene is not None
        if self.options.version and not lucene.version.fits(self.options.version):
            raise UsageError(
                f"Anserini's route writes with Anserini's own Lucene, which is {lucene.version} "
                f"and not {self.options.version}"
            )
        return lucene

    def tools(self) -> dict[str, str]:
        """The Lucene that writes, Java, and Anserini where its route is used."""
        anserini = {}
        if self.options.route == "anserini":
            anserini["anserini"] = anserini_version(anserini_jar())
        return anserini | {
            "lucene": str(self._lucene().version),
            "Java": str(java_version(java())),
        }

    def findings(self) -> list[Finding]:
        """Java, each Lucene that is found, Anserini, and the helper."""
        lucene = install("lucene")
        return [
            Finding("Java >= 21", "engine lucene", attempt(_java), f"{lucene}, or set JAVA_HOME"),
            Finding("Lucene", "engine lucene", _found(),
                    f"{lucene}, then splade-bridge doctor --fetch"),
            Finding("Anserini", "index --route anserini", attempt(lambda: anserini_jar().name),
                    f"optional: {install('pyserini')}, or set ANSERINI_JAR"),
            Finding("Lucene helper", "engine lucene", attempt(lambda: str(asset(HELPER))),
                    "pip install splade-bridge again"),
        ]  # fmt: skip

    def fetch(self) -> list[str]:
        """The Lucene that writes, and the newest, which searches."""
        return [f"Lucene {lucene}" for lucene in fetch_ahead()]

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        heap = max(options.memory, 512 * MEGABYTE)
        if self.options.route == "anserini":
            stats = _index_with_anserini(source, folder, options.threads, heap, self._lucene())
        else:
            stats = _index_with_helper(source, folder, options.threads, heap, self._lucene())
        (folder / "write.lock").unlink(missing_ok=True)
        if stats["ids"] != stats["documents"]:
            raise ExternalProgramError(
                f"lucene holds {stats['documents']:,} documents, but {stats['ids']:,} ids"
            )
        return ReadBack(stats["documents"], stats["postings"], stats["impact_sum"])

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Take the vocabulary from beside the index, or from the index itself."""
        java()
        if manifest is not None:
            return LuceneSearcher(path, manifest, Vocabulary.load(path / VOCABULARY))
        log.warning("%s: no manifest; its counts and the origin of its weights are unknown", path)
        terms = _terms(path, lucene_for_reading(path))
        return LuceneSearcher(path, None, Vocabulary(terms, observed=True))


class LuceneSearcher(Searcher):
    """One JVM for each call of :meth:`search`.

    Attributes:
        lucene: the newest of those found that opens the index.
    """

    algorithms = LuceneEngine.algorithms

    def __init__(self, path: Path, manifest: Manifest | None, vocabulary: Vocabulary) -> None:
        super().__init__(path, manifest, vocabulary)
        self.lucene = lucene_for_reading(path)

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        arguments = ("search", str(self.path), str(min(k, 2**31 - 1)), str(threads), algorithm)

        def send(stdin: BinaryIO) -> None:
            write_stream(stdin, [queries], self.vocabulary)

        with helper(*arguments, heap=SEARCH_HEAP, lucene=self.lucene, send=send) as stdout:
            for query_id in queries.ids:
                nanoseconds, n = struct.unpack("<qi", _exactly(stdout, 12))
                scores = np.frombuffer(_exactly(stdout, 4 * n), "<f4")
                ends = row_pointers(np.frombuffer(_exactly(stdout, 4 * n), "<i4")).tolist()
                blob = _exactly(stdout, ends[-1]).decode()
                if len(blob) == ends[-1]:
                    ids = [blob[ends[i] : ends[i + 1]] for i in range(n)]
                else:  # offsets count bytes, and some id is not ASCII
                    raw = blob.encode()
                    ids = [raw[ends[i] : ends[i + 1]].decode() for i in range(n)]
                yield Hits(query_id, ids, np.rint(scores).astype(np.int64), nanoseconds)

    def impacts(self, doc_id: str, term_ids: Sequence[int]) -> list[int] | None:
        """See :class:`Searcher`."""
        wanted = np.array(sorted(term_ids), dtype=np.int32)
        row = ImpactBatch(
            [doc_id], row_pointers([len(wanted)]), wanted, np.ones(len(wanted), np.int32)
        )

        def send(stdin: BinaryIO) -> None:
            write_stream(stdin, [row], self.vocabulary)

        with helper(
            "impacts", str(self.path), heap=SEARCH_HEAP, lucene=self.lucene, send=send
        ) as stdout:
            found, *impacts = np.frombuffer(_exactly(stdout, 4 + 4 * len(wanted)), "<i4").tolist()
        by_term = dict(zip(wanted.tolist(), impacts, strict=True))
        return [by_term[term] for term in term_ids] if found else None


def _java() -> str:
    return f"{java_version(java())} ({java()})"


def _found() -> str | None:
    return attempt(lambda: ", ".join(map(str, found()))) or None


def _index_with_helper(
    source: ImpactSource, folder: Path, threads: int, heap: int, lucene: Lucene
) -> dict[str, int]:
    def send(stdin: BinaryIO) -> None:
        write_stream(stdin, source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)

    buffer = str(heap // MEGABYTE // 4)
    with helper(
        "index", str(folder), str(threads), buffer, heap=heap, lucene=lucene, send=send
    ) as stdout:
        return dict(orjson.loads(stdout.read()))


def _index_with_anserini(
    source: ImpactSource, folder: Path, threads: int, heap: int, lucene: Lucene
) -> dict[str, int]:
    """The reference route: JSON that we wrote, so that nothing in it can be lost, then Anserini.

    Its exit status says nothing, so it is believed only when its counts are the input's. A term
    with white space, or of over 255 characters, does not survive it.
    """
    with tempfile.TemporaryDirectory(prefix="splade-bridge-", dir=folder.parent) as scratch:
        writer = JsonVectorWriter(Path(scratch), DOCS_PER_FILE, compress=False)
        writer.write(source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)
        command = java_command(
            "io.anserini.index.IndexCollection",
            "-collection", "JsonVectorCollection", "-input", scratch, "-index", str(folder),
            "-generator", "DefaultLuceneDocumentGenerator", "-threads", str(threads),
            "-impact", "-pretokenized", "-optimize",
            "-memoryBuffer", str(heap // MEGABYTE // 2),
            heap_megabytes=heap // MEGABYTE, class_path=lucene.class_path,
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise _fault(("anserini", str(folder)), done.returncode, done.stderr.splitlines())
    with helper("stats", str(folder), heap=SEARCH_HEAP, lucene=lucene) as stdout:
        return dict(orjson.loads(stdout.read()))


def _terms(path: Path, lucene: Lucene) -> list[str]:
    terms = []
    with helper("terms", str(path), heap=SEARCH_HEAP, lucene=lucene) as stdout:
        while (size := struct.unpack("<i", _exactly(stdout, 4))[0]) >= 0:
            terms.append(_exactly(stdout, size).decode())
    return terms


def _exactly(stream: BinaryIO, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise EOFError
    return content


@contextlib.contextmanager
def helper(
    *arguments: str,
    heap: int,
    lucene: Lucene | None = None,
    send: Callable[[BinaryIO], None] | None = None,
) -> Iterator[BinaryIO]:
    """The stdout of one run of the Java helper, while ``send`` writes its stdin from a thread.

    Raises:
        ExternalProgramError: it ended with an error; the message is the helper's own.
        SpladeBridgeError: whatever ``send`` raised, once the helper has been stopped.
    """
    command = java_command(
        MAIN,
        *arguments,
        heap_megabytes=heap // MEGABYTE,
        class_path=lucene.class_path if lucene else None,
    )
    failure: list[BaseException] = []
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        stdin, stdout = cast(BinaryIO, process.stdin), cast(BinaryIO, process.stdout)

        def feed() -> None:
            try:
                if send:
                    send(stdin)
            except BrokenPipeError:
                pass  # the helper ended first; its status and message say why
            except BaseException as error:
                failure.append(error)
                process.kill()
            finally:
                with contextlib.suppress(BrokenPipeError):
                    stdin.close()

        feeder = threading.Thread(target=feed, daemon=True)
        feeder.start()
        try:
            yield stdout
            rest = stdout.read()
        except (EOFError, orjson.JSONDecodeError):
            rest = b"cut"
        except BaseException:
            process.kill()
            raise
        feeder.join()
        status = process.wait()
        if failure:
            raise failure[0]
        if status or rest:
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines()
            raise _fault(arguments, status, lines)


def _fault(arguments: Sequence[str], status: int, lines: list[str]) -> Exception:
    said = [line.removeprefix("splade-bridge: ") for line in lines if line.strip()]
    message = said[-1] if said else f"Java ended with status {status} and no message"
    if message.startswith("not a Lucene index"):
        return BadInputError(message, arguments[1])
    if "OutOfMemoryError" in " ".join(said):
        message += "; give it more with --memory"
    return ExternalProgramError(f"lucene {arguments[0]} {arguments[1]}: {message}")
