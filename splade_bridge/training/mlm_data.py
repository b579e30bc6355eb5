"""Texts as token blocks, and the masks over them, for :mod:`.mlm`.

Texts are tokenized once into a flat file, one after the other with [SEP] between them, and cut into
blocks. What is masked depends on the seed and the number of the row alone, so that a run that was
killed and goes on reaches the weights of one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import DataCollatorForLanguageModeling

from splade_bridge.errors import BadInputError
from splade_bridge.files.lines import text_lines
from splade_bridge.files.typed import Where, json_file, typed
from splade_bridge.files.writing import atomic_writer
from splade_bridge.text.corpora import read_texts
from splade_bridge.training.options import MlmOptions
from splade_bridge.training.word_vectors import word_vectors

TOKENS, CONTINUED = "tokens.bin", "continued.bin"
TEXTS_AT_ONCE = 1000
TOLD = "tokens.json"


@dataclass(frozen=True)
class _Told:
    """What the flat files hold."""

    texts: int
    tokens: int


def texts_of(options: MlmOptions) -> Iterator[str]:
    """All texts that are trained on, files first, then corpora, then documentation strings.

    Raises:
        BadInputError: a file that cannot be read.
    """
    for path in options.texts:
        for line, _ in text_lines(path, empty=True):
            yield line.strip()
    for corpus in options.corpora:
        yield from (text.text for text in read_texts(corpus))
    if options.docstrings:
        from splade_bridge.training.documentation import contents, documentation

        yield from map(contents, documentation(options.packages))


def token_blocks(options: MlmOptions, tokenizer: Any, work: Path) -> Blocks:
    """The blocks of all texts, tokenized into ``work`` if they were not yet.

    Raises:
        BadInputError: a text that cannot be read, or no tokens.
    """
    told = work / TOLD
    if not told.exists():
        texts, tokens = _write_tokens(texts_of(options), tokenizer, work)
        if not tokens:
            raise BadInputError("the texts hold no tokens", str(options.out))
        with atomic_writer(told) as file:
            file.write(json.dumps(asdict(_Told(texts, tokens))).encode())
    return Blocks(work, options.block, tokenizer.cls_token_id, tokenizer.sep_token_id)


def _write_tokens(texts: Iterable[str], tokenizer: Any, work: Path) -> tuple[int, int]:
    """Flat files of token ids, and of whether each continues a word; counts texts and tokens."""
    total_texts, total_tokens = 0, 0
    stream = iter(texts)
    with open(work / TOKENS, "wb") as tokens, open(work / CONTINUED, "wb") as continued:
        while group := list(islice(stream, TEXTS_AT_ONCE)):
            found = tokenizer(
                group, add_special_tokens=False, return_attention_mask=False, verbose=False
            )
            for number, ids in enumerate(found["input_ids"]):
                total_texts += 1
                if not ids:
                    continue
                words = found.word_ids(number)
                inside = [False, *(a == b for a, b in pairwise(words)), False]
                if total_tokens:
                    ids, inside = [tokenizer.sep_token_id, *ids], [False, *inside]
                np.array(ids, dtype=np.int32).tofile(tokens)
                np.array(inside[: len(ids)], dtype=np.bool_).tofile(continued)
                total_tokens += len(words)
    return total_texts, total_tokens


class Blocks:
    """The tokens of all texts as blocks ``[CLS] ... [SEP]``, mapped from disk.

    Attributes:
        texts: that were read.
        tokens: of them, separators not counted.
    """

    def __init__(self, folder: Path, size: int, cls: int, sep: int) -> None:
        try:
            self._tokens = np.memmap(folder / TOKENS, dtype=np.int32, mode="r")
            self._continued = np.memmap(folder / CONTINUED, dtype=np.bool_, mode="r")
            if len(self._tokens) != len(self._continued):
                raise ValueError("its files of tokens do not belong together")
        except (OSError, ValueError) as error:
            raise BadInputError(f"damaged ({error}): delete the folder", str(folder)) from error
        self._inner, self._cls, self._sep = size - 2, cls, sep
        where = Where(str(folder / TOLD), said="damaged ({}): delete the folder")
        told = typed(_Told, json_file(where), where)
        self.texts, self.tokens = told.texts, told.tokens

    def __len__(self) -> int:
        return -(-len(self._tokens) // self._inner)

    def word_vectors(self, vocabulary: int, width: int, seed: int) -> NDArray[np.float32]:
        """float32[vocabulary, width], from counts over all tokens; see :mod:`.word_vectors`."""
        return word_vectors(self._tokens, self._sep, vocabulary, width, seed)

    def block(self, number: int) -> dict[str, Any]:
        """``input_ids``, ``special_tokens_mask`` and ``offset_mapping`` of a block.

        Offsets are made up: they only tell whether a piece continues the word before it.
        """
        part = slice(number * self._inner, (number + 1) * self._inner)
        ids = np.concatenate([[self._cls], self._tokens[part], [self._sep]]).astype(np.int64)
        continued = np.concatenate([[False], self._continued[part], [False]])
        continued[1] = False
        starts = 2 * np.arange(len(ids)) - continued
        offsets = np.stack([starts, 2 * np.arange(len(ids)) + 1], axis=1)
        special = (ids == self._cls) | (ids == self._sep)
        return {
            "input_ids": ids.tolist(),
            "special_tokens_mask": special.astype(int).tolist(),
            "offset_mapping": offsets.tolist(),
        }


class ShuffledBlocks(Dataset[Any]):
    """All rows of the training in their order: pass after pass over the blocks, each shuffled."""

    def __init__(self, blocks: Blocks, options: MlmOptions, devices: int) -> None:
        self._blocks, self._seed = blocks, options.seed
        batch = options.batch_size * options.gradient_accumulation * devices
        self._length = options.steps * batch
        self._pass, self._order = -1, np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict[str, Any]:
        number, at = divmod(row, len(self._blocks))
        if number != self._pass:
            rng = np.random.default_rng([self._seed, number])
            self._pass, self._order = number, rng.permutation(len(self._blocks))
        return {**self._blocks.block(int(self._order[at])), "row": row}


class Masking:
    """transformers' masking with a generator that is set anew for each batch."""

    def __init__(self, tokenizer: Any, options: MlmOptions) -> None:
        self._seed = options.seed
        self._whole_words = options.whole_words
        self._tokenizer = tokenizer
        self._collate = DataCollatorForLanguageModeling(
            tokenizer,
            mlm_probability=options.mask,
            whole_word_mask=options.whole_words,
            **(
                {"mask_replace_prob": 1.0, "random_replace_prob": 0.0}
                if options.whole_words
                else {}
            ),
        )

    def __call__(self, rows: list[dict[str, Any]]) -> Any:
        """A batch: ``input_ids``, ``attention_mask`` and ``labels`` (-100 where not masked)."""
        length = max(len(row["input_ids"]) for row in rows)
        state = np.random.SeedSequence([self._seed, rows[0]["row"]]).generate_state(1, np.uint64)
        self._collate.generator = torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
        padded = []
        for row in rows:
            missing = length - len(row["input_ids"])
            pad = self._tokenizer.pad_token_id
            item = {
                "input_ids": row["input_ids"] + [pad] * missing,
                "attention_mask": [1] * (length - missing) + [0] * missing,
                "special_tokens_mask": row["special_tokens_mask"] + [1] * missing,
            }
            if self._whole_words:
                item["offset_mapping"] = row["offset_mapping"] + [[0, 0]] * missing
            padded.append(item)
        return self._collate(padded)
