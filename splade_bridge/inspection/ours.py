"""What only this tool makes, and checkpoints: told from their own files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from splade_bridge.data.parts import part_files, read_part
from splade_bridge.data.store import VOCABULARY, VectorStore
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError
from splade_bridge.files.outputs import PLAN
from splade_bridge.files.typed import Where, as_table, json_file
from splade_bridge.inspection import lucene, texts, vectors
from splade_bridge.inspection.found import Inspection, InspectOptions

RESULTS = "results.json"
DOCUMENTS = "documents"
CONFIG = "config.json"
CONFIG_KEYS = (
    "architectures", "model_type", "vocab_size", "hidden_size", "num_hidden_layers",
    "max_position_embeddings", "torch_dtype",
)  # fmt: skip
DENSE_KEYS = ("dimension", "similarity", "index_kind", "hnsw_m", "hnsw_ef_construction", "longest")
WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def table(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        BadInputError: it is none.
    """
    where = Where(str(path), said="cannot be read ({})")
    return dict(as_table(json_file(where), where))


def index(path: Path, found: Inspection, options: InspectOptions) -> None:
    """An index of ours."""
    assert found.manifest is not None
    found.engine = found.manifest.engine
    found.what = f"an index of {found.engine}"
    if found.engine == "lucene":
        lucene.describe(path, found, options)
    elif not options.quick:
        vectors.index(path, found, options)


def store(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A vector store."""
    if not options.quick:
        vectors.store(path, found, options)


def shard(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Some parts of a vector store, or those of one that is not finished."""
    found.facts["parts"] = len(part_files(path))
    if (path / PLAN).is_file():
        found.facts["plan"] = table(path / PLAN)
    if options.quick or not found.facts["parts"] or not (path / VOCABULARY).is_file():
        return
    vectors.rows(_parts(path), Vocabulary.load(path / VOCABULARY), found, options, "weights")


def _parts(path: Path) -> Iterator[SparseBatch]:
    for part in part_files(path).values():
        yield from read_part(part, 4096)


def export(path: Path, found: Inspection, options: InspectOptions) -> None:
    """An export: the documents or the queries in it, in the first format that it has."""
    assert found.manifest is not None
    formats = found.manifest.option("formats", list[str], path, [])
    found.facts["formats"] = formats
    if options.quick:
        return
    if set(formats) == {"topics"}:
        texts.topics(next(path.glob("topics.tsv*")), found, options)
    else:
        vectors.store(path, found, options)


def dense_index(path: Path, found: Inspection, options: InspectOptions) -> None:
    """An index of dense vectors, by its manifest; its files are whole, or it was refused."""
    manifest = found.manifest
    assert manifest is not None
    found.what = f"an index of dense vectors ({manifest.options.get('index_kind')})"
    found.counts = manifest.counts
    found.facts = {key: manifest.options[key] for key in DENSE_KEYS if key in manifest.options}
    found.facts["parts"] = len(part_files(path))
    found.unknown.append("terms, postings and content: dense vectors have none")


def bm25(path: Path, found: Inspection, options: InspectOptions) -> None:
    """Two stores of BM25 weights; what is counted is the documents."""
    assert found.manifest is not None
    found.facts["options"] = found.manifest.options
    if options.quick:
        return
    documents = VectorStore(path / DOCUMENTS)
    vectors.rows(documents.batches(), documents.vocabulary, found, options, "weights")
    found.unknown.append("expansion: BM25 expands nothing") if not found.expansion else None


def comparison(path: Path, found: Inspection, options: InspectOptions) -> None:
    """The results of ``compare``."""
    results = table(path / RESULTS)
    variants = results.get("variants")
    found.facts = {
        "title": results.get("title"),
        "variants": [v.get("name") for v in variants if isinstance(v, dict)]
        if isinstance(variants, list)
        else [],
        "finished": True,
    }


def checkpoint(path: Path, found: Inspection, options: InspectOptions) -> None:
    """A model's folder, by its configuration; its weights are not loaded."""
    config = table(path / CONFIG)
    found.facts = {key: config[key] for key in CONFIG_KEYS if key in config}
    found.facts["weights"] = sorted(p.name for pattern in WEIGHTS for p in path.glob(pattern))
    found.facts["tokenizer"] = any(
        (path / name).is_file() for name in ("tokenizer.json", "vocab.txt")
    )
    heads = config.get("architectures") or []
    masked = any(str(name).endswith("ForMaskedLM") for name in heads)
    found.facts["masked_lm"] = masked
    if not masked:
        found.fault(
            "a network without a masked language model's head",
            f"{path / CONFIG}: {', '.join(map(str, heads)) or 'no architectures'}",
            "encode needs one, unless sentence-transformers' modules.json says how it is built",
        )
    if not found.facts["tokenizer"]:
        found.fault("no tokenizer", str(path), "encode needs tokenizer.json or vocab.txt")


def unfinished(path: Path, found: Inspection, options: InspectOptions) -> None:
    """What was begun and not finished: the parts of a store are counted, nothing else is sure."""
    found.fault(
        "not finished",
        str(path),
        "give the command that makes it again: an encoding goes on where it ended",
    )
    try:
        shard(path, found, options)
    except BadInputError as error:
        found.unknown.append(f"vectors: {error}")
