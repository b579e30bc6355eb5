"""The texts of documents by their ids, to be shown: title and body apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import orjson

from splade_bridge.engines.base import Searcher
from splade_bridge.errors import BadInputError
from splade_bridge.files.locks import scratch_folder
from splade_bridge.retrieval.passages import document_of
from splade_bridge.text.corpora import CorpusOptions, Text, read_texts, texts_in_memory
from splade_bridge.text.text_table import TextTable


@dataclass(frozen=True)
class DocumentText:
    """What is shown of a document; its vector was made of title and body, joined by a blank."""

    title: str
    body: str

    @classmethod
    def apart(cls, text: Text, title_field: str) -> DocumentText:
        """Of a text that was read with the field of its title, which it begins with."""
        title = (text.further or {}).get(title_field)
        title = title.strip() if isinstance(title, str) else ""
        if not text.text.startswith(title):
            title = ""
        return cls(" ".join(title.split()), text.text[len(title) :].lstrip())


class Texts(Protocol):
    """Where texts of documents come from."""

    def get(self, doc_id: str) -> DocumentText | None:
        """The text of a document; None where none is known."""


@contextlib.contextmanager
def opened_texts(
    corpus: str | None, options: CorpusOptions, searchers: Sequence[Searcher]
) -> Iterator[Texts | None]:
    """The texts of ``corpus``; without one those that the indexes store, or None.

    Raises:
        BadInputError: the corpus cannot be read.
    """
    if corpus is None:
        storing = [searcher for searcher in searchers if searcher.stores_texts]
        yield StoredTexts(storing) if storing else None
        return
    with scratch_folder() as work:
        yield DocumentTexts(corpus, options, work)


class StoredTexts:
    """The texts that indexes store of their documents.

    What Anserini has stored as it was read (``raw``) is a record of JSON, as a corpus has it, or
    else a text; ``contents`` is a text.

    Args:
        searchers: asked in their order.
    """

    def __init__(self, searchers: Sequence[Searcher]) -> None:
        self._searchers = searchers

    def get(self, doc_id: str) -> DocumentText | None:
        """See :class:`Texts`."""
        for searcher in self._searchers:
            for name in (doc_id, document_of(doc_id)):
                stored = searcher.stored(name)
                if stored is not None and (text := _of_stored(stored, name)) is not None:
                    return text
        return None


RAW, CONTENTS = "raw", "contents"
"""Fields of what :meth:`.Searcher.stored` gives: a document as it was read, and its text."""
TITLE = CorpusOptions().title_field


def _of_stored(stored: Mapping[str, str], doc_id: str) -> DocumentText | None:
    if (raw := stored.get(RAW)) is not None:
        try:
            record = orjson.loads(raw)
        except orjson.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            return DocumentText("", raw)
        with contextlib.suppress(BadInputError):  # one that holds a vector and no text
            options = CorpusOptions(further=(TITLE,))
            (text,) = texts_in_memory([{**record, "id": doc_id}], options=options)
            return DocumentText.apart(text, TITLE)
        return None
    contents = stored.get(CONTENTS)
    return None if contents is None else DocumentText("", contents)


class DocumentTexts:
    """The texts of a corpus in a file that is mapped: 24 bytes of memory a text, and what is used.

    Args:
        source: whatever :func:`.corpora.read_texts` reads; it is read once.
        options: how.
        work: an empty folder for the file.

    Raises:
        BadInputError: the corpus cannot be read, or holds no text.
    """

    def __init__(self, source: str, options: CorpusOptions, work: Path) -> None:
        further = tuple(dict.fromkeys((*options.further, options.title_field)))
        texts = read_texts(source, "documents", replace(options, further=further))
        self._table = TextTable.build(_apart(texts, options.title_field), work)

    def get(self, doc_id: str) -> DocumentText | None:
        """The text of a document; of a passage ``id#3`` that of ``id``, where it has none."""
        for name in (doc_id, document_of(doc_id)):
            if name in self._table:
                title, _, body = self._table[name].partition("\n")
                return DocumentText(title, body)
        return None


def _apart(texts: Iterable[Text], title_field: str) -> Iterator[Text]:
    """Each text with an end of line between its title, which may be empty, and its body."""
    for text in texts:
        shown = DocumentText.apart(text, title_field)
        yield text._replace(text=f"{shown.title}\n{shown.body}")
