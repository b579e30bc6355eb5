"""A flag that would do nothing is refused: every flag says what it needs, or always acts."""

from __future__ import annotations

import inspect
import shlex
from pathlib import Path

import pytest

import command_line
from documented import TABLES
from splade_bridge.cli.command import needs_of

ACTS = {
    "encode": "--output --side --max-length --batch-tokens --long --devices --threads --shard "
    "--cluster --part-rows --id-field --text-field --title-field --overwrite",
    "export": "--output --format --model --scale --rounding --clip --memory --overwrite",
    "export-model": "--output --to --side --max-length --pooling --overwrite --revision "
    "--trust-remote-code",
    "index": "--field --opensearch-query --qdrant-datatype --postgresql-hnsw --postgresql-hnsw-m "
    "--postgresql-hnsw-ef-construction "
    "--output --engine --from --vocabulary --scale --rounding --clip --memory "
    "--ciff-docids --lucene-version --route --pisa-profile --pisa-encoding --pisa-block-size "
    "--pisa-bin --pisa-reorder --seismic-n-postings --seismic-max-fraction "
    "--seismic-centroid-fraction --seismic-min-cluster-size --seismic-summary-energy "
    "--seismic-query-cut --seismic-heap-factor --impact-index-bmp --impact-index-bmp-block-size",
    "delete": "--id --ids --missing-ok --check",
    "search": "--queries --model --hits --approximate --scale --rounding --clip --allow-mismatch",
    "fuse": "--output --fusion --weight --depth --hits --as-query --overwrite",
    "rerank": "--output --model --corpus --queries --depth --hits --scorer --max-length --dtype "
    "--device --threads --part-queries --output-format --id-field --text-field --title-field "
    "--split --overwrite --revision --trust-remote-code",
    "evaluate": "--measure --per-query -m --missing --split",
    "verify": "--queries --model --hits --scale --rounding --clip --allow-mismatch",
    "convert": "--field --to --from --ciff-docids --vocabulary --scale --rounding --clip "
    "--overwrite",
    "bench": "--queries --model --hits --algorithm --repeat --threads --check-against --output "
    "--approximate --two-step --frontier --scale --rounding --clip --allow-mismatch",
    "compare": "--output --data --rebench --drop-indexes --allow-mismatch --trust-remote-code",
    "beir": "--output --model --drop-indexes --trust-remote-code",
    "explain": "--queries --model --against --html --scale --rounding --clip --allow-mismatch",
    "serve": "--model --corpus --queries --host --port --threads --max-length --scale --rounding "
    "--clip --revision --query-mode --normalize --trust-remote-code --allow-mismatch",
    "terms": "--id --top",
    "inspect": "--from --ciff-docids --quick --memory --field",
    "merge": "--output --overwrite",
    "prune": "--field "
    "--output --method --value --side --min-terms --from --vocabulary --scale --gzip "
    "--ciff-docids --memory --overwrite",
    "quantize-study": "--queries --qrels --scale --rounding --clip --hits --rbo-p --min-rbo "
    "--output --allow-mismatch",
    "bm25": "--output --queries --k1 --b --id-field --text-field --title-field --threads --memory "
    "--overwrite",
    "dense": "--model --revision --prompt --trust-remote-code --output --index-kind --side "
    "--similarity --max-length "
    "--batch-size --device --threads --memory --part-rows --id-field --text-field --title-field "
    "--overwrite",
    "doctor": "--fetch",
    "help": "",
    "demo": "--output --model --overwrite",
    "train recipe": "--list",
    "train mine": "--queries --qrels --output --run --index --documents --corpus --negatives "
    "--choice --depth --skip --margin --min-grade --remove-query --allow-mismatch "
    "--overwrite",
    "train score": "--pairs --output --teacher --part-queries --overwrite",
    "train mlm": "--output --texts --corpora --docstrings --base --block --steps --batch-size "
    "--gradient-accumulation --learning-rate --warmup-steps --weight-decay --mask --whole-words "
    "--mlm --activated --flops --precision --seed --log-every --save-every --overwrite",
}
"""Flags that act whatever else is given.

An engine's own refuse the other engines; --scale, --rounding, --clip, --from and --gzip depend on
what a file holds (``tests/bad_input/scales.py``); --memory and --overwrite allow something, whether
it is needed or not.
"""
EVERYWHERE = "--json --verbose"
ALLOWING = {"--no-check", "--skip-others", "--memory"}
"""What allows something wherever it is; --memory of an index that has no use for it is refused."""

SERVE, EXPLAIN = "serve i -m m", "explain i q d -q q.tsv"
ENCODE, EXPORT = "encode c.jsonl -o v", "export v -o x"
DENSE = "dense c.jsonl -m m -o i"
UPDATED = "index v -o opensearch://localhost/a --update"
READ = "search i words -m m"
SEARCH, STUDY = "search i -q q.tsv -o r", "quantize-study v -q qv"
FUSE = "fuse a b -o r"
RERANK = "rerank r -m m --corpus c -q q -o o"
TUNED = f"{FUSE} --tune AP --qrels q"
MINE = "train mine --queries q.jsonl --qrels qrels -o m.jsonl"
RUN = f"{MINE} --run r"
BM25 = f"{MINE} --corpus c --bm25"
SCORE = "train score --pairs p.jsonl -o s.jsonl"
BY_RUN = f"{SCORE} --teacher run --run r"
MLM, BASE = "train mlm --texts t.txt -o m", "train mlm --texts t.txt -o m --base b"

ASKING = (SEARCH, "verify i j -q q.tsv", "bench i -q q.tsv", EXPLAIN)
OF_A_MODEL = (
    "--revision r", "--prompt p", "--prompt-name p", "--query-mode bow", "--normalize",
    "--trust-remote-code",
)  # fmt: skip
OF_A_PAIR = (
    "--query-prompt p", "--query-prompt-name p", "--document-prompt p", "--document-prompt-name p",
)  # fmt: skip
PAIRED = (
    f"{RERANK} --scorer sparse", "beir d -m m -o o", f"{MINE} --corpus c --model m",
    f"{SCORE} --teacher sparse --model m",
)  # fmt: skip
NOTHING = [
    ("index v -o i -e exact", "--with-contents c.jsonl", "where --output is no address"),
    ("index v -o opensearch://localhost/a", "--fields year", "without --with-contents"),
    ("index v -o i -e exact", "--shards 2", "where --output is no address"),
    ("index v -o i -e exact", "--replicas 1", "where --output is no address"),
    ("index v -o i -e exact", "--merge", "where --output is no address"),
    ("index v -o i -e exact", "--check count", "where --output is no address"),
    ("index v -o i -e exact", "--allow-loss", "where --output is no address"),
    ("index v -o i -e exact", "--alias a", "where --output is no address"),
    ("search i -q q.tsv -o r", "--field f", "where no index is an address"),
    ("search i -q q.tsv -o r", "--vocabulary v.txt", "where no index is an address"),
    ("verify i j -q q.tsv", "--field f", "where no index is an address"),
    ("verify i j -q q.tsv", "--vocabulary v.txt", "where no index is an address"),
    ("verify opensearch://localhost/a", "--probe id", "without --model"),
    ("verify opensearch://localhost/a -m m", "--probe-query id", "without --probe"),
    ("bench i -q q.tsv", "--field f", "where no index is an address"),
    ("bench i -q q.tsv", "--vocabulary v.txt", "where no index is an address"),
    ("explain i q d -q q.tsv", "--field f", "where no index is an address"),
    ("explain i q d -q q.tsv", "--vocabulary v.txt", "where no index is an address"),
    ("search milvus:a.db -q q.tsv -o r", "--milvus-drop-ratio 0.2", "without --approximate"),
    ("search milvus:a.db -q q.tsv -o r", "--postgresql-ef-search 9", "without --approximate"),
    ("search qdrant:a -q q.tsv -o r", "--elasticsearch-frequency-ratio 5", "without --approximate"),
    ("search qdrant:a -q q.tsv -o r", "--elasticsearch-weight-ratio 0.4", "without --approximate"),
    ("bench milvus:a.db -q q.tsv", "--milvus-drop-ratio 0.2", "without --approximate"),
    ("bench milvus:a.db -q q.tsv", "--postgresql-ef-search 9", "without --approximate"),
    ("bench milvus:a.db -q q.tsv", "--elasticsearch-frequency-ratio 5", "without --approximate"),
    ("bench milvus:a.db -q q.tsv", "--elasticsearch-weight-ratio 0.4", "without --approximate"),
    ("search i -q q.tsv -o r", "--impact-index-alpha 0.9", "without --approximate"),
    ("search i -q q.tsv -o r", "--impact-index-beta 0.9", "without --approximate"),
    ("search i -q q.tsv -o r", "--seismic-query-cut 9", "without --approximate"),
    ("search i -q q.tsv -o r", "--seismic-heap-factor 0.9", "without --approximate"),
    ("bench i -q q.tsv", "--impact-index-alpha 0.9", "without --approximate"),
    ("bench i -q q.tsv", "--impact-index-beta 0.9", "without --approximate"),
    ("bench i -q q.tsv", "--seismic-query-cut 9", "without --approximate"),
    ("bench i -q q.tsv", "--seismic-heap-factor 0.9", "without --approximate"),
    ("bench i -q q.tsv", "--first-query-terms 9", "without --two-step"),
    ("bench i -q q.tsv", "--candidates 9", "without --two-step"),
    ("index v -o i -e exact", "--keep-weights", "where --output is no address"),
    ("index v -o i -e exact", "--approximate", "where --output is no address"),
    ("index v -o i -e exact", "--dry-run", "where --output is no address"),
    ("index v -o opensearch://localhost/a", "--drop-old", "without --alias"),
    ("index v -o i -e exact", "--update", "where --output is a folder, since indexes of files"),
    (UPDATED, "--shards 2", "with --update"),
    (UPDATED, "--replicas 2", "with --update"),
    (UPDATED, "--alias a", "with --update"),
    (UPDATED, "--keep-weights", "with --update"),
    (UPDATED, "--dry-run", "with --update"),
    (UPDATED, "--overwrite", "with --update"),
    (UPDATED, "--approximate", "with --update"),
    (SERVE, "--field f", "where no index is an address"),
    (SERVE, "--vocabulary v.txt", "where no index is an address"),
    (SERVE, "--qrels q", "without --queries"),
    (f"{SERVE} -q q", "--split dev", "without --qrels"),
    (f"{SERVE} -q q", "--measure AP", "without --qrels"),
    (f"{SERVE} --query-mode bow", "--prompt p", "with --query-mode bow"),
    (f"{SERVE} --query-mode bow", "--prompt-name p", "with --query-mode bow"),
    (f"{SERVE} --prompt p", "--prompt-name p", "with --prompt"),
    *(
        (command, flag, "without --corpus")
        for command in (SERVE, EXPLAIN, READ)
        for flag in ("--id-field i", "--text-field t", "--title-field t", "--skip-others")
    ),
    *(
        (READ, flag, "without --queries")
        for flag in (
            "--output o",
            "--algorithm auto",
            "--threads 2",
            "--output-format msmarco",
            "--tag us",
            "--remove-query",
            "--max-passage",
            "--two-step f",
            "--exact-run r",
            "--check-against j",
            "--ef-search 9",
            "--latencies l",
            "--overwrite",
            "--split dev",
        )
    ),
    (SEARCH, "--corpus c", "with --queries"),
    (SEARCH, "--interactive", "with --queries"),
    (EXPLAIN, "--corpus c", "without --model"),
    (EXPLAIN, "--overwrite", "without --html"),
    ("convert v o --to npz", "--docs-per-file 9", "without --to jsonvector or --to seismic"),
    ("convert v o --to npz", "--gzip", "without --to jsonvector or --to seismic"),
    ("convert v o --to npz", "--allow-loss", "without --to elasticsearch"),
    ("convert v o --to npz", "--queries q", "without --to elasticsearch"),
    (f"{ENCODE} --document-model d", "--model m", "where the side that is encoded has a model"),
    (f"{ENCODE} --side query --query-model d", "--model m", "where the side that is encoded"),
    (f"{ENCODE} -m m", "--query-model q", "without --side query"),
    (f"{ENCODE} -m m --side query", "--document-model d", "without --side document"),
    (f"{ENCODE} -m m --side query --query-mode bow", "--pooling max", "with --query-mode bow"),
    (f"{ENCODE} -m m", "--query-mode bow", "without --side query"),
    (f"{ENCODE} -m m --side query --query-mode bow", "--dtype float32", "with --query-mode bow"),
    (f"{ENCODE} -m m", "--stride 3", "without --long max or --long passages"),
    (f"{ENCODE} -m m --long truncate", "--stride 3", "without --long max or --long passages"),
    (f"{ENCODE} -m m", "--cluster-address a", "without --cluster"),
    (f"{ENCODE} -m m", "--workers 2", "without --cluster"),
    (f"{ENCODE} -m m", "--split dev", "without --side query"),
    (f"{EXPORT} -f ciff", "--side query", "where --format says what is written"),
    (f"{EXPORT} -m m", "--from ciff", "with --model"),
    (f"{EXPORT} -m m", "--ciff-docids absolute", "with --model"),
    (f"{EXPORT} -m m", "--vocabulary v.txt", "with --model"),
    (f"{EXPORT} -m m", "--field v", "with --model"),
    ("inspect i --quick", "--corpus c.jsonl", "with --quick"),
    ("inspect i --quick", "--vocabulary v.json", "with --quick"),
    (f"{EXPORT} -f ciff", "--docs-per-file 7", "without --format jsonvector"),
    (f"{EXPORT} --side query", "--docs-per-file 100000", "without --format jsonvector"),
    (f"{EXPORT} -f ciff", "--with-contents /nosuch", "without --format jsonvector"),
    (f"{EXPORT} -f forward", "--gzip", "without --format jsonvector or --format ciff"),
    ("index v -o i -e exact", "--threads 2", "with an engine that builds in one thread"),
    ("index v -o i -e lucene", "--threads 2", "with an engine that builds in one thread"),
    (SEARCH, "--filter year=3", "where INDEX is no address"),
    (SEARCH, "--max-length 256", "without --model"),
    (SEARCH, "--split dev", "without --model"),
    (f"{SEARCH} -m m", "--pre-encoded", "with --model"),
    (f"{SEARCH} --output-format msmarco", "--tag mine", "without --output-format trec"),
    (SEARCH, "--first-query-terms 3", "without --two-step"),
    (SEARCH, "--candidates 2000", "without --two-step"),
    (FUSE, "--normalization z-score", "without --fusion combsum or --fusion combmnz"),
    (f"{FUSE} --fusion combsum", "--rank-constant 5", "without --fusion rrf"),
    (FUSE, "--qrels q", "without --tune"),
    (FUSE, "--tune AP", "without --qrels"),
    (FUSE, "--split dev", "without --qrels"),
    (FUSE, "--folds 3", "without --tune"),
    (FUSE, "--seed 3", "without --tune"),
    (FUSE, "--weight-steps 3", "without --tune"),
    (f"{TUNED} --weight 1 --weight 2", "--weight-steps 3", "with --weight"),
    (FUSE, "--query-field text:t", "without --as-query"),
    (
        f"{FUSE} --as-query milvus --query-field text:t --query-field text:u",
        "--tag us",
        "with --as-query",
    ),
    (f"{RERANK} --scorer sparse", "--batch-size 9", "with --scorer sparse"),
    (f"{RERANK} --output-format msmarco", "--tag us", "without --output-format trec"),
    *((command, flag, "without --model") for command in ASKING for flag in OF_A_MODEL),
    *(
        (f"{command} -m m --query-mode bow", flag, "with --query-mode bow")
        for command in (*ASKING, f"{ENCODE} --side query")
        for flag in ("--prompt p", "--prompt-name p")
    ),
    *(
        (f"{command} -m m --prompt p", "--prompt-name q", "with --prompt")
        for command in (*ASKING, ENCODE)
    ),
    *((ENCODE, flag, "without --model") for flag in OF_A_MODEL),
    *(
        ("terms i --id d", flag, "without a text")
        for flag in (*OF_A_MODEL, "--side query", "--max-length 9")
    ),
    *((EXPORT, flag, "without --model") for flag in OF_A_MODEL),
    (f"{EXPORT} -m m", "--query-mode bow", "without --side query"),
    (f"{EXPORT} -m m --side query --query-mode bow", "--prompt p", "with --query-mode bow"),
    (f"{EXPORT} -m m --side query --query-mode bow", "--prompt-name p", "with --query-mode bow"),
    (f"{EXPORT} -m m --prompt p", "--prompt-name q", "with --prompt"),
    ("demo -o d", "--revision r", "without --model"),
    ("demo -o d", "--trust-remote-code", "without --model"),
    (f"{DENSE} --prompt p", "--prompt-name q", "with --prompt"),
    *(
        (RERANK, flag, "without --scorer dense or --scorer sparse")
        for flag in (*OF_A_PAIR, "--normalize")
    ),
    (RERANK, "--query-mode bow", "without --scorer sparse"),
    *(
        ("beir b.toml -o o", flag, "without --model")
        for flag in (
            *OF_A_PAIR,
            "--normalize",
            "--query-mode bow",
            "--revision r",
            "--measure AP",
            "--split dev",
            "--engine pisa",
            "--max-length 9",
            "--pooling sum",
            "--hits 9",
        )
    ),
    *(
        (f"{MINE} --index i --query-vectors v", flag, "without --model")
        for flag in (
            *OF_A_PAIR,
            "--normalize",
            "--query-mode bow",
            "--revision r",
            "--trust-remote-code",
        )
    ),
    *(
        (f"{MINE} --index i --model m", flag, "without --corpus")
        for flag in ("--document-prompt p", "--document-prompt-name p")
    ),
    *(
        (f"{SCORE} --model m", flag, "without --teacher dense or --teacher sparse")
        for flag in (*OF_A_PAIR, "--normalize")
    ),
    (f"{SCORE} --model m", "--query-mode bow", "without --teacher sparse"),
    *((BY_RUN, flag, "with --teacher run") for flag in ("--revision r", "--trust-remote-code")),
    *(
        (MLM, flag, "without --base or --tokenizer")
        for flag in ("--revision r", "--trust-remote-code")
    ),
    *(
        (f"{command} --query-mode bow", flag, "with --query-mode bow")
        for command in PAIRED
        for flag in ("--query-prompt p", "--query-prompt-name p")
    ),
    *(
        (f"{command} --{side}-prompt p", f"--{side}-prompt-name q", f"with --{side}-prompt")
        for command in PAIRED
        for side in ("query", "document")
    ),
    ("terms m x", "--query-mode bow", "without --side query"),
    ("terms m x --side query --query-mode bow", "--prompt p", "with --query-mode bow"),
    ("terms m x --side query --query-mode bow", "--prompt-name p", "with --query-mode bow"),
    ("terms m x --prompt p", "--prompt-name q", "with --prompt"),
    ("verify i j -q q.tsv", "--max-length 9", "without --model"),
    ("verify i j -q q.tsv", "--split dev", "without --model"),
    ("verify i j -q q.tsv -m m", "--pre-encoded", "with --model"),
    ("bench i -q q.tsv", "--max-length 9", "without --model"),
    ("bench i -q q.tsv", "--split dev", "without --model"),
    ("bench i -q q.tsv -m m", "--pre-encoded", "with --model"),
    ("bench i -q q.tsv", "--overwrite", "without --output"),
    ("explain i q d -q q.tsv", "--max-length 9", "without --model"),
    ("explain i q d -q q.tsv", "--split dev", "without --model"),
    ("explain i q d -q q.tsv -m m", "--pre-encoded", "with --model"),
    (STUDY, "--max-loss 0.1", "without --qrels"),
    (STUDY, "--split dev", "without --qrels"),
    (STUDY, "--overwrite", "without --output"),
    (DENSE, "--hnsw-m 8", "without --index-kind hnsw"),
    (DENSE, "--hnsw-ef-construction 8", "without --index-kind hnsw"),
    (DENSE, "--split dev", "without --side query"),
    ("bm25 c.jsonl -o b", "--hits 10", "without --queries"),
    ("bm25 c.jsonl -o b", "--remove-query", "without --queries"),
    ("bm25 c.jsonl -o b", "--split dev", "without --queries"),
    ("train --list", "--output m", "with --list"),
    ("train splade-max --show", "--output m", "with --show"),
    ("train --list", "--set train.steps=1", "with --list"),
    ("train --list", "--show", "with --list"),
    ("train --list", "--overwrite", "with --list"),
    ("train --list", "--trust-remote-code", "with --list"),
    ("train splade-max --show", "--trust-remote-code", "with --show"),
    ("train splade-max --show", "--overwrite", "with --show"),
    (RUN, "--model m", "with --run"),
    (RUN, "--query-vectors v", "with --run"),
    (RUN, "--bm25", "without --corpus"),
    (BM25, "--model m", "with --bm25"),
    (BM25, "--query-vectors v", "with --bm25"),
    (BM25, "--engine pisa", "with --bm25"),
    (BM25, "--algorithm auto", "with --bm25"),
    (RUN, "--engine exact", "without --documents or --corpus"),
    (f"{MINE} --index i --query-vectors v", "--engine pisa", "without --documents or --corpus"),
    (RUN, "--algorithm auto", "with --run"),
    (RUN, "--threads 2", "with --run"),
    (f"{MINE} --index i --query-vectors v", "--max-length 9", "without --model"),
    (f"{RUN} --choice hardest", "--seed 3", "with --choice hardest"),
    (BY_RUN, "--model m", "with --teacher run"),
    (f"{SCORE} --model m", "--run r", "without --teacher run"),
    (BY_RUN, "--collection c.jsonl", "with --teacher run"),
    (BY_RUN, "--queries q.jsonl", "with --teacher run"),
    (BY_RUN, "--batch-size 3", "without --teacher cross-encoder or --teacher dense"),
    (f"{SCORE} --teacher sparse --model m", "--batch-size 3", "without --teacher cross-encoder"),
    (BY_RUN, "--max-length 3", "with --teacher run"),
    (BY_RUN, "--dtype bfloat16", "with --teacher run"),
    (BY_RUN, "--device cpu", "with --teacher run"),
    (f"{SCORE} --model m", "--allow-missing", "without --teacher run"),
    (MLM, "--packages numpy", "without --docstrings"),
    (BASE, "--tokenizer t", "with --base"),
    (BASE, "--vocab-size 99", "with --base"),
    (f"{MLM} --tokenizer t", "--vocab-size 99", "with --tokenizer"),
    (BASE, "--split-names", "with --base"),
    (f"{MLM} --tokenizer t", "--split-names", "with --tokenizer"),
    (BASE, "--layers 2", "with --base"),
    (BASE, "--hidden 2", "with --base"),
    (BASE, "--heads 2", "with --base"),
    (BASE, "--intermediate 2", "with --base"),
    (BASE, "--dropout 0.2", "with --base"),
    (BASE, "--word-vectors", "with --base"),
    (MLM, "--flops-ramp 5", "without --flops"),
]
"""A command, a flag that does nothing in it, and why."""

COMMANDS = dict(TABLES["commands"]())
FLAGS = list(TABLES["flags"]())


def needed(flag: object) -> list[str]:
    """What is lacking where the flag does nothing."""
    command, parameter = flag.command, flag.parameter  # type: ignore[attr-defined]
    annotation = inspect.signature(COMMANDS[command]).parameters[parameter].annotation
    return [need.lacking for need in needs_of(annotation)]


def command_of(words: str) -> str:
    """The name of the command in the table."""
    first, second = shlex.split(words)[:2]
    if first != "train":
        return first
    return f"train {second if second in ('mine', 'score', 'mlm') else 'recipe'}"


def test_every_flag_says_what_it_needs_or_always_acts() -> None:
    """A new flag stands in ``ACTS``, or has ``needs(...)`` beside it and a line in ``NOTHING``."""
    silent = {c: set(shlex.split(f"{names} {EVERYWHERE}")) for c, names in ACTS.items()}
    assert silent.keys() == COMMANDS.keys()
    for command in COMMANDS:
        mine = [f for f in FLAGS if f.command == command]
        found = {f.name for f in mine if not needed(f)} - ALLOWING
        assert found == silent[command] - ALLOWING, command
    for flag in FLAGS:
        tried = {
            why
            for words, given, why in NOTHING
            if (command_of(words), given.split()[0]) == (flag.command, flag.name)
        }
        for lacking in needed(flag):
            assert any(map(lacking.startswith, tried)), (flag.command, flag.name, lacking)


@pytest.mark.parametrize(("words", "flag", "why"), NOTHING, ids=[f"{w} {f}" for w, f, _ in NOTHING])
def test_a_flag_that_does_nothing_is_refused_with_the_remedy(
    capfd: pytest.CaptureFixture[str], words: str, flag: str, why: str
) -> None:
    status, out, err = command_line.run(capfd, *shlex.split(f"{words} {flag}"))
    name = shlex.split(flag)[0]
    assert (status, out) == (2, ""), err
    assert f"error: {name} has no effect {why}" in err
    assert f"or leave {name} out" in err


@pytest.mark.long
def test_a_default_is_not_a_flag_that_was_given(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most commands find nothing to read and end; `demo` reads nothing, and writes its output."""
    monkeypatch.chdir(tmp_path)
    for words in dict.fromkeys(words for words, _, _ in NOTHING if not words.startswith("train")):
        _, _, err = command_line.run(capfd, *shlex.split(words))
        assert "has no effect" not in err, err
