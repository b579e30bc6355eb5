"""Run by test_encode: how many bytes encoding 8 x 256 tokens takes, and what the logits would."""

from __future__ import annotations

import sys
from pathlib import Path

from transformers import AutoModelForMaskedLM

from checkpoints import VOCABULARY, config, wordpiece_tokenizer
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.text.corpora import Text

folder = Path(sys.argv[1])
vocabulary = [*VOCABULARY, *(f"word{i}" for i in range(30522 - len(VOCABULARY)))]
sizes = {**config("bert", 9).to_dict(), "vocab_size": 30522, "max_position_embeddings": 256}
AutoModelForMaskedLM.from_config(type(config("bert", 9)).from_dict(sizes)).save_pretrained(folder)
wordpiece_tokenizer(vocabulary, 256).save_pretrained(folder)


def peak() -> int:
    """Not getrusage's, which starts with the peak of the parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


encoder = load_encoder(str(folder), "document", EncodeOptions(max_length=256, threads=1))
texts = [Text(str(i), "the cat " * 300, "") for i in range(8)]
list(encoder.encode([Text("warm", "the cat", "")]))
before = peak()
list(encoder.encode(texts))
print(peak() - before, 8 * 256 * 30522 * 4)
