"""The fused head and the encoder on a GPU; what can be tried without one is tried here too."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from checkpoints import one_thread, save_checkpoint  # noqa: F401
from splade_bridge.encoding.encoder import EncodeOptions, Encoder, load_encoder
from splade_bridge.encoding.fastest_head import linear_head
from splade_bridge.encoding.head import ChunkedHead, LinearHead
from splade_bridge.errors import BadInputError
from splade_bridge.text.corpora import Text
from test_encode import KINDS, TEXTS, as_texts, encode

ROOT = Path(__file__).parents[1]

gpu = pytest.mark.gpu
no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

INTERPRETED = """
import torch
from splade_bridge.encoding.fused import FusedHead, largest_logits
from splade_bridge.encoding.head import LinearHead

torch.manual_seed(0)
for dtype in (torch.float32, torch.float16):  # the interpreter does not know bfloat16
    for lengths in ([130, 70, 70, 9, 1, 1, 300], [1], [3] * 90):
        for terms, width in ((700, 48), (256, 32)):
            weight, bias = torch.randn(terms, width).to(dtype), torch.randn(terms) - 6
            hidden = torch.randn(sum(lengths), width).to(dtype)
            wanted = LinearHead(weight.float(), bias)(hidden.float(), lengths, "max", "relu")
            assert 0.05 < (wanted > 0).float().mean() < 0.95
            fused = FusedHead(weight, bias)
            found = fused(hidden, lengths, "max", "relu")
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)
            if len(lengths) > 1:
                hidden[lengths[0]] = torch.nan
                spoilt = fused(hidden, lengths, "max", "relu").isnan()
                assert spoilt[1].all() and not spoilt[[0, *range(2, len(lengths))]].any()
fused.check()
try:
    largest_logits(torch.ones(2, 40), torch.ones(3, 40), torch.ones(3), [2])
except ValueError as error:
    assert "not a multiple of 16" in str(error)
else:
    raise AssertionError
"""

COMPILED = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from splade_bridge.encoding.fused import _largest_logits

names = _largest_logits.arg_names
for capability, blocks, warps in ((80, (128, 256, 64), 8), (86, (128, 128, 32), 4),
                                  (90, (128, 256, 64), 8)):
    fixed = dict(zip(("H", "BLOCK_T", "BLOCK_V", "BLOCK_H", "GROUP", "EXACT"),
                     (768, *blocks, 8, False)))
    kinds = ["*bf16", "*bf16", "*fp32", "*i32", "*i32", "i32", "i32", "i32"]
    kinds = dict(zip(names, [*kinds, *["constexpr"] * len(fixed)]))
    aligned = {(names.index(n),): [["tt.divisibility", 16]]
               for n in ("hidden", "weight", "bias", "owner", "pooled", "weight_stride")}
    source = ASTSource(_largest_logits, kinds, fixed, aligned)
    made = compile(source, target=GPUTarget("cuda", capability, 32),
                   options={"num_warps": warps, "num_stages": 3})
    matrix_units = "wgmma.mma_async" if capability == 90 else "mma.sync"
    assert matrix_units in made.asm["ptx"], capability
    limit = {80: 163, 86: 99, 90: 227}[capability]
    assert made.metadata.shared <= limit * 1024, (capability, made.metadata.shared)
"""


def run(script: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
def test_the_kernel_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    run(INTERPRETED, TRITON_INTERPRET="1")


@pytest.mark.long
def test_the_kernel_compiles_for_cards_that_are_not_here(tmp_path: Path) -> None:
    """On Ampere, Ada and Hopper it uses their matrix units and fits into their shared memory."""
    pytest.importorskip("triton")
    run(COMPILED, TRITON_CACHE_DIR=str(tmp_path))


def test_without_a_gpu_the_head_is_the_tiled_one() -> None:
    head = linear_head(torch.randn(9, 16).bfloat16(), None)
    assert type(head) is LinearHead


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for kind in KINDS:
        save_checkpoint(folder / kind, kind)
    return folder


def load(folder: Path, device: str, **options: Any) -> Encoder:
    return load_encoder(str(folder), "document", EncodeOptions(device=device, **options))


@gpu
@no_gpu
@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_on_the_gpu_equals_the_cpu(checkpoints: Path, kind: str, pooling: Any) -> None:
    options = {"pooling": pooling, "dtype": "float32", "max_length": 40}
    wanted = encode(load(checkpoints / kind, "cpu", **options), TEXTS)
    found = encode(load(checkpoints / kind, "cuda", **options), TEXTS)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4)


@gpu
@no_gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_on_the_gpu_stays_near(checkpoints: Path, kind: str, dtype: Any) -> None:
    exact = encode(load(checkpoints / kind, "cpu"), TEXTS)
    encoder = load(checkpoints / kind, "cuda", dtype=dtype)
    assert encoder.loaded.network is not None
    fused = encoder.loaded.network.head
    assert type(fused).__name__ == ("ChunkedHead" if kind == "deberta" else "FusedHead")
    near = encode(encoder, TEXTS)
    assert np.abs(near - exact).max() < 0.1
    assert np.abs(near - exact).mean() < 0.01
    if isinstance(fused, ChunkedHead):
        return
    tiled = LinearHead(fused.weight, fused.bias)
    encoder.loaded = replace(encoder.loaded, network=replace(encoder.loaded.network, head=tiled))
    assert np.abs(near - encode(encoder, TEXTS)).max() < 0.02


@gpu
@no_gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "lengths", [[1], [512], [128] * 64, [200, 199, 70, 70, 70, 9, 3, 1, 1], [3] * 500]
)
def test_the_fused_head_on_the_gpu(dtype: torch.dtype, lengths: list[int]) -> None:
    """Against float64, at the size of BERT's vocabulary; twice with the same bytes."""
    torch.manual_seed(0)
    weight = (torch.randn(30522, 768, device="cuda") * 0.05).to(dtype)
    bias = torch.randn(30522, device="cuda") - 3
    hidden = torch.randn(sum(lengths), 768, device="cuda").to(dtype)
    head = linear_head(weight, bias)
    assert type(head).__name__ == "FusedHead"
    found = head(hidden, lengths, "max", "relu")
    again = head(hidden, lengths, "max", "relu")
    assert torch.equal(found, again)
    texts = torch.split(hidden.double(), lengths)
    for row in (0, len(lengths) // 2, len(lengths) - 1):
        exact = (texts[row] @ weight.double().t()).amax(0) + bias
        wanted = torch.log1p(torch.relu(exact)).float()
        torch.testing.assert_close(found[row], wanted, rtol=1e-4, atol=1e-4)


@gpu
@no_gpu
def test_results_do_not_depend_on_the_budget_on_the_gpu(checkpoints: Path) -> None:
    encoder = load(checkpoints / "bert", "cuda", dtype="float32")
    found = []
    for tokens in (1, 50, 65536):
        encoder.budget.tokens = tokens
        found.append(encode(encoder, TEXTS * 5))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], rtol=0, atol=1e-4)


@gpu
@no_gpu
def test_faults_are_found_behind_the_next_batch(checkpoints: Path) -> None:
    """Rows are fetched while the next batch runs: an error still names its own text."""
    encoder = load(checkpoints / "bert", "cuda")
    network = encoder.loaded.network
    assert network is not None

    def body(ids: torch.Tensor, lengths: list[int]) -> torch.Tensor:
        hidden = network.body(ids, lengths)
        if lengths == [7]:
            hidden[3] = torch.nan
        return hidden

    encoder.loaded = replace(encoder.loaded, network=replace(network, body=body))
    encoder.budget.tokens = 1
    with pytest.raises(BadInputError, match="'t2' are not finite in bfloat16; use --dtype float32"):
        list(encoder.encode(as_texts(["the of and", "x", "of of of of of", "to to"])))


@gpu
@no_gpu
def test_a_card_that_is_nearly_full(checkpoints: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Real errors of CUDA's allocator: the budget is halved until batches fit."""
    encoder = load(checkpoints / "bert", "cuda", dtype="float32")
    texts = [Text(str(i), "the of and to in " * 12, "") for i in range(4000)]
    (wanted,) = encoder.encode(texts, window=len(texts))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 2**26) / total)
    try:
        encoder.budget.tokens = 1 << 20
        (found,) = encoder.encode(texts, window=len(texts))
        assert "out of memory with a batch of" in caplog.text
        assert encoder.budget.tokens < 1 << 19
        np.testing.assert_array_equal(found.indptr, wanted.indptr)
        np.testing.assert_allclose(found.weights, wanted.weights, rtol=0, atol=1e-4)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
