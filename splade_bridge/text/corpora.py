"""Text that comes in: corpora and query files, as streams of :class:`Text`.

Recognised: a BEIR folder (``corpus.jsonl``, ``queries.jsonl``), JSON lines, MS MARCO TSV
(``id<TAB>text``), Parquet, and the id of an ir_datasets data set; files plain, ``.gz`` or ``.zst``,
a folder of such files, ``-`` for JSON lines on stdin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from splade_bridge.files.lines import STDIO, json_lines, plain_suffix, text_lines

ID_FIELDS = ("id", "_id", "docid")
TEXT_FIELDS = ("contents", "text")
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TSV_SUFFIXES = (".tsv", ".txt")

Role = Literal["documents", "queries"]


class Text(NamedTuple):
    """One document or query; ``text`` is title and body joined by a blank, as BEIR does."""

    id: str
    text: str
    place: str


@dataclass(frozen=True)
class CorpusOptions:
    """Which fields hold what, where the file's own names are not the usual ones."""

    id_field: str | None = None
    text_field: str | None = None
    title_field: str = "title"


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
        BadInputError: the source is not there or not recognised; a record is not an object, has
            no id or no text, or its id was there before. The message names file and line.
        MissingToolError: an ir_datasets id without ir_datasets installed.
    """
    path = Path(source)
    if path != STDIO and not path.exists():
        texts = _ir_datasets(source, role)
    else:
        texts = _files(path, role, options)
    return _unique(texts)


def _files(path: Path, role: Role, options: CorpusOptions) -> Iterator[Text]:
    for file in _members(path, role):
        suffix = plain_suffix(file)
        if file == STDIO or suffix in JSON_SUFFIXES:
            yield from _json_lines(file, options)
        elif suffix in TSV_SUFFIXES:
            yield from _tsv(file)
        elif suffix == ".parquet":
            yield from _parquet(file, options)
        else:
            raise BadInputError(
                "not a known kind of text file: .jsonl, .json, .tsv, .txt, .parquet, each also "
                "with .gz or .zst",
                str(file),
            )


def _members(path: Path, role: Role) -> list[Path]:
    if not path.is_dir():
        return [path]
    stem = "corpus" if role == "documents" else "queries"
    for suffix in ("", ".gz", ".zst"):
        if (beir := path / f"{stem}.jsonl{suffix}").is_file():
            return [beir]
    known = (*JSON_SUFFIXES, *TSV_SUFFIXES, ".parquet")
    found = sorted(p for p in path.iterdir() if p.is_file() and plain_suffix(p) in known)
    if not found:
        raise BadInputError("no text files in this folder", str(path))
    return found


def corpus_files(source: str, role: Role = "documents") -> list[Path]:
    """The files that hold the texts of ``source``: none for stdin and ir_datasets.

    Raises:
        BadInputError: a folder without texts.
    """
    path = Path(source)
    return _members(path, role) if path != STDIO and path.exists() else []


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
        with pq.ParquetFile(path) as file:
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
