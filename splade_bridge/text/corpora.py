"""Text that comes in: corpora and query files, as streams of :class:`Text`.

Recognised: a BEIR folder (``corpus.jsonl``, ``queries.jsonl``), JSON lines and arrays of objects,
TSV as MS MARCO's (``id<TAB>text``) or with a line of names, CSV with a line of names, Parquet and
Arrow (Tevatron's corpora and Hugging Face datasets among them), and the id of an ir_datasets data
set; files plain, ``.gz`` or ``.zst``, a folder of such files with all below it, ``-`` for JSON
lines on stdin.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from splade_bridge.data.ids import DuplicateGuard, checked_id
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.folders import Members, first_byte, members
from splade_bridge.files.inputs import WRITE_FIRST, changed, check_file, is_there
from splade_bridge.files.json_objects import is_json_lines, json_objects
from splade_bridge.files.lines import COMPRESSED, STDIO, json_lines, plain_suffix
from splade_bridge.text.ir_dataset import dataset_texts
from splade_bridge.text.splits import QRELS, judged_queries, split_file, splits
from splade_bridge.text.tables import TABLE_SUFFIXES, delimited_rows, table_rows

log = logging.getLogger(__name__)

ID_FIELDS = ("id", "_id", "docid")
TEXT_FIELDS = ("contents", "text")
QUERY_ID_FIELDS = (*ID_FIELDS, "qid", "query_id")
QUERY_TEXT_FIELDS = (*TEXT_FIELDS, "query")
JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")
TSV_SUFFIXES = (".tsv", ".txt")
TEXT_SUFFIXES = (*JSON_SUFFIXES, *TSV_SUFFIXES, ".csv", *TABLE_SUFFIXES)
NOT_TEXTS = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json")
"""What Hugging Face datasets writes beside its tables."""
Role = Literal["documents", "queries"]


class Text(NamedTuple):
    """One document or query; ``text`` is title and body joined by a blank, as BEIR does.

    Attributes:
        further: those of the fields that were asked for which it has; None for none.
    """

    id: str
    text: str
    place: str
    further: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class CorpusOptions:
    """Which fields hold what, where the file's own names are not the usual ones.

    Attributes:
        skip_others: leave out files of a folder that hold no texts.
        split: of a BEIR folder's queries only those that ``qrels/SPLIT.tsv`` judges; None for all.
        further: names of fields that each text keeps, where it has them.
    """

    id_field: str | None = None
    text_field: str | None = None
    title_field: str = "title"
    skip_others: bool = False
    split: str | None = None
    further: tuple[str, ...] = ()


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
        UsageError: a split of what is no BEIR folder, or of documents.
    """
    path = Path(source)
    if options.split is not None and (role == "documents" or not path.is_dir()):
        what = "documents have none" if role == "documents" else f"{source} is none"
        raise UsageError(f"--split is of the queries of a BEIR folder: {what}")
    if path != STDIO and not is_there(path):
        texts = _dataset(source, role, options.further)
    else:
        texts = _files(path, role, options)
    return _unique(texts)


def _files(path: Path, role: Role, options: CorpusOptions) -> Iterator[Text]:
    found = _members(path, role)
    files = found.checked(path, WANTED, skip_others=options.skip_others)
    if path.is_dir():
        _name_neighbours(path, files)
    texts = (text for file in files for text in _file(file, role, options))
    if options.split is not None:
        yield from _judged(path, options.split, texts)
    else:
        yield from texts
    if path.is_dir() and _members(path, role) != found:
        raise changed(path)


def tell_splits(source: str, options: CorpusOptions) -> None:
    """Warn that the queries of a BEIR folder are those of all its splits, unless one was named."""
    if options.split is None and source != str(STDIO) and (known := splits(Path(source))):
        log.warning(
            "%s: the queries of all splits are taken; --split takes those that one judges: %s",
            source, ", ".join(known),
        )  # fmt: skip


def _judged(folder: Path, split: str, texts: Iterator[Text]) -> Iterator[Text]:
    """Those that the split judges.

    Raises:
        BadInputError: no such split, or it judges a query that is not there.
    """
    left = judged_queries(folder, split)
    for text in texts:
        if text.id in left:
            left.remove(text.id)
            yield text
    if left:
        raise BadInputError(
            f"{len(left):,} of the queries that {split_file(folder, split).name} judges are not "
            f"there, as {min(left)}",
            str(folder),
        )


def _file(file: Path, role: Role, options: CorpusOptions) -> Iterator[Text]:
    suffix = plain_suffix(file)
    if suffix in TSV_SUFFIXES or suffix == ".csv":
        fields = {"--id-field": options.id_field, "--text-field": options.text_field}
        # Of queries it may be meant for the documents beside them (bm25 takes both).
        named = [f for f, field in fields.items() if field is not None and role == "documents"]
        records = delimited_rows(file, _names(role, options), csv=suffix == ".csv", named=named)
    elif suffix in TABLE_SUFFIXES:
        names = {n for known in _names(role, options) for n in known}
        names |= {options.title_field, *options.further}
        records = table_rows(file, names)
    elif file != STDIO and (_begins_an_array(file) or _spans_lines(file)):
        records = json_objects(file)
    else:  # its suffix says so, or its content, or it is stdin
        records = json_lines(file)
    for record, place in records:
        if not isinstance(record, dict):
            raise BadInputError("not a JSON object: one is needed for each text", place)
        yield _from_record(record, place, options, *_usual(role))


KINDS = ".jsonl, .json, .tsv, .txt, .csv, each also with .gz or .zst, .parquet and .arrow"
WANTED = f"texts ({KINDS})"


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
            raise BadInputError(f"not a known kind of text file: {KINDS}", str(path))
        return Members([path], [])
    stem = "corpus" if role == "documents" else "queries"
    for suffix in ("", *COMPRESSED):
        if (beir := path / f"{stem}.jsonl{suffix}").is_file():
            return Members([beir], [])
    found = members(path, TEXT_SUFFIXES, without=QRELS)
    if any(plain_suffix(file) in TABLE_SUFFIXES for file in found.taken):
        texts = [file for file in found.taken if file.name not in NOT_TEXTS]
        found = found._replace(taken=texts)
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


def corpus_files(
    source: str,
    role: Role = "documents",
    *,
    skip_others: bool = False,
    split: str | None = None,
) -> list[Path]:
    """The files that decide the texts of ``source``: none for stdin and ir_datasets.

    Args:
        skip_others: leave out what a folder holds beside texts.
        split: see :class:`CorpusOptions`; its judgements come last.

    Raises:
        BadInputError: a folder without texts, or with files that are something else; a pipe.
    """
    path = Path(source)
    if path == STDIO or not is_there(path):
        return []
    found = _members(path, role)
    files = found.taken if skip_others else found.checked(path, WANTED, skip_others=False)
    return files if split is None else [*files, split_file(path, split)]


def _usual(role: Role) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the fields of id and text in files."""
    if role == "queries":
        return QUERY_ID_FIELDS, QUERY_TEXT_FIELDS
    return ID_FIELDS, TEXT_FIELDS


def _names(role: Role, options: CorpusOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The same, with those that were asked for instead."""
    ids, texts = _usual(role)
    return (
        (options.id_field,) if options.id_field else ids,
        (options.text_field,) if options.text_field else texts,
    )


def _begins_an_array(path: Path) -> bool:
    return first_byte(path) == b"["


def _spans_lines(path: Path) -> bool:
    return plain_suffix(path) == ".json" and not is_json_lines(path)


def _dataset(source: str, role: Role, further: Sequence[str]) -> Iterator[Text]:
    for text in dataset_texts(source, queries=role == "queries", further=further):
        yield Text(*text)


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
    further = None
    if options.further:
        further = {n: record[n] for n in options.further if record.get(n) is not None} or None
    return Text(checked_id(record[id_field], place), text.strip(), place, further)


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
