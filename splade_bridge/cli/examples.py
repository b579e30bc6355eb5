"""Two or more command lines of each command, which its help shows and the tests parse."""

from __future__ import annotations

EXAMPLES: dict[str, tuple[str, ...]] = {
    "encode": (
        "corpus.jsonl -m naver/splade-v3 -o vectors",
        "beir/scifact -m naver/splade-v3 --side query --split test -o queries",
    ),
    "export": (
        "vectors -o docs",
        "vectors -o ciff -f ciff --scale 100 --gzip",
        "query-vectors -o topics -f topics",
    ),
    "export-model": (
        "naver/splade-v3 -o encoder --to onnx --side query",
        "naver/splade-v3 -o model --to opensearch",
    ),
    "convert": (
        "docs.ciff.gz vectors --to vectors",
        "elasticsearch://localhost:9200/passages out --to ciff",
    ),
    "index": (
        "vectors -o index -e lucene",
        "docs.ciff.gz -o pisa-index -e pisa",
        "vectors -o opensearch://localhost:9200/passages --dry-run",
    ),
    "delete": (
        "qdrant:folder --id d17 --id d18",
        "elasticsearch://localhost:9200/passages --ids gone.txt",
    ),
    "search": (
        "index -q queries.tsv -m naver/splade-v3 -o run.trec",
        "pisa-index -q topics.tsv -k 10 -o -",
        'index "what lives in the sea" -m naver/splade-v3 --corpus beir/scifact',
        "index -m naver/splade-v3 --corpus beir/scifact --interactive",
    ),
    "fuse": (
        "splade.trec bm25.trec -o fused.trec",
        "splade.trec dense.trec -o fused.trec --fusion combsum --tune nDCG@10 --qrels qrels.txt",
    ),
    "rerank": (
        "run.trec -m cross-encoder/ms-marco-MiniLM-L6-v2 --corpus corpus.jsonl "
        "-q queries.tsv -o out.trec",
        "run.trec -m model --scorer dense --corpus beir -q beir --depth 50 -o out.trec",
    ),
    "evaluate": (
        "qrels.txt run.trec",
        "beir/scifact run.trec -M nDCG@10 -M R@1000 --per-query",
    ),
    "verify": (
        "index pisa-index -q topics.tsv",
        "index qdrant:folder -q queries.tsv -m naver/splade-v3 -k 100",
    ),
    "bench": (
        "index pisa-index -q topics.tsv -k 10 -k 1000",
        "index -q topics.tsv --algorithm all --repeat 5 -o times.csv",
        "pruned -q topics.tsv --two-step full --first-query-terms 6 --candidates 100",
        "index seismic-index -q topics.tsv --frontier frontier.svg",
    ),
    "compare": (
        "spec.toml -o comparison",
        "spec.toml -o comparison --rebench",
    ),
    "beir": (
        "beir/nfcorpus beir/scifact -m naver/splade-v3 -o results",
        "beir -m naver/splade-v3 -m my-model -M nDCG@10 -e pisa -o results",
    ),
    "explain": (
        "index q1 d17 -q topics.tsv",
        "index q1 d17 -q queries.tsv -m naver/splade-v3",
        "index q1 d17 -q queries.tsv -m naver/splade-v3 --against pruned --html why.html",
    ),
    "serve": (
        "index -m naver/splade-v3 --corpus beir/scifact",
        "index pruned -m naver/splade-v3 --corpus beir/scifact -q beir/scifact "
        "--qrels beir/scifact",
    ),
    "terms": (
        'naver/splade-v3 "what lives in the sea" --side query',
        "vectors --id d17 --top 20",
    ),
    "inspect": (
        "unknown.gz",
        "milvus://localhost:19530/passages --quick",
    ),
    "merge": (
        "shard0 shard1 -o vectors",
        "shards/* -o vectors --overwrite",
    ),
    "prune": (
        "vectors -o pruned --method top-k --value 128",
        "vectors -o small --method bytes --value 500M",
    ),
    "quantize-study": (
        "vectors -q query-vectors",
        "vectors -q query-vectors --qrels qrels.txt --scale 10 --scale 100 -o study.csv",
    ),
    "bm25": (
        "corpus.jsonl -o bm25",
        "beir/scifact -q beir/scifact -o bm25 --k1 0.9 --b 0.4",
    ),
    "dense": (
        "corpus.jsonl -m sentence-transformers/all-MiniLM-L6-v2 -o dense",
        "beir/scifact -m model -o dense --index-kind hnsw --hnsw-m 32",
    ),
    "doctor": (
        "",
        "--fetch",
    ),
    "demo": (
        "",
        "-o demo -m naver/splade-v3",
    ),
    "help": (
        "",
        "formats",
    ),
    "train": (
        "--list",
        "tiny --show",
        "tiny -o out --set train.steps=500 --set data.path=beir/scifact",
    ),
    "train recipe": (
        "recipe.toml -o checkpoint",
        "fine-tune -o checkpoint --set model.base=naver/splade-v3",
    ),
    "train mine": (
        "-q queries.tsv --qrels qrels.txt --index index -m model -o pairs.jsonl",
        "-q queries.tsv --qrels qrels.txt --bm25 --corpus corpus.jsonl -o pairs.jsonl",
    ),
    "train score": (
        "--pairs pairs.jsonl --teacher cross-encoder -m cross-encoder/ms-marco-MiniLM-L6-v2 "
        "--collection beir -q beir -o scored.jsonl",
        "--pairs pairs.jsonl --teacher run --run run.trec -o scored.jsonl",
    ),
    "train mlm": (
        "--texts plain.txt -o model --steps 1000",
        "--corpora beir/scifact --base bert-base-uncased -o model",
    ),
}
"""By the name of the command: what follows it."""


def shown(name: str) -> str:
    """The examples of a command, as the end of its help."""
    lines = [f"  splade-bridge {name} {example}".rstrip() for example in EXAMPLES[name]]
    return "\n".join(["\b", "Examples:", *lines])
