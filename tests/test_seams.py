"""A text that is tokenized bit by bit has the tokens that it has as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("torch")

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

from checkpoints import VOCABULARY, wordpiece_tokenizer
from splade_bridge.encoding import seams, tokens
from splade_bridge.encoding.encoder import naming
from splade_bridge.encoding.tokens import TextTokenizer
from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import Text

SAMPLES = [
    "the cat sat on the mat in 1999",
    "naïve café, U.S. don't stop",
    "日本語 text と emoji 😀 x",
]
PARTS = [
    *["the", "cat", "mat", "don't", "U.S.", "x1", "42", "naïve", "cafe\u0301", "日本語", "😀"],
    *["[MASK]", "<mask>", "[SEP]", "##ing", "\u0301", "\u200d", "--", ".", "'s", "’", "½"],
    *["İ", "ß", "Σ", "\ufb01"],
]
BETWEEN = [" ", " ", " ", " ", "  ", "\n", "\t", "\u00a0", "\u3000", "", ".", " \u0301", "   "]


def text_of(rng: random.Random) -> str:
    return "".join(rng.choice(PARTS) + rng.choice(BETWEEN) for _ in range(rng.randint(0, 120)))


def trained(
    model: Any, trainer: Any, normalizer: Any, pre_tokenizer: Any, *, decoder: Any = None
) -> Any:
    """A fast tokenizer of transformers, trained on a few words."""
    tokenizer = Tokenizer(model)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator([*SAMPLES, " ".join(PARTS)] * 4, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    if decoder is not None:
        tokenizer.decoder = decoder
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, truncation_side="right")
    mask = AddedToken("<mask>", lstrip=True, special=True)
    fast.add_special_tokens({"mask_token": mask})  # takes the blank before it, as RoBERTa's does
    return fast


SPECIAL = ["[CLS]", "[SEP]", "[UNK]", "[MASK]"]


def wordpiece() -> Any:
    return wordpiece_tokenizer(VOCABULARY, 512)


def byte_level(*, prefix: bool = False) -> Any:
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    own = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made = trained(models.BPE(), trainer, normalizers.NFC(), own, decoder=decoders.ByteLevel())
    made.add_tokens([AddedToken("   ", normalized=False)])  # as ModernBERT's
    return made


def sentence_piece(scheme: str = "always") -> Any:
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
    )
    steps = [
        normalizers.NFKC(),
        normalizers.Strip(left=False, right=True),
        normalizers.Replace(_regex(" {2,}"), " "),
    ]
    own = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    return trained(models.Unigram(), trainer, normalizers.Sequence(steps), own)


def white_space_then_metaspace() -> Any:
    trainer = trainers.UnigramTrainer(
        vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
    )
    own = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    return trained(models.Unigram(), trainer, None, own)


def _regex(pattern: str) -> Any:
    from tokenizers import Regex

    return Regex(pattern)


KINDS: dict[str, Callable[[], Any]] = {
    "wordpiece": wordpiece,
    "byte-level": byte_level,
    "byte-level with a blank in front": lambda: byte_level(prefix=True),
    "sentencepiece": sentence_piece,
    "sentencepiece, first": lambda: sentence_piece("first"),
    "sentencepiece, never": lambda: sentence_piece("never"),
    "white space, metaspace": white_space_then_metaspace,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompt", ["", "query: ", "a"])
@pytest.mark.sample(3)
def test_the_tokens_in_pieces_are_those_of_the_whole(
    kind: str, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = KINDS[kind]()
    assert seams.has_seams(tokenizer)
    rng = random.Random(7)
    texts = [text_of(rng) for _ in range(300)]
    limits = [8 + len(TextTokenizer(tokenizer, 512, prompt=prompt)._blank), 60]
    whole = {n: TextTokenizer(tokenizer, n, prompt=prompt) for n in limits}
    expected = {n: (made(texts), made.whole(texts)) for n, made in whole.items()}
    for module in (seams, tokens):
        monkeypatch.setattr(module, "PIECE", 5)
    called: list[int] = []
    for n in limits:
        cut = TextTokenizer(tokenizer, n, prompt=prompt)
        own = cut._call
        monkeypatch.setattr(
            cut, "_call", lambda t, *a, o=own, **k: called.extend(map(len, t)) or o(t, *a, **k)
        )
        for found, wanted in zip((cut(texts), cut.whole(texts)), expected[n], strict=True):
            assert (found.truncated, found.replaced) == (wanted.truncated, wanted.replaced)
            assert [row.tolist() for row in found.ids] == [row.tolist() for row in wanted.ids]
    assert sum(length < 20 for length in called) > len(texts), "it is done in pieces"


def normalize(tokenizer: Any, normalizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizer


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Strip()), "strips"),
        (
            lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Prepend("_")),
            "prepends",
        ),
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Replace("a b", "c")), ""),
        (
            lambda t: setattr(t.backend_tokenizer, "pre_tokenizer", pre_tokenizers.Punctuation()),
            "leaves blanks inside words",
        ),
        (lambda t: t.add_tokens([AddedToken("new york")]), "a token of two words"),
        (lambda t: t.add_tokens([AddedToken("tok", rstrip=True)]), "takes the blank behind it"),
        (lambda t: setattr(t, "truncation_side", "left"), "its end is what stays"),
    ],
)
def test_what_may_depend_on_the_rest_of_the_text_is_not_cut(
    change: Callable[[Any], object], why: str
) -> None:
    tokenizer = wordpiece()
    change(tokenizer)
    assert not seams.has_seams(tokenizer), why


def test_a_text_that_cannot_be_cut_has_a_limit_and_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens, "MOST_AT_ONCE", 1000)
    monkeypatch.setattr(tokens, "PIECE", 100)
    monkeypatch.setattr(seams, "PIECE", 100)
    tokenizer = TextTokenizer(wordpiece(), 64)
    texts = [Text("a", "the cat " * 10_000, "f:1"), Text("b", "漢" * 1001, "f:2")]
    for ask in (tokenizer, tokenizer.whole):
        assert len(ask([texts[0].text]).ids[0]) in (64, 40_002)
        with pytest.raises(BadInputError, match=r"^f:2: 1,001 characters.*split"), naming(texts):
            ask([t.text for t in texts])
