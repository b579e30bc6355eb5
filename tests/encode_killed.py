"""Run by test_encode_run: encode in children, kill them at several moments, let the last finish."""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet  # noqa: F401
from transformers import AutoTokenizer, BertForMaskedLM  # noqa: F401

from killing import killed_at
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.text.corpora import read_texts

MOMENTS = ("_plan.json", "part-00000.parquet", "part-00003.parquet", "part-00006.parquet", None)


def encode(
    model: str, corpus: str, out: str, threads: str = "1", batch_tokens: str | None = None
) -> None:
    tokens = None if batch_tokens is None else int(batch_tokens)
    options = EncodeOptions(max_length=32, threads=int(threads), batch_tokens=tokens)
    encoder = load_encoder(model, "document", options)
    encode_to_store(read_texts(corpus), encoder, Path(out), corpus="corpus", part_rows=16)


if __name__ == "__main__":
    given = sys.argv[1:]
    print(killed_at(MOMENTS, Path(given[2]), lambda: encode(*given)))
