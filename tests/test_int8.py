"""Integers of 8 bits: exact sums, bounded errors, and the same bytes however they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from checkpoints import one_thread, save_checkpoint, write_corpus  # noqa: E402, F401
from splade_bridge.encoding import encoder as encoders  # noqa: E402
from splade_bridge.encoding import int8  # noqa: E402
from splade_bridge.encoding.encoder import EncodeOptions, computing, load_encoder  # noqa: E402
from splade_bridge.encoding.head import LinearHead  # noqa: E402
from splade_bridge.encoding.int8 import (  # noqa: E402
    Int8Head,
    Quantized,
    Tokens,
    by_row,
    by_token,
    quantize,
)
from splade_bridge.encoding.prepacked import PrepackedLinear  # noqa: E402
from splade_bridge.encoding.runner import encode_to_store  # noqa: E402
from splade_bridge.errors import UsageError  # noqa: E402
from splade_bridge.text.corpora import read_texts  # noqa: E402
from test_encode import KINDS, TEXTS, encode  # noqa: E402

HALF_STEP = 0.5 * (1 + 1e-5)
"""Of a scale: as far as a number may be from what it becomes, with float32's own errors."""

KERNELS = [
    "plain_sums",
    pytest.param(
        "fast_sums",
        marks=pytest.mark.skipif(
            not int8.multiplies_bytes(), reason="this processor does not multiply bytes"
        ),
    ),
]


@pytest.fixture
def without_kernels(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it, and from then on this processor does not multiply bytes."""

    def do() -> None:
        for module in (int8, encoders):
            monkeypatch.setattr(module, "multiplies_bytes", lambda: False)

    return do


def integers(rng: np.random.Generator, shape: tuple[int, int], extreme: bool) -> Any:
    """int8, of which some are all as large as they can be."""
    found = rng.integers(-127, 128, shape, dtype=np.int8)
    if extreme:
        found[: (len(found) + 1) // 2] = 127
        if len(found) > 1:
            found[-1, ::2] = -127
    return torch.from_numpy(found)


@pytest.mark.parametrize("kernel", KERNELS)
@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 40),
    terms=st.one_of(st.integers(1, 70), st.sampled_from([1040, 1041, 2100])),
    columns=st.integers(1, 70),
    extreme=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_those_of_integers(
    kernel: str, count: int, terms: int, columns: int, extreme: bool, seed: int
) -> None:
    """Each equals a sum in 64 bits, rounded to float32 once and times its column's scale."""
    rng = np.random.default_rng(seed)
    rows = integers(rng, (count, terms), extreme)
    weight = integers(rng, (columns, terms), extreme)
    scales = torch.from_numpy(rng.uniform(1e-6, 10, (columns, 1)).astype(np.float32))
    with torch.inference_mode():
        found = getattr(int8, kernel)(Quantized(weight, scales))(rows.view(torch.uint8) ^ 128)
    exact = rows.numpy().astype(np.int64) @ weight.numpy().astype(np.int64).T
    if extreme and terms > 1040:
        assert np.abs(exact).max() > 2**24
    wanted = exact.astype(np.float32) * scales.numpy().T
    np.testing.assert_array_equal(found.numpy(), wanted)


finite = st.floats(-(2.0**120), 2.0**120, width=32)
numbers = st.lists(
    st.lists(st.one_of(finite, st.just(0.0), st.floats(-1, 1, width=32)), min_size=5, max_size=5),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(numbers)
def test_numbers_become_the_nearest_integers(values: list[list[float]]) -> None:
    rows = torch.tensor(values, dtype=torch.float32)
    found = by_row(rows)
    assert found.values.dtype == torch.int8
    assert int(found.values.to(torch.int32).abs().max()) <= 127
    scales = found.scales.double()
    assert bool(torch.isfinite(scales).all())
    off = (rows.double() - found.values.double() * scales).abs()
    assert bool((off <= HALF_STEP * scales).all())
    largest = rows.abs().amax(1)
    for row, scale, most in zip(found.values, scales[:, 0], largest, strict=True):
        assert int(row.abs().max()) == 127 or most < int8.LEAST
        assert float(scale) == pytest.approx(max(float(most), int8.LEAST) / 127, rel=1e-6)
    for i in range(len(rows)):
        alone = by_row(rows[i : i + 1])
        assert torch.equal(alone.values[0], found.values[i])
        assert torch.equal(alone.scales[0], found.scales[i])


def test_halves_go_to_the_even_one() -> None:
    rows = torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5]])
    assert by_row(rows).values.tolist() == [[127, 0, 2, 2, 0, -2, 126]]


@pytest.mark.parametrize("gelu", [False, True])
@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 50)] * 3),
    sizes=st.tuples(*[st.integers(-30, 30)] * 2),
    with_bias=st.booleans(),
    outliers=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_layer_is_as_near_as_its_integers_allow(
    gelu: bool,
    shape: tuple[int, int, int],
    sizes: tuple[int, int],
    with_bias: bool,
    outliers: bool,
    seed: int,
) -> None:
    """|y' - y| <= t/2 sum |x| + s/2 sum |w| + n s t / 4, since x is off by s/2 and w by t/2."""
    count, terms, columns = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, terms)) * 2.0 ** sizes[0]
    w = rng.standard_normal((columns, terms)) * 2.0 ** sizes[1]
    if outliers:
        x[:, 0] *= 60
        x[0], w[-1] = 0, 0
    b = rng.standard_normal(columns) if with_bias else None
    rows, weight = (torch.from_numpy(a).float() for a in (x, w))
    bias = None if b is None else torch.from_numpy(b).float()
    with torch.inference_mode():
        found = Tokens().layer(weight, bias, gelu=gelu)(rows).double()
    x, w = rows.double(), weight.double()
    s, t = by_row(rows).scales.double(), by_row(weight).scales.double().t()
    wanted = x @ w.t()
    allowed = (
        HALF_STEP * (t * x.abs().sum(1, keepdim=True) + s * w.abs().sum(1)) + terms * s * t / 4
    )
    allowed += 2**-21 * (x.abs() @ w.abs().t())  # float32's own
    if bias is not None:
        wanted = wanted + bias.double()
        allowed += 2**-23 * wanted.abs()
    if gelu:  # it rises by 1.13 at most, and is half of x (1 + erf), of which little may be left
        allowed = 1.13 * allowed + 2**-21 * wanted.abs() + 1e-38
        wanted = torch.nn.functional.gelu(wanted)
    assert found.shape == (count, columns)
    assert bool(((found - wanted).abs() <= allowed).all())


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("columns", [1, 31, 48, 64, 100])
def test_a_token_does_not_know_its_neighbours(columns: int, gelu: bool) -> None:
    """The bytes of each row, among others and alone, where registers are full and where not."""
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(37, 48), torch.randn(columns, 48), torch.randn(columns)
    with torch.inference_mode():
        layer = Tokens().layer(weight, bias, gelu=gelu)
        together = layer(rows)
        for size in (1, 2, 5, 36):
            parts = [layer(part) for part in torch.split(rows, size)]
            assert torch.equal(torch.cat(parts), together)
        assert torch.equal(layer(rows[None, :, None]), together[None, :, None])


@pytest.mark.parametrize("fault", [torch.nan, torch.inf, -torch.inf])
def test_a_token_that_is_not_finite_stays_so_and_alone(fault: float) -> None:
    torch.manual_seed(0)
    rows, weight, bias = torch.randn(9, 16), torch.randn(40, 16), torch.randn(40)
    torn = rows.clone()
    torn[4, 3] = fault
    others = [i for i in range(9) if i != 4]
    with torch.inference_mode():
        layer, head = Tokens().layer(weight, bias), Int8Head(weight, bias)
        found = layer(torn)
        assert not bool(torch.isfinite(found[4]).any())
        assert torch.equal(found[others], layer(rows)[others])
        weights = head(torn, [4, 3, 2], "max", "relu")
        assert bool(torch.isnan(weights[1]).all())
        assert torch.equal(weights[[0, 2]], head(rows, [4, 3, 2], "max", "relu")[[0, 2]])


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("activation", ["relu", "log1p_relu"])
def test_the_head_is_that_of_the_same_numbers(pooling: Any, activation: Any) -> None:
    """Several tiles; the plain head with what weights and hidden states became."""
    torch.manual_seed(0)
    weight, bias, hidden = torch.randn(3000, 16), torch.randn(3000), torch.randn(33, 16)
    lengths = [11, 11, 7, 3, 1]

    def rounded(rows: Any) -> Any:
        values, scales = by_row(rows)
        return values.float() * scales

    found = Int8Head(weight, bias)(hidden, lengths, pooling, activation)
    plain = LinearHead(rounded(weight), bias)
    torch.testing.assert_close(found, plain(rounded(hidden), lengths, pooling, activation))


class Attends(torch.nn.Module):
    """Three layers that take the same rows, and one that takes them changed in place."""

    def __init__(self, *, writes: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(16, 16) for _ in range(4))
        self.writes = writes

    def forward(self, rows: Any) -> Any:
        rows = rows + 0
        q, k, v = (layer(rows) for layer in self.layers[:3])
        if self.writes:
            rows.mul_(-1)
        return q * k + v + self.layers[3](rows)


@pytest.mark.parametrize("writes", [False, True])
def test_rows_are_made_integers_once_unless_they_are_changed(
    writes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    plain = by_token

    def counted(rows: Any) -> Quantized:
        made.append(len(rows))
        return plain(rows)

    model, rows = Attends(writes=writes), torch.randn(7, 16)
    layers = [(layer.weight.detach(), layer.bias.detach()) for layer in model.layers]
    assert quantize(model, lambda: model(rows))
    assert all(type(layer) is PrepackedLinear for layer in model.layers)
    monkeypatch.setattr(int8, "by_token", counted)
    with torch.inference_mode():
        found = model(rows)
    assert made == [7] * (4 if writes else 1)
    with torch.inference_mode():
        q, k, v = (Tokens().layer(*layer)(rows) for layer in layers[:3])
        last = Tokens().layer(*layers[3])(-rows if writes else rows)
    assert torch.equal(found, q * k + v + last)


def test_a_network_without_linear_layers_is_refused() -> None:
    model = torch.nn.Sequential(torch.nn.Conv1d(3, 3, 1))
    with pytest.raises(UsageError, match=r"cannot be replaced \(it has none\); use --dtype float"):
        quantize(model, lambda: model(torch.zeros(1, 3, 3)))


class Watched(torch.nn.Module):
    """Looks at the weights of its layer, not at what it gives alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, rows: Any) -> Any:
        return self.layer(rows) + self.layer.weight.sum()


def test_a_network_that_wants_more_of_its_layers_is_refused() -> None:
    model = Watched()
    with pytest.raises(UsageError, match=r"the linear layers of Watched cannot be replaced \(.*we"):
        quantize(model, lambda: model(torch.ones(1, 4)))
    assert type(model.layer) is torch.nn.Linear


# Whole networks.


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: save_checkpoint(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus.jsonl", 90)


def store(folder: Path, corpus: Path, out: Path, threads: int, **options: Any) -> dict[str, bytes]:
    """The files of a vector store."""
    given = {"max_length": 32, "batch_tokens": 90, "dtype": "int8", **options}
    encoder = load_encoder(str(folder), "document", EncodeOptions(threads=threads, **given))
    encode_to_store(read_texts(str(corpus)), encoder, out, corpus="corpus", part_rows=40)
    return {p.name: p.read_bytes() for p in out.iterdir()}


@pytest.mark.parametrize("kind", KINDS)
def test_whole_networks_stay_near(checkpoints: dict[str, Path], kind: str) -> None:
    """Two layers of random weights, whose terms weigh up to 2."""
    folder = str(checkpoints[kind])
    exact = encode(load_encoder(folder, "document", EncodeOptions(dtype="float32")), TEXTS)
    near = encode(load_encoder(folder, "document", EncodeOptions(dtype="int8")), TEXTS)
    assert exact.max() > 1
    assert 0 < np.abs(near - exact).max() < 0.3
    assert np.abs(near - exact).mean() < 0.03


@pytest.mark.parametrize("pooling", ["max", "sum"])
@pytest.mark.parametrize("kind", ["bert", "modernbert", "deberta"])
def test_without_kernels_the_bytes_are_the_same(
    checkpoints: dict[str, Path],
    kind: str,
    pooling: Any,
    without_kernels: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not int8.multiplies_bytes():
        pytest.skip("this processor does not multiply bytes: there is but one way")
    options = EncodeOptions(dtype="int8", pooling=pooling)
    fast = encode(load_encoder(str(checkpoints[kind]), "document", options), TEXTS)
    assert "multiply bytes" not in caplog.text
    without_kernels()
    slow = encode(load_encoder(str(checkpoints[kind]), "document", options), TEXTS)
    assert "this processor does not multiply bytes" in caplog.text
    assert fast.any()
    assert fast.tobytes() == slow.tobytes()


def test_stores_of_any_number_of_threads_and_without_kernels(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path, without_kernels: Callable[[], None]
) -> None:
    folder = checkpoints["bert"]
    one = store(folder, corpus, tmp_path / "1", 1)
    assert {name for name in one if name.endswith(".parquet")} == {
        f"part-0000{number}.parquet" for number in range(3)
    }
    for threads in (2, 3, 5):
        assert store(folder, corpus, tmp_path / str(threads), threads) == one
    without_kernels()
    assert store(folder, corpus, tmp_path / "slow", 3) == one


def test_another_plan_than_float32(
    checkpoints: dict[str, Path], corpus: Path, tmp_path: Path
) -> None:
    found = store(checkpoints["bert"], corpus, tmp_path / "v", 1)
    assert b'"int8"' in found["_manifest.json"]
    with pytest.raises(UsageError, match=r"by another plan \(dtype"):
        store(checkpoints["bert"], corpus, tmp_path / "v", 1, dtype="float32")


def test_only_who_asks_gets_it(
    checkpoints: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert computing(EncodeOptions())["dtype"] in ("float32", "bfloat16")
    assert computing(EncodeOptions(device="cpu"))["dtype"] == "float32"
    monkeypatch.setattr(encoders, "pick_device", lambda wanted: torch.device("cuda"))
    with pytest.raises(UsageError, match="--dtype int8 is for processors; on a GPU leave it out"):
        load_encoder(str(checkpoints["bert"]), "document", EncodeOptions(dtype="int8"))


def test_levels_are_as_many_as_a_sum_of_float32_holds() -> None:
    assert int8.EXACT_TERMS * int8.LEVELS**2 <= 2**24
    assert math.log2(int8.LEVELS + 1) == 7
