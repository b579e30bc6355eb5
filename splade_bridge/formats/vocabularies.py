"""The terms that term ids stand for, from a file or the folder of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.files.typed import Where, checked, json_file

FILES = ("tokenizer.json", "vocabulary.json", "_vocabulary.json", "terms.json", "vocab.txt")


def read_vocabulary(path: Path) -> Vocabulary:
    """The vocabulary in ``path``.

    Args:
        path: ``vocab.txt`` (a term a line), a JSON array of terms, ``{"terms": [...]}``,
            ``{term: id}``, a ``tokenizer.json``, or a folder that holds one of these.

    Raises:
        BadInputError: none of these, or its ids have gaps.
    """
    if path.is_dir():
        found = next((path / name for name in FILES if (path / name).is_file()), None)
        if found is None:
            raise BadInputError(f"holds none of {', '.join(FILES)}", str(path))
        path = found
    if not path.is_file():
        raise BadInputError("no such file or folder", str(path))
    if path.suffix != ".json":
        return Vocabulary(line for line, _ in text_lines(path, empty=True))
    where = Where(str(path))
    content = json_file(where)
    if isinstance(content, dict) and "terms" in content:
        content = content["terms"]
    elif isinstance(content, dict) and isinstance(content.get("model"), dict):
        added = {
            t["content"]: t["id"]
            for t in content.get("added_tokens") or ()
            if isinstance(t, dict) and {"content", "id"} <= t.keys()
        }
        content = _by_id(content["model"].get("vocab")) | added
    if isinstance(content, dict):
        ids = checked(dict[str, int], content, where)
        terms = sorted(ids, key=ids.__getitem__)
        if sorted(ids.values()) != list(range(len(ids))):
            raise BadInputError("its ids are not 0, 1, 2 and so on, each once", str(path))
        return Vocabulary(terms)
    return Vocabulary(checked(list[str], content, where))


def _by_id(vocab: Any) -> dict[str, Any]:
    """The table of a tokenizer; Unigram models keep a list of terms and scores."""
    if isinstance(vocab, list):
        return {pair[0]: n for n, pair in enumerate(vocab) if isinstance(pair, list) and pair}
    return dict(vocab) if isinstance(vocab, dict) else {}
