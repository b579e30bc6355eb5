"""Encoding on a CPU: the plain formula, sentence-transformers' SparseEncoder and this project.

    .venv/bin/python benchmarks/encode.py --passages 256 --threads 2
    .venv/bin/python benchmarks/encode.py --network bert-large --no-memory
    .venv/bin/python benchmarks/encode.py --network xlm-r --passages 64 --no-memory
    .venv/bin/python benchmarks/encode.py --model CHECKPOINT --no-memory
    .venv/bin/python benchmarks/encode.py --dtype-report CHECKPOINT CORPUS

One checkpoint (--network: real configuration and random weights, the bias shifted so that about 200
terms of a passage are active; or --model), one process, the same passages of MS MARCO in the order
of the corpus. The contestants take turns; a figure is the median of its rounds. The peak of matrix
products is measured between them. Prints Markdown for benchmarks/RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from machine import describe
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.encoding import prepacked
from splade_bridge.encoding.encoder import EncodeOptions, load_encoder
from splade_bridge.encoding.masked_lm import quiet
from splade_bridge.encoding.snapshot import find_snapshot
from splade_bridge.text.corpora import Text, read_texts
from splade_bridge.training.wordpiece import ROLES, SPECIAL

SHARED = Path(__file__).resolve().parents[2] / "shared/data"
CORPUS = SHARED / "msmarco-dl1920/corpus.jsonl.gz"
VOCABULARY = SHARED / "vocab/vocab.txt"
MAX_LENGTH = 256
ACTIVE_TERMS = 200
BATCH = 32
FLOAT32, BFLOAT16 = "float32", "bfloat16"
PLAIN = "plain formula, float32"


class Network(NamedTuple):
    """A masked language model by its size; the feed-forward part is four times as wide.

    Attributes:
        batch: texts at once of SparseEncoder, whose logits are texts x tokens x terms.
        plain: whether the plain formula, which holds such logits three times, fits into memory.
    """

    layers: int
    hidden: int = 768
    terms: int = 30_522
    batch: int = BATCH
    plain: bool = True


BERT = Network(6)
NETWORKS = {
    "bert": BERT,
    "bert-large": Network(24, hidden=1024),
    "xlm-r": Network(12, terms=250_002, batch=8, plain=False),
}


def make_checkpoint(
    folder: Path, layers: int, passages: list[str], network: Network = BERT
) -> None:
    """BERT or, by its number of terms, XLM-R, of ``layers`` layers with random weights."""
    tokenizer = bert_tokenizer() if network.terms == BERT.terms else xlm_r_tokenizer(network.terms)
    torch.manual_seed(0)
    model = random_network(network._replace(layers=layers))
    with torch.inference_mode():
        largest = [
            model(**tokenizer(p, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"))
            .logits[0]
            .amax(0)
            for p in passages[:16]
        ]
        ranked = torch.cat(largest).sort(descending=True).values
        model.get_output_embeddings().bias -= ranked[ACTIVE_TERMS * len(largest)]
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def random_network(network: Network) -> Any:
    """The masked language model, as transformers makes it of its configuration."""
    from transformers import BertConfig, BertForMaskedLM, XLMRobertaConfig, XLMRobertaForMaskedLM

    sizes = {
        "num_hidden_layers": network.layers,
        "hidden_size": network.hidden,
        "num_attention_heads": network.hidden // 64,
        "intermediate_size": 4 * network.hidden,
        "vocab_size": network.terms,
    }
    if network.terms == BERT.terms:
        return BertForMaskedLM(BertConfig(**sizes)).eval()
    config = XLMRobertaConfig(**sizes, max_position_embeddings=514, type_vocab_size=1)
    return XLMRobertaForMaskedLM(config).eval()


def xlm_r_tokenizer(terms: int) -> Any:
    """Pieces of words as XLM-R has them, of so many terms: the words of :func:`vocabulary_terms`.

    The real ones are not at hand; what they hold changes nothing of what is computed for a token.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = [f"▁{word}" for word in vocabulary_terms() if word[:2] != "##" and word[0] != "["]
    letters = ["▁", *map(chr, range(33, 127))]
    pieces = list(dict.fromkeys([*special, *words, *letters]))
    pieces += [f"▁filler{i}" for i in range(terms - 1 - len(pieces))] + ["<mask>"]
    scores = [0.0 if i < len(special) else -10.0 - 5 * (len(p) == 1) for i, p in enumerate(pieces)]
    backend = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=3))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=512,
        bos_token="<s>", eos_token="</s>", cls_token="<s>", sep_token="</s>",
        unk_token="<unk>", pad_token="<pad>", mask_token="<mask>",
    )  # fmt: skip


def bert_tokenizer() -> Any:
    """That of bert-base."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    terms = vocabulary_terms()
    ids = {term: i for i, term in enumerate(terms)}
    backend = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=512, **ROLES)


def vocabulary_terms() -> list[str]:
    """bert-base's, or made-up words where the shared data are not at hand."""
    if VOCABULARY.is_file():
        return VOCABULARY.read_text().splitlines()
    return [*SPECIAL, *(f"w{i}" for i in range(30522 - len(SPECIAL)))]


def passages_of(count: int) -> list[Text]:
    """Of MS MARCO, or random words in passages as long as MS MARCO's."""
    if CORPUS.is_file():
        return list(islice(read_texts(str(CORPUS)), count))
    _say_once("The passages of MS MARCO are not here: random words, in lengths like theirs.\n")
    words = np.array(vocabulary_terms()[1000:])
    rng = np.random.default_rng(0)
    lengths = np.clip(rng.lognormal(4.2, 0.45, count), 8, 250).astype(int)
    return [Text(str(i), " ".join(rng.choice(words, n)), "") for i, n in enumerate(lengths)]


_say_once = cache(print)


def checkpoint_flags(parser: argparse.ArgumentParser) -> None:
    """Of benchmarks that take turns over the checkpoints of :func:`checkpoints_of`."""
    parser.add_argument("--passages", type=int, default=128)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--checkpoint", action="append", help="a folder or a name; may be repeated")


def checkpoints_of(
    named: list[str] | None, layers: int, texts: list[Text]
) -> Iterator[tuple[Path, str]]:
    """Checkpoints, folders or names, and what they are called; of none named a random one."""
    for name in named or ():
        yield find_snapshot(name).folder, name
    if not named:
        with tempfile.TemporaryDirectory() as folder:
            make_checkpoint(Path(folder), layers, [t.text for t in texts])
            yield Path(folder), f"BERT of {layers} layers"


# Contestants: each returns a function that encodes texts and gives the number of active terms.


def plain(folder: Path) -> Callable[[list[Text]], Any]:
    """log1p(ReLU(logits)) on B x L x V, batches of 32 in the order of the corpus."""
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    with quiet():
        model = AutoModelForMaskedLM.from_pretrained(folder).eval()
        tokenizer = AutoTokenizer.from_pretrained(folder)

    def encode(texts: list[Text]) -> torch.Tensor:
        rows = []
        for start in range(0, len(texts), BATCH):
            inputs = tokenizer(
                [t.text for t in texts[start : start + BATCH]],
                padding=True,
                truncation=True,
                max_length=MAX_LENGTH,
                return_tensors="pt",
            )
            with torch.inference_mode():
                weights = torch.log1p(torch.relu(model(**inputs).logits))
                weights *= inputs["attention_mask"][..., None]
                rows.append(weights.amax(1).to_sparse())
        return torch.cat(rows)

    return encode


def sparse_encoder(
    folder: Path, dtype: str, device: str = "cpu", batch: int = BATCH
) -> Callable[[list[Text]], Any]:
    """sentence-transformers with its own defaults, but for ``batch``."""
    from sentence_transformers import SparseEncoder

    with quiet():
        model = SparseEncoder(
            str(folder), device=device, model_kwargs={"dtype": getattr(torch, dtype)}
        )
    model.max_seq_length = MAX_LENGTH

    def encode(texts: list[Text]) -> torch.Tensor:
        found: torch.Tensor = model.encode_document(
            [t.text for t in texts], batch_size=batch, show_progress_bar=False
        )
        return found

    return encode


def ours(folder: Path, dtype: str) -> Callable[[list[Text]], SparseBatch]:
    options = EncodeOptions(max_length=MAX_LENGTH, dtype=dtype, device="cpu")  # type: ignore[arg-type]
    encoder = load_encoder(str(folder), "document", options)
    return lambda texts: next(encoder.encode(texts, window=len(texts)))


def network_of(checkpoint: Path) -> Network:
    """The size of a checkpoint."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(checkpoint)
    return Network(config.num_hidden_layers, config.hidden_size, config.vocab_size)


def flops(lengths: Iterable[int], layers: int, hidden: int = 768, terms: int = 30522) -> int:
    """Of the matrix products alone, padding not counted: body, attention, transform and head."""
    each = layers * (8 * hidden**2 + 4 * hidden * 4 * hidden) + 2 * hidden * (hidden + terms)
    return sum(n * each + layers * 4 * n * n * hidden for n in lengths)


PEAKS = {
    "torch.mm 2048 x 2048 x 2048": (2048, 2048, 2048, False),
    "torch.mm 2048 x 768 x 30522": (2048, 768, 30522, False),
    "oneDNN prepacked 2048 x 2048 x 2048": (2048, 2048, 2048, True),
    "oneDNN prepacked 2048 x 768 x 3072": (2048, 768, 3072, True),
}


def measure_peaks(dtype: torch.dtype, best: dict[str, float]) -> None:
    """GFLOP/s of matrix products into ``best``, where they are better than what is there."""
    for name, (m, k, n, packed) in PEAKS.items():
        if packed and not prepacked.available(dtype):
            continue
        a, b = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype)
        out = torch.empty(m, n, dtype=dtype)
        multiply: Callable[[], Any] = lambda a=a, b=b, out=out: torch.mm(a, b.t(), out=out)  # noqa: E731
        with torch.inference_mode():
            if packed:
                product = prepacked.product(b, None)
                multiply = lambda a=a, product=product: product(a)  # noqa: E731
            for _ in range(4):
                began = time.perf_counter()
                multiply()
                rate = 2 * m * k * n / (time.perf_counter() - began) / 1e9
                best[name] = max(best.get(name, 0), rate)


def float_types() -> list[str]:
    """float32, and bfloat16 where the processor multiplies it itself, by its own account."""
    flags = Path("/proc/cpuinfo").read_text()
    multiplies = any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))
    return [FLOAT32, BFLOAT16] if multiplies else [FLOAT32]


def compare(arguments: argparse.Namespace, folder: Path) -> Path:
    """Print what all take; returns the checkpoint."""
    texts = passages_of(arguments.passages)
    if arguments.model:
        folder, network = arguments.model, network_of(arguments.model)
    else:
        network = NETWORKS[arguments.network]
        network = network._replace(layers=arguments.layers or network.layers)
        make_checkpoint(folder, network.layers, [t.text for t in texts], network)
    dtypes = float_types()
    entrants: dict[str, Callable[[list[Text]], Any]] = (
        {PLAIN: plain(folder)} if network.plain else {}
    )
    for dtype in dtypes:
        entrants[f"SparseEncoder, {dtype}"] = sparse_encoder(folder, dtype, batch=network.batch)
        entrants[f"splade-bridge, {dtype}"] = ours(folder, dtype)
    tokenizer = load_encoder(str(folder), "document").loaded.tokenizer
    lengths = [len(ids) for ids in tokenizer([t.text for t in texts]).ids]
    work = flops(lengths, network.layers, network.hidden, network.terms)
    peaks: dict[str, dict[str, float]] = {dtype: {} for dtype in dtypes}
    seconds: dict[str, list[float]] = {name: [] for name in entrants}
    results: dict[str, Any] = {}
    for encode in entrants.values():
        encode(texts[:BATCH])
    for _ in range(arguments.rounds):
        for name, encode in entrants.items():
            for dtype in dtypes:
                if name.endswith(dtype):
                    measure_peaks(getattr(torch, dtype), peaks[dtype])
            began = time.perf_counter()
            results[name] = encode(texts)
            seconds[name].append(time.perf_counter() - began)

    active = len(results["splade-bridge, float32"].indices) / len(texts)
    print(f"\n{len(texts)} passages, {sum(lengths):,} tokens ({statistics.mean(lengths):.0f} a "
          f"passage), {active:.0f} active terms a passage, "
          f"{arguments.model or arguments.network}: {network.layers} layers, "
          f"hidden {network.hidden}, {network.terms:,} terms, "
          f"{torch.get_num_threads()} threads, {work / 1e12:.2f} TFLOP of matrix products without "
          f"padding, median of {arguments.rounds} rounds\n")  # fmt: skip
    if BFLOAT16 not in dtypes:
        print("This processor has no bfloat16 instructions: float32 only.\n")
    print("| | s | slowest s | passages/s | GFLOP/s | of the peak | of torch.mm's peak |")
    print("|---|---|---|---|---|---|---|")
    median = {name: statistics.median(times) for name, times in seconds.items()}
    for name, value in median.items():
        rate, mine = work / value / 1e9, peaks[name.rpartition(" ")[2]]
        mm = max(best for kind, best in mine.items() if kind.startswith("torch.mm"))
        print(f"| {name} | {value:.2f} | {max(seconds[name]):.2f} | {len(texts) / value:.1f} "
              f"| {rate:.0f} | {rate / max(mine.values()):.0%} | {rate / mm:.0%} |")  # fmt: skip
    print("\n| peak, GFLOP/s | " + " | ".join(dtypes) + " |\n|---|" + "---|" * len(dtypes))
    for kind in PEAKS:
        print(f"| {kind} | " + " | ".join(f"{peaks[d].get(kind, 0):.0f}" for d in dtypes) + " |")
    print()
    for name, rival in [
        *((f"splade-bridge, {d}", PLAIN) for d in dtypes if network.plain),
        *((f"splade-bridge, {d}", f"SparseEncoder, {d}") for d in dtypes),
    ]:
        print(f"- {name}: {median[rival] / median[name]:.2f} times as fast as {rival}")
    order = np.argsort([-n for n in lengths], kind="stable")
    padded = [max(lengths[i : i + BATCH]) * len(lengths[i : i + BATCH])
              for i in range(0, len(lengths), BATCH)]  # fmt: skip
    step = network.batch
    sorted_ = [lengths[order[i]] * len(order[i : i + step]) for i in range(0, len(order), step)]
    print(f"- padding among the tokens computed: plain formula {1 - sum(lengths) / sum(padded):.1%}"
          f", SparseEncoder (sorts by length) {1 - sum(lengths) / sum(sorted_):.1%}"
          ", splade-bridge 0 (packed)")  # fmt: skip
    check(results, len(texts))
    return folder


def check(results: dict[str, Any], rows: int) -> None:
    """All contestants against the plain formula, or where that is left out SparseEncoder."""
    against = PLAIN if PLAIN in results else "SparseEncoder, float32"
    oracle = results[against].to_dense().numpy()
    for name, result in results.items():
        if isinstance(result, SparseBatch):
            found = np.zeros_like(oracle)
            found[np.repeat(np.arange(rows), np.diff(result.indptr)), result.indices] = (
                result.weights
            )
        else:
            found = result.to_dense().float().numpy()
        print(f"- {name}: weights differ from those of {against} by at most "
              f"{np.abs(found - oracle).max():.2g}")  # fmt: skip


MEMORY = (
    "encoder without head",
    "splade-bridge, batches of 16,384 tokens",
    "splade-bridge, batches of 2,048 tokens (its default)",
    "SparseEncoder",
    "plain formula",
)


def memory(name: str, folder: Path) -> None:
    """32 texts of 512 tokens at once; prints the MiB of this process before and at the peak."""
    from transformers import AutoModel, AutoTokenizer

    texts = [Text(str(i), "the of and to " * 200, "") for i in range(BATCH)]
    if name.startswith("splade-bridge"):
        tokens = BATCH * 512 if "16,384" in name else None
        options = EncodeOptions(max_length=512, dtype=FLOAT32, batch_tokens=tokens, device="cpu")
        encoder = load_encoder(str(folder), "document", options)
        run: Callable[[], Any] = lambda: list(encoder.encode(texts))  # noqa: E731
    elif name == "encoder without head":
        with quiet():
            body = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder)

        def run() -> Any:
            return body(
                **tokenizer(
                    [t.text for t in texts], truncation=True, max_length=512, return_tensors="pt"
                )
            )
    else:
        global MAX_LENGTH
        MAX_LENGTH = 512
        encode = plain(folder) if name == "plain formula" else sparse_encoder(folder, FLOAT32)
        run = lambda: encode(texts)  # noqa: E731
    before = mebibytes("VmRSS")
    with torch.inference_mode():
        run()
    print(json.dumps({"before": before, "peak": mebibytes("VmHWM")}))


def mebibytes(field: str) -> float:
    """Of this process; getrusage's peak would be that of the parent, if that was higher."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 2**10


def memory_table(folder: Path, threads: int) -> None:
    print("\n32 texts of 512 tokens, float32, one batch, each in a process of its own:\n")
    print("| | loaded, MiB | peak, MiB | peak / encoder without head |\n|---|---|---|---|")
    base = None
    for name in MEMORY:
        done = subprocess.run(
            [sys.executable, __file__, "--threads", str(threads), "--memory", name, str(folder)],
            capture_output=True,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        base = base or found["peak"]
        print(f"| {name} | {found['before']:.0f} | {found['peak']:.0f} "
              f"| {found['peak'] / base:.2f} |", flush=True)  # fmt: skip


def dtype_report(checkpoint: str, corpus: str, limit: int, device: str = "cpu") -> None:
    """How many impacts at x 100 change with 16 or 8 bits, and by how much."""
    kinds = (FLOAT32, BFLOAT16, "float16" if device == "cuda" else "int8")
    encoders = [
        load_encoder(checkpoint, "document", EncodeOptions(dtype=d, device=device))  # type: ignore[arg-type]
        for d in kinds
    ]
    texts = list(islice(read_texts(corpus), limit))
    print(f"\n{checkpoint} on {corpus}, {len(texts):,} texts, impacts at x 100\n")
    impacts = [_impacts(e.encode(texts), len(e.loaded.vocabulary)) for e in encoders]
    exact_keys, exact = impacts[0]
    print("| dtype | impacts | equal | off by 1 | by 2 | by 3 or more | largest | only in float32 "
          "| only here | sum of impacts |\n|---|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    for kind, (keys, values) in zip(kinds, impacts, strict=True):
        both, i, j = np.intersect1d(exact_keys, keys, assume_unique=True, return_indices=True)
        off = np.abs(exact[i].astype(np.int64) - values[j])
        shares = [np.mean(off == n) for n in (0, 1, 2)] + [np.mean(off > 2)]
        print(f"| {kind} | {len(keys):,} | " + " | ".join(f"{s:.2%}" for s in shares)
              + f" | {off.max(initial=0)} | {len(exact_keys) - len(both):,} "
              f"({exact[np.isin(exact_keys, both, invert=True)].max(initial=0)} at most) "
              f"| {len(keys) - len(both):,} "
              f"({values[np.isin(keys, both, invert=True)].max(initial=0)} at most) "
              f"| {values.sum() / exact.sum() - 1:+.3%} |", flush=True)  # fmt: skip


def _impacts(batches: Iterator[SparseBatch], width: int) -> tuple[np.ndarray, np.ndarray]:
    """Keys (row and term) in order, and impacts."""
    keys, values, rows = [], [], 0
    quantizer = Quantizer(QuantizeOptions())
    for batch in map(quantizer, batches):
        row = np.repeat(np.arange(rows, rows + len(batch)), np.diff(batch.indptr))
        keys.append(row * width + batch.indices)
        values.append(batch.impacts)
        rows += len(batch)
    return np.concatenate(keys), np.concatenate(values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--passages", type=int, default=256)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--network", choices=NETWORKS, default="bert")
    parser.add_argument("--layers", type=int, help="default: those of --network")
    parser.add_argument("--model", type=Path, help="a checkpoint, instead of random weights")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--dtype-report", nargs=2, metavar=("CHECKPOINT", "CORPUS"))
    parser.add_argument("--limit", type=int, default=1000, help="texts of --dtype-report")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.memory:
        memory(arguments.memory[0], Path(arguments.memory[1]))
        return
    print(describe("torch", "transformers", "sentence-transformers", "tokenizers"))
    if arguments.dtype_report:
        dtype_report(*arguments.dtype_report, arguments.limit)
        return
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = compare(arguments, Path(folder))
        if not arguments.no_memory:
            memory_table(checkpoint, arguments.threads)


if __name__ == "__main__":
    main()
