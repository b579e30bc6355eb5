"""The texts of documents by their ids, to be shown: title and body apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from splade_bridge.retrieval.passages import document_of
from splade_bridge.text.corpora import CorpusOptions, Text, read_texts
from splade_bridge.text.text_table import TextTable


@dataclass(frozen=True)
class DocumentText:
    """What is shown of a document; its vector was made of title and body, joined by a blank."""

    title: str
    body: str


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
        title = (text.further or {}).get(title_field)
        title = title.strip() if isinstance(title, str) else ""
        if not text.text.startswith(title):
            title = ""
        body = text.text[len(title) :].lstrip() if title else text.text
        yield text._replace(text=f"{' '.join(title.split())}\n{body}")
