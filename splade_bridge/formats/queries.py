"""Queries as sparse vectors: what an index is searched with.

Recognised: a vector store; TSV ``id<TAB>token token ...`` where a token of weight w stands w times
(Anserini's topics); the same with a colon for the tab, and perhaps ids for tokens (PISA's queries);
JSON lines ``{"qid": ..., "vector": {"term": w}}``. Plain, gzip or zstd. ``-`` and a pipe are TSV or
PISA's. All queries of a set are held in memory.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import orjson

from splade_bridge.data.ids import checked_id, quoted
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import (
    Clipper,
    QuantizeOptions,
    Quantizer,
    for_integers,
    for_numbers,
)
from splade_bridge.data.store import VectorStore
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, MismatchError
from splade_bridge.files.address import Place
from splade_bridge.files.inputs import check_file, is_pipe, is_there
from splade_bridge.files.lines import MAX_LINE, STDIO, plain_suffix, text_lines
from splade_bridge.files.outputs import manifest_file
from splade_bridge.formats.base import ImpactSource, export_manifest, store_source
from splade_bridge.formats.jsonvector import read_vectors
from splade_bridge.formats.records import VectorBuilder, VectorRecord, added
from splade_bridge.formats.term_limits import TermLimit, white_space
from splade_bridge.text.corpora import JSON_SUFFIXES, QUERY_ID_FIELDS, TSV_SUFFIXES
from splade_bridge.text.ir_dataset import may_be_dataset
from splade_bridge.text.tables import is_header

log = logging.getLogger(__name__)

SHOWN = 10

PIECE = 1 << 20
"""Characters of repeated tokens that are counted at once."""

MOSTLY_ONES = 0.9
"""Share of weights that are 1 from which on lines of tokens may be text."""

PISA = re.compile(r"[^\s:]+:")
TERMS = ".terms"
HEADER_TOKENS = ("text", "query", "tokens", "terms", "vector", "contents")


@dataclass(frozen=True)
class Queries:
    """A set of queries: impacts in the ids of its own vocabulary.

    Attributes:
        may_be_text: they are lines of tokens with nearly all weights 1, as a file of texts is.
        allow_mismatch: search with them, too, what does not belong to them.
    """

    path: Place
    batch: ImpactBatch
    vocabulary: Vocabulary
    manifest: Manifest | None = None
    may_be_text: bool = False
    allow_mismatch: bool = False

    def aligned(self, vocabulary: Vocabulary, index: Place) -> ImpactBatch:
        """The same queries in the ids of an index's ``vocabulary``.

        Terms that the index does not know cannot match and are left out. Queries that are empty,
        or become so, stay (they find nothing) and are reported with their ids.

        Raises:
            MismatchError: not one term of any query is known to the index.
        """
        mapping = self.vocabulary.mapping(vocabulary)
        batch = self.batch
        aligned = batch.remap(mapping)
        if batch.indices.size and not aligned.indices.size:
            example = self.vocabulary[int(batch.indices[0])]
            raise MismatchError(
                f"{self.path}: no term of any query (as {example!r}) is in {index}: they were made "
                "with different vocabularies, or by a model that gives documents other terms"
            )
        self._report(aligned, index)
        return aligned

    def _report(self, aligned: ImpactBatch, index: Place) -> None:
        before, after = self.batch.lengths, aligned.lengths
        for what, rows in (
            ("have no terms", np.flatnonzero(before == 0)),
            ("have only terms that no document has", np.flatnonzero((before > 0) & (after == 0))),
        ):
            if len(rows):
                ids = [self.batch.ids[i] for i in rows[:SHOWN].tolist()]
                more = " ..." if len(rows) > SHOWN else ""
                log.warning(
                    "%s: %d of %d queries %s and find nothing in %s: %s%s",
                    self.path, len(rows), len(self.batch), what, index, ", ".join(ids), more,
                )  # fmt: skip
        if unknown := len(self.batch.indices) - len(aligned.indices):
            log.info("%s: %d query terms are in no document of %s", self.path, unknown, index)


def read_queries(
    path: Path,
    quantize: QuantizeOptions | None = None,
    *,
    pre_encoded: bool = False,
    allow_mismatch: bool = False,
) -> Queries:
    """Pre-encoded queries from ``path``.

    Args:
        quantize: of float weights; a vector store takes the defaults for what it does not say.
            Integers can only be clipped.
        pre_encoded: they are no text, whatever they look like.
        allow_mismatch: see :class:`Queries`.

    Raises:
        BadInputError: not a set of pre-encoded queries, a broken line, or an id that comes twice.
        UsageError: a scale or a rounding for queries of integers.
    """
    stream = path == STDIO or is_pipe(path)
    if not stream and not is_there(path):
        hint = "; the queries of an ir_datasets id are text: name a model with --model"
        raise BadInputError("no such file or folder" + hint * may_be_dataset(str(path)), str(path))
    if not stream and not path.is_dir():
        check_file(path)
    if path.is_dir() and manifest_file(path).exists():
        if (found := _exported(path)) is None:
            store = all_of(store_source(VectorStore(path), quantize))
            return replace(store, allow_mismatch=allow_mismatch)
        path = found
    suffix = plain_suffix(path)
    manifest = export_manifest(path)
    made: Quantizer | Clipper | None
    may_be_text = False
    if path.is_dir() or (suffix in JSON_SUFFIXES and not stream):
        made = for_numbers(quantize, path, manifest)
        records = read_vectors(path, QUERY_ID_FIELDS)
    elif stream or suffix in TSV_SUFFIXES:
        made = for_integers(quantize, path, manifest)
        records = _repeated_tokens(path)
        may_be_text = not pre_encoded and manifest is None
    else:
        raise BadInputError(
            "not pre-encoded queries (.tsv, .jsonl or a vector store); to encode text, name a "
            "model with --model",
            str(path),
        )
    vocabulary = Vocabulary(observed=True)
    builder = VectorBuilder(vocabulary, made if isinstance(made, Quantizer) else None)
    for _ in added(records, builder):
        pass
    if not len(builder):
        raise BadInputError("holds no queries", str(path))
    builder.check_weights(path)
    batch = builder.take()
    ones = int((batch.impacts == 1).sum())  # a text may hold a word twice
    may_be_text = may_be_text and ones >= MOSTLY_ONES * batch.impacts.size
    if isinstance(made, Clipper):
        batch = made(batch)
        if made.clipped:
            log.warning("%s: %d impacts were clipped to %d", path, made.clipped, made.clip)
    return Queries(path, batch, vocabulary, manifest, may_be_text, allow_mismatch)


def _exported(folder: Path) -> Path | None:
    """The topics of an export; None for what is none."""
    manifest = Manifest.load(folder)
    if manifest.kind != "export":
        return None
    for name, _ in TOPICS.values():
        for file in (folder / name, folder / f"{name}.gz"):
            if file.is_file():
                return file
    raise BadInputError("this export holds no topics: give its file or folder", str(folder))


def all_of(source: ImpactSource) -> Queries:
    """Everything in ``source`` as a set of queries.

    Raises:
        BadInputError: what reading the source raises.
    """
    batch = ImpactBatch.concat(source.uncounted())
    return Queries(source.path, batch, source.vocabulary, source.manifest)


def _repeated_tokens(path: Path) -> Iterator[VectorRecord]:
    """Lines of Anserini's topics or of PISA's queries, as the first line is."""
    wanted = "a line must be id<TAB>token token ... (Anserini) or id:token token ... (PISA)"
    mark = ""
    names: list[str] | None = None
    for line, place in text_lines(path, pipe=True):
        if not mark:
            mark = "\t" if "\t" in line else ":" if PISA.match(line) else "\t"
            if mark == "\t" and is_header(line.split("\t"), (QUERY_ID_FIELDS, HEADER_TOKENS)):
                continue
            names = lexicon(path, line) if mark == ":" else None
        query_id, found, tokens = line.partition(mark)
        if not found:
            raise BadInputError(f"no {'tab' if mark != ':' else 'colon'}: {wanted}", place)
        if "\t" in tokens:
            raise BadInputError(f"a second tab: {wanted}", place)
        counted: Counter[str] = Counter()
        for piece in _pieces(tokens):
            counted.update(piece.split(" "))
        counted.pop("", None)
        terms = [*counted] if names is None else [_term(t, names, place) for t in counted]
        yield VectorRecord(checked_id(query_id, place), terms, [*counted.values()], place)


def lexicon(path: Path, line: str) -> list[str] | None:
    """The terms by their ids, if the tokens of PISA's queries are ids.

    They are if those of the first line are numbers. Then the terms stand one a line in a file
    beside it, called as it is and ``.terms``, as PISA's ``parse_collection`` leaves them.

    Raises:
        BadInputError: there is no such file.
    """
    tokens = line.partition(":")[2].split(" ")
    if not all(token.isdecimal() for token in tokens if token) or not any(tokens):
        return None
    beside = path.with_name(f"{path.name}{TERMS}")
    if path == STDIO or not beside.is_file():
        raise BadInputError(
            f"its tokens are numbers, as PISA's ids of terms are: put the terms, one a line in the "
            f"order of their ids, into {beside.name} beside it, or write terms for ids",
            str(path),
        )
    return [term for term, _ in text_lines(beside, empty=True)]


def _term(token: str, names: list[str], place: str) -> str:
    if not token.isdecimal() or len(token) > 10 or int(token) >= len(names):
        raise BadInputError(
            f"{quoted(token)} is no id of a term, as the first line has them: there are "
            f"{len(names):,} terms, from 0",
            place,
        )
    return names[int(token)]


def _pieces(tokens: str) -> Iterator[str]:
    """``tokens`` cut at blanks, so that no list of all of them is needed."""
    start = 0
    while start < len(tokens):
        stop = tokens.find(" ", start + PIECE)
        stop = len(tokens) if stop < 0 else stop
        yield tokens[start:stop]
        start = stop


def write_repeated_tokens(
    batches: Iterable[ImpactBatch], vocabulary: Vocabulary
) -> Iterator[bytes]:
    """Lines of Anserini's topics: a token of weight w stands w times.

    Raises:
        BadInputError: a term with white space, which would be read as two; or a query whose line
            would be longer than any that is read.
    """
    return _lines_of_tokens(batches, vocabulary, "\t")


def write_pisa_queries(batches: Iterable[ImpactBatch], vocabulary: Vocabulary) -> Iterator[bytes]:
    """Lines of PISA's queries, ``id:token token``: a token of weight w stands w times.

    PISA is to be told ``--weighted --tokenizer whitespace``, and maps terms by its lexicon.

    Raises:
        BadInputError: see :func:`write_repeated_tokens`; or an id with a colon, where PISA's ends.
    """
    return _lines_of_tokens(batches, vocabulary, ":")


def _lines_of_tokens(
    batches: Iterable[ImpactBatch], vocabulary: Vocabulary, mark: str
) -> Iterator[bytes]:
    remedy = "write --format topics-jsonl, or search with the vectors themselves"
    limit = TermLimit("topics", white_space, remedy, vocabulary)
    for batch in batches:
        limit.check(batch.indices)
        for i, query_id in enumerate(batch.ids):
            if mark in query_id:
                raise BadInputError(
                    f"query {quoted(query_id)}: its id holds a colon, which ends it for PISA: "
                    "rename it"
                )
            ids, weights = batch.row(i)
            tokens = [vocabulary[t] for t in ids.tolist()]
            size = sum(
                (len(t.encode()) + 1) * w for t, w in zip(tokens, weights.tolist(), strict=True)
            )
            if size + len(query_id.encode()) > MAX_LINE:
                raise BadInputError(
                    f"query {quoted(query_id)}: its repeated tokens would be a line of {size:,} "
                    f"bytes, and {MAX_LINE:,} is the most that is read: use a smaller --scale, or "
                    f"{remedy}"
                )
            line = "".join(f"{t} " * w for t, w in zip(tokens, weights.tolist(), strict=True))
            yield f"{query_id}{mark}{line.rstrip(' ')}\n".encode()


def write_json_queries(batches: Iterable[ImpactBatch], vocabulary: Vocabulary) -> Iterator[bytes]:
    """Lines of ``{"qid": ..., "vector": {term: weight}}``, which hold any term and any weight."""
    for batch in batches:
        for i, query_id in enumerate(batch.ids):
            ids, weights = (column.tolist() for column in batch.row(i))
            vector = dict(zip([vocabulary[t] for t in ids], weights, strict=True))
            yield orjson.dumps({"qid": query_id, "vector": vector}) + b"\n"


Write = Callable[[Iterable[ImpactBatch], Vocabulary], Iterator[bytes]]

TOPICS: dict[str, tuple[str, Write]] = {
    "topics": ("topics.tsv", write_repeated_tokens),
    "topics-jsonl": ("topics.jsonl", write_json_queries),
    "topics-pisa": ("topics.pisa.txt", write_pisa_queries),
}
"""File and writer by the name of the format."""
