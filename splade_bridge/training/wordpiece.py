"""A WordPiece vocabulary of one's own, as a tokenizer folder that transformers loads."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.writing import staged_folder

UNKNOWN = "[UNK]"
ROLES = {
    "pad_token": "[PAD]",
    "unk_token": UNKNOWN,
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
"""Special tokens by what transformers calls them."""
SPECIAL = tuple(ROLES.values())

CAPITAL = r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})"
"""Where ``TemporaryDirectory`` and ``HTTPServer`` fall into words."""

MOST_LETTERS = 1000


def train_wordpiece(
    texts: Iterable[str],
    vocab_size: int,
    out: Path,
    *,
    max_length: int = 512,
    split_names: bool = False,
    overwrite: bool = False,
) -> int:
    """Write a lower-cased BERT tokenizer learnt from ``texts``; the same texts give the same bytes.

    The special tokens have the first ids, the letters follow, then the pieces in the order in which
    they were learnt. The normalized text is kept in a temporary file meanwhile.

    Args:
        vocab_size: most terms, special ones included; small texts give fewer.
        max_length: what the tokenizer says of the model's limit, in tokens.
        split_names: split names of programs at a change to upper case.

    Returns:
        The size of the vocabulary.

    Raises:
        UsageError: a size that leaves no room for terms, or ``out`` exists.
        BadInputError: texts without a word.
    """
    from tokenizers import Tokenizer, models, trainers
    from transformers import PreTrainedTokenizerFast

    if vocab_size <= len(SPECIAL):
        raise UsageError(f"a vocabulary of {vocab_size}: {len(SPECIAL)} are special tokens already")
    normalize = _normalizer(split_names)
    learner = _backend(Tokenizer(models.WordPiece(unk_token=UNKNOWN)), normalize)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as spool:
        letters = _spooled(texts, normalize, spool)
        # Each letter costs two entries, alone and inside of a word.
        room = min(MOST_LETTERS, (vocab_size - len(SPECIAL)) // 4)
        kept = [letter for letter, _ in sorted(letters.items(), key=lambda x: (-x[1], x[0]))][:room]
        if not kept:
            raise BadInputError("no text to learn a vocabulary from")
        others = re.compile(f"[^{re.escape(''.join(kept))}\\s]")
        # The library numbers the letters in the order of a hash table, which decides between pieces
        # of equal counts; given as special tokens they are numbered as they stand here.
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            special_tokens=[*SPECIAL, *kept, *(f"##{letter}" for letter in kept)],
            show_progress=False,
        )
        learner.train_from_iterator((others.sub(" ", line) for line in spool), trainer)
    # Made anew from the vocabulary: here the letters are no special tokens.
    model = models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=_backend(Tokenizer(model), normalize),
        model_max_length=max_length,
        **ROLES,
    )
    with staged_folder(out, overwrite=overwrite) as folder:
        wrapped.save_pretrained(folder)
        config = folder / "tokenizer_config.json"
        settings = json.loads(config.read_text("utf-8"))
        # The name that transformers 4 knows as well.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        config.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    return len(wrapped)


def _normalizer(split_names: bool) -> Any:
    from tokenizers import Regex, normalizers

    lower = normalizers.BertNormalizer(lowercase=True)
    if not split_names:
        return lower
    return normalizers.Sequence([normalizers.Replace(Regex(CAPITAL), " "), lower])


def _backend(tokenizer: Any, normalize: Any) -> Any:
    from tokenizers import decoders, pre_tokenizers, processors

    tokenizer.normalizer = normalize
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, SPECIAL.index(name)) for name in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def _spooled(texts: Iterable[str], normalize: Any, spool: TextIO) -> Counter[str]:
    """Write the normalized texts, one a line, and count their letters."""
    letters: Counter[str] = Counter()
    for text in texts:
        plain = " ".join(normalize.normalize_str(text).split())
        letters.update(plain)
        spool.write(plain + "\n")
    spool.seek(0)
    del letters[" "]
    return letters
