"""Each format into each other and back: the same content, or a refusal in words."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import command_line
from bad_input import made
from small import batch_of, random_matrix
from splade_bridge.conversion.convert import convert
from splade_bridge.conversion.detect import open_vectors
from splade_bridge.conversion.export import FLOATS
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions
from splade_bridge.data.store import VectorStoreWriter
from splade_bridge.data.vectors import SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import NAMES, engine
from splade_bridge.errors import BadInputError, MissingToolError, UsageError
from splade_bridge.formats.base import BatchSource, ImpactSource
from splade_bridge.formats.choices import ConvertFormat
from splade_bridge.formats.ciff_writer import write_ciff
from splade_bridge.formats.feeds.write import FEED_TARGETS
from splade_bridge.formats.queries import read_queries
from splade_bridge.inspection.kinds import inspect_path
from splade_bridge.pruning.methods import policy
from splade_bridge.pruning.prune import prune

FORMATS = tuple(f for f in get_args(ConvertFormat) if f not in FEED_TARGETS)
CUTTING = [t for t in FEED_TARGETS if t.startswith(("elasticsearch", "opensearch"))]
"""Their engines keep nine bits of a weight, and impacts of 5,000 have more."""
PLAIN = [f"t{i}" for i in range(20)]
AWKWARD = [
    "##x",
    '"',
    "\\",
    "é",
    "e\u0301",
    "漢",
    "\u2028",
    "\0",
    "x" * 300,
    "[CLS]",
    "null",
    "1.0",
]
AWKWARD += ["a b", "\n", "\t"]
WITHOUT_BLANKS = [t for t in AWKWARD if t.split() == [t] and len(t) < 200]
IDS = [f"d{i}" for i in range(30)]


def impacts(terms: list[str]) -> BatchSource:
    """Random ones; some documents are empty, and some terms unused."""
    matrix = random_matrix(5, len(IDS), len(terms), 0.4, 5000)
    return BatchSource(Path("memory"), [batch_of(matrix, IDS)], Vocabulary(terms, observed=True))


def start(folder: Path, terms: list[str]) -> str:
    """A CIFF file of them, which holds every term; its content."""
    source = impacts(terms)
    folder.mkdir()
    write_ciff(
        folder / "a.ciff", source.batches(), source.vocabulary, description="", memory=1 << 20
    )
    return str(source.content)


def content_of(path: Path) -> str:
    source = open_vectors(path, weights=True)
    for _ in source.batches():
        pass
    return str(source.content)


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.sample(3)
def test_every_format_becomes_every_other(tmp_path: Path, first: ConvertFormat) -> None:
    content = start(tmp_path / "in", PLAIN)
    convert(tmp_path / "in" / "a.ciff", tmp_path / first, first)
    for second in FORMATS:
        out = tmp_path / f"{first}-{second}"
        done = convert(tmp_path / first, out, second)
        assert (done.manifest.content, done.values) == (content, "impacts")
        assert content_of(out) == content
        back = convert(out, tmp_path / f"{first}-{second}-back", first)
        assert back.manifest.content == content


@pytest.mark.parametrize("to", FORMATS)
def test_awkward_terms(tmp_path: Path, to: ConvertFormat) -> None:
    """Terms with white space are refused where Anserini would cut them, and held elsewhere."""
    content = start(tmp_path / "in", AWKWARD)
    if to in ("jsonvector", "seismic"):
        with pytest.raises(BadInputError, match="a JsonVectorCollection cannot hold it"):
            convert(tmp_path / "in" / "a.ciff", tmp_path / "out", to)
        assert not (tmp_path / "out").exists()
        content = start(tmp_path / "few", WITHOUT_BLANKS)
        convert(tmp_path / "few" / "a.ciff", tmp_path / "out", to)
    else:
        convert(tmp_path / "in" / "a.ciff", tmp_path / "out", to)
    assert content_of(tmp_path / "out") == content
    back = convert(tmp_path / "out", tmp_path / "back", "ciff")
    assert back.manifest.content == content


@pytest.mark.parametrize("to", FEED_TARGETS)
def test_feeds_come_back(tmp_path: Path, to: ConvertFormat) -> None:
    content = start(tmp_path / "in", PLAIN)
    (tmp_path / "q.tsv").write_text("q1\tt1 t1 t2\n")
    queries = read_queries(tmp_path / "q.tsv")
    with pytest.raises(BadInputError, match="--allow-loss") if to in CUTTING else nullcontext():
        convert(tmp_path / "in" / "a.ciff", tmp_path / "feed", to, queries=queries)
    if to in CUTTING:
        assert not (tmp_path / "feed").exists()
        convert(tmp_path / "in" / "a.ciff", tmp_path / "feed", to, allow_loss=True)
    assert content_of(tmp_path / "feed") == content
    back = convert(tmp_path / "feed", tmp_path / "back", "ciff")
    assert back.manifest.content == content


def weights(path: Path) -> str:
    """A vector store of floats; its content."""
    matrix = random_matrix(6, len(IDS), len(PLAIN), 0.4, 5000)
    batch = batch_of(matrix, IDS)
    path.mkdir()
    writer = VectorStoreWriter(path, Vocabulary(PLAIN))
    values = (batch.impacts / np.float32(7)).astype(np.float32)
    writer.add(SparseBatch(batch.ids, batch.indptr, batch.indices, values))
    content = writer.finish().content
    assert content is not None
    return content


@pytest.mark.parametrize("first", FORMATS)
def test_weights_stay_weights_or_are_refused(tmp_path: Path, first: ConvertFormat) -> None:
    content = weights(tmp_path / "v")
    if first not in FLOATS:
        with pytest.raises(UsageError, match=f"holds float weights, and {first} holds integers"):
            convert(tmp_path / "v", tmp_path / "out", first)
        assert not (tmp_path / "out").exists()
        return
    convert(tmp_path / "v", tmp_path / "out", first)
    for second in (f for f in FLOATS if f not in FEED_TARGETS):
        done = convert(tmp_path / "out", tmp_path / f"to-{second}", second)  # type: ignore[arg-type]
        assert (done.manifest.content, done.values) == (content, "weights")
        assert content_of(tmp_path / f"to-{second}") == content


@pytest.mark.parametrize("to", FEED_TARGETS)
def test_feeds_of_weights_come_back(tmp_path: Path, to: ConvertFormat) -> None:
    """Each weight as the float32 that it is, also where the engine itself will keep less."""
    content = weights(tmp_path / "v")
    with pytest.raises(BadInputError, match="--allow-loss") if to in CUTTING else nullcontext():
        convert(tmp_path / "v", tmp_path / "feed", to)
    if to in CUTTING:
        assert not (tmp_path / "feed").exists()
        convert(tmp_path / "v", tmp_path / "feed", to, allow_loss=True)
    assert Manifest.load(tmp_path / "feed").options["values"] == "weights"
    for second in ("vectors", "npz"):
        done = convert(tmp_path / "feed", tmp_path / second, second)  # type: ignore[arg-type]
        assert (done.manifest.content, done.values) == (content, "weights")
    with pytest.raises(UsageError, match="holds float weights, and ciff holds integers"):
        convert(tmp_path / "feed", tmp_path / "ciff", "ciff")
    scaled = convert(tmp_path / "feed", tmp_path / "ciff", "ciff", quantize=QuantizeOptions(10))
    again = convert(tmp_path / "v", tmp_path / "again", "ciff", quantize=QuantizeOptions(10))
    assert scaled.manifest.content == again.manifest.content


@pytest.mark.sample(2)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("to", FORMATS)
def test_every_index_becomes_every_format(tmp_path: Path, name: str, to: ConvertFormat) -> None:
    source = impacts(PLAIN)
    try:
        engine(name).build(source, tmp_path / "index")
    except MissingToolError as error:
        pytest.skip(str(error))
    done = convert(tmp_path / "index", tmp_path / "out", to)
    assert done.manifest.content == str(source.content)
    again = open_vectors(tmp_path / "out")
    assert isinstance(again, ImpactSource)
    engine("exact").build(again, tmp_path / "exact")
    assert content_of(tmp_path / "exact") == str(source.content)


def test_texts_beside_vectors_are_kept_or_told(tmp_path: Path) -> None:
    given = made.JSON_LINES.replace('"contents": ""', '"contents": "a text"')
    (tmp_path / "docs.jsonl").write_text(given)
    done = convert(tmp_path / "docs.jsonl", tmp_path / "seismic", "seismic")
    assert done.told == ()
    done = convert(tmp_path / "seismic", tmp_path / "json", "jsonvector")
    assert (tmp_path / "json" / "jsonvector" / "part-00000.jsonl").read_text().count("a text") == 3
    done = convert(tmp_path / "json", tmp_path / "ciff", "ciff")
    assert done.told == ("ciff holds no texts: those beside the vectors were left out",)


def test_a_scale_makes_impacts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights(tmp_path / "v")
    status, _, err = command_line.run(
        capfd, "convert", tmp_path / "v", tmp_path / "c", "--to", "ciff", "--scale", 10
    )
    assert status == 0, err
    assert "impacts, content" in err
    assert isinstance(open_vectors(tmp_path / "c"), ImpactSource)
    status, _, err = command_line.run(
        capfd, "convert", tmp_path / "c", tmp_path / "d", "--to", "npz", "--scale", 10
    )
    assert status == 2 and "was scaled by 10 already" in err


def test_a_store_of_impacts_is_inspected_and_pruned_as_one(tmp_path: Path) -> None:
    """Its Parquet files hold floats; what they are is said in the manifest."""
    content = start(tmp_path / "start", PLAIN)
    convert(tmp_path / "start/a.ciff", tmp_path / "v", "vectors")
    found = inspect_path(tmp_path / "v")
    assert found.content is not None and found.content.computed == content
    assert not found.faults
    prune(tmp_path / "v", tmp_path / "all", [policy("top-k", 10**6)])
    assert content_of(tmp_path / "all") == content
    again = inspect_path(tmp_path / "all")
    assert again.content is not None and (again.content.computed, again.faults) == (content, [])
