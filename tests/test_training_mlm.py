"""MLM training and vocabularies: formulas against numpy, kills, and what transformers loads."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from checkpoints import one_thread, wordpiece_tokenizer  # noqa: F401
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.training import mlm as module
from splade_bridge.training.mlm import train_mlm
from splade_bridge.training.mlm_data import Masking, ShuffledBlocks, token_blocks
from splade_bridge.training.mlm_trainer import flops, splade_weights
from splade_bridge.training.options import MlmOptions
from splade_bridge.training.wordpiece import SPECIAL, train_wordpiece

WORDS = ["the", "cat", "sat", "on", "a", "mat", "while", "tokenization", "of", "NamedThing"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    rng = np.random.default_rng(0)
    lines = [" ".join(rng.choice(WORDS, rng.integers(1, 30))) for _ in range(200)]
    path.write_text("\n".join(lines) + "\n\n")
    return path


def tiny(out: Path, text: Path, **changes: Any) -> MlmOptions:
    usual: dict[str, Any] = {
        "vocab_size": 80, "layers": 1, "hidden": 16, "heads": 2, "intermediate": 24, "block": 24,
        "steps": 6, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 1, "flops": 0.01,
        "flops_ramp": 4, "log_every": 1, "save_every": 2,
    }  # fmt: skip
    return MlmOptions(out, (text,), **(usual | changes))


def numpy_weights(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """log(1 + relu(x)) of every position first, and the maximum afterwards."""
    every = np.log1p(np.maximum(logits, 0)) * mask[..., None]
    result: np.ndarray = every.max(axis=1)
    return result


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5))
def test_weights_and_flops_are_the_formulas(seed: int, n: int, length: int, terms: int) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, length, terms)).astype(np.float32)
    mask = rng.random((n, length)) < 0.7
    mask[:, 0] = True
    found = splade_weights(torch.from_numpy(logits), torch.from_numpy(mask.astype(np.int64)))
    expected = numpy_weights(logits, mask)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
    assert float(flops(found)) == pytest.approx((expected.mean(axis=0) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_is_the_formula(tmp_path: Path, text: Path, accumulation: int) -> None:
    """The first line of the log against a forward pass of the same network, summed in numpy."""
    from transformers import AutoTokenizer, set_seed

    options = tiny(
        tmp_path / "model", text, dropout=0.0, activated=0.5, steps=1, flops_ramp=0, flops=0.3,
        gradient_accumulation=accumulation,
    )  # fmt: skip
    summary = train_mlm(options)
    tokenizer = AutoTokenizer.from_pretrained(options.out)
    work = tmp_path / "again"
    work.mkdir()
    blocks = token_blocks(options, tokenizer, work)
    rows = ShuffledBlocks(blocks, options, 1)
    assert (len(rows), len(blocks)) == (4 * accumulation, summary.blocks)
    set_seed(options.seed)
    network = module._network(options, tokenizer).eval()
    parts: dict[str, list[float]] = {"mlm": [], "activated": [], "flops": [], "terms": []}
    for start in range(0, len(rows), 4):
        batch = Masking(tokenizer, options)([rows[start + i] for i in range(4)])
        with torch.no_grad():
            output = network(batch["input_ids"], attention_mask=batch["attention_mask"])
        logits = output.logits.numpy().astype(np.float64)
        labels = batch["labels"].numpy()
        masked = labels != -100

        def cross_entropy(values: np.ndarray, wanted: np.ndarray) -> float:
            right = values[np.arange(len(wanted)), wanted]
            return float((np.log(np.exp(values).sum(axis=1)) - right).mean())

        told = logits[masked]
        parts["mlm"].append(cross_entropy(told, labels[masked]))
        activated = np.log1p(np.maximum(told, 0))
        parts["activated"].append(cross_entropy(activated, labels[masked]))
        weights = numpy_weights(logits, batch["attention_mask"].numpy())
        parts["flops"].append(float((weights.mean(axis=0) ** 2).sum()))
        parts["terms"].append(float((weights > 0).sum(axis=1).mean()))
    means = {name: float(np.mean(values)) for name, values in parts.items()}
    for name, value in means.items():
        assert summary.last[name] == pytest.approx(value, rel=1e-4), name
    loss = means["mlm"] + 0.5 * means["activated"] + 0.3 * means["flops"]
    assert summary.last["loss"] == pytest.approx(loss, rel=1e-3)


def test_training_learns_and_flops_makes_sparse(tmp_path: Path, text: Path) -> None:
    changes = {"steps": 40, "save_every": 40, "dropout": 0.0, "log_every": 1}
    last = {}
    for name, weight in (("free", 0.0), ("sparse", 5.0)):
        options = tiny(tmp_path / name, text, flops=weight, flops_ramp=10, **changes)
        last[name] = train_mlm(options).last
        log = [json.loads(x) for x in (options.out / "log.jsonl").read_text().splitlines()]
        history = [e["mlm"] for e in log if "mlm" in e]
        assert len(history) == 40
        assert np.mean(history[-5:]) < 0.8 * history[0]
    assert last["sparse"]["flops"] < 0.5 * last["free"]["flops"]


def test_going_on_from_a_checkpoint(tmp_path: Path, text: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    first = tiny(tmp_path / "first", text)
    train_mlm(first)
    second = tiny(tmp_path / "second", text, base=str(first.out), learning_rate=0.0)
    train_mlm(second)
    one, two = (AutoModelForMaskedLM.from_pretrained(o.out) for o in (first, second))
    for name, value in one.state_dict().items():
        assert torch.equal(value, two.state_dict()[name]), name
    names = [AutoTokenizer.from_pretrained(o.out).get_vocab() for o in (first, second)]
    assert names[0] == names[1]


# ---------------------------------------------------------------- kills

KILLED = """
import os, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_training_mlm import tiny
from splade_bridge.training.mlm import train_mlm

def start(name):
    # One process has loaded the libraries and forks, which is much faster than starting each anew.
    child = os.fork()
    if child:
        return child
    summary = train_mlm(tiny(folder / name, Path(sys.argv[3]), steps=24, save_every=4))
    print(name, summary.resumed_from, flush=True)
    os._exit(0)

folder = Path(sys.argv[2])
child = start("killed")
while not (folder / "killed.work" / "checkpoint-8").exists():
    time.sleep(0.001)
os.kill(child, signal.SIGKILL)
assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
assert not (folder / "killed").exists()
for name in ("killed", "whole"):
    assert os.waitpid(start(name), 0)[1] == 0
"""


@pytest.mark.long
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path, text: Path) -> None:
    tests = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tests, str(tmp_path), str(text)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert int(told["killed"]) in (4, 8, 12) and told["whole"] == "None"
    for file in ("model.safetensors", "tokenizer.json", "config.json"):
        one, two = ((tmp_path / name / file).read_bytes() for name in ("killed", "whole"))
        assert one == two, file
    logs = [
        (tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("killed", "whole")
    ]
    losses = [[e["mlm"] for e in map(json.loads, log) if "mlm" in e] for log in logs]
    assert losses[0] == losses[1] and len(losses[0]) == 24
    assert not (tmp_path / "killed.work").exists()


def test_work_of_other_options_is_not_touched(tmp_path: Path, text: Path) -> None:
    options = tiny(tmp_path / "model", text)
    module._open_work(tmp_path / "model.work", options)
    with pytest.raises(UsageError, match="other options"):
        train_mlm(dataclasses.replace(options, steps=7))
    train_mlm(dataclasses.replace(options, steps=7, overwrite=True))
    with pytest.raises(UsageError, match="exists already"):
        train_mlm(options)


# ---------------------------------------------------------------- blocks and masks


def test_blocks_hold_every_token_once(tmp_path: Path) -> None:
    tokenizer = wordpiece_tokenizer()
    texts = ["the cat", "", "xyz 42", "漢 the", "abc " * 20]
    path = tmp_path / "t.txt"
    path.write_text("\n".join(texts))
    options = tiny(tmp_path / "m", path, block=10)
    blocks = token_blocks(options, tokenizer, tmp_path)
    held = [blocks.block(i)["input_ids"] for i in range(len(blocks))]
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert all(b[0] == cls and b[-1] == sep for b in held)
    assert all(len(b) == 10 for b in held[:-1])
    encoded = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts if t]
    joined = [i for ids in encoded for i in (*ids, sep)][:-1]
    assert [i for b in held for i in b[1:-1]] == joined
    assert (blocks.texts, blocks.tokens) == (5, sum(map(len, encoded)))


@pytest.mark.parametrize("whole_words", [False, True])
def test_masks(tmp_path: Path, text: Path, whole_words: bool) -> None:
    tokenizer = wordpiece_tokenizer()  # most words here are single letters and ##letters
    options = tiny(tmp_path / "m", text, whole_words=whole_words, mask=0.3, steps=50)
    rows = ShuffledBlocks(token_blocks(options, tokenizer, tmp_path), options, 1)
    masking = Masking(tokenizer, options)
    masked = total = 0
    for start in range(0, len(rows), 4):
        batch = masking([rows[start + i] for i in range(4)])
        chosen = (batch["labels"] != -100).numpy()
        ids = np.where(chosen, batch["labels"].numpy(), batch["input_ids"].numpy())
        special = np.isin(ids, tokenizer.all_special_ids) & (ids != tokenizer.unk_token_id)
        assert not (chosen & special).any()
        again = Masking(tokenizer, options)([rows[start + i] for i in range(4)])
        assert torch.equal(batch["input_ids"], again["input_ids"])
        if whole_words:
            pieces = tokenizer.convert_ids_to_tokens(ids.ravel().tolist())
            inside = np.array([p.startswith("##") for p in pieces]).reshape(ids.shape)
            inside[:, :2] = False  # a block may begin inside of a word
            joined = inside[:, 1:]
            assert (chosen[:, 1:][joined] == chosen[:, :-1][joined]).all()
            assert (batch["input_ids"].numpy()[chosen] == tokenizer.mask_token_id).all()
        masked += chosen.sum()
        total += (~special).sum()
    assert masked / total == pytest.approx(0.3, abs=0.05)


def test_a_pass_is_a_permutation(tmp_path: Path, text: Path) -> None:
    tokenizer = wordpiece_tokenizer()
    options = tiny(tmp_path / "m", text, steps=300)
    blocks = token_blocks(options, tokenizer, tmp_path)
    rows = ShuffledBlocks(blocks, options, 1)
    count = len(blocks)
    assert len(rows) > 2 * count
    every = sorted(blocks.block(i)["input_ids"] for i in range(count))
    first, second = ([rows[p * count + i]["input_ids"] for i in range(count)] for p in (0, 1))
    assert sorted(first) == sorted(second) == every
    assert first != second


# ---------------------------------------------------------------- vocabulary


def test_wordpiece_is_deterministic_and_loads(tmp_path: Path, text: Path) -> None:
    from transformers import AutoTokenizer

    lines = text.read_text().splitlines()
    for name in ("a", "b"):
        size = train_wordpiece(iter(lines), 90, tmp_path / name, max_length=32)
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "b").iterdir())
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "a")
    assert len(tokenizer) == size <= 90 and tokenizer.model_max_length == 32
    assert tokenizer.convert_ids_to_tokens(list(range(5))) == list(SPECIAL)
    encoded = tokenizer("The CAT sat")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(encoded) == ["[CLS]", "the", "cat", "sat", "[SEP]"]
    assert tokenizer.decode(tokenizer("on the mat")["input_ids"], skip_special_tokens=True) == (
        "on the mat"
    )


def test_names_are_split_if_wanted(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    texts = ["TemporaryDirectory HTTPServer parse_args"] * 9
    for name, split in (("plain", False), ("split", True)):
        train_wordpiece(texts, 200, tmp_path / name, split_names=split)
    plain, parts = (AutoTokenizer.from_pretrained(tmp_path / n) for n in ("plain", "split"))
    assert "temporarydirectory" in plain.get_vocab()
    assert parts.tokenize("TemporaryDirectory") == ["temporary", "directory"]
    assert parts.tokenize("HTTPServer") == ["http", "server"]


def test_a_vocabulary_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no text to learn"):
        train_wordpiece(["", "  "], 100, tmp_path / "v")
    with pytest.raises(UsageError, match="special tokens"):
        train_wordpiece(["a"], 5, tmp_path / "v")
    assert not (tmp_path / "v").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": 15}, "heads"),
        ({"mask": 1.0}, "mask"),
        ({"block": 4}, "block 4"),
        ({"base": "a", "tokenizer": "b"}, "tokenizer"),
        ({"texts": ()}, "no text"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, text: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        train_mlm(dataclasses.replace(tiny(tmp_path / "m", text), **changes))


def test_files_that_cannot_be_read(tmp_path: Path, text: Path) -> None:
    broken = tmp_path / "latin.txt"
    broken.write_bytes("fine\nköln\n".encode("latin-1"))
    with pytest.raises(BadInputError, match=r"latin.txt:2: not UTF-8"):
        train_mlm(tiny(tmp_path / "m", broken))
    with pytest.raises(BadInputError, match=r"--base: .*/nothing: neither a folder"):
        train_mlm(tiny(tmp_path / "n", text, base=str(tmp_path / "nothing")))
