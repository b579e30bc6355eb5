"""Every file of ours that is read again, damaged at random: an error of ours, or nothing at all.

A row of :data:`SOUND` is a file, how to make a sound one, and what reads it. The list is complete:
a module that reads JSON, TOML or an array, and is not named here, fails a test.
"""

from __future__ import annotations

import importlib.util
import itertools
import random
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bad_input import made, specifications
from damage import list_again, mutated_bytes, mutated_json
from soaking import SEED, often
from splade_bridge.comparison.read_spec import load_spec
from splade_bridge.comparison.steps import Hashes, Steps
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.parts import read_note
from splade_bridge.data.store import VectorStore, unfinished_store
from splade_bridge.data.vectors import ImpactBatch
from splade_bridge.embeddings.index import DenseIndex
from splade_bridge.embeddings.vectors import DenseBatch
from splade_bridge.encoding.merge import merge_shards
from splade_bridge.engines import auto
from splade_bridge.engines.impact_index import ImpactIndexSearcher
from splade_bridge.engines.pisa import PisaSearcher
from splade_bridge.engines.pisa_profile import load_profile
from splade_bridge.engines.registry import open_index
from splade_bridge.errors import SpladeBridgeError, UsageError
from splade_bridge.files.outputs import MANIFEST, STORE_MANIFEST, why_not_ours
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.source import FeedFiles
from splade_bridge.formats.feeds.write import write_feed
from splade_bridge.formats.forward import ForwardStore
from splade_bridge.formats.records import RecordImpacts
from splade_bridge.retrieval.dense_queries import read_dense_queries
from splade_bridge.training.recipe import read_recipe

ROOT = Path(__file__).parents[1]
CASES = often(12, 500)
QUERY = ImpactBatch(["q"], np.array([0, 2]), np.array([0, 3], np.int32), np.array([1, 2], np.int32))
PLAN = {"model": "m", "corpus": "c"}


@dataclass(frozen=True)
class Sound:
    """A file of ours.

    Attributes:
        make: makes the artefact that it lies in, at a path.
        read: does with the artefact what a command does.
        files: names below it; each is damaged in turn.
        needs: packages.
        often: share of the cases, for what takes long to read.
        again: damage never ends in an error, as the file is made again.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: tuple[str, ...]
    needs: tuple[str, ...] = ()
    often: float = 1.0
    again: bool = False


def read_store(path: Path) -> None:
    store = VectorStore(path)
    list(store.batches())
    for part in path.glob("part-*.parquet"):
        read_note(part)
    list(open_source(path).batches())
    why_not_ours(path)


def unfinished(path: Path) -> None:
    """A store in the making."""
    try:
        with unfinished_store(path, PLAN) as folder:
            shutil.copy(_made(made.vectors) / "part-00000.parquet", folder)
            raise UsageError("stopped")
    except UsageError:
        pass


def go_on(path: Path) -> None:
    with unfinished_store(path, PLAN):
        pass


def merge(path: Path) -> None:
    merge_shards([path / "0", path / "1"], path / "out")


def search(path: Path) -> None:
    with open_index(path) as searcher:
        list(searcher.search(QUERY, 2))
        searcher.impacts("d3", [0, 1, 2, 3])
        searcher.document_frequencies()


def search_densely(path: Path) -> None:
    with DenseIndex(path) as index:
        list(index.search(DenseBatch(["q"], np.ones((1, 3), np.float32)), 2))


def read_dense(path: Path) -> None:
    read_dense_queries(path)


def open_pisa(path: Path) -> None:
    with PisaSearcher(path, Manifest.load(path)) as searcher:
        searcher.document_frequencies()
        searcher.default_algorithm(10)
        searcher.query_lists(QUERY, 0)


def open_impact_index(path: Path) -> None:
    with ImpactIndexSearcher(path, Manifest.load(path)) as searcher:
        searcher.document_frequencies()
        searcher.weighted(QUERY, 0)


def look_up(path: Path) -> None:
    store = ForwardStore(path)
    rows = store.find(["d1", "d3", "none"])
    terms = QUERY.indices[QUERY.indices < len(store.vocabulary)]
    store.scores(rows[rows >= 0], terms, QUERY.impacts[: len(terms)])
    list(store.batches())
    list(open_source(path).batches())


def algorithms(path: Path) -> None:
    path.mkdir()
    choice = auto.Choice(10, 3.5, "wand", {"wand": 1.5, "maxscore": 2.0}, 4)
    auto._remember(path, [choice])


def steps(path: Path) -> None:
    (path / "data").parent.mkdir()
    (path / "data").write_text("x")
    Hashes(path / "hashes.json").of(path / "data")
    run_step(path)
    made_step = next((path / "work").glob("kind/*"))
    made_step.rename(path / "work" / "kind" / "step")


def run_step(path: Path) -> None:
    def make(_: Path) -> dict[str, Any]:
        return {"counts": {"postings": 1}, "kept": {"10": 0.5}}

    Steps(path / "work", lambda _: None).run("kind", "what", {"a": 1}, make)


def step_again(path: Path) -> None:
    link = path / "work" / "kind" / Steps(path / "work", print)._folder("kind", {"a": 1}).name
    if not link.exists():
        (path / "work" / "kind" / "step").rename(link)
    run_step(path)
    assert Hashes(path / "hashes.json").of(path / "data").startswith("2d711642b726b044")


def text(name: str, content: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        (path / name).write_text(content)

    return write


RECIPE = """title = "t"
[model]
base = "m"
[data]
format = "jsonl"
path = "train.jsonl"
[loss]
contrastive = 1
[train]
steps = 12
learning_rate = 1e-3
"""
SPEC = f"""{specifications.SPEC}[[sweep]]
method = "top-k"
values = [8, 16]
[bench]
ks = [10]
repeat = 2
"""
PROFILE = """encoding = "block_simdbp"
block_size = 64
[algorithm]
10 = "maxscore"
"""


# --- checkpoints and training, for which torch is needed -----------------------------------------


def sparse_encoder(path: Path) -> None:
    """Two routes, and all that sentence-transformers may save beside a network."""
    from checkpoints import save_checkpoint

    (path / "query_0").mkdir(parents=True)
    for name, content in {
        "modules.json": '[{"idx": 0, "name": "0", "path": "", "type": '
        '"sentence_transformers.base.modules.Router"}]',
        "router_config.json": '{"types": {"query_0": "sentence_transformers.SparseStaticEmbedding"'
        ', "document_0": "sentence_transformers.MLMTransformer", "document_1": '
        '"sentence_transformers.SpladePooling"}, "structure": {"query": '
        '["query_0"], "document": ["document_0", "document_1"]}, "parameters": '
        """{"default_route": "query", "route_mappings": {"('query', None)": "query"}}}""",
        "config_sentence_transformers.json": '{"prompts": {"query": "q: ", "document": ""}, '
        '"default_prompt_name": null, "max_active_dims": 9}',
        "query_0/config.json": '{"path": "idf.json", "frozen": true}',
        "query_0/idf.json": '{"a": 1.5, "the": 0.25, "of": 2}',
        "document_1/config.json": '{"pooling_strategy": "max", "activation_function": "relu"}',
    }.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(content)
    save_checkpoint(path / "document_0")
    (path / "document_0" / "sentence_bert_config.json").write_text(
        '{"max_seq_length": 32, "do_lower_case": false, "processing_kwargs": {"text": '
        '{"max_length": 64}}}'
    )


def read_sides(path: Path) -> None:
    from checkpoints import wordpiece_tokenizer
    from splade_bridge.encoding.settings import read_settings
    from splade_bridge.encoding.side import _static_file, _static_weights

    for side in ("query", "document"):
        settings = read_settings(path, side)  # type: ignore[arg-type]
        if settings.static:
            _static_weights(_static_file(settings.static, path), wordpiece_tokenizer())


def checkpoint(path: Path) -> None:
    from checkpoints import save_checkpoint

    save_checkpoint(path)


def adapter(path: Path) -> None:
    """An adapter beside the checkpoint that it is for."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForMaskedLM

    checkpoint(path)
    network = AutoModelForMaskedLM.from_pretrained(path)
    get_peft_model(network, LoraConfig(r=2, target_modules=["query"])).save_pretrained(path)


def token_head(path: Path) -> None:
    """A checkpoint with a head as BGE-M3 has one."""
    import torch

    checkpoint(path)
    torch.save(torch.nn.Linear(32, 1).state_dict(), path / "sparse_linear.pt")


def graph(path: Path) -> None:
    from splade_bridge.encoding.exports.export_model import export_model

    checkpoint(path.with_name(f"{path.name}-model"))
    export_model(str(path.with_name(f"{path.name}-model")), path, "onnx")


def load_model(path: Path) -> None:
    from splade_bridge.encoding.encoder import EncodeOptions, load_encoder

    load_encoder(str(path), "document", EncodeOptions(max_length=16, device="cpu"))


def training(path: Path) -> None:
    """What a training keeps: the trainer's state, our own, tokens, rows, texts."""
    import json
    from dataclasses import asdict

    import pyarrow as pa
    from transformers.trainer_callback import TrainerState

    from splade_bridge.text.corpora import Text
    from splade_bridge.text.text_table import TextTable
    from splade_bridge.training.examples import DataCounts

    state = TrainerState(global_step=4, max_steps=8, log_history=[{"loss": 1.0, "step": 4}])
    state.stateful_callbacks = {}  # type: ignore[assignment]
    (path / "checkpoint-4").mkdir(parents=True)
    state.save_to_json(str(path / "checkpoint-4" / "trainer_state.json"))
    held = {"weight": 0.1, "first": 3.0, "smoothed": 4.0, "error": 0.0}
    (path / "regularizer.json").write_text(json.dumps({"query": held}))
    np.arange(40, dtype=np.int32).tofile(path / "tokens.bin")
    np.zeros(40, np.bool_).tofile(path / "continued.bin")
    (path / "tokens.json").write_text('{"texts": 2, "tokens": 39}')
    batch = pa.record_batch([["q"], ["d"]], names=["query", "positive"])
    with pa.ipc.new_stream(str(path / "rows.arrow"), batch.schema) as out:
        out.write_batch(batch)
    (path / "counts.json").write_text(json.dumps(asdict(DataCounts(rows=1))))
    TextTable.build((Text(f"d{i}", f"text {i}", "c") for i in range(4)), path)


def go_on_training(path: Path) -> None:
    from splade_bridge.training.checkpoints import checkpoints
    from splade_bridge.training.schedule import RegularizerSchedule, TermsController

    checkpoints(path)
    schedule = RegularizerSchedule.__new__(RegularizerSchedule)
    schedule.controllers = {"query": TermsController(5.0, 0.1, 10)}
    schedule.load_state(path / "regularizer.json")
    schedule.controllers["query"].update(5, 4.0)


def read_tokens(path: Path) -> None:
    from splade_bridge.training.mlm_data import Blocks

    blocks = Blocks(path, 10, 1, 2)
    for number in range(len(blocks)):
        blocks.block(number)


def read_rows(path: Path) -> None:
    from splade_bridge.text.text_table import TextTable
    from splade_bridge.training.data import _kept

    _kept(path)
    table = TextTable(path)
    list(table)
    _ = "d1" in table and table["d1"]


def feed(target: FeedTarget) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.mkdir()
        source = made.source()
        _, account = write_feed(target, source, path)
        source.described("feed", options=account.options()).save(path)

    return make


def read_feed(path: Path) -> None:
    for _ in RecordImpacts(FeedFiles(path, Manifest.load(path))).batches():
        pass


SOUND = {
    "a vector store": Sound(
        made.vectors, read_store, (STORE_MANIFEST, "_vocabulary.json", "part-00000.parquet")
    ),
    "an unfinished store": Sound(unfinished, go_on, ("_plan.json",)),
    "shards": Sound(
        made.shards, merge, (f"0/{STORE_MANIFEST}", "1/_plan.json", "0/_vocabulary.json")
    ),
    "an exact index": Sound(
        made.exact,
        search,
        (MANIFEST, "vocabulary.json", "indptr.npy", "doc_offsets.npy", "doc_ids.bin", "docs.bin",
         "impacts.bin"),
    ),
    "a PISA index": Sound(
        made.pisa,
        open_pisa,
        (MANIFEST, "vocabulary.json", "lists.npy", "frequencies.npy", "doc_offsets.npy"),
        ("pyterrier_pisa",),
    ),
    "an impact-index index": Sound(
        made.impact_index,
        open_impact_index,
        (MANIFEST, "vocabulary.json", "frequencies.npy", "doc_offsets.npy"),
        ("impact_index",),
    ),
    "a forward store": Sound(
        made.forward,
        look_up,
        (MANIFEST, *(f"forward/{n}" for n in (
            "vocabulary.json", "indptr.npy", "terms.npy", "impacts.npy", "doc_offsets.npy",
            "doc_ids.bin", "id_buckets.npy", "id_tags.npy", "id_rows.npy"))),
    ),
    "a dense index": Sound(
        made.dense,
        search_densely,
        (STORE_MANIFEST, "_index/index.faiss", "_index/doc_ids.bin", "_index/doc_offsets.npy"),
        ("faiss",),
    ),
    "a dense graph": Sound(
        made.dense_graph, search_densely, ("_index/index.faiss",), ("faiss",)
    ),
    "a part of dense vectors": Sound(
        made.dense, read_dense, ("part-00000.parquet",), ("faiss",)
    ),
    "a bulk feed": Sound(feed("opensearch"), read_feed, (MANIFEST, "bulk-00000.ndjson")),
    "a feed of rows": Sound(
        feed("milvus"), read_feed, (MANIFEST, "vocabulary.json", "rows-00000.jsonl")
    ),
    "a feed of points": Sound(feed("qdrant"), read_feed, ("points-00000.jsonl",)),
    "a feed of puts": Sound(feed("vespa"), read_feed, ("feed-00000.jsonl",)),
    "algorithms": Sound(algorithms, auto._remembered, ("algorithms.json",), again=True),
    "steps": Sound(steps, step_again, ("work/kind/step/step.json", "hashes.json"), again=True),
    "a recipe": Sound(text("r.toml", RECIPE), lambda p: read_recipe(p / "r.toml"), ("r.toml",)),
    "a comparison": Sound(text("s.toml", SPEC), lambda p: load_spec(p / "s.toml"), ("s.toml",)),
    "a PISA profile": Sound(
        text("p.toml", PROFILE), lambda p: load_profile(str(p / "p.toml")), ("p.toml",)
    ),
    "a SparseEncoder": Sound(
        sparse_encoder,
        read_sides,
        ("modules.json", "router_config.json", "config_sentence_transformers.json",
         "query_0/config.json", "query_0/idf.json", "document_1/config.json",
         "document_0/sentence_bert_config.json"),
        ("torch", "transformers"),
    ),
    "a checkpoint": Sound(
        checkpoint,
        load_model,
        ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
        ("torch", "transformers"),
        often=0.25,
    ),
    "an adapter": Sound(
        adapter,
        load_model,
        ("adapter_config.json", "adapter_model.safetensors"),
        ("torch", "transformers", "peft"),
        often=0.1,
    ),
    "a head of tokens": Sound(
        token_head,
        load_model,
        ("sparse_linear.pt", "config.json"),
        ("torch", "transformers"),
        often=0.1,
    ),
    "a graph of ONNX": Sound(
        graph,
        load_model,
        ("model.onnx", "tokenizer_config.json"),
        ("torch", "onnx", "onnxruntime"),
        often=0.1,
    ),
    "a training": Sound(
        training,
        go_on_training,
        ("checkpoint-4/trainer_state.json", "regularizer.json"),
        ("sentence_transformers",),
    ),
    "tokens": Sound(
        training,
        read_tokens,
        ("tokens.json", "tokens.bin", "continued.bin"),
        ("sentence_transformers",),
    ),
    "rows": Sound(
        training,
        read_rows,
        ("counts.json", "rows.arrow", "texts.bin", "offsets.npy", "keys.npy", "rows.npy"),
        ("sentence_transformers",),
    ),
}  # fmt: skip


@cache
def _kept_in() -> Path:
    import tempfile

    return Path(tempfile.mkdtemp(prefix="splade-bridge-sound-"))


NUMBERS = itertools.count()


@cache
def _made(make: Callable[[Path], object]) -> Path:
    """What ``make`` makes, made once."""
    path = _kept_in() / f"{next(NUMBERS)}"
    make(path)
    return path


@pytest.fixture(scope="module", autouse=True)
def _removed() -> Iterator[None]:
    yield
    shutil.rmtree(_kept_in(), ignore_errors=True)
    _kept_in.cache_clear()
    _made.cache_clear()


def cases() -> Iterator[Any]:
    for name, sound in SOUND.items():
        for file in sound.files:
            yield pytest.param(name, file, id=f"{name}: {file}")


@pytest.mark.soak
@pytest.mark.parametrize(("name", "file"), list(cases()))
@pytest.mark.sample(36)
def test_a_damaged_file_is_an_error_of_ours(
    name: str, file: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = SOUND[name]
    for package in sound.needs:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    whole = _made(sound.make)
    shutil.copytree(whole, tmp_path / "sound")
    sound.read(tmp_path / "sound")  # a reader that refuses everything would pass
    rng = random.Random(f"{SEED} {name} {file}")
    mutate = mutated_json if file.endswith(".json") else mutated_bytes
    content = (whole / file).read_bytes()
    for number in range(max(1, round(CASES * sound.often))):
        changed = mutate(content, rng)
        place = tmp_path / "damaged"
        shutil.copytree(whole, place)
        (place / file).write_bytes(changed)
        list_again(place / file)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # numpy and torch tell of what is damaged, too
                sound.read(place)
        except SpladeBridgeError as error:
            assert not sound.again, error
            assert str(error)
        except Exception as error:
            kept = _saved(changed, name)
            raise AssertionError(f"{name}: {file}, case {number} ({kept}): {error!r}") from error
        shutil.rmtree(place)


def _saved(content: bytes, name: str) -> Path:
    import tempfile

    path = Path(tempfile.gettempdir()) / f"splade-bridge-{name.replace(' ', '-')}.damaged"
    path.write_bytes(content)
    return path


READS = re.compile(
    r"\b(?:json_file|json_tree|toml_file|json\.loads?|orjson\.loads|tomllib\.loads?|mapped|np\.load"
    r"|np\.memmap|torch\.load|load_file|load_model|pickle\.loads?|Unpickler|from_file)\("
)
READERS = {
    # readers themselves, and lines of users' files (tests of their formats)
    "files/typed.py": "", "files/lines.py": "", "files/writing.py": "",
    "files/json_objects.py": "", "training/score_files.py": "", "formats/line_columns.py": "",
    # between processes of ours
    "encoding/ray_rows.py": "", "engines/library_process.py": "",
    "engines/library_server.py": "", "engines/seismic_worker.py": "",
    # what was written a moment ago, or is given as text
    "training/wordpiece.py": "", "training/score.py": "", "training/mlm.py": "",
    # by the table
    "comparison/steps.py": "steps", "comparison/table.py": "a comparison",
    "comparison/read_spec.py": "a comparison",
    "data/doc_ids.py": "an exact index", "data/id_table.py": "a forward store",
    "data/manifest.py": "a vector store", "data/store.py": "an unfinished store",
    "data/parts.py": "an unfinished store",
    "data/vocabulary.py": "a vector store", "encoding/merge.py": "shards",
    "encoding/network.py": "a checkpoint", "encoding/identity.py": "a checkpoint",
    "encoding/adapters.py": "an adapter", "encoding/token_head.py": "a head of tokens",
    "encoding/onnx_graph.py": "a graph of ONNX", "encoding/onnx_side.py": "a graph of ONNX",
    "encoding/saved_modules.py": "a SparseEncoder",
    "encoding/saved_transformer.py": "a SparseEncoder",
    "encoding/settings.py": "a SparseEncoder", "encoding/side.py": "a SparseEncoder",
    "engines/auto.py": "algorithms", "engines/exact.py": "an exact index",
    "engines/pisa_programs.py": "",
    "engines/impact_index.py": "an impact-index index",
    "engines/pisa.py": "a PISA index", "engines/pisa_profile.py": "a PISA profile",
    "files/outputs.py": "a vector store", "formats/forward.py": "a forward store",
    "training/checkpoints.py": "a training", "training/data.py": "rows",
    "training/mlm_data.py": "tokens", "training/recipe.py": "a recipe",
    "training/schedule.py": "a training", "text/text_table.py": "rows",
    "training/trainer.py": "a training",
    "errors.py": "",  # pip's own direct_url.json
    "encoding/encode_corpus.py": "", "files/written.py": "", "files/finished.py": "a training",
    "encoding/seams.py": "a SparseEncoder",
    # files of others: tests of their formats
    "inspection/ours.py": "", "formats/feeds/milvus.py": "",
    "formats/vocabularies.py": "", "formats/matrix.py": "", "formats/pisa_source.py": "",
    "formats/tensors.py": "", "encoding/saved_tensors.py": "", "training/record_files.py": "",
    # dense indexes, a file of secrets, and what engines hold: tests of each
    "embeddings/index.py": "", "embeddings/build.py": "", "encoding/dense_encoder.py": "",
    "engines/remote/secrets.py": "", "engines/remote/rest.py": "", "engines/remote/load.py": "",
    "engines/remote/base.py": "", "engines/remote/change.py": "",
    "engines/remote/opensearch.py": "", "engines/remote/numbered.py": "",
    "engines/remote/qdrant_folder.py": "", "engines/remote/postgresql.py": "",
    # what was written a moment ago, or is read by others: tests of rerankers and exports
    "encoding/exports/elasticsearch.py": "", "encoding/scorers.py": "", "retrieval/rerank.py": "",
    # a JSON of token weights that the user names: tests of training's models
    "training/model.py": "",
    # requests of the page: tests of serve
    "server/parameters.py": "",
    # what others have stored in an index: test_foreign_lucene
    "retrieval/document_texts.py": "",
}  # fmt: skip
"""Modules that read a file, and the row of :data:`SOUND` that damages it."""


def test_every_file_that_is_read_is_in_the_table() -> None:
    package = ROOT / "splade_bridge"
    found = {
        p.relative_to(package).as_posix()
        for p in package.rglob("*.py")
        if "_assets" not in p.parts and READS.search(p.read_text())
    }
    assert found - READERS.keys() == set(), "a new reader: give SOUND a row, and READERS its name"
    assert READERS.keys() - found == set(), "these read nothing any more"
    assert {row for row in READERS.values() if row} <= SOUND.keys()
