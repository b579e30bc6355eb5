"""PostgreSQL with pgvector: a table with a column of type ``sparsevec``, scanned as a whole.

``TABLE`` holds ``id``, ``vector`` and stored texts, ``TABLE_vocabulary`` the terms that the
vector's indices stand for (less 1 in text, where they begin with 1), ``TABLE_splade_bridge`` the
state. A table of another schema than those of the ``search_path`` is ``SCHEMA.TABLE``. An alias is
a view with a mark.

Inner products are sums in float32 over every row, so scores are exact below 2^24. An index of type
HNSW, which answers approximately, is used where that is asked for, and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import orjson

from splade_bridge.data.ids import quoted
from splade_bridge.data.vectors import ImpactBatch, Int32Array, SparseBatch
from splade_bridge.data.vocabulary import Vocabulary
from splade_bridge.engines.remote.base import (
    Fields,
    FieldValue,
    Float64Array,
    RemoteIndex,
    RemoteOptions,
    Row,
)
from splade_bridge.engines.remote.faults import Refused, ServerError
from splade_bridge.engines.remote.postgresql_options import PostgreSQLOptions
from splade_bridge.engines.remote.postgresql_sessions import Sessions, psycopg, sql
from splade_bridge.engines.remote.postgresql_tables import (
    COLUMN_TYPES,
    MARK,
    MOST_NAME_BYTES,
    NAME,
    STANDS_FOR,
    Table,
    check_name,
    oid_of,
    one,
    table_of,
)
from splade_bridge.engines.remote.secrets import Secrets
from splade_bridge.engines.remote.sparsevec import (
    MOST_DIMENSIONS,
    MOST_ENTRIES,
    MOST_ENTRIES_HNSW,
    literal,
    packed,
    unpacked,
)
from splade_bridge.engines.remote.states import State, state_bytes, state_of
from splade_bridge.errors import BadInputError, MismatchError, UsageError
from splade_bridge.files.address import Address
from splade_bridge.formats.feeds.names import Names, Naming
from splade_bridge.formats.feeds.weights import SINGLE
from splade_bridge.formats.term_limits import Problem

STATE, TERMS, GRAPH = "_splade_bridge", "_vocabulary", "_hnsw"
ROWS = 1000
"""That one fetch of a cursor brings."""
INLINE = 8160
"""Bytes up to which a row stays in one piece, the most there is: a scan then reads nothing else."""

LINKS, CANDIDATES, MOST_CANDIDATES = 16, 100, 1000
"""Of a graph: pgvector's links of a document, candidates of a search, and the most there may be."""

COPY_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = struct.pack(">h", -1)
"""Around the rows of ``COPY ... (format binary)``; a row is its number of fields, then each
field's size, -1 for null, and its bytes (PostgreSQL's manual, COPY, Binary Format)."""
PACKED = {"bigint": ">q", "double precision": ">d", "boolean": ">?"}
DATA = ("22", "23", "54")
"""Classes of SQLSTATE that say that a row is at fault: data, constraints, limits."""


class PostgreSQL(RemoteIndex):
    """A table with one column of type ``sparsevec``."""

    engine = "PostgreSQL"
    extra = "postgresql"
    naming: Naming = "number"
    kept = SINGLE
    most_id_bytes = 2692
    """More do not fit into an entry of the primary key's index, a third of a page."""
    most_hits = 1 << 31
    own_fields = ("id", "vector")

    def __init__(self, address: Address, secrets: Secrets) -> None:
        super().__init__(address, secrets)
        schema, dot, name = address.name.partition(".")
        self._name = (schema, name) if dot else (address.name,)
        if "" in self._name or "." in name:
            raise BadInputError("a table is TABLE or SCHEMA.TABLE", str(address))
        for part in self._name:
            check_name(part, MOST_NAME_BYTES, str(address))
        self._sessions = Sessions(address, secrets)
        self._held: Table | None = None
        self._column: str | None = None
        self._made = PostgreSQLOptions()
        self._candidates: int | None = None
        self.exists()

    def close(self) -> None:
        """End the connections."""
        self._sessions.close()

    @property
    def problem(self) -> Problem:
        """See :class:`RemoteIndex`."""
        return lambda term: "holds NUL" if "\0" in term else None

    def check_fields(self, made: RemoteOptions) -> None:
        """See :class:`RemoteIndex`."""
        super().check_fields(made)
        for name in (*made.fields, *made.columns):
            check_name(name, MOST_NAME_BYTES, str(self.address))

    def filter_of(self, text: str) -> str:
        """See :class:`RemoteIndex`: a condition in SQL, as it is."""
        if not text.strip():
            raise UsageError("--filter is empty: PostgreSQL takes a condition, as year > 2020")
        return text

    # Names

    @property
    def _own(self) -> sql.Identifier:
        return sql.Identifier(*self._name)

    def _beside(self, end: str, name: Sequence[str] | None = None) -> sql.Identifier:
        """A table of ours beside a table."""
        *schema, last = name or self._name
        return sql.Identifier(*schema, last + end)

    def _oid(self, name: sql.Identifier) -> int | None:
        return oid_of(self._sessions, name)

    def _table(self) -> Table:
        """What is there, looked at once.

        Raises:
            BadInputError: it does not hold vectors, or more than one of a row.
            ServerError: it is not there.
        """
        if self._held is None:
            oid = self._oid(self._own)
            if oid is None:
                raise self.missing()
            self._held = table_of(self._sessions, oid, self._column, str(self.address))
        return self._held

    def check_vocabulary(self, vocabulary: Vocabulary) -> None:
        """See :class:`RemoteIndex`."""
        there = self._table().dimensions
        if there and len(vocabulary) > there:
            raise MismatchError(
                f"{self.address}: its vectors have {there:,} dimensions, and --vocabulary has "
                f"{len(vocabulary):,} terms: it is of another model"
            )

    def use(self, made: RemoteOptions) -> None:
        """See :class:`RemoteIndex`.

        Raises:
            UsageError: what no graph may have.
        """
        given = PostgreSQLOptions(**made.own)
        m, candidates = given.hnsw_m, given.hnsw_ef_construction
        if not given.hnsw and (m, candidates) != (None, None):
            raise UsageError(
                "--postgresql-hnsw-m and --postgresql-hnsw-ef-construction are for "
                "--postgresql-hnsw: add that, or leave them out"
            )
        if m is not None and not 2 <= m <= 100:
            raise UsageError(f"--postgresql-hnsw-m {m}: is 2 to 100")
        least = max(4, 2 * (m or LINKS))
        if candidates is not None and not least <= candidates <= MOST_CANDIDATES:
            raise UsageError(
                f"--postgresql-hnsw-ef-construction {candidates}: is twice the links, {least}, to "
                f"{MOST_CANDIDATES:,}"
            )
        self._made = given

    def look(self, field: str | None = None) -> None:
        """See :class:`RemoteIndex`; ``field`` is a column."""
        self._column, self._held = field, None
        self._table()

    # Made and thrown away

    def exists(self) -> bool:
        """See :class:`RemoteIndex`."""
        return self._oid(self._own) is not None

    def creation(self, options: RemoteOptions) -> dict[str, Any]:
        """See :class:`RemoteIndex`: statements of SQL."""
        made = [statement.as_string(None) for statement in self._statements(options)]
        if self._made.hnsw:
            made.append(self._graph(self._name).as_string(None))
        return {"sql": made}

    def _statements(self, options: RemoteOptions) -> list[sql.Composed]:
        for flag, value in (("shards", options.shards), ("replicas", options.replicas)):
            if value is not None:
                raise BadInputError(
                    f"{self.engine} has no {flag} of a table: leave --{flag} out", str(self.address)
                )
        check_name(self._name[-1], MOST_NAME_BYTES - len(STATE), str(self.address))
        self.check_fields(options)
        stored = dict.fromkeys(options.fields, "text")
        stored |= {name: COLUMN_TYPES[kind] for name, kind in options.columns.items()}
        further = [
            sql.SQL(", {} {}").format(sql.Identifier(name), sql.SQL(kind))
            for name, kind in stored.items()
        ]
        return [
            sql.SQL("create extension if not exists vector").format(),
            sql.SQL(
                'create table {} (id text collate "C" primary key, vector sparsevec({}) not null{})'
                " with (toast_tuple_target = {})"
            ).format(self._own, options.terms or MOST_DIMENSIONS, sql.Composed(further), INLINE),
            sql.SQL("create table {} (id integer primary key, term text not null)").format(
                self._beside(TERMS)
            ),
            sql.SQL("create table {} (state json not null, observed boolean)").format(
                self._beside(STATE)
            ),
        ]

    def create(self, options: RemoteOptions, state: State) -> None:
        """See :class:`RemoteIndex`: all in one transaction."""
        extension, *tables = self._statements(options)
        with self._sessions.session() as session, session.transaction():
            # "if not exists" does not see what another load makes at the same time: that is waited
            # for, and then there.
            with contextlib.suppress(psycopg.errors.UniqueViolation), session.transaction():
                session.execute(extension)
            for statement in tables:
                session.execute(statement)
            session.execute(
                sql.SQL("insert into {} (state) values ($1)").format(self._beside(STATE)),
                [state_bytes(state).decode()],
            )
        self._held = None

    def drop(self) -> None:
        """See :class:`RemoteIndex`."""
        with self._sessions.session() as session, session.transaction():
            for name in (self._own, self._beside(TERMS), self._beside(STATE)):
                session.execute(sql.SQL("drop table if exists {}").format(name))
        self._held = None

    def state(self) -> State | None:
        """See :class:`RemoteIndex`."""
        kept = self._beside(STATE, self._table().name)
        if self._oid(kept) is None:
            return None
        with self._sessions.session() as session:
            found = session.execute(sql.SQL("select state::text from {}").format(kept)).fetchone()
        return None if found is None else state_of(orjson.loads(found[0]), str(self.address))

    def keep(self, state: State) -> None:
        """See :class:`RemoteIndex`."""
        with self._sessions.session() as session:
            session.execute(
                sql.SQL("update {} set state = $1").format(self._beside(STATE, self._table().name)),
                [state_bytes(state).decode()],
            )

    def keep_vocabulary(self, vocabulary: Vocabulary) -> None:
        """See :class:`RemoteIndex`: as a table that queries in SQL may join."""
        table = self._table()
        terms, kept = self._beside(TERMS, table.name), self._beside(STATE, table.name)
        with self._sessions.session() as session, session.transaction():
            session.execute(sql.SQL("delete from {}").format(terms))
            copied = sql.SQL("copy {} (id, term) from stdin").format(terms)
            with session.cursor() as cursor, cursor.copy(copied) as copy:
                for row in enumerate(vocabulary.terms):
                    copy.write_row(row)
            session.execute(
                sql.SQL("update {} set observed = $1").format(kept), [vocabulary.observed]
            )

    def vocabulary(self) -> Vocabulary | None:
        """See :class:`RemoteIndex`."""
        name = self._table().name
        terms = self._beside(TERMS, name)
        if self._oid(terms) is None or self._oid(self._beside(STATE, name)) is None:
            return None  # of others
        with self._sessions.session() as session:
            rows = session.execute(
                sql.SQL("select id, term from {} order by id").format(terms)
            ).fetchall()
            observed = session.execute(
                sql.SQL("select observed from {}").format(self._beside(STATE, name))
            ).fetchone()
        if [row[0] for row in rows] != list(range(len(rows))):
            raise BadInputError(
                "the table of its vocabulary has lost rows: load it again (--overwrite)",
                str(self.address),
            )
        return Vocabulary((row[1] for row in rows), observed=observed is None or observed[0])

    # Filled

    def items(
        self, batch: ImpactBatch | SparseBatch, names: Names, fields: Sequence[Fields] | None
    ) -> Iterator[tuple[Any, int]]:
        """See :class:`RemoteIndex`: an id, and a row of ``COPY`` in binary."""
        table = self._table()
        dimensions = table.dimensions or MOST_DIMENSIONS
        most = MOST_ENTRIES_HNSW if self._made.hnsw else MOST_ENTRIES
        for row, doc_id in enumerate(batch.ids):
            indices, weights = batch.row(row)
            if len(indices) > most:
                raise BadInputError(
                    f"document {quoted(doc_id)}: {len(indices):,} terms, and pgvector takes "
                    f"{most:,} at most{' in an index of type HNSW' * self._made.hnsw}: prune it"
                )
            cells: list[bytes | None] = [doc_id.encode(), packed(indices, weights, dimensions)]
            given = fields[row] if fields else {}
            cells += [
                self._cell(doc_id, given.get(name), kind) for name, kind in table.stored.items()
            ]
            packed_row = struct.pack(">h", len(cells)) + b"".join(map(_cell, cells))
            yield (doc_id, packed_row), len(packed_row)

    def _cell(self, doc_id: str, value: FieldValue | None, kind: str) -> bytes | None:
        """A value of a stored field, in the binary format of its column's type."""
        if value is None:
            return None
        if kind != "text":
            return struct.pack(PACKED[kind], value)
        text = str(value)
        if "\0" in text:
            raise BadInputError(
                f"document {quoted(doc_id)}: its text holds NUL, which {self.engine} cannot store: "
                "leave --with-contents out, or take it out of the corpus"
            )
        return text.encode()

    def write(self, items: list[Any]) -> None:
        """See :class:`RemoteIndex`: by ``COPY`` into a table of this session, and from there."""
        table = self._table()
        with self._sessions.session() as session:
            try:
                self._put(session, table, [row for _, row in items])
                return
            except psycopg.Error as error:
                if not (error.sqlstate or "").startswith(DATA):
                    raise
            refused = []
            for doc_id, row in items:
                try:
                    self._put(session, table, [row])
                except psycopg.Error as error:
                    if not (error.sqlstate or "").startswith(DATA):
                        raise
                    refused.append((doc_id, error.diag.message_primary or str(error)))
        if refused:
            raise Refused(refused)

    def _put(self, session: psycopg.Connection[Any], table: Table, rows: Sequence[bytes]) -> None:
        block = sql.Identifier("pg_temp", "splade_bridge_block")
        columns = [sql.Identifier(name) for name in (table.id, table.vector, *table.stored)]
        listed = sql.SQL(", ").join(columns)
        new = sql.SQL(", ").join(
            sql.SQL("{0} = excluded.{0}").format(column) for column in columns[1:]
        )
        named = sql.Identifier(*table.name)
        with session.transaction():
            session.execute(
                sql.SQL(
                    "create temporary table if not exists splade_bridge_block on commit delete "
                    "rows as select {} from {} limit 0"
                ).format(listed, named)
            )
            copied = sql.SQL("copy {} ({}) from stdin (format binary)").format(block, listed)
            with session.cursor() as cursor, cursor.copy(copied) as copy:
                copy.write(COPY_HEAD)
                copy.write(b"".join(rows))
                copy.write(COPY_END)
            session.execute(
                sql.SQL("insert into {} ({}) select {} from {} on conflict ({}) do update set {}")
                .format(named, listed, listed, block, columns[0], new)
            )  # fmt: skip

    def finish(self, *, merge: bool) -> None:
        """See :class:`RemoteIndex`; ``merge`` writes the table anew, without what was replaced."""
        how = sql.SQL("vacuum (full, analyze) {}" if merge else "analyze {}")
        name = self._table().name
        with self._sessions.session() as session:
            session.execute(how.format(sql.Identifier(*name)))
            if self._made.hnsw:
                session.execute(self._graph(name))

    def _graph(self, name: Sequence[str]) -> sql.Composed:
        """The statement that builds it; once."""
        given = {"m": self._made.hnsw_m, "ef_construction": self._made.hnsw_ef_construction}
        parts = [f"{key} = {value}" for key, value in given.items() if value is not None]
        more = f" with ({', '.join(parts)})" if parts else ""
        return sql.SQL(
            "create index if not exists {} on {} using hnsw (vector sparsevec_ip_ops)" + more
        ).format(sql.Identifier(name[-1] + GRAPH), sql.Identifier(*name))

    def delete(self, doc_ids: Sequence[str]) -> int:
        """See :class:`RemoteIndex`."""
        table = self._table()
        with self._sessions.session() as session:
            gone = session.execute(
                sql.SQL("delete from {} where {}").format(
                    sql.Identifier(*table.name), self._is_one_of(table)
                ),
                [list(doc_ids)],
            )
            return int(gone.rowcount)

    def _is_one_of(self, table: Table) -> sql.Composed:
        """By the key's own type, so that its index is used."""
        return sql.SQL("{} = any($1::{}[])").format(
            sql.Identifier(table.id), sql.SQL(table.id_type)
        )

    # Asked

    def count(self) -> int:
        """See :class:`RemoteIndex`."""
        asked = sql.SQL("select count(*) from {}").format(sql.Identifier(*self._table().name))
        with self._sessions.session(reading=True) as session:
            return int(one(session.execute(asked))[0])

    def _rows(self, table: Table) -> sql.Composed:
        return sql.SQL("select {}::text, {} from {}").format(
            sql.Identifier(table.id), sql.Identifier(table.vector), sql.Identifier(*table.name)
        )

    def rows(self) -> Iterator[Row]:
        """See :class:`RemoteIndex`: by a cursor in the server, of one state of the table."""
        table = self._table()
        with (
            self._sessions.session(reading=True) as session,
            session.transaction(),
            session.cursor("splade_bridge", binary=True) as cursor,
        ):
            cursor.itersize = ROWS
            for row in cursor.execute(self._rows(table)):
                yield _row(*row)

    def get(self, doc_ids: Sequence[str]) -> list[Row]:
        """See :class:`RemoteIndex`."""
        table = self._table()
        asked = self._rows(table) + sql.SQL(" where ") + self._is_one_of(table)
        with (
            self._sessions.session(reading=True) as session,
            session.cursor(binary=True) as cursor,
        ):
            return [_row(*row) for row in cursor.execute(asked, [list(doc_ids)])]

    def stored_text(self, doc_id: str, name: str) -> str | None:
        """See :class:`RemoteIndex`."""
        table = self._table()
        asked = sql.SQL("select {} from {} where ").format(
            sql.Identifier(name), sql.Identifier(*table.name)
        )
        with self._sessions.session(reading=True) as session:
            for (text,) in session.execute(asked + self._is_one_of(table), [[doc_id]]):
                return None if text is None else str(text)
        return None

    def top(
        self, names: Sequence[Any], weights: Int32Array, n: int, only: Any = None
    ) -> tuple[list[str], Float64Array]:
        """See :class:`RemoteIndex`; ``only`` is a condition in SQL, as ``year > 2020``."""
        if len(names) > MOST_ENTRIES:
            raise BadInputError(
                f"a query of {len(names):,} terms, and pgvector takes {MOST_ENTRIES:,} at most: "
                "prune it",
                str(self.address),
            )
        if self._candidates is not None and n > self._candidates:
            raise BadInputError(
                f"an index of type HNSW gives {self._candidates:,} hits at most, and {n:,} are "
                "wanted: raise --postgresql-ef-search, or lower -k",
                str(self.address),
            )
        table = self._table()
        where = None if only is None else _condition(only)
        asked = _question(table.name, table.id, table.vector, where, self._candidates is None)
        order = np.argsort(names)
        query = literal(
            np.asarray(names)[order].tolist(),
            weights[order].tolist(),
            table.dimensions or MOST_DIMENSIONS,
        )
        # A filter may call set_config, so it is not left to the settings of the session.
        with (
            self._sessions.session(reading=True) as session,
            session.transaction() if only is not None else contextlib.nullcontext(),
        ):
            hits = session.execute(asked, [query, n]).fetchall()
        found = [hit for hit in hits if hit[1] is not None and hit[1] < 0]
        return [hit[0] for hit in found], np.array([-hit[1] for hit in found], dtype=np.float64)

    def approximate(self, own: Mapping[str, Any]) -> None:
        """See :class:`RemoteIndex`: by an index of type HNSW, which must be there."""
        candidates = own.get("ef_search", CANDIDATES)
        if not 1 <= candidates <= MOST_CANDIDATES:
            raise UsageError(f"--postgresql-ef-search {candidates}: is 1 to {MOST_CANDIDATES:,}")
        if not self._has_graph():
            raise UsageError(
                f"{self.address}: has no index of type HNSW with sparsevec_ip_ops to answer "
                "approximately: load it with --approximate --postgresql-hnsw, or leave "
                "--approximate out"
            )
        self._candidates = candidates
        # Else a small table is read as a whole, and a large one is not.
        self._sessions.set_for_reading(
            f"set hnsw.ef_search = {candidates}; set enable_seqscan = off"
        )
        self.algorithm = f"hnsw ef_search={candidates}"

    def approximations(self) -> list[dict[str, Any]]:
        """See :class:`RemoteIndex`."""
        sizes = (20, 40, 100, 200, 400, MOST_CANDIDATES) if self._has_graph() else ()
        return [{"ef_search": size} for size in sizes]

    def _has_graph(self) -> bool:
        with self._sessions.session(reading=True) as session:
            indexes = [row[0] for row in session.execute(INDEXES, [self._table().oid])]
        return any(" hnsw " in index and "sparsevec_ip_ops" in index for index in indexes)

    def told(self) -> dict[str, Any]:
        """See :class:`RemoteIndex`."""
        table = self._table()
        with self._sessions.session(reading=True) as session:
            server, extension, size, options = one(session.execute(TOLD, [table.oid]))
            indexes = [row[0] for row in session.execute(INDEXES, [table.oid])]
        told: dict[str, Any] = {
            "server": server,
            "pgvector": extension,
            "table": ".".join(table.name),
            "column": f"{table.vector} sparsevec({table.dimensions or ''})",
            "bytes": size,
            "storage": options,
            "indexes": indexes,
        }
        if any(" hnsw " in index for index in indexes):
            told["hnsw"] = (
                f"used with --approximate alone; takes {MOST_ENTRIES_HNSW:,} terms of a document "
                "at most"
            )
        return told

    def size(self) -> int | None:
        """See :class:`RemoteIndex`: with its indexes."""
        with self._sessions.session(reading=True) as session:
            asked = "select pg_total_relation_size($1::oid)"
            return int(one(session.execute(asked, [self._table().oid]))[0])

    # Aliases

    def aliased(self, alias: str) -> str | None:
        """See :class:`RemoteIndex`: the table that a view of ours stands for."""
        name = self._alias(alias)
        oid = self._oid(name)
        if oid is None:
            return None
        with self._sessions.session() as session:
            found = session.execute(STANDS_FOR, [oid, MARK]).fetchone()
            if found is None:
                raise ServerError(
                    f"{self.address}: {alias} is no alias of ours but a table or view of its own: "
                    "name another --alias"
                )
            schema, table = one(session.execute(NAME, [found[0]]))
        return f"{schema}.{table}" if len(self._name) == 2 else str(table)

    def _alias(self, alias: str) -> sql.Identifier:
        """In the schema of the table, if that is named."""
        check_name(alias, MOST_NAME_BYTES, str(self.address))
        return sql.Identifier(*self._name[:-1], alias)

    def point(self, alias: str) -> None:
        """See :class:`RemoteIndex`; rights upon the view stay where its columns do."""
        self.aliased(alias)
        name = self._alias(alias)
        view = sql.SQL("view {} as select * from {}").format(
            name, sql.Identifier(*self._table().name)
        )
        with self._sessions.session() as session, session.transaction():
            try:
                with session.transaction():
                    session.execute(sql.SQL("create or replace ") + view)
            except psycopg.errors.InvalidTableDefinition:  # its columns are others
                session.execute(sql.SQL("drop view {}").format(name))
                session.execute(sql.SQL("create ") + view)
            session.execute(sql.SQL("comment on view {} is {}").format(name, sql.Literal(MARK)))


@functools.lru_cache(maxsize=64)  # to compose it takes longer than all else that is done here
def _question(
    table: tuple[str, ...], key: str, vector: str, condition: str | None, is_exact: bool
) -> bytes:
    """The statement that finds the best rows, with the query and their number as its parameters."""
    # "+ 0" so that no index of type HNSW answers, unless that is asked for.
    where = sql.SQL("")
    if condition is not None:
        where = sql.SQL("where ({}\n) ").format(sql.SQL(condition))
    asked = sql.SQL(
        "select {}::text, ({} <#> $1::sparsevec){} as distance from {} {}order by 2 limit $2"
    ).format(
        sql.Identifier(key),
        sql.Identifier(vector),
        sql.SQL(" + 0" if is_exact else ""),
        sql.Identifier(*table),
        where,
    )
    return cast(bytes, asked.as_bytes(None))


def _condition(only: Any) -> str:
    if not isinstance(only, str):
        raise BadInputError(
            f'--filter {quoted(only)}: that of PostgreSQL is a condition in SQL, as "year > 2020"'
        )
    return only


def _cell(value: bytes | None) -> bytes:
    return struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value


def _row(doc_id: str, vector: bytes | None) -> Row:
    """A row without a vector is an empty document."""
    if vector is None:
        return Row(doc_id, [], [])
    indices, values = unpacked(vector)
    whole = values.astype(np.int64)
    same = bool((whole == values).all())
    return Row(doc_id, indices.tolist(), whole.tolist() if same else values.tolist())


TOLD = """
select current_setting('server_version'),
    (select extversion from pg_extension where extname = 'vector'),
    pg_total_relation_size($1::oid),
    (select coalesce(array_to_string(reloptions, ', '), '') from pg_class where oid = $1)
"""
INDEXES = """
select pg_get_indexdef(indexrelid) from pg_index where indrelid = $1 order by indexrelid
"""
