"""What a table of PostgreSQL is, as its catalog tells it: its key, its vectors, what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from splade_bridge.data.ids import quoted
from splade_bridge.engines.remote.choices import FieldType
from splade_bridge.engines.remote.postgresql_sessions import Sessions, psycopg, sql
from splade_bridge.engines.remote.sparsevec import dimensions_of
from splade_bridge.errors import BadInputError

MOST_NAME_BYTES = 63
"""Of an identifier; PostgreSQL cuts off the rest of a longer one (``NAMEDATALEN``)."""
MARK = "An alias of splade-bridge"
COLUMN_TYPES: dict[FieldType, str] = {
    "keyword": "text", "integer": "bigint", "number": "double precision", "boolean": "boolean",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table or view as it is there.

    Attributes:
        oid: of itself; of the table that it stands for, if it is one of our aliases.
        name: the same as SQL.
        id, vector: its columns.
        id_type: as SQL.
        stored: further columns that hold what is stored beside a vector, and their types.
        dimensions: of its vectors; 0 if that is not declared, and there is none.
    """

    oid: int
    name: tuple[str, str]
    id: str
    vector: str
    id_type: str
    stored: dict[str, str]
    dimensions: int


def oid_of(sessions: Sessions, name: sql.Identifier) -> int | None:
    """Of a table or view; None where there is none of this name."""
    with sessions.session() as session:
        found = session.execute("select to_regclass($1)::oid", [name.as_string(None)])
        return cast(int | None, one(found)[0])


def table_of(sessions: Sessions, oid: int, column: str | None, place: str) -> Table:
    """The table or view of this oid.

    Args:
        column: that holds the vectors, where there are several of type ``sparsevec``.
        place: where it is, for messages.

    Raises:
        BadInputError: it does not hold vectors, or more than one of a row.
    """
    with sessions.session() as session:
        target = session.execute(STANDS_FOR, [oid, MARK]).fetchone()
        oid = target[0] if target else oid
        name = one(session.execute(NAME, [oid]))
        columns = session.execute(COLUMNS, [oid]).fetchall()
        keys = [row[0] for row in session.execute(KEY, [oid])]
    vectors = [row for row in columns if row[1] == "sparsevec"]
    names = ", ".join(row[0] for row in vectors)
    if column is not None:
        vectors = [row for row in vectors if row[0] == column]
    if len(vectors) != 1:
        wanted = "columns of type sparsevec, and one is to be named by --field"
        if column is not None:
            wanted = f"columns {column!r} of type sparsevec"
        raise BadInputError(
            f"has {len(vectors) or 'no'} {wanted}{': ' * bool(names)}{names}", place
        )
    if not keys and any(row[0] == "id" for row in columns):
        keys = ["id"]  # of a view, which has no key
    if len(keys) != 1:
        raise BadInputError(
            "has no primary key of one column, by which documents could be told apart",
            place,
        )
    types = {row[0]: row[1] for row in columns}
    stored = {
        row[0]: row[1]
        for row in columns
        if row[1] in COLUMN_TYPES.values() and row[0] != keys[0] and not row[3]
    }
    vector, _, dimensions, _ = vectors[0]
    if dimensions <= 0:
        dimensions = _first_dimensions(sessions, name, vector)
    return Table(oid, name, keys[0], vector, types[keys[0]], stored, dimensions)


def _first_dimensions(sessions: Sessions, name: Sequence[str], column: str) -> int:
    """Those of a vector, where the column declares none; 0 where there is no vector."""
    asked = sql.SQL("select {0} from {1} where {0} is not null limit 1").format(
        sql.Identifier(column), sql.Identifier(*name)
    )
    with sessions.session(reading=True) as s, s.cursor(binary=True) as cursor:
        found = cursor.execute(asked).fetchone()
    return 0 if found is None else dimensions_of(found[0])


def check_name(name: str, most: int, place: str) -> None:
    """Raise BadInputError for a name that PostgreSQL would cut off, or cannot take."""
    if len(name.encode()) > most or "\0" in name:
        raise BadInputError(
            f"the name {quoted(name)}: PostgreSQL takes {most} bytes here, without NUL", place
        )


def one(cursor: psycopg.Cursor[Any]) -> Any:
    """The one row that a query gives."""
    found = cursor.fetchone()
    assert found is not None
    return found


NAME = """
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.oid = $1
"""
STANDS_FOR = """
select distinct d.refobjid
from pg_rewrite r
join pg_depend d on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid
    and d.refclassid = 'pg_class'::regclass and d.refobjid <> r.ev_class
join pg_class c on c.oid = r.ev_class and c.relkind = 'v'
where r.ev_class = $1 and obj_description(r.ev_class, 'pg_class') = $2
"""
COLUMNS = """
select a.attname, case when t.typname = 'sparsevec' then t.typname
    else format_type(a.atttypid, null) end, a.atttypmod, a.attgenerated <> ''
from pg_attribute a join pg_type t on t.oid = a.atttypid
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
KEY = """
select a.attname from pg_index i
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey)
where i.indrelid = $1 and i.indisprimary
"""
