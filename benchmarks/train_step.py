"""A training step with our pooling and with sentence-transformers' own: seconds and memory.

    .venv/bin/python benchmarks/train_step.py --rounds 5
    .venv/bin/python benchmarks/train_step.py --rounds 5 --neighbours 1

The same new network (a BERT; its weights do not matter), the same texts (documentation strings), a
contrastive loss with FLOPS. Steps alternate in one process; memory is that of a process that does
one step. Biases are shifted so that a text has about --terms terms, as with a trained model. A
neighbour is a process that is busy with one core all the time.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM

from encode_shared import neighbours
from machine import describe
from splade_bridge.demo import collection
from splade_bridge.demo.docstrings import passages
from splade_bridge.training.losses import build_loss
from splade_bridge.training.max_first import take_maximum_first
from splade_bridge.training.model import build_model
from splade_bridge.training.options import (
    LossOptions,
    ModelOptions,
    RegularizerOptions,
    SideRegularizer,
)

KINDS = ("sentence-transformers", "maximum first")
SIDE = SideRegularizer("flops", 1e-3)


def new_model(arguments: argparse.Namespace, folder: Path) -> torch.nn.Module:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(collection.model_path())
    network = BertForMaskedLM(
        BertConfig(
            vocab_size=arguments.vocabulary, num_hidden_layers=arguments.layers,
            hidden_size=arguments.hidden, num_attention_heads=arguments.hidden // 64,
            intermediate_size=4 * arguments.hidden, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    network.save_pretrained(folder)
    model = build_model(ModelOptions(str(folder), document_length=arguments.length), [], folder)
    texts = [f"{p.title} {p.text}" for p in list(passages())[: arguments.texts * 4 : 4]]
    with torch.no_grad():
        pooled = model.encode_document(texts[:4], convert_to_sparse_tensor=False)
        cut = np.quantile(np.expm1(pooled.numpy()), 1 - arguments.terms / arguments.vocabulary)
        model[0].model.get_output_embeddings().bias -= float(cut)
    model.texts = texts
    return model


def step(model: torch.nn.Module, bf16: bool) -> float:
    """Terms of a text; one step's forward and backward pass is done."""
    options = LossOptions(contrastive=1.0), RegularizerOptions(0, SIDE, SIDE)
    loss = build_loss(model, *options, 0)
    half = len(model.texts) // 2
    features = [
        model.preprocess(model.texts[part], task="document")
        for part in (slice(0, half), slice(half, None))
    ]
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        found = loss(features, None)
    sum(found.values()).backward()
    model.zero_grad()
    return float(loss.document_regularizer.take_terms())


def memory_kb(field: str) -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--texts", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--terms", type=int, default=300, help="active in a text")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--neighbours", type=int, default=0)
    parser.add_argument("--one", choices=KINDS, help="one step; prints peak MiB")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plain = new_model(arguments, Path(folder)).train()
        if arguments.one:
            if arguments.one == KINDS[1]:
                take_maximum_first(plain)
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before = memory_kb("VmRSS")
            step(plain, arguments.bf16)
            print((memory_kb("VmHWM") - before) // 1024)
            return
        ours = copy.deepcopy(plain)
        take_maximum_first(ours)
        models = dict(zip(KINDS, (plain, ours), strict=True))
        seconds: dict[str, list[float]] = {kind: [] for kind in KINDS}
        with neighbours(arguments.neighbours):
            for number in range(arguments.rounds + 1):
                for kind, model in models.items():
                    started = time.perf_counter()
                    terms = step(model, arguments.bf16)
                    if number:
                        seconds[kind].append(time.perf_counter() - started)
    memory = {
        kind: int(
            subprocess.run(
                [sys.executable, *sys.argv, "--one", kind], capture_output=True, check=True
            ).stdout.split()[-1]
        )
        for kind in KINDS
    }
    print(f"{describe('torch', 'sentence-transformers', 'transformers')}")
    print(f"{arguments}, {terms:.0f} terms a text\n")
    print("| pooling | s a step, median | spread | MiB that a step adds |\n|---|---|---|---|")
    for kind in KINDS:
        times = seconds[kind]
        spread = max(times) / min(times) - 1
        print(f"| {kind} | {np.median(times):.3f} | {spread:.0%} | {memory[kind]:,} |")


if __name__ == "__main__":
    main()
