"""PostgreSQL with pgvector behind an address: what it holds is exact, or it says what is not."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_line import run
from killed import killed
from loaded import command, environment
from pages import PAGES, run_page
from ranked import as_pairs, brute_force
from servers.server import Server
from small import (
    MemorySource,
    batch_of,
    queries_of,
    random_matrix,
    shuffled_ids,
    terms_of,
    write_json_lines,
)
from splade_bridge.conversion.detect import open_source
from splade_bridge.data.manifest import Manifest
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.registry import connect, engine, open_index, read_remote
from splade_bridge.engines.remote.base import RemoteOptions
from splade_bridge.engines.remote.faults import Busy, Refused, ServerError
from splade_bridge.engines.remote.index import RemoteSearcher
from splade_bridge.engines.remote.load import LoadOptions, load
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.states import State
from splade_bridge.errors import (
    BadInputError,
    ExternalProgramError,
    MismatchError,
    UsageError,
)
from splade_bridge.evaluation.evaluate import evaluate
from splade_bridge.evaluation.qrels import read_qrels
from splade_bridge.evaluation.verify import verify
from splade_bridge.files.address import Address, place_of
from splade_bridge.formats.queries import read_queries
from splade_bridge.retrieval.runs import read_run
from splade_bridge.retrieval.search import SearchOptions, search_to_run

psycopg = pytest.importorskip("psycopg")

from splade_bridge.engines.remote import postgresql, postgresql_sessions  # noqa: E402

pytestmark = pytest.mark.server

COUNTER = itertools.count()
TERMS = [term for term in terms_of(60) if "\0" not in term]
BIG = 2**24 - 1


@pytest.fixture
def place(postgres: Server) -> Address:
    """The address of a table that no other test has, in a database with pgvector."""
    with contextlib.suppress(psycopg.errors.UniqueViolation):  # another worker makes it now
        asked(postgres, "create extension if not exists vector")
    return at(postgres, f"t {os.getpid()} {next(COUNTER)}\"'%s")


def at(server: Server, *names: str, user: str | None = "postgres") -> Address:
    database = names[0] if len(names) > 1 else "postgres"
    return Address("postgresql", server.host, server.port, False, user, (database, names[-1]))


def asked(server: Server, *statements: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    """The rows of the last of some statements."""
    url = server.url.rpartition("/")[0]
    with psycopg.connect(f"{url}/{database}", autocommit=True) as connection:
        rows = []
        for statement in statements:
            cursor = connection.execute(statement)
            rows = cursor.fetchall() if cursor.description else []
        return rows


def quoted(place: Address, end: str = "") -> str:
    name = (place.name + end).replace('"', '""')
    return f'"{name}"'


def filled(
    place: Address, source: MemorySource | None = None, options: LoadOptions = LoadOptions()
) -> Manifest:
    """Load a source, by default one of awkward terms and ids with ties, empty rows and columns."""
    given = source or memory()

    def opened() -> MemorySource:
        return MemorySource(given._matrix, given._ids, given.vocabulary.terms)

    with connect(place) as index:
        return load(index, opened, options)


def memory(seed: int = 1, rows: int = 80, largest: int = 9) -> MemorySource:
    matrix = random_matrix(seed, rows, len(TERMS), 0.3, largest)
    return MemorySource(matrix, shuffled_ids(rows, seed), TERMS)


def read_back(place: Address) -> dict[str, dict[str, int]]:
    source = read_remote(place)
    return {
        doc_id: {source.vocabulary[t]: v for t, v in zip(*map(np.ndarray.tolist, batch.row(n)),
                                                         strict=True)}
        for batch in source.batches()
        for n, doc_id in enumerate(batch.ids)
    }  # fmt: skip


def dictionaries(source: MemorySource) -> dict[str, dict[str, int]]:
    return {
        doc_id: {TERMS[t]: int(row[t]) for t in np.flatnonzero(row)}
        for doc_id, row in zip(source._ids, source._matrix, strict=True)
    }


# What it holds


@pytest.mark.parametrize("largest", [3, BIG])
def test_vectors_come_back_as_they_were_and_scores_are_sums_of_integers(
    place: Address, largest: int
) -> None:
    """Few values make many ties; the largest impact is the last that float32 keeps."""
    source = memory(2, 120, largest)
    manifest = filled(place, source)
    assert read_back(place) == dictionaries(source)
    assert read_remote(place).manifest == manifest
    heavy = random_matrix(3, 25, len(TERMS), 0.2, 300 if largest == 3 else 1)
    if largest == BIG:  # one term a query: sums stay below 2^24
        heavy = np.eye(len(TERMS), dtype=heavy.dtype)
    with open_index(place) as searcher:
        batch = searcher.aligned(queries_of(heavy, TERMS))
        for k in (1, 5, 200):
            for query, hits in zip(heavy, searcher.search(batch, k), strict=True):
                assert as_pairs(hits) == brute_force(source._matrix, source._ids, query, k)
        some = next(i for i, row in enumerate(source._matrix) if row.any())
        found = searcher.impacts(source._ids[some], [searcher.vocabulary.get(t) for t in TERMS])
        assert found == source._matrix[some].tolist()
        assert searcher.impacts("no such document", [0]) is None


def test_a_tie_longer_than_k_is_looked_through(place: Address) -> None:
    matrix = np.ones((300, len(TERMS)), dtype=np.int64)
    source = MemorySource(matrix, shuffled_ids(300, 5), TERMS)
    filled(place, source)
    query = np.ones(len(TERMS), dtype=np.int64)
    with open_index(place) as searcher:
        [hits] = searcher.search(searcher.aligned(queries_of(query[None], TERMS)), 7)
        assert hits.doc_ids == sorted(source._ids)[:7]


def test_an_empty_query_and_empty_documents(place: Address) -> None:
    matrix = np.zeros((3, len(TERMS)), dtype=np.int64)
    matrix[1, 0] = 5
    source = MemorySource(matrix, ["a", "b", "c"], TERMS)
    filled(place, source)
    assert read_back(place) == {"a": {}, "b": {TERMS[0]: 5}, "c": {}}
    asked_for = np.zeros((2, len(TERMS)), dtype=np.int64)
    asked_for[1, 0] = 1
    with open_index(place) as searcher:
        nothing, something = searcher.search(searcher.aligned(queries_of(asked_for, TERMS)), 10)
        assert nothing.doc_ids == []
        assert as_pairs(something) == [("b", 5)]


def test_threads_ask_at_the_same_time(place: Address) -> None:
    source = memory(4)
    filled(place, source)
    queries = random_matrix(6, 40, len(TERMS), 0.2, 50)
    with open_index(place) as searcher:
        batch = searcher.aligned(queries_of(queries, TERMS))
        one = [as_pairs(hits) for hits in searcher.search(batch, 10)]
        assert [as_pairs(hits) for hits in searcher.search(batch, 10, threads=4)] == one


def test_a_filter_is_a_condition_in_sql(place: Address, postgres: Server) -> None:
    source = memory(8)
    filled(place, source)
    queries = queries_of(random_matrix(9, 5, len(TERMS), 0.2, 50), TERMS)
    kept = [i for i, doc_id in enumerate(source._ids) if doc_id.startswith("D")]
    with connect(place) as index:
        searcher = RemoteSearcher(index, "id like 'D%' -- those")
        batch = searcher.aligned(queries)
        for n, hits in enumerate(searcher.search(batch, 100)):
            query = np.zeros(len(TERMS), dtype=np.int64)
            terms, weights = queries.batch.row(n)
            query[terms] = weights
            ids = [source._ids[i] for i in kept]
            assert as_pairs(hits) == brute_force(source._matrix[kept], ids, query, 100)
        for wrong in ("nothere = 1", "true; drop table x", "id = "):
            with pytest.raises(ServerError, match="refuses"):
                index.top([0], np.array([1], np.int32), 1, wrong)
        asked(postgres, "create or replace function eat() returns boolean language sql as "
                        f"$$ delete from {quoted(place)} returning true $$")  # fmt: skip
        # A filter that undoes what keeps the session from writing changes nothing for the next.
        undone = "set_config('default_transaction_read_only', 'off', false) = 'off'"
        for wrong in ("eat()", f"{undone} and eat()", "eat()"):
            with pytest.raises(ServerError, match="read-only"):
                index.top([0], np.array([1], np.int32), 1, wrong)
            index.top([0], np.array([1], np.int32), 1, undone)
        with pytest.raises(BadInputError, match="condition in SQL"):
            index.top([0], np.array([1], np.int32), 1, {"term": {"id": 1}})
        assert index.count() == len(source._ids)


# What it does not hold


def test_what_pgvector_cannot_hold_is_refused_by_name(place: Address) -> None:
    terms = [f"t{i}" for i in range(16_001)]
    wide = MemorySource(np.ones((1, len(terms)), dtype=np.int64), ["wide"], terms)
    with pytest.raises(BadInputError, match=r"'wide': 16,001 terms, and pgvector takes 16,000"):
        filled(place, wide)
    with connect(place) as index:
        index.drop()
        with pytest.raises(BadInputError, match="query of 16,001 terms"):
            index.top(list(range(16_001)), np.ones(16_001, np.int32), 1)
    most = MemorySource(np.ones((1, 16_000), dtype=np.int64), ["wide"], terms[:-1])
    filled(place, most)
    [row] = connect(place).rows()
    assert len(row.names) == 16_000


def test_ids_that_fit_the_key_and_those_that_do_not(place: Address) -> None:
    rng = np.random.default_rng(1)  # what can be compressed fits where other text does not
    longest = "".join(map(chr, rng.integers(33, 127, 2692)))
    matrix = np.ones((2, len(TERMS)), dtype=np.int64)
    filled(place, MemorySource(matrix, [longest, "b"], TERMS))
    assert set(read_back(place)) == {longest, "b"}
    with pytest.raises(BadInputError, match=r"2,693 bytes, and PostgreSQL takes 2,692"):
        filled(place.with_name("longer"), MemorySource(matrix, [longest + "x", "b"], TERMS))


def test_weights_beyond_float32_are_refused_or_counted(place: Address) -> None:
    matrix = np.full((1, len(TERMS)), 2**24 + 1)
    source = MemorySource(matrix, ["a"], TERMS)
    with pytest.raises(BadInputError, match=r"keeps float32.*allow-loss"):
        filled(place, source)
    manifest = filled(place, source, LoadOptions(allow_loss=True))
    assert manifest.options["weights_changed"] == len(TERMS)
    assert read_back(place) == {"a": dict.fromkeys(TERMS, 2**24)}


def test_a_term_with_nul_is_refused(place: Address) -> None:
    with pytest.raises(BadInputError, match="holds NUL, so PostgreSQL cannot hold it"):
        filled(place, MemorySource(np.ones((1, 2), dtype=np.int64), ["a"], ["x", "a\0b"]))


@pytest.mark.parametrize(
    ("name", "words"),
    [("x" * 50, "49 bytes"), ("x" * 64, "63 bytes"), ("a.b.c", "SCHEMA.TABLE"), (".x", "SCHEMA")],
)
def test_names_that_postgresql_would_cut(postgres: Server, name: str, words: str) -> None:
    with pytest.raises(BadInputError, match=words):
        filled(at(postgres, name))


@pytest.mark.parametrize("made", [RemoteOptions(shards=2), RemoteOptions(replicas=1),
                                  RemoteOptions(fields=("vector",))])  # fmt: skip
def test_what_a_table_does_not_have(place: Address, made: RemoteOptions) -> None:
    with pytest.raises(BadInputError, match=r"shards|replicas|rename it"):
        filled(place, options=LoadOptions(made))
    assert not connect(place).exists()


def test_a_row_that_is_refused_leaves_its_neighbours(place: Address, postgres: Server) -> None:
    source = memory(11, 20)
    filled(place, source)
    asked(postgres, f"alter table {quoted(place)} add constraint sound check (id not like 'bad%')")
    batch = batch_of(np.ones((4, len(TERMS)), np.int64), ["new1", "bad1", "new2", "bad2"])
    with connect(place) as index:
        with pytest.raises(Refused) as refused:
            index.write([item for item, _ in index.items(batch, None, None)])
        assert [doc_id for doc_id, _ in refused.value.reasons] == ["bad1", "bad2"]
        assert "sound" in refused.value.reasons[0][1]
        assert {row.doc_id for row in index.get(["new1", "bad1", "new2", "bad2"])} == {
            "new1", "new2"}  # fmt: skip


def test_a_document_replaces_another_as_a_whole(place: Address) -> None:
    filled(place, memory(12, 10), LoadOptions(RemoteOptions(fields=("text",))))
    batch = batch_of(np.eye(len(TERMS), dtype=np.int64)[:1], [memory(12, 10)._ids[3]])
    with connect(place) as index:
        for fields in ([{"text": "of old"}], None):
            index.write([item for item, _ in index.items(batch, None, fields)])
        [row] = index.get(batch.ids)
        assert (row.names, row.weights) == ([0], [1])
        assert index.delete([*batch.ids, "no such"]) == 1
        assert index.get(batch.ids) == []


# Loading


def test_the_same_load_is_there_already_and_another_is_not(place: Address) -> None:
    manifest = filled(place, memory(13, 30))
    assert filled(place, memory(13, 30)) == manifest
    other = LoadOptions(RemoteOptions(fields=("text",)))
    with pytest.raises(UsageError, match="--overwrite replaces it"):
        filled(place, memory(13, 30), other)
    assert filled(place, memory(14, 20), LoadOptions(other.made, overwrite=True)) != manifest
    assert read_back(place) == dictionaries(memory(14, 20))


def test_a_load_that_was_begun_otherwise_is_not_gone_on_with(place: Address) -> None:
    with connect(place) as index:
        index.create(RemoteOptions(), State({"path": "another"}))
    with pytest.raises(MismatchError, match="being loaded from another"):
        filled(place)
    with pytest.raises(BadInputError, match="its loading was interrupted"):
        open_index(place)


def test_a_table_of_others_is_not_written(place: Address, postgres: Server) -> None:
    asked(postgres, f"create table {quoted(place)} (id text primary key, v sparsevec(9))")
    with pytest.raises(UsageError, match="was not made by splade-bridge"):
        filled(place, options=LoadOptions(overwrite=True))


@pytest.mark.parametrize("steps", [(2, 3), (1, 6)])
def test_a_load_that_is_killed_twice_goes_on(
    place: Address, steps: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between writes, and between a write and keeping how far it has come."""
    monkeypatch.setattr("splade_bridge.engines.remote.load.KEEP_SECONDS", 0.0)
    monkeypatch.setattr(postgresql.PostgreSQL, "block_rows", 50)
    source = memory(15, 600)
    kills = [(postgresql.PostgreSQL, name) for name in ("write", "keep", "finish")]
    kept = []
    for step in steps:
        assert killed(lambda: filled(place, source), step, *kills)
        with connect(place) as index:
            kept.append(index.state().loaded)
    assert 0 <= kept[0] <= kept[1] < 600
    filled(place, source)
    assert read_back(place) == dictionaries(source)


def test_a_process_killed_anywhere_loses_nothing(
    place: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any moment, by another process that is the command itself."""
    matrix = random_matrix(16, 2000, len(TERMS), 0.3, 9)
    source = MemorySource(matrix, [f"d{i}" for i in range(2000)], TERMS)
    rng = np.random.default_rng(os.getpid())
    for _ in range(2):
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                filled(place, source)
            os._exit(0)
        time.sleep(float(rng.uniform(0.05, 0.6)))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    filled(place, source)
    assert read_back(place) == dictionaries(source)


# Others' tables, aliases, and what is there


def test_a_table_of_others_is_read(place: Address, postgres: Server) -> None:
    name = quoted(place)
    asked(
        postgres,
        f"create table {name} (n bigint primary key, body text, v sparsevec(3))",
        f"insert into {name} values (7, 'x', '{{1:2,3:5}}/3'), (9, 'y', '{{}}/3'), (8, 'z', null)",
        f"create index on {name} using hnsw (v sparsevec_ip_ops)",
    )
    with connect(place) as index:
        assert index.state() is None
        assert {row.doc_id: list(row.names) for row in index.rows()} == {
            "7": [0, 2], "9": [], "8": []}  # fmt: skip
        assert [row.doc_id for row in index.get(["7", "100"])] == ["7"]
        ids, scores = index.top([2, 0], np.array([3, 1], np.int32), 10)
        assert (ids, scores.tolist()) == (["7"], [17.0])
        told = index.told()
        assert told["column"] == "v sparsevec(3)"
        assert "approximate" in told["hnsw"]
        assert index.vocabulary() is None
    with pytest.raises(BadInputError, match="--vocabulary"):
        read_remote(place)
    source = read_remote(place, Vocabulary(["a", "b", "c"]))
    assert sum(len(batch) for batch in source.batches()) == 3
    assert source.counts.postings == 2


def test_an_index_of_type_hnsw_is_never_asked(place: Address, postgres: Server) -> None:
    """Its default answers 40 documents at most, and not the best ones."""
    source = memory(17, 400)
    filled(place, source)
    query = np.ones(len(TERMS), dtype=np.int64)
    asked(
        postgres,
        f"alter table {quoted(place)} alter vector type sparsevec({len(TERMS)})",
        f"create index on {quoted(place)} using hnsw (vector sparsevec_ip_ops)",
        f"analyze {quoted(place)}",
    )
    with open_index(place) as searcher:
        [hits] = searcher.search(searcher.aligned(queries_of(query[None], TERMS)), 300)
        assert as_pairs(hits) == brute_force(source._matrix, source._ids, query, 300)


@pytest.mark.parametrize("fields", [("text",), ()])
def test_an_alias_is_a_view_that_is_switched(
    place: Address, postgres: Server, fields: tuple[str, ...]
) -> None:
    """From a table with the same columns, and from one with others."""
    alias = place.with_name(place.name + " alias")
    new = place.with_name(place.name + " new")
    filled(place, memory(18, 20), LoadOptions(RemoteOptions(fields=("text",)), alias=alias.name))
    assert read_back(alias) == dictionaries(memory(18, 20))
    assert read_remote(alias).manifest == read_remote(place).manifest
    with connect(place) as index, pytest.raises(ServerError, match="stands upon this table"):
        index.drop()
    filled(new, memory(19, 20),
           LoadOptions(RemoteOptions(fields=fields), alias=alias.name, drop_old=True))  # fmt: skip
    assert read_back(alias) == dictionaries(memory(19, 20))
    with connect(place) as index:
        assert not index.exists()
    with pytest.raises(ServerError, match="no alias of ours"):
        filled(place, memory(18, 20), LoadOptions(alias=new.name))


def test_a_schema_may_stand_before_the_table(place: Address, postgres: Server) -> None:
    asked(postgres, 'create schema if not exists "Other"')
    other = place.with_name(f"Other.t{os.getpid()}x{next(COUNTER)}")
    source = memory(20, 20)
    filled(other, source, LoadOptions(alias="there"))
    assert read_back(other) == read_back(other.with_name("Other.there")) == dictionaries(source)
    assert not connect(other.with_name(other.name.partition(".")[2])).exists()


# Refusals


def test_what_is_not_there(postgres: Server, place: Address) -> None:
    with pytest.raises(ServerError, match="no such index"):
        open_index(place)
    with pytest.raises(ServerError, match=r"nothere.*name a database that is there"):
        connect(at(postgres, "nothere", "t"))
    with pytest.raises(ServerError, match=r"role.*PGPASSWORD"):
        connect(at(postgres, "t", user="nobody here"))


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splade_bridge.engines.remote.patience.FIRST_WAIT", 30.0)
    with pytest.raises(ServerError, match=r"cannot be reached.*does it run there"):
        connect(place_of("postgresql://127.0.0.1:1/db/t"))


@pytest.fixture
def guest(postgres: Server) -> Iterator[Callable[..., Address]]:
    """A user without rights, and a database of its own with the given statements."""
    name = f"guest_{os.getpid()}_{next(COUNTER)}"
    asked(postgres, f"create role {name} login", f"create database {name}")

    def made(*statements: str, user: str = name) -> Address:
        asked(postgres, *(s.replace("GUEST", name) for s in statements), database=name)
        return at(postgres, name, "t", user=user)

    yield made
    asked(postgres, f"drop database {name} with (force)", f"drop role {name}")


def test_no_right_to_install_pgvector(guest: Callable[..., Address]) -> None:
    with pytest.raises(ServerError, match=r"permission denied to create extension.*ask for"):
        filled(guest())


def test_no_right_to_create_a_table(guest: Callable[..., Address]) -> None:
    place = guest("create extension vector")
    with pytest.raises(ServerError, match="permission denied for schema public"):
        filled(place)


def test_no_right_to_read_a_table(guest: Callable[..., Address]) -> None:
    place = guest("create extension vector", "create table t (id text primary key, v sparsevec(3))")
    with connect(place) as index, pytest.raises(ServerError, match="permission denied for table t"):
        index.count()


def test_pgvector_in_a_schema_that_is_not_looked_into(guest: Callable[..., Address]) -> None:
    place = guest("create schema away", "create extension vector schema away", user="postgres")
    with pytest.raises(ServerError, match=r"lacks the extension vector.*search_path"):
        filled(place)


def test_a_database_that_takes_no_writing(
    guest: Callable[..., Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = guest("create extension vector", user="postgres")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    with pytest.raises(ServerError, match="takes no writing"):
        filled(place)


def test_a_full_disk(place: Address, postgres: Server) -> None:
    """A trigger says what the server says when it cannot write."""
    filled(place, memory(21, 5))
    asked(
        postgres,
        "create or replace function full_disk() returns trigger language plpgsql as $$ begin raise "
        "exception 'could not extend file: No space left on device' using errcode = '53100'; "
        "end $$",
        f"create trigger full_disk before insert on {quoted(place)} for each row "
        "execute function full_disk()",
    )
    batch = batch_of(np.ones((1, len(TERMS)), np.int64), ["new"])
    with connect(place) as index, pytest.raises(ServerError, match="no room left"):
        index.write([item for item, _ in index.items(batch, None, None)])


def test_a_statement_that_takes_too_long(place: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=50")
    filled(place, memory(22, 5))
    with connect(place) as index, pytest.raises(ServerError, match="raise its statement_timeout"):
        index.top([0], np.array([1], np.int32), 1, "pg_sleep(1) is not null")


def test_passwords_come_from_the_environment_and_are_shown_nowhere(
    guest: Callable[..., Address], postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = guest("alter role GUEST password 'open sesame'", "create extension vector",
                  "grant all on schema public to GUEST")  # fmt: skip
    access = postgres.folder / "home" / "data" / "pg_hba.conf"
    before = access.read_text()
    line = f"host {place.names[0]} {place.user} 127.0.0.1/32 scram-sha-256\n"
    access.write_text(line + before)
    try:
        asked(postgres, "select pg_reload_conf()")
        wait_until(lambda: refused(place))
        monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", "abracadabra")
        with pytest.raises(ServerError, match="does not let us in") as wrong:
            connect(place)
        assert "abracadabra" not in str(wrong.value)
        monkeypatch.setenv("SPLADE_BRIDGE_PASSWORD", "open sesame")
        filled(place, memory(23, 5))
        assert "sesame" not in str(asked(postgres, "select state from t_splade_bridge",
                                         database=place.names[0]))  # fmt: skip
        monkeypatch.delenv("SPLADE_BRIDGE_PASSWORD")
        monkeypatch.setenv("PGPASSWORD", "open sesame")
        assert read_back(place) == dictionaries(memory(23, 5))
    finally:
        access.write_text(access.read_text().replace(line, ""))
        asked(postgres, "select pg_reload_conf()")


def refused(place: Address) -> bool:
    try:
        connect(place).close()
    except ServerError:
        return True
    return False


def wait_until(there: Callable[[], bool], tries: int = 100) -> None:
    for _ in range(tries):
        if there():
            return
        time.sleep(0.1)
    raise AssertionError("waited in vain")


@pytest.mark.server(alone=True)
def test_a_server_that_goes_silent_is_noticed(
    place: Address, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(place, memory(24, 5))
    monkeypatch.setattr(postgresql_sessions, "SILENCE", 0.3)
    monkeypatch.setattr(postgresql_sessions, "SECONDS", 2)
    with connect(place) as index:
        assert index.count() == 5
        slow = index.top([0], np.array([1], np.int32), 1, "pg_sleep(0.3) is not null")
        assert len(slow[0]) <= 1  # five times: it works, so it is waited for
        with stopped(postgres), pytest.raises(Busy, match="does not answer any more"):
            index.count()
        assert index.count() == 5


@pytest.mark.server(alone=True)
def test_a_server_that_ends_while_it_is_read_is_an_error(place: Address, postgres: Server) -> None:
    ids = [f"d{i}" for i in range(5000)]
    filled(place, MemorySource(np.ones((5000, len(TERMS)), np.int64), ids, TERMS))
    batches = read_remote(place).batches()
    ending = "select count(pg_terminate_backend(pid)) from pg_stat_activity"
    with pytest.raises(ServerError, match="while its documents were read: give the command again"):
        for batch in batches:
            assert len(batch)
            ours = f"{ending} where application_name = 'splade-bridge'"
            assert asked(postgres, ours)[0][0] >= 1


@contextlib.contextmanager
def stopped(server: Server) -> Iterator[None]:
    """All of the server, whose processes are each a group of their own."""
    ours = "select pid from pg_stat_activity where application_name = 'splade-bridge'"
    numbers = [row[0] for row in asked(server, ours)]
    with server.paused():
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            for number in numbers:
                os.kill(number, signal.SIGCONT)


@pytest.mark.server(alone=True)
def test_a_server_that_is_stopped_in_the_middle_of_a_load(
    place: Address, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql.PostgreSQL, "block_rows", 20)
    source = memory(25, 1000)
    stopped = threading.Event()

    def restart() -> None:
        stopped.wait(60)
        postgres.kill()
        for _ in range(20):
            try:  # refused as long as a process of the old server holds its shared memory
                postgres.start()
                return
            except ExternalProgramError:
                time.sleep(0.5)

    written = itertools.count()
    write = postgresql.PostgreSQL.write

    def seen(self: Any, items: list[Any]) -> None:
        if next(written) == 10:
            stopped.set()
        write(self, items)

    monkeypatch.setattr(postgresql.PostgreSQL, "write", seen)
    other = threading.Thread(target=restart)
    other.start()
    try:
        filled(place, source)
    finally:
        stopped.set()
        other.join()
    assert read_back(place) == dictionaries(source)


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_pgvector_that_another_load_installs_meanwhile_is_waited_for(
    guest: Callable[..., Address], postgres: Server, tmp_path: Path, ends: str
) -> None:
    """``if not exists`` does not see it, and would fail with a key that is there twice."""
    place = guest(user="postgres")
    docs = write_json_lines(tmp_path / "d.jsonl", [{"id": "d", "contents": "", "vector": {"a": 1}}])
    url = f"{postgres.url.rpartition('/')[0]}/{place.names[0]}"
    with psycopg.connect(url) as other:
        other.execute("create extension vector")
        line = command("index", docs, "-o", place)
        process = subprocess.Popen(line, env=environment(), stderr=subprocess.PIPE, text=True)
        waiting = "select count(*) from pg_locks where not granted"
        wait_until(lambda: asked(postgres, waiting)[0][0] > 0, 600)
        getattr(other, ends)()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert read_back(place) == {"d": {"a": 1}}


def test_two_loads_at_once_into_a_new_database(
    guest: Callable[..., Address], tmp_path: Path
) -> None:
    place = guest(user="postgres")
    docs = write_json_lines(tmp_path / "d.jsonl", (
        {"id": f"d{i}", "contents": "", "vector": {"a": i + 1}} for i in range(50)
    ))  # fmt: skip
    places = [place.with_name(name) for name in ("one", "two", "three")]
    loads = [
        subprocess.Popen(command("index", docs, "-o", there), env=environment(),
                         stderr=subprocess.PIPE, text=True)
        for there in places
    ]  # fmt: skip
    for process, there in zip(loads, places, strict=True):
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert len(read_back(there)) == 50


# The commands


def test_the_commands_take_the_address(
    place: Address, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    docs = write_json_lines(tmp_path / "docs.jsonl", (
        {"id": f"d{i}", "contents": "", "vector": {"a": i + 1, "##b": 7}} for i in range(5)
    ))  # fmt: skip
    (tmp_path / "q.tsv").write_text("q1\ta a ##b\n")
    there = str(place_of(f"{place.server}/postgres/cmd{os.getpid()}"))
    status, out, err = run(capfd, "index", docs, "-o", there, "--dry-run")
    assert status == 0, err
    assert "sparsevec(1000000000)" in out
    for _ in range(2):
        status, _, err = run(capfd, "index", docs, "-o", there)
        assert status == 0, err
        assert "5 documents, 10 postings" in err
    queries = tmp_path / "q.tsv"
    status, out, err = run(capfd, "search", there, "--queries", queries, "-k", 2, "-o", "-")
    assert status == 0, err
    assert [line.split()[2:5:2] for line in out.splitlines()] == [["d4", "17"], ["d3", "15"]]
    exact = tmp_path / "exact"
    assert run(capfd, "index", there, "-o", exact, "-e", "exact")[0] == 0
    status, _, err = run(capfd, "verify", exact, there, "--queries", queries)
    assert status == 0, err
    status, _, err = run(capfd, "convert", there, tmp_path / "c", "--to", "jsonvector")
    assert status == 0, err
    read = open_source(tmp_path / "c")
    for _ in read.batches():
        pass
    assert (read.counts.documents, read.counts.postings) == (5, 10)
    with connect(place_of(there)) as index:
        index.drop()


def test_the_page_of_the_documentation(
    place: Address,
    postgres: Server,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every command in order, and the SQL, whose weights are those of the index."""
    checkpoints = pytest.importorskip("checkpoints")
    page = PAGES / "postgresql.md"
    checkpoints.save_checkpoint(tmp_path / "model")
    (tmp_path / "texts").mkdir()
    checkpoints.write_corpus(tmp_path / "texts" / "texts.jsonl", 30)
    queries = [f"q{i}\t{text}" for i, text in enumerate(["hello world", "a dog"])]
    (tmp_path / "queries.tsv").write_text("\n".join(queries) + "\n")
    monkeypatch.chdir(tmp_path)
    asked(postgres, "create schema page")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=page,public")
    try:
        run_page(page, f"{place.server}/postgres", capfd)
        [query] = re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
        rows = asked(postgres, query)
        held = read_back(place.with_name("passages"))
    finally:
        asked(postgres, "drop schema page cascade")
    found: dict[str, dict[str, int]] = {}
    for doc_id, _, term, weight in rows:
        found.setdefault(doc_id, {})[term] = int(weight)
    assert found
    assert all(held[doc_id] == terms for doc_id, terms in found.items())


@pytest.mark.shared
def test_nfcorpus_goes_in_and_out(place: Address, shared: Path, tmp_path: Path) -> None:
    data = shared / "splade-v3-nfcorpus"
    source = open_source(data / "docs.jsonl.gz")
    with connect(place) as index:
        manifest = load(index, lambda: open_source(data / "docs.jsonl.gz"))
    for _ in source.batches():
        pass
    assert (manifest.counts.documents, manifest.counts.postings) == (3633, 998_259)
    again = read_remote(place)
    for _ in again.batches():
        pass
    assert str(again.content) == str(source.content) == manifest.content
    engine("exact").build(open_source(data / "docs.jsonl.gz"), tmp_path / "exact")
    queries = read_queries(data / "topics.nfcorpus.test.splade-v3.tsv.gz")
    with open_index(tmp_path / "exact") as exact, open_index(place) as searcher:
        told = verify([exact, searcher], queries, 1000)
    assert (told.queries, told.differences) == (323, [])
    search_to_run(place, queries, tmp_path / "run", SearchOptions(k=1000))
    qrels = read_qrels(data / "qrels.nfcorpus.test.trec")
    found = evaluate(qrels, read_run(tmp_path / "run"), ["ndcg_cut_10"], missing="skip")
    assert round(found.means["ndcg_cut_10"], 4) == 0.3624


def test_secrets_with_certificates_ask_for_tls(postgres: Server, place: Address) -> None:
    """The server of the tests has no TLS, so it is refused."""
    with pytest.raises(ServerError, match=r"SSL|does not let us in"):
        postgresql.PostgreSQL(place, Secrets(ca="/etc/hostname"))
