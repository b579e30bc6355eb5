"""Text that comes in: corpora and query files, as streams of :class:`Text`.

Recognised: a BEIR folder (``corpus.jsonl``, ``queries.jsonl``), JSON lines, MS MARCO TSV
(``id<TAB>text``), Parquet, and the id of an ir_datasets data set; files plain, ``.gz`` or ``.zst``,
a folder of such files with all below it, ``-`` for JSON lines on stdin.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MissingToolError,
    install,
)
from splade_bridge.files.folders import Members, members
from splade_bridge.files.inputs import WRITE_FIRST, changed, check_file, is_there, steady
from splade_bridge.files.lines import COMPRESSED, STDIO, json_lines, plain_suffix, text_lines

log = logging.getLogger(__name__)

ID_FIELDS = ("id", "_id", "docid")
TEXT_FIELDS = ("contents", "text")
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TSV_SUFFIXES = (".tsv", ".txt")
TEXT_SUFFIXES = (*JSON_SUFFIXES, *TSV_SUFFIXES, ".parquet")
QRELS = "qrels"
"""The folder of judgements in a BEIR data set, which holds no texts."""

Role = Literal["documents", "queries"]


class Text(NamedTuple):
    """One document or query; ``text`` is title and body joined by a blank, as BEIR does."""

    id: str
    text: str
    place: str


@dataclass(frozen=True)
class CorpusOptions:
    """Which fields hold what, where the file's own names are not the usual ones.

    Attributes:
        skip_others: leave out files of a folder that hold no texts.
    """

    id_field: str | None = None
    text_field: str | None = None
    title_field: str = "title"
    skip_others: bool = False


@dataclass(frozen=True)
class Corpus:
    """The texts of :func:`read_texts` as a value: it can be pickled, and read again from its start.

    Attributes:
        source: as the user named it.
    """

    source: str
    role: Role = "documents"
    options: CorpusOptions = CorpusOptions()

    def __iter__(self) -> Iterator[Text]:
        return read_texts(self.source, self.role, self.options)


def read_texts(
    source: str, role: Role = "documents", options: CorpusOptions = CorpusOptions()
) -> Iterator[Text]:
    """All texts of ``source`` in their order.

    Raises:
        BadInputError: the source is not there or not recognised, or is a pipe; a folder holds
            files that are no texts; a record is not an object, has no id or no text, or its id was
            there before; a file changed meanwhile. The message names file and line.
        MissingToolError: an ir_datasets id without ir_datasets installed.
    """
    path = Path(source)
    if path != STDIO and not is_there(path):
        texts = _ir_datasets(source, role)
    else:
        texts = _files(path, role, options)
    return _unique(texts)


def _files(path: Path, role: Role, options: CorpusOptions) -> Iterator[Text]:
    found = _members(path, role)
    files = found.checked(path, WANTED, skip_others=options.skip_others)
    if path.is_dir():
        _name_neighbours(path, files)
    for file in files:
        suffix = plain_suffix(file)
        if suffix in TSV_SUFFIXES:
            yield from _tsv(file)
        elif suffix == ".parquet":
            yield from _parquet(file, options)
        else:  # its suffix says so, or its content, or it is stdin
            yield from _json_lines(file, options)
    if path.is_dir() and _members(path, role) != found:
        raise changed(path)


WANTED = "texts (.jsonl, .json, .tsv, .txt, .parquet, each also with .gz or .zst)"


def _members(path: Path, role: Role) -> Members:
    """The files with the texts of ``path``.

    They are ``path`` itself, what BEIR calls them in a folder, or all below it that are texts by
    their suffix or JSON by their first byte, which are more than Anserini's JsonCollection takes.
    """
    if path == STDIO:
        return Members([path], [])
    if not path.is_dir():
        check_file(path, remedy=f"{WRITE_FIRST}, or let - read JSON lines from stdin")
        if plain_suffix(path) not in TEXT_SUFFIXES:
            raise BadInputError(
                "not a known kind of text file: .jsonl, .json, .tsv, .txt, .parquet, each also "
                "with .gz or .zst",
                str(path),
            )
        return Members([path], [])
    stem = "corpus" if role == "documents" else "queries"
    for suffix in ("", *COMPRESSED):
        if (beir := path / f"{stem}.jsonl{suffix}").is_file():
            return Members([beir], [])
    found = members(path, TEXT_SUFFIXES, without=QRELS)
    if not found.taken:
        raise BadInputError("no text files in this folder", str(path))
    return found


def _name_neighbours(folder: Path, files: Sequence[Path]) -> None:
    """Warn of further files that look like the one that BEIR's names have chosen."""
    if len(files) == 1 and (name := files[0].name).startswith(("corpus.jsonl", "queries.jsonl")):
        stem = name.split(".")[0]
        like = [p.name for p in sorted(folder.iterdir()) if p.name.startswith(stem)]
        if others := [n for n in like if n != name]:
            log.warning("%s: only %s is read, not %s", folder, name, ", ".join(others))


def corpus_files(source: str, role: Role = "documents", *, skip_others: bool = False) -> list[Path]:
    """The files that hold the texts of ``source``: none for stdin and ir_datasets.

    Args:
        skip_others: leave out what a folder holds beside texts.

    Raises:
        BadInputError: a folder without texts, or with files that are something else; a pipe.
    """
    path = Path(source)
    if path == STDIO or not is_there(path):
        return []
    found = _members(path, role)
    return found.taken if skip_others else found.checked(path, WANTED, skip_others=False)


def _json_lines(path: Path, options: CorpusOptions) -> Iterator[Text]:
    for record, place in json_lines(path):
        yield _from_record(record, place, options)


def _from_record(
    record: Mapping[Any, Any],
    place: str,
    options: CorpusOptions,
    id_fields: tuple[str, ...] = ID_FIELDS,
    text_fields: tuple[str, ...] = TEXT_FIELDS,
) -> Text:
    id_field = _field(record, options.id_field, id_fields, "id", place)
    text_field = _field(record, options.text_field, text_fields, "text", place)
    body, title = record[text_field], record.get(options.title_field)
    for name, value in ((text_field, body), (options.title_field, title)):
        if value is not None and not isinstance(value, str):
            raise BadInputError(f"field {name!r} is not a string", place)
    text = f"{title} {body or ''}" if title else body or ""
    return Text(checked_id(record[id_field], place), text.strip(), place)


def _field(
    record: Mapping[Any, Any], wanted: str | None, usual: tuple[str, ...], what: str, place: str
) -> str:
    for name in (wanted,) if wanted else usual:
        if name in record:
            return name
    expected = wanted or " or ".join(usual)
    raise BadInputError(
        f"no field {expected} ({what}); the record has {', '.join(map(str, record)) or 'none'}. "
        f"Name the right one with --{what}-field",
        place,
    )


def _tsv(path: Path) -> Iterator[Text]:
    for row, place in text_lines(path):
        text_id, tab, text = row.partition("\t")
        if not tab:
            raise BadInputError("no tab: a line must be id<TAB>text", place)
        yield Text(checked_id(text_id, place), text.replace("\t", " ").strip(), place)


def _parquet(path: Path, options: CorpusOptions) -> Iterator[Text]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 0
    try:
        with steady(path), pq.ParquetFile(path) as file:
            names = set(file.schema_arrow.names)
            usual = (*ID_FIELDS, *TEXT_FIELDS)
            chosen = {options.id_field, options.text_field, options.title_field, *usual} & names
            for block in file.iter_batches(1024, columns=sorted(str(n) for n in chosen)):
                for record in block.to_pylist():
                    row += 1
                    yield _from_record(record, f"{path}:row {row}", options)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInputError(f"not a Parquet file ({error})", str(path)) from error


def _ir_datasets(name: str, role: Role) -> Iterator[Text]:
    if name.startswith((".", "/", "~")) or Path(name).suffix or ":" in name:
        raise BadInputError("no such file or folder", name)
    try:
        import ir_datasets
    except ImportError:
        raise MissingToolError(
            f"{name}: no such file or folder; if it is an ir_datasets id: {install('datasets')}"
        ) from None
    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        raise BadInputError("neither a file or folder nor an ir_datasets id", name) from None
    if not (dataset.has_docs() if role == "documents" else dataset.has_queries()):
        raise BadInputError(f"this data set has no {role}", name)
    records = dataset.docs_iter() if role == "documents" else dataset.queries_iter()
    try:
        for number, record in enumerate(records, start=1):
            key = record.doc_id if role == "documents" else record.query_id
            title = getattr(record, "title", "")
            body = record.default_text()
            text = body if not title or body.startswith(title) else f"{title} {body}"
            place = f"{name}:{number}"
            yield Text(checked_id(key, place), text.strip(), place)
    except (OSError, RuntimeError) as error:
        raise ExternalProgramError(f"{name}: ir_datasets could not read it ({error})") from error


FRAME_IDS: dict[Role, tuple[str, ...]] = {
    "documents": ("docno", "doc_id"),
    "queries": ("qid", "query_id"),
}
"""Names of the id in records that are in memory, beside those of files: PyTerrier's and
ir_datasets'."""


def texts_in_memory(
    items: Iterable[Any], role: Role = "documents", options: CorpusOptions = CorpusOptions()
) -> Iterator[Text]:
    """Texts that are in memory already.

    Args:
        items: ``(id, text)``; records by the field names of files, PyTerrier or ir_datasets; or
            strings, whose ids are ``"0"``, ``"1"`` and so on.

    Raises:
        BadInputError: an item is none of these, or its id was there before; it is named by its
            place, from 1.
    """
    return _unique(_items(items, role, options))


def _items(items: Iterable[Any], role: Role, options: CorpusOptions) -> Iterator[Text]:
    ids = (*ID_FIELDS, *FRAME_IDS[role])
    fields = TEXT_FIELDS if role == "documents" else (*TEXT_FIELDS, "query")
    for number, item in enumerate(items, start=1):
        place = f"{'document' if role == 'documents' else 'query'} {number}"
        if isinstance(item, str):
            yield Text(str(number - 1), item.strip(), place)
        elif isinstance(item, Mapping):
            yield _from_record(item, place, options, ids, fields)
        elif isinstance(item, tuple | list) and len(item) == 2 and isinstance(item[1], str):
            yield Text(checked_id(item[0], place), item[1].strip(), place)
        else:
            raise BadInputError(
                f"a text is a string, (id, text) or a record, not {str(item)[:60]!r}", place
            )


def _unique(texts: Iterator[Text]) -> Iterator[Text]:
    guard = DuplicateGuard()
    for text in texts:
        guard.check(text.id, text.place)
        yield text
