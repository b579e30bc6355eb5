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
from splade_bridge.engines.impact_stream import write_stream
from splade_bridge.engines.java import anserini_jar, java, java_command, java_version
from splade_bridge.engines.lucene_options import LuceneOptions
from splade_bridge.errors import BadInputError, ExternalProgramError
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
        """Look for Java and the jar."""
        java()
        anserini_jar()

    def tools(self) -> dict[str, str]:
        """The jar carries Lucene's and Anserini's version in its name."""
        return {
            "anserini": anserini_jar().name.split("-")[1],
            "Java": str(java_version(java())),
        }

    def _write(self, source: ImpactSource, folder: Path, options: BuildOptions) -> ReadBack:
        heap = max(options.memory, 512 * MEGABYTE)
        if self.options.route == "anserini":
            stats = _index_with_anserini(source, folder, options.threads, heap)
        else:
            stats = _index_with_helper(source, folder, options.threads, heap)
        (folder / "write.lock").unlink(missing_ok=True)
        if stats["ids"] != stats["documents"]:
            raise ExternalProgramError(
                f"lucene holds {stats['documents']:,} documents, but {stats['ids']:,} ids"
            )
        return ReadBack(stats["documents"], stats["postings"], stats["impact_sum"])

    def open(self, path: Path, manifest: Manifest | None) -> Searcher:
        """Take the vocabulary from beside the index, or from the index itself."""
        self.check_installed()
        if manifest is not None:
            return LuceneSearcher(path, manifest, Vocabulary.load(path / VOCABULARY))
        log.warning("%s: no manifest; its counts and the origin of its weights are unknown", path)
        return LuceneSearcher(path, None, Vocabulary(_terms(path), observed=True))


class LuceneSearcher(Searcher):
    """One JVM for each call of :meth:`search`."""

    algorithms = LuceneEngine.algorithms

    def _search(self, queries: ImpactBatch, k: int, threads: int, algorithm: str) -> Iterator[Hits]:
        arguments = ("search", str(self.path), str(min(k, 2**31 - 1)), str(threads), algorithm)

        def send(stdin: BinaryIO) -> None:
            write_stream(stdin, [queries], self.vocabulary)

        with helper(*arguments, heap=SEARCH_HEAP, send=send) as stdout:
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

        with helper("impacts", str(self.path), heap=SEARCH_HEAP, send=send) as stdout:
            found, *impacts = np.frombuffer(_exactly(stdout, 4 + 4 * len(wanted)), "<i4").tolist()
        by_term = dict(zip(wanted.tolist(), impacts, strict=True))
        return [by_term[term] for term in term_ids] if found else None


def _index_with_helper(
    source: ImpactSource, folder: Path, threads: int, heap: int
) -> dict[str, int]:
    def send(stdin: BinaryIO) -> None:
        write_stream(stdin, source.batches(), source.vocabulary)
        refuse_empty(source.counts, source.path)

    buffer = str(heap // MEGABYTE // 4)
    with helper("index", str(folder), str(threads), buffer, heap=heap, send=send) as stdout:
        return dict(orjson.loads(stdout.read()))


def _index_with_anserini(
    source: ImpactSource, folder: Path, threads: int, heap: int
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
            heap_megabytes=heap // MEGABYTE,
        )  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise _fault(("anserini", str(folder)), done.returncode, done.stderr.splitlines())
    with helper("stats", str(folder), heap=SEARCH_HEAP) as stdout:
        return dict(orjson.loads(stdout.read()))


def _terms(path: Path) -> list[str]:
    terms = []
    with helper("terms", str(path), heap=SEARCH_HEAP) as stdout:
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
    *arguments: str, heap: int, send: Callable[[BinaryIO], None] | None = None
) -> Iterator[BinaryIO]:
    """The stdout of one run of the Java helper, while ``send`` writes its stdin from a thread.

    Raises:
        ExternalProgramError: it ended with an error; the message is the helper's own.
        SpladeBridgeError: whatever ``send`` raised, once the helper has been stopped.
    """
    command = java_command(MAIN, *arguments, heap_megabytes=heap // MEGABYTE)
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
