"""``index --fields`` and ``search --filter``: equal to ``exact`` on what the filter leaves."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import command_line
from servers.kinds import SEARCH_SERVERS
from servers.server import Server
from small import random_matrix, shuffled_ids, write_json_lines
from splade_bridge.conversion.corpus_fields import as_type, types_of, wanted_fields
from splade_bridge.conversion.detect import open_source
from splade_bridge.conversion.load_index import Given, load_index
from splade_bridge.engines.registry import connect, connect_to, open_index
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.choices import Asking
from splade_bridge.engines.remote.faults import ServerError
from splade_bridge.errors import BadInputError, UsageError
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.queries import read_queries

EMBEDDED = ("milvus", "qdrant")
SERVERS = {**SEARCH_SERVERS, "postgres": "postgresql", "milvus_server": "milvus"}
ENGINES = [*EMBEDDED, *(pytest.param(name, marks=pytest.mark.server) for name in SERVERS)]
EDGES_TRUTH = ("open:keyword", "keyword")
LANGUAGES = ("de", "en", 'it\'s "é"')
TERMS = [f"t{i}" for i in range(30)]


class Place(NamedTuple):
    """Where an index is made, and what more that takes."""

    address: Address
    more: tuple[str, ...] = ()


@pytest.fixture(params=ENGINES)
def place(
    request: pytest.FixtureRequest, tmp_path: Path, server_of: Callable[[str], Server]
) -> Place:
    name = request.param
    if name in EMBEDDED:
        pytest.importorskip("milvus_lite" if name == "milvus" else "qdrant_edge")
        file = "filters.db" if name == "milvus" else "filters"
        found = place_of(f"{name}:{tmp_path / file}")
    else:
        at = f"127.0.0.1:{server_of(name).port}"
        at = f"postgres@{at}/postgres" if name == "postgres" else at
        found = place_of(f"{SERVERS[name]}://{at}/f{uuid.uuid4().hex}")
    assert isinstance(found, Address)
    own = ("--opensearch-query", "neural_sparse") if name == "opensearch_neural" else ()
    return Place(found, own)


class World(NamedTuple):
    """A corpus of which some documents lack a year, its vectors, and queries."""

    corpus: Path
    documents: Path
    queries: Path
    records: list[dict[str, Any]]
    vectors: list[dict[str, Any]]


@pytest.fixture
def world(tmp_path: Path) -> World:
    n = 300
    random = np.random.default_rng(5)
    matrix = random_matrix(5, n, len(TERMS), 0.3, 5)  # with many equal scores
    ids = shuffled_ids(n, 6)
    records = []
    for row, doc_id in enumerate(ids):
        record: dict[str, Any] = {
            "id": doc_id,
            "title": f"title {row}",
            "text": f"text {row}",
            "year": int(random.integers(1990, 2030)),
            "language": LANGUAGES[row % 3],
            "rating": float(random.integers(0, 11)) / 2 if row else 3,  # one is whole
            "open": bool(random.integers(2)),
            "other": ["not", "asked", "for"],
        }
        if row % 7 == 0:
            del record["year"]
        records.append(record)
    vectors = [
        {"id": i, "vector": {TERMS[t]: int(row[t]) for t in np.flatnonzero(row)}}
        for i, row in zip(ids, matrix, strict=True)
    ]
    asked = random_matrix(7, 20, len(TERMS), 0.3, 9)
    queries = [
        {"id": f"q{n}", "vector": {TERMS[t]: int(row[t]) for t in np.flatnonzero(row)}}
        for n, row in enumerate(asked)
    ]
    return World(
        write_json_lines(tmp_path / "corpus.jsonl", records),
        write_json_lines(tmp_path / "documents.jsonl", vectors),
        write_json_lines(tmp_path / "queries.jsonl", queries),
        records,
        vectors,
    )


class Filter(NamedTuple):
    """A filter as each engine has it."""

    leaves: Callable[[dict[str, Any]], bool]
    rest: dict[str, Any]
    qdrant: dict[str, Any]
    milvus: str | None
    postgresql: str

    def of(self, address: Address) -> str | None:
        """None where the engine has none such."""
        told = getattr(self, "rest" if address.scheme.endswith("search") else address.scheme)
        return json.dumps(told) if isinstance(told, dict) else told


def match(key: str, value: object) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


FILTERS = {
    "an integer beyond": Filter(
        lambda d: d.get("year", 0) > 2010,
        {"range": {"year": {"gt": 2010}}},
        {"must": [{"key": "year", "range": {"gt": 2010}}]},
        "year > 2010",
        "year > 2010 -- and a comment",
    ),
    "a string and a truth": Filter(
        lambda d: d["language"] == LANGUAGES[2] and d["open"],
        {"bool": {"filter": [{"term": {"language": LANGUAGES[2]}}, {"term": {"open": True}}]}},
        {"must": [match("language", LANGUAGES[2]), match("open", "true")]},
        'language == "it\'s \\"é\\"" and open == true',
        "language = 'it''s \"é\"' and open",
    ),
    "a number, or not a string": Filter(
        lambda d: d["rating"] <= 2.5 or d["language"] != "de",
        {
            "bool": {
                "should": [
                    {"range": {"rating": {"lte": 2.5}}},
                    {"bool": {"must_not": [{"term": {"language": "de"}}]}},
                ]
            }
        },
        {
            "should": [
                {"key": "rating", "range": {"lte": 2.5}},
                {"must_not": [match("language", "de")]},
            ]
        },
        'rating <= 2.5 or language != "de"',
        "rating <= 2.5 or language <> 'de'",
    ),
    "a field that is lacking": Filter(
        lambda d: "year" not in d,
        {"bool": {"must_not": [{"exists": {"field": "year"}}]}},
        {"must": [{"is_empty": {"key": "year"}}]},
        None,  # Milvus Lite knows neither "is null" nor "not exists" of such a field
        "year is null",
    ),
    "nothing": Filter(
        lambda _: False,
        {"term": {"year": 1}},
        {"must": [match("year", 1)]},
        "year == 1",
        "year = 1",
    ),
}


def test_a_filtered_search_is_exact_on_the_documents_that_are_left(
    place: Place, world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Qdrant Edge asks for no truths.
    truth, kind = ("open", "boolean") if place.address.scheme != "qdrant" else EDGES_TRUTH
    status, _, told = command_line.run(
        capfd, "index", world.documents, "-o", place.address, *place.more,
        "--with-contents", world.corpus, "--fields", f"year,language,rating,{truth}",
    )  # fmt: skip
    assert status == 0, told
    assert "43 of 300 documents have no field year\n" in told and "no field open" not in told
    types = f"year (integer), language (keyword), rating (number), open ({kind})"
    assert f"fields that filters may ask for: {types}\n" in told
    source = open_source(place.address)
    assert sum(map(len, source.batches())) == 300
    for number, (name, only) in enumerate(FILTERS.items()):
        asked = only.of(place.address)
        if asked is None:
            continue
        left = [only.leaves(record) for record in world.records]
        runs = []
        if any(left):
            kept = [v for v, leave in zip(world.vectors, left, strict=True) if leave]
            docs = write_json_lines(tmp_path / f"left{number}.jsonl", kept)
            exact = tmp_path / f"exact{number}"
            status, _, told = command_line.run(
                capfd, "index", docs, "-o", exact, "--engine", "exact"
            )
            assert status == 0, told
            runs.append((exact, ()))
        runs.append((place.address, ("--filter", asked)))
        for k in (3, 300):
            found = []
            for index, more in runs:
                run = tmp_path / "run"
                status, _, told = command_line.run(
                    capfd, "search", index, "-q", world.queries, "-o", run, "-k", k,
                    "--overwrite", *more,
                )  # fmt: skip
                assert status == 0, told
                found.append(run.read_text())
            assert found[-1] == (found[0] if any(left) else ""), name
            assert any(left) == bool(found[-1])


def test_a_filter_that_is_none_is_refused(place: Place, world: World) -> None:
    with connect(place.address) as index:
        kind = place.address.scheme
        for text in ("", " ") if kind in ("milvus", "postgresql") else ("", "year > 3", "[]", "{}"):
            with pytest.raises(UsageError, match="--filter"):
                index.filter_of(text)
    load_index(world.documents, place.address)
    wrong = '{"no_such": {"year": 3}}' if kind not in ("milvus", "postgresql") else "no_such >< 3"
    with open_index(place.address, Asking(only=wrong)) as searcher:
        queries = searcher.aligned(read_queries(world.queries))
        with pytest.raises((ServerError, BadInputError)):
            list(searcher.search(queries, 3))


def test_names_of_fields_that_an_engine_does_not_take(place: Place, world: World) -> None:
    with connect(place.address) as index:
        for name in index.own_fields:
            made = replace(RemoteOptions(), columns={name: "keyword"})
            with pytest.raises(BadInputError, match=f"a stored field named '{name}'"):
                index.check_fields(made)
        assert not index.exists()


def test_an_index_that_is_no_address_takes_no_filter(tmp_path: Path, world: World) -> None:
    with pytest.raises(UsageError, match="is no address"):
        open_index(tmp_path / "exact", Asking(only="year > 3"))


# Of a corpus


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("a,b", {"a": None, "b": None}),
        ("a:integer, dc:title,b:keyword", {"a": "integer", "dc:title": None, "b": "keyword"}),
        (":number", {":number": None}),
    ],
)
def test_fields_are_told_with_their_types(told: str, found: dict[str, str | None]) -> None:
    assert wanted_fields(told) == found


@pytest.mark.parametrize("told", ["", "a,", "a,a", "a:number,a", "text"])
def test_fields_that_are_none(told: str) -> None:
    with pytest.raises(UsageError, match="--fields"):
        wanted_fields(told)


def corpus_of(path: Path, values: list[Any]) -> str:
    records = [
        {"id": str(n), "text": "x"} | ({} if value is None else {"f": value})
        for n, value in enumerate(values)
    ]
    return str(write_json_lines(path / "corpus.jsonl", records))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, "b"], "keyword"),
        ([1, 2], "integer"),
        ([1, 2.5], "number"),
        ([1.0], "number"),
        ([True, False], "boolean"),
        ([2**63 - 1, -(2**63)], "integer"),
    ],
)
def test_the_type_of_a_field_is_that_of_its_values(
    tmp_path: Path, values: list[Any], kind: str
) -> None:
    assert types_of(corpus_of(tmp_path, values), {"f": None}) == {"f": kind}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", 1], "is an integer, and a string at .*corpus.jsonl:1"),
        ([1, True], "is true or false, and an integer"),
        ([["a"]], "is a list, and a stored field holds one"),
        ([{"a": 1}], "is an object"),
        ([2**63], "is 9223372036854775808, and a stored field"),
        ([None, None], "no document has a field 'f'"),
    ],
)
def test_values_that_have_no_one_type(tmp_path: Path, values: list[Any], words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        types_of(corpus_of(tmp_path, values), {"f": None})


@pytest.mark.parametrize(
    ("value", "kind", "found"),
    [
        ("12", "integer", 12), (" -3 ", "integer", -3), ("1.5", "number", 1.5), (2, "number", 2.0),
        ("True", "boolean", True), (7, "keyword", "7"), (True, "keyword", "true"),
        ("x", "keyword", "x"),
    ],
)  # fmt: skip
def test_cells_of_tables_become_what_was_asked_for(value: Any, kind: Any, found: Any) -> None:
    read = as_type(value, "f", kind, "here")
    assert read == found and type(read) is type(found)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("x", "integer"), ("1.5", "integer"), (1.5, "integer"), ("nan", "number"),
     (True, "integer"), (1.5, "keyword"),
     ("9223372036854775808", "integer"), (1, "boolean"), ("yes", "boolean"),
     (float("inf"), "number"), (["a"], "keyword")],
)  # fmt: skip
def test_values_that_are_not_of_the_type_asked_for(value: Any, kind: Any) -> None:
    with pytest.raises(BadInputError, match=r"here: field 'f' is .*, which is not"):
        as_type(value, "f", kind, "here")


def test_a_corpus_of_tables_gives_its_further_columns(tmp_path: Path) -> None:
    (tmp_path / "c.tsv").write_text("id\ttext\tyear\tlang\n1\ta\t2001\tde\n2\tb\t2002\ten\n")
    asked = {"year": "integer", "lang": None}
    assert types_of(str(tmp_path / "c.tsv"), asked) == {"year": "integer", "lang": "keyword"}  # type: ignore[arg-type]
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"id": ["1", "2"], "text": ["a", "b"], "year": [2001, None]})
    pq.write_table(table, tmp_path / "c.parquet")
    assert types_of(str(tmp_path / "c.parquet"), {"year": None}) == {"year": "integer"}


def test_dry_run_shows_the_columns(
    tmp_path: Path, world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("qdrant_edge")
    pytest.importorskip("milvus_lite")
    status, out, told = command_line.run(
        capfd, "index", world.documents, "-o", f"milvus:{tmp_path}/x.db", "--dry-run",
        "--with-contents", world.corpus, "--fields", "year,open",
    )  # fmt: skip
    assert status == 0, told
    schema = json.loads(out)["schema"]
    assert [f["fieldName"] for f in schema["fields"]] == ["id", "vector", "text"]
    assert schema["enableDynamicField"]
    assert not (tmp_path / "x.db").exists()


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (match("open", True), "which Qdrant Edge does not find: .*--fields open:keyword"),
        ({"key": "open", "match": {"any": [False]}}, "does not find"),
        (match("rating", 2.5), "the filter holds"),
        ({"key": "year", "range": {"gt": "2010"}}, "the filter holds"),
        ({"key": "year", "range": {"above": 2010}}, "the filter holds"),
        ({"key": "year", "geo_radius": {}}, "the filter holds"),
    ],
)
def test_what_qdrant_edge_does_not_ask_for_is_refused(
    tmp_path: Path, world: World, only: dict[str, Any], words: str
) -> None:
    pytest.importorskip("qdrant_edge")
    address = place_of(f"qdrant:{tmp_path / 'q'}")
    assert isinstance(address, Address)
    load_index(world.documents, address)
    with connect_to(address) as index, pytest.raises(BadInputError, match=words):
        index.top([0], np.array([1], np.int32), 1, {"must": [only]})


def test_the_same_load_with_other_fields_is_another(tmp_path: Path, world: World) -> None:
    pytest.importorskip("qdrant_edge")
    address = place_of(f"qdrant:{tmp_path / 'q'}")
    assert isinstance(address, Address)
    years = Given(with_contents=str(world.corpus), fields={"year": None})
    load_index(world.documents, address, given=years)
    load_index(world.documents, address, given=years)
    with pytest.raises(UsageError, match="is there already"):
        load_index(world.documents, address, given=replace(years, fields={"open": None}))
    with connect_to(address) as index:
        assert index.count() == 300
