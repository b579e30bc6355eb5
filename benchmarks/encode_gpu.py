"""Encoding on an NVIDIA GPU in bfloat16; called by scripts/bench-gpu.

Prints Markdown for benchmarks/RESULTS.md: the peak of matrix products, the heads against each
other, tokens a second of the whole encoder against sentence-transformers' SparseEncoder, memory,
and how long MS MARCO's passages would take.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import itertools
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from encode import BERT, BFLOAT16, NETWORKS, Network, flops, make_checkpoint, passages_of
from machine import describe
from splade_bridge.data.store import PART_ROWS
from splade_bridge.encoding import fused
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.head import LinearHead
from splade_bridge.encoding.masked_lm import quiet
from splade_bridge.encoding.runner import encode_to_store
from splade_bridge.text.corpora import Text

MSMARCO_PASSAGES = 8_841_823
PASSAGES = 8
"""Times as many as texts of one length: begin and end of a run are to weigh little."""
HIDDEN, TERMS = 768, 30522
BLOCKS = [(128, 128, 64, 4, 3), (128, 128, 64, 4, 4), (128, 256, 64, 8, 3), (64, 256, 64, 4, 3)]
"""Positions, terms and hidden dimensions of a block, warps, stages; see fused._blocks."""


def milliseconds(run: Callable[[], Any], rounds: int = 20) -> float:
    """Median by CUDA events, after three rounds that warm up."""
    times = []
    for i in range(rounds + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(start.elapsed_time(end))
    return statistics.median(times)


def peak() -> float:
    """TFLOP/s of bfloat16 matrix products, the best of a square one and one of the body's."""
    best = 0.0
    for m, k, n in ((8192, 8192, 8192), (65536, HIDDEN, 4 * HIDDEN)):
        a, b = (torch.randn(shape, device="cuda").bfloat16() for shape in ((m, k), (n, k)))
        rate = 2 * m * k * n / milliseconds(partial(torch.mm, a, b.t())) / 1e9
        print(f"- torch.mm {m} x {k} x {n} in bfloat16: {rate:.0f} TFLOP/s")
        best = max(best, rate)
    return best


def heads(most: float) -> None:
    """The ways to pool the same hidden states, and what each takes of memory."""
    weight = (torch.randn(TERMS, HIDDEN, device="cuda") * 0.02).bfloat16()
    bias = torch.full((TERMS,), -1.0, device="cuda")
    tiled, one_kernel = LinearHead(weight, bias), fused.FusedHead(weight, bias)

    def plain(padded: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.relu(padded @ weight.t() + bias)).amax(1)

    def maximum_first(padded: torch.Tensor) -> torch.Tensor:
        return torch.log1p(torch.relu((padded @ weight.t()).amax(1) + bias))

    compiled = torch.compile(maximum_first)
    chosen = fused._blocks
    for length, count in ((128, 256), (16, 1024)):
        hidden = torch.randn(length * count, HIDDEN, device="cuda").bfloat16()
        padded, lengths = hidden.view(count, length, HIDDEN), [length] * count
        ways: dict[str, tuple[Callable[[], torch.Tensor], Any]] = {
            "plain formula": (lambda x=padded: plain(x), chosen),
            "maximum first": (lambda x=padded: maximum_first(x), chosen),
            "maximum first, torch.compile": (lambda x=padded: compiled(x), chosen),
            "tiled": (lambda x=hidden, n=lengths: tiled(x, n, "max", "relu"), chosen),
        }
        for blocks in BLOCKS:
            run = lambda x=hidden, n=lengths: one_kernel(x, n, "max", "relu")  # noqa: E731
            ways[f"fused {blocks}"] = run, lambda device, width, blocks=blocks: blocks
        default = chosen(hidden.device, HIDDEN)
        print(f"\n{count} texts of {length} tokens, hidden {HIDDEN}, {TERMS} terms; the program "
              f"chooses {default}:\n\n| head | ms | TFLOP/s | of the peak | MiB | differs by |"
              "\n|---|---|---|---|---|---|")  # fmt: skip
        exact = padded[:8].float() @ weight.float().t() + bias
        oracle = torch.log1p(torch.relu(exact)).amax(1)
        for name, (run, blocks) in ways.items():
            fused._blocks = blocks
            try:
                with torch.inference_mode():
                    torch.cuda.reset_peak_memory_stats()
                    before = torch.cuda.memory_allocated()
                    off = float((run()[:8].float() - oracle).abs().max())
                    used = (torch.cuda.max_memory_allocated() - before) / 2**20
                    taken = milliseconds(run)
            except Exception as error:  # too large for this card
                print(f"| {name} | {str(error).splitlines()[0]} | | | | |", flush=True)
                torch.cuda.empty_cache()
                continue
            rate = 2 * length * count * HIDDEN * TERMS / taken / 1e9
            print(f"| {name} | {taken:.2f} | {rate:.0f} | {rate / most:.0%} | {used:.0f} "
                  f"| {off:.2g} |", flush=True)  # fmt: skip
    fused._blocks = chosen


def texts_of_128(count: int) -> list[Text]:
    """Passages joined until each has more than 128 tokens, to be cut there."""
    passages = itertools.cycle(t.text for t in passages_of(4096))
    texts = []
    for i in range(count):
        words: list[str] = []
        while len(words) < 128:  # and no more than are needed, which would all be tokenized
            words += next(passages).split()
        texts.append(Text(str(i), " ".join(words), ""))
    return texts


class Timed(NamedTuple):
    """One contestant: seconds for all texts, and GiB at the peak."""

    name: str
    seconds: float
    gibibytes: float


def timed(name: str, run: Callable[[], Any], times: float = 1.0) -> Timed:
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    torch.cuda.synchronize()
    taken = (time.perf_counter() - began) * times
    return Timed(name, taken, torch.cuda.max_memory_allocated() / 2**30)


def ours(checkpoint: Path, texts: list[Text]) -> tuple[list[Timed], list[int], str]:
    """Three rounds tokenized before, of many texts one from text to Parquet; lengths; choices."""
    options = EncodeOptions(max_length=128, dtype=BFLOAT16, device="cuda")
    encoder = load_encoder(str(checkpoint), "document", options)
    assert encoder.loaded.network is not None
    encoder.encode_window(texts[:2048])
    tokenized = encoder.tokenize(texts)
    window = partial(encoder.encode_window, texts, None, tokenized)
    rows = [timed("splade-bridge, tokenized before", window) for _ in range(3)]
    if len(texts) > PART_ROWS:  # of a single part nothing can be tokenized or written meanwhile
        store = checkpoint.with_name(f"{checkpoint.name}-vectors")
        whole = partial(encode_to_store, texts, encoder, store, corpus="bench")
        rows.append(timed("splade-bridge, text to Parquet", whole))
    chosen = type(encoder.loaded.network.head).__name__
    return (
        rows,
        [len(ids) for ids in tokenized.ids],
        f"{chosen}, largest batch {encoder.budget.held:,} tokens",
    )


def sparse_encoder(checkpoint: Path, texts: list[Text]) -> list[Timed]:
    """The rival on an eighth of the texts, by the default batch size and a better one."""
    from sentence_transformers import SparseEncoder

    with quiet():
        model = SparseEncoder(
            str(checkpoint), device="cuda", model_kwargs={"dtype": torch.bfloat16}
        )
    model.max_seq_length = 128
    few = [t.text for t in texts[: max(2048, len(texts) // 8)]]
    rows = []
    for size in (32, 128):
        encode = partial(model.encode_document, few, batch_size=size, show_progress_bar=False)
        encode()
        rows.append(timed(f"SparseEncoder, batches of {size}", encode, len(texts) / len(few)))
    return rows


def throughput(name: str, network: Network, most: float, count: int, folder: Path) -> Path:
    """Texts of one length; returns the checkpoint."""
    checkpoint = folder / name
    make_checkpoint(checkpoint, network.layers, [t.text for t in passages_of(16)], network)
    texts = texts_of_128(count)
    rows, lengths, chosen = ours(checkpoint, texts)
    torch.cuda.empty_cache()
    rows += sparse_encoder(checkpoint, texts)
    torch.cuda.empty_cache()
    tokens = sum(lengths)
    work = flops(lengths, network.layers, network.hidden, network.terms) / 1e12
    print(f"\n{said(network)}, {count:,} texts of {tokens / count:.0f} tokens, bfloat16, "
          f"{chosen}:\n\n| | tokens/s | TFLOP/s | of the peak | GiB | MS MARCO at 128 tokens, "
          "minutes |\n|---|---|---|---|---|---|")  # fmt: skip
    for name, taken, memory in rows:
        minutes = MSMARCO_PASSAGES * 128 / (tokens / taken) / 60
        print(f"| {name} | {tokens / taken:,.0f} | {work / taken:.0f} | {work / taken / most:.0%} "
              f"| {memory:.1f} | {minutes:.1f} |", flush=True)  # fmt: skip
    return checkpoint


def said(network: Network) -> str:
    """What a network is called."""
    wide = f" of {network.hidden} dimensions" if network.hidden != BERT.hidden else ""
    terms = f" and {network.terms:,} terms" if network.terms != BERT.terms else ""
    return f"{'XLM-R' if terms else 'BERT'} of {network.layers} layers{wide}{terms}"


def passages(network: Network, checkpoint: Path, texts: list[Text]) -> None:
    """Passages as they are, from text to Parquet, as the command does it."""
    options = EncodeOptions(max_length=256, dtype=BFLOAT16, device="cuda")
    encoder = load_encoder(str(checkpoint), "document", options)
    encoder.encode_window(texts[:1024])
    before = encoder.stats.tokens
    began = time.perf_counter()
    out = checkpoint.with_name(f"{checkpoint.name}-passages")
    encode_to_store(texts, encoder, out, corpus="bench")
    taken = time.perf_counter() - began
    tokens = encoder.stats.tokens - before
    print(f"\n{said(network)}, {len(texts):,} passages of {tokens / len(texts):.0f} tokens "
          f"on average, text to Parquet: {len(texts) / taken:,.0f} passages/s, "
          f"{tokens / taken:,.0f} tokens/s; MS MARCO's {MSMARCO_PASSAGES:,} passages would take "
          f"{MSMARCO_PASSAGES / len(texts) * taken / 60:.1f} min", flush=True)  # fmt: skip


def attention() -> None:
    """Whether flash attention takes what the encoder hands over."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    q = torch.randn(64, 128, 12, 64, device="cuda").bfloat16().transpose(1, 2)
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            torch.nn.functional.scaled_dot_product_attention(q, q, q)
        print("- attention: flash kernels")
    except RuntimeError as error:
        print(f"- attention: no flash kernels here ({str(error).splitlines()[0]})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=32768)
    parser.add_argument("--no-heads", action="store_true", help="leave the heads out")
    parser.add_argument("--layers", type=int, nargs="*", default=[12, 6])
    parser.add_argument("--large", nargs="*", default=["bert-large", "xlm-r"], choices=NETWORKS,
                        help="networks of an eighth of the texts")  # fmt: skip
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    triton = importlib.metadata.version("triton")
    print(f"## Encoding on {torch.cuda.get_device_name()}\n\n"
          f"{describe('torch', 'transformers', 'sentence-transformers', 'tokenizers')}, "
          f"CUDA {torch.version.cuda}, triton {triton}\n")  # fmt: skip
    most = peak()
    attention()
    if not arguments.no_heads:
        heads(most)
    with tempfile.TemporaryDirectory() as folder:
        some = passages_of(PASSAGES * arguments.texts) if arguments.layers else []
        for layers in arguments.layers:
            network = BERT._replace(layers=layers)
            place = throughput(f"bert-{layers}", network, most, arguments.texts, Path(folder))
            passages(network, place, some)
        for name in arguments.large:
            throughput(name, NETWORKS[name], most, arguments.texts // 8, Path(folder))


if __name__ == "__main__":
    main()
