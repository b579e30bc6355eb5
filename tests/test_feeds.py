"""Feeds: what is written is read back, what an engine would lose is refused, and by what words."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from small import MemorySource, queries_of
from splade_bridge.data.ids import MAX_TERM_BYTES
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.quantize import QuantizeOptions, Quantizer
from splade_bridge.data.vector_set import VectorsInMemory
from splade_bridge.data.vectors import SparseBatch, row_pointers
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.formats.base import BatchSource, ImpactSource, StoreWeights
from splade_bridge.formats.choices import FeedTarget
from splade_bridge.formats.feeds.names import (
    Names,
    escaped,
    feature_name,
    reader_of,
    unescaped,
    vespa_label,
)
from splade_bridge.formats.feeds.qdrant import point_id
from splade_bridge.formats.feeds.source import FeedFiles
from splade_bridge.formats.feeds.weights import (
    FEATURE,
    WeightAccount,
    as_feature,
    as_float32,
    halvings,
)
from splade_bridge.formats.feeds.write import FEED_TARGETS, FEEDS, FeedAccount, write_feed
from splade_bridge.formats.records import RecordImpacts, RecordWeights
from strategies import Collection, as_dictionaries, collections, quick, terms

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
DOTTED = st.text("a.%25E2b", min_size=1)


def written(
    source: ImpactSource, folder: Path, target: FeedTarget, **more: object
) -> tuple[Manifest, FeedAccount]:
    """A feed with its manifest, as a command leaves it."""
    folder.mkdir()
    counts, account = write_feed(target, source, folder, **more)  # type: ignore[arg-type]
    assert counts == source.counts
    return source.described("feed", options=account.options()).save(folder), account


def source_of(*rows: dict[str, int], ids: tuple[str, ...] = ()) -> MemorySource:
    names = sorted({term for row in rows for term in row})
    matrix = np.array([[row.get(term, 0) for term in names] for row in rows], dtype=np.int32)
    return MemorySource(matrix, ids or [f"d{i}" for i in range(len(rows))], names)


# Names


@given(st.one_of(terms, ANY_TEXT, DOTTED), st.one_of(terms, ANY_TEXT, DOTTED))
def test_escaped_names_have_no_dot_and_are_of_one_term_each(one: str, other: str) -> None:
    assert "." not in escaped(one)
    assert unescaped(escaped(one), "here") == one
    assert (escaped(one) == escaped(other)) == (one == other)


@given(st.one_of(ANY_TEXT, DOTTED))
def test_what_is_unescaped_is_what_is_escaped(name: str) -> None:
    """A name that no term has is refused, so that two names cannot be read as one term."""
    try:
        term = unescaped(name, "here")
    except BadInputError:
        return
    assert escaped(term) == name


@given(st.lists(st.one_of(terms, DOTTED), min_size=1, max_size=20, unique=True))
def test_every_naming_gives_back_every_term(vocabulary: list[str]) -> None:
    known = Vocabulary(vocabulary)
    for naming in ("term", "escaped", "number"):
        names = Names(known, naming)  # type: ignore[arg-type]
        found = [json.loads(name) for name in names(np.arange(len(known), dtype=np.int32))]
        assert len(set(found)) == len(found)
        read = reader_of(naming, known)  # type: ignore[arg-type]
        assert [read(name, "here") for name in found] == vocabulary


def test_names_of_terms_that_come_later() -> None:
    vocabulary = Vocabulary(["a.b"], observed=True)
    names = Names(vocabulary, "escaped")
    assert names(np.array([0], np.int32)) == [b'"a%2Eb"']
    vocabulary.add("%")
    assert names(np.array([1, 0], np.int32)) == [b'"%25"', b'"a%2Eb"']


def test_a_name_is_measured_as_it_is_written() -> None:
    assert feature_name("." * (MAX_TERM_BYTES // 3)) is None
    assert "32,769 bytes as the name of a feature" in str(feature_name("." * 10_923))
    assert feature_name("a" * MAX_TERM_BYTES) is None


@pytest.mark.parametrize("term", ["\0", "a\x1f", "\ufdd0", "\ufffe", "\U0010ffff", "x\U0001fffe"])
def test_what_is_no_text_to_vespa(term: str) -> None:
    assert vespa_label(term)


@pytest.mark.parametrize("term", ["\t", "\n", "\r", "\x7f", "\x85", "\ufdcf", "\ue000", "漢"])
def test_what_is_text_to_vespa(term: str) -> None:
    assert vespa_label(term) is None


# Weights


def cut(value: float) -> float:
    """What is left of a number when only its 9 highest binary digits are: an oracle in words."""
    power = 0
    while value >= 512:
        value, power = value / 2, power + 1
    while value < 256:
        value, power = value * 2, power - 1
    return float(int(value)) * 2.0**power


@given(st.integers(1, 2**24))
def test_a_feature_keeps_nine_binary_digits(impact: int) -> None:
    assert float(as_feature(np.array([impact], np.int32))[0]) == cut(impact)


@given(st.floats(2**-20, 2**20, width=32))
def test_a_feature_keeps_nine_binary_digits_of_a_float(weight: float) -> None:
    assert float(as_feature(np.array([weight], np.float32))[0]) == cut(weight)


def test_which_whole_numbers_survive() -> None:
    numbers = np.arange(1, 2049, dtype=np.int32)
    kept = numbers[as_feature(numbers) == numbers]
    assert kept.tolist() == [
        *range(1, 513), *range(514, 1025, 2), *range(1028, 2049, 4)
    ]  # fmt: skip
    assert float(as_feature(np.array([513], np.int32))[0]) == 512
    assert float(as_float32(np.array([2**24 + 1], np.int32))[0]) == 2**24


def test_halving_for_neural_sparse() -> None:
    assert [halvings(n) for n in (0, 1, 64, 65, 128, 129, 400)] == [0, 0, 0, 1, 1, 2, 3]


# Files


@quick
@given(collections(), st.sampled_from(FEED_TARGETS), st.booleans())
def test_a_feed_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, made: Collection, target: FeedTarget, gz: bool
) -> None:
    if target == "vespa":
        used = {term for row in made.rows for term in row}
        assume(not any(map(vespa_label, [*used, *made.ids])))
    folder = tmp_path_factory.mktemp("feed") / "f"
    source = BatchSource(Path("memory"), made.impact_batches(), made.vocabulary)
    manifest, _ = written(source, folder, target, allow_loss=True, gzip=gz, part_bytes=200)
    read = RecordImpacts(FeedFiles(folder, Manifest.load(folder)))
    found = as_dictionaries(list(read.batches()), read.vocabulary)
    assert found == list(zip(made.ids, made.rows, strict=True))
    assert (read.counts, str(read.content)) == (source.counts, manifest.content)
    assert read.vocabulary.sha256() == made.vocabulary.sha256()


@pytest.mark.parametrize("target", FEED_TARGETS)
def test_the_same_vectors_give_the_same_files(tmp_path: Path, target: FeedTarget) -> None:
    rows = [{"a.b": 3, "%": 1}, {}, {"a.b": 2}] * 40
    for name in ("one", "two"):
        written(source_of(*rows), tmp_path / name, target, gzip=True, part_bytes=1000)
    files = [
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two")
    ]
    assert files[0] == files[1]


@pytest.mark.parametrize("target", FEED_TARGETS)
def test_parts_are_bounded_and_in_order(tmp_path: Path, target: FeedTarget) -> None:
    source = source_of(*[{f"t{j}": 1 + i for j in range(1 + i % 7)} for i in range(200)])
    _, account = written(source, tmp_path / "f", target, part_bytes=1500)
    parts = sorted((tmp_path / "f").glob("*-00*"))
    assert len(parts) == account.parts > 5
    sizes = [part.stat().st_size for part in parts]
    assert max(sizes) <= 1500
    assert min(sizes[:-1]) > 1000
    read = RecordImpacts(FeedFiles(tmp_path / "f", Manifest.load(tmp_path / "f")))
    assert [i for batch in read.batches() for i in batch.ids] == [f"d{i}" for i in range(200)]


DOCUMENTS = {
    "elasticsearch": '{"index":{"_id":"d0"}}\n{"vector":{"%":7,"a.b":3}}\n',
    "elasticsearch-rank-features": '{"index":{"_id":"d0"}}\n{"vector":{"%25":7,"a%2Eb":3}}\n',
    "opensearch": '{"index":{"_id":"d0"}}\n{"vector":{"%25":7,"a%2Eb":3}}\n',
    "opensearch-neural-sparse": '{"index":{"_id":"d0"}}\n{"vector":{"%":7,"a.b":3}}\n',
    "qdrant": f'{{"id":"{point_id("d0")}","vector":{{"vector":{{"indices":[0,1],"values":[7,3]}}}},'
    '"payload":{"id":"d0"}}\n',
    "milvus": '{"id":"d0","vector":{"indices":[0,1],"values":[7,3]}}\n',
    "vespa": '{"put":"id:passages:passages::d0","fields":{"id":"d0",'
    '"vector":{"cells":{"%":7,"a.b":3}}}}\n',
}
QUERIES = {
    "elasticsearch": {
        "query": {
            "sparse_vector": {
                "field": "vector", "query_vector": {"a.b": 300, "zz": 1}, "prune": False
            }
        }
    },
    "elasticsearch-rank-features": {
        "query": {
            "bool": {
                "should": [
                    {"rank_feature": {"field": "vector.a%2Eb", "boost": 300, "linear": {}}},
                    {"rank_feature": {"field": "vector.zz", "boost": 1, "linear": {}}},
                ]
            }
        }
    },
    "opensearch-neural-sparse": {
        "query": {"neural_sparse": {"vector": {"query_tokens": {"a.b": 37.5, "zz": 0.125}}}}
    },
    "qdrant": {"query": {"indices": [1], "values": [300]}, "using": "vector", "limit": 7},
    "milvus": {"annsField": "vector", "data": [{"indices": [1], "values": [300]}], "limit": 7},
    "vespa": {"input.query(q)": {"cells": {"a.b": 300, "zz": 1}}, "hits": 7},
}  # fmt: skip
QUERIES["opensearch"] = QUERIES["elasticsearch-rank-features"]


@pytest.mark.parametrize("target", FEED_TARGETS)
def test_what_is_written_word_for_word(tmp_path: Path, target: FeedTarget) -> None:
    queries = queries_of(np.array([[300, 1], [0, 0]]), ["a.b", "zz"])
    _, account = written(
        source_of({"a.b": 3, "%": 7}), tmp_path / "f", target, queries=queries, k=7
    )
    assert next((tmp_path / "f").glob("*-00000*")).read_text() == DOCUMENTS[target]
    first, empty = map(json.loads, (tmp_path / "f" / "queries.ndjson").read_text().splitlines())
    assert first["id"] == queries.batch.ids[0]
    assert QUERIES[target].items() <= first["body"].items()
    assert account.queries
    assert (account.queries.queries, account.queries.empty) == (2, 1)
    numbered = target in ("qdrant", "milvus")
    assert account.queries.unknown_terms == int(numbered)
    assert account.queries.halved == (3 if target == "opensearch-neural-sparse" else 0)
    if "search" in target:
        assert empty["body"]["query"] == {"match_none": {}}
        assert {"size": 7, "_source": False}.items() <= first["body"].items()
    page = (tmp_path / "f" / "load.md").read_text()
    assert ("scores x 8 are those" in page) == (target == "opensearch-neural-sparse")
    assert "1 of 2 queries have no term" in page


def test_gzip_parts_are_gzip(tmp_path: Path) -> None:
    written(source_of({"a": 1}), tmp_path / "f", "milvus", gzip=True)
    with gzip.open(tmp_path / "f" / "rows-00000.jsonl.gz") as stream:
        assert json.loads(stream.read())["id"] == "d0"
    assert "gzip.open(part" in (tmp_path / "f" / "load.md").read_text()


def test_weights_that_an_engine_would_change_are_refused_with_both_remedies(tmp_path: Path) -> None:
    rows = [{"a": 512, "b": 513}, {"a": 514, "b": 1023}, {"c": 2}]
    with pytest.raises(BadInputError) as caught:
        write_feed("elasticsearch", source_of(*rows), tmp_path)
    assert (
        "Elasticsearch's sparse_vector keeps 9 significant bits of a weight and would change 2 of "
        "5 weights, at most by 0.19% (513 of term 'b' in document 'd0' becomes 512): use a smaller "
        "--scale (whole numbers up to 512 are all kept), or --allow-loss to let it"
    ) in str(caught.value)


def test_the_scale_that_is_named_loses_nothing() -> None:
    account = WeightAccount(
        weights=9, changed=1, largest=1023, doc_id="d", term="t", weight=1, stored=1
    )
    with pytest.raises(BadInputError, match="the largest here is 1,023 at 100: 50 fits"):
        account.refuse("it", FEATURE, 100.0, "here")
    highest = 10.2349  # what x 100 makes 1,023
    for scale in (50.0, 3.0):
        impacts = np.arange(1, np.rint(highest * scale) + 1).astype(np.int32)
        assert (as_feature(impacts) == impacts).all()


def test_the_page_names_every_target() -> None:
    page = (Path(__file__).parents[1] / "docs" / "feeds.md").read_text()
    for target, made_by in FEEDS.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| `{target}` |"))
        assert f"`{made_by.part[0]}-*{made_by.part[1]}`" in row
        assert row.endswith(f"| {made_by.kept.words} |")
        assert {"term": "itself", "escaped": "escaped", "number": "a number"}[made_by.naming] in row


def test_the_account_of_a_loss_that_is_allowed(tmp_path: Path) -> None:
    source = source_of({"a": 512, "b": 513}, {"a": 514, "b": 1023}, {"c": 2})
    manifest, account = written(source, tmp_path / "f", "opensearch", allow_loss=True)
    weights = account.weights
    assert (weights.weights, weights.changed, weights.largest) == (5, 2, 1023)
    assert (weights.doc_id, weights.term, weights.weight, weights.stored) == ("d0", "b", 513, 512)
    assert weights.most_lost == pytest.approx(1 / 513)
    assert manifest.options["weights"]["changed"] == 2
    assert "changes 2 of 5 weights" in (tmp_path / "f" / "load.md").read_text()
    read = RecordImpacts(FeedFiles(tmp_path / "f", manifest))
    assert [b.impacts.tolist() for b in read.batches()] == [[512, 513, 514, 1023, 2]]


def floats_of(*rows: dict[str, float]) -> StoreWeights:
    names = sorted({term for row in rows for term in row})
    dense = np.array([[row.get(term, 0) for term in names] for row in rows], np.float32)
    at, columns = np.nonzero(dense)
    pointers = row_pointers(np.bincount(at, minlength=len(rows)))
    ids = [f"d{i}" for i in range(len(rows))]
    batch = SparseBatch(ids, pointers, columns.astype(np.int32), dense[at, columns])
    return StoreWeights(VectorsInMemory([batch], Vocabulary(names)))


@pytest.mark.parametrize("target", ["qdrant", "milvus", "vespa"])
def test_vector_databases_keep_every_float32(tmp_path: Path, target: FeedTarget) -> None:
    """The smallest and largest numbers, thirds, and whole ones, which stay floats."""
    source = floats_of({"a": 1e-45, "b": 3.4e38, "c": 1 / 3}, {"a": 3.0, "b": 0.1, "c": 1.7943001})
    (tmp_path / "f").mkdir()
    _, account = write_feed(target, source, tmp_path / "f")
    assert (account.weights.weights, account.weights.changed) == (6, 0)
    text = next((tmp_path / "f").glob("*-00000*")).read_text()
    for number in ("1e-45", "3.4e+38", "0.33333334", "3.0", "0.1", "1.7943001"):
        assert number in text
    read = RecordWeights(FeedFiles(tmp_path / "f", target=target))
    assert [b.weights.tolist() for b in read.batches()] == [
        b.weights.tolist() for b in floats_of(
            {"a": 1e-45, "b": 3.4e38, "c": 1 / 3}, {"a": 3.0, "b": 0.1, "c": 1.7943001}
        ).batches()
    ]  # fmt: skip
    assert str(read.content) == str(source.content)


@pytest.mark.parametrize("target", [t for t in FEED_TARGETS if "search" in t])
def test_floats_that_a_feature_would_change_are_refused_with_the_count_and_both_remedies(
    tmp_path: Path, target: FeedTarget
) -> None:
    whole = floats_of({"a": 0.5, "b": 1.9921875}, {"a": 3.0})  # 255 / 128: nine binary digits
    (tmp_path / "whole").mkdir()
    _, account = write_feed(target, whole, tmp_path / "whole")
    assert (account.weights.weights, account.weights.changed) == (3, 0)
    rows = {"a": 0.5, "b": 0.1}, {"a": 1.7943001}
    with pytest.raises(BadInputError) as caught:
        write_feed(target, floats_of(*rows), tmp_path)
    assert (
        f"{FEEDS[target].engine} keeps 9 significant bits of a weight and would change 2 of 3 "
        "weights, at most by 0.15% (0.100000001 of term 'b' in document 'd0' becomes "
        "0.0998535156): use --scale, which makes whole numbers of them (up to 512 all are kept, "
        "and the largest weight is 1.79430008: 285 fits), or --allow-loss to let it"
    ) in str(caught.value)
    (tmp_path / "f").mkdir()
    _, account = write_feed(target, floats_of(*rows), tmp_path / "f", allow_loss=True)
    assert account.options()["weights"]["changed"] == 2
    assert "changes 2 of 3 weights" in (tmp_path / "f" / "load.md").read_text()


def test_a_weight_that_lucene_refuses_is_refused_before(tmp_path: Path) -> None:
    """``FeatureField`` throws for what is below Float.MIN_NORMAL; ``--allow-loss`` is no remedy."""
    with pytest.raises(BadInputError, match=r"document 'd0': a weight of 1e-39 for the term 'b'"):
        write_feed("opensearch", floats_of({"a": 1, "b": 1e-39}), tmp_path, allow_loss=True)


@pytest.mark.parametrize("target", ["qdrant", "milvus", "vespa"])
def test_float32_keeps_whole_numbers_below_2_to_24(tmp_path: Path, target: FeedTarget) -> None:
    _, account = written(source_of({"a": 1023, "b": 2**24}), tmp_path / "f", target)
    assert account.weights.changed == 0
    with pytest.raises(BadInputError, match=r"16,777,217 of term 'a' .* becomes 16,777,216"):
        write_feed(target, source_of({"a": 2**24 + 1}), tmp_path)


@pytest.mark.parametrize(
    ("target", "source", "words"),
    [
        ("elasticsearch", source_of({"a": 1}, ids=("x" * 513,)), "an id of 513 bytes"),
        ("opensearch", source_of({"a": 1}, ids=("é" * 257,)), "an id of 514 bytes"),
        ("vespa", source_of({"a": 1}, ids=("a\x01",)), "control character"),
        ("vespa", source_of({"a\0": 1}), r"term 'a\\x00' holds a control character"),
        ("elasticsearch", source_of({"a" * 32_767: 1}), "has 32,767 bytes of 32,766"),
        ("opensearch", source_of({"." * 11_000: 1}), "33,000 bytes as the name of a feature"),
    ],
)
def test_what_an_engine_cannot_hold(
    tmp_path: Path, target: FeedTarget, source: ImpactSource, words: str
) -> None:
    with pytest.raises(BadInputError, match=words):
        write_feed(target, source, tmp_path)


def test_numbers_hold_any_term(tmp_path: Path) -> None:
    """And ids of 512 bytes are taken by all."""
    long = {"a" * 40_000: 1, "\0": 2}
    for target in ("qdrant", "milvus"):
        written(source_of(long), tmp_path / target, target)  # type: ignore[arg-type]
    for target in FEED_TARGETS:
        written(source_of({"a": 1}, ids=("x" * 512,)), tmp_path / f"{target}-ids", target)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"field": "a.b"}, "--field 'a.b': a name is"),
        ({"field": "id"}, "--field id"),
        ({"index": "Upper"}, "--index 'Upper'"),
        ({"index": ""}, "--index ''"),
        ({"k": 10_001}, "from 1 to 10,000 hits"),
        ({"k": 0}, "from 1 to 10,000 hits"),
    ],
)
def test_what_cannot_be_asked_for(tmp_path: Path, more: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        write_feed("opensearch", source_of({"a": 1}), tmp_path, **more)


# What others wrote

HIT = '{"_index":"x","_id":"d1","_score":1.0,"_source":{"v":{"a.b":1.5,"c":0.25}}}\n'


def test_hits_of_a_scroll_with_float_weights_are_a_source(tmp_path: Path) -> None:
    (tmp_path / "hits.jsonl").write_text(HIT)
    source = RecordImpacts(
        FeedFiles(tmp_path / "hits.jsonl", target="elasticsearch", field="v"),
        made=Quantizer(QuantizeOptions(100)),
    )
    assert as_dictionaries(list(source.batches()), source.vocabulary) == [
        ("d1", {"a.b": 150, "c": 25})
    ]


@pytest.mark.parametrize(
    ("target", "content", "words"),
    [
        ("elasticsearch", '{"index":{"_id":"d"}}\n', "hits:1: the document of this action is miss"),
        ("elasticsearch", '{"delete":{"_id":"d"}}\n', "hits:1: neither"),
        ("elasticsearch", '{"index":{}}\n{"v":{}}\n', "hits:1: neither"),
        ("elasticsearch", '{"index":{"_id":"d"}}\n{"w":{}}\n', "hits:2: no field 'v'"),
        ("elasticsearch", '{"index":{"_id":"d"}}\n{"v":[1]}\n', "hits:2: no sparse vector"),
        ("elasticsearch", HIT, "1.5 is not an integer; give --scale"),
        ("elasticsearch", HIT.replace("1.5", "1").replace("0.25", "2") * 2, "was there before"),
        ("opensearch", '{"index":{"_id":"d"}}\n{"v":{"a.b":1}}\n', "not the name of a feature"),
        ("opensearch", '{"index":{"_id":"d"}}\n{"v":{"":1}}\n', "not the name of a feature"),
        ("opensearch", '{"index":{"_id":"d"}}\n{"v":{"a%2e":1}}\n', "not the name of a feature"),
        ("qdrant", '{"id":1,"vector":{"v":{"indices":[],"values":[]}}}\n', "no id in its payload"),
        ("qdrant", '{"payload":{"id":"d"},"vector":{}}\n', "no vector 'v'"),
        ("milvus", '{"id":"d"}\n', "no field 'v'"),
        ("milvus", '{"id":"d","v":{"indices":[0],"values":[]}}\n', "1 indices, but 0 values"),
        ("milvus", '{"id":"d","v":{"indices":[0,0],"values":[1,2]}}\n', "twice in this document"),
        ("milvus", '{"id":"d","v":{"indices":[1],"values":[1]}}\n', "dimension 1, but the vocab"),
        ("milvus", '{"id":"d","v":{"indices":[-1],"values":[1]}}\n', "dimension -1"),
        ("milvus", '{"id":"d","v":{"indices":["0"],"values":[1]}}\n', "dimension '0'"),
        ("milvus", '{"id":"d e","v":{"indices":[0],"values":[1]}}\n', "white space"),
        ("milvus", '{"id":"d","v":{"indices":[0],"values":["1"]}}\n', "is not a number"),
        ("vespa", '{"put":"id:a:a::d","fields":{"v":{"a":1}}}\n', "no sparse vector"),
        ("vespa", '{"update":"id:a:a::d"}\n', 'no {"put"'),
    ],
)
def test_a_feed_that_is_broken(
    tmp_path: Path, target: FeedTarget, content: str, words: str
) -> None:
    (tmp_path / "hits").write_text(content)
    Vocabulary(["a"]).save(tmp_path / "vocabulary.json")
    source = RecordImpacts(FeedFiles(tmp_path / "hits", target=target, field="v"))
    with pytest.raises(BadInputError) as caught:
        list(source.batches())
    assert words in str(caught.value)


def test_numbers_without_their_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"id":"d","v":{"indices":[0],"values":[1]}}\n')
    with pytest.raises(BadInputError, match=r"no vocabulary\.json beside it"):
        FeedFiles(tmp_path / "rows.jsonl", target="milvus", field="v")


def test_a_part_that_is_not_the_feeds_own(tmp_path: Path) -> None:
    written(source_of({"a": 1}), tmp_path / "f", "vespa")
    (tmp_path / "f" / "feed-00001.jsonl").touch()
    with pytest.raises(BadInputError, match=r"feed-00001\.jsonl does not belong to it"):
        Manifest.load(tmp_path / "f")
