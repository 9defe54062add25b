"""Writes a mutant as the bytes of an SQLite database, which holds it to its own rules: keys, NOT NULL, CHECK, foreign
keys."""

import re
from contextlib import closing
from functools import partial

import apsw

from stages.databases.quoting import quoted
from stages.execution.comparison import Cell, Row
from stages.mutation.mutants import Mutant
from stages.mutation.real_rows import Database, Reference, Table, key_of

_MISSING_FUNCTION = re.compile(r"no such function: (.+)", re.DOTALL)


def image_of(database: Database, mutant: Mutant) -> bytes:
    """The database file of a mutant. A changed row that the schema refuses is written as the real row that it was, and
    a real row that it refuses too is written without its CHECKs, which may call functions of an application. Rows that
    then point at no parent, though real ones do, are taken away. Raises apsw.Error where the schema cannot be made."""
    with closing(apsw.Connection(":memory:")) as connection:
        connection.pragma("encoding", database.encoding)
        connection.execute("BEGIN")
        for statement in database.create:
            _create(connection, statement)
        for statement in database.create_more:
            _fits(connection, statement)  # one with a function of an application is in no query
        for table in database.tables:
            _insert(connection, table, mutant)
        links = [(table, reference) for table in database.tables for reference in table.references]
        while any(_drop_dangling(connection, database, table, reference) for table, reference in links):
            pass
        connection.execute("COMMIT")
        return bytes(connection.serialize("main"))


def _create(connection: apsw.Connection, statement: str) -> None:
    """Makes a table. In place of a function of an application stands one that refuses every row, or is NULL in a row
    that is written without CHECKs."""
    try:
        connection.execute(statement)
    except apsw.SQLError as error:
        if (missing := _MISSING_FUNCTION.fullmatch(str(error))) is None:
            raise
        connection.create_scalar_function(missing[1], partial(_refuse, connection), deterministic=True)
        _create(connection, statement)


def _refuse(connection: apsw.Connection, *arguments: Cell) -> None:
    if not connection.pragma("ignore_check_constraints"):
        raise apsw.ConstraintError("a function of an application")


def _insert(connection: apsw.Connection, table: Table, mutant: Mutant) -> None:
    names, marks = ", ".join(map(quoted, table.columns)), ", ".join("?" * len(table.columns))
    insert = f"INSERT INTO {quoted(table.name)} ({names}) VALUES ({marks})"
    for row, original in zip(mutant.rows[table.name], mutant.originals[table.name], strict=True):
        if not (_fits(connection, insert, tuple(row)) or _fits(connection, insert, original)):
            connection.pragma("ignore_check_constraints", 1)
            _fits(connection, insert, original)
            connection.pragma("ignore_check_constraints", 0)


def _fits(connection: apsw.Connection, statement: str, row: Row = ()) -> bool:
    try:
        connection.execute(statement, row)
    except (apsw.ConstraintError, apsw.MismatchError, apsw.SQLError):
        return False
    return True


def _drop_dangling(connection: apsw.Connection, database: Database, table: Table, reference: Reference) -> bool:
    """A row that was refused, as its key is taken, leaves others that point at it: they are taken away, if all real
    rows have a parent. Returns whether there were some."""
    parent = next(parent for parent in database.tables if parent.name == reference.parent)
    own = [f"{quoted(table.name)}.{quoted(table.columns[place])}" for place in reference.columns]
    keys = [f"parent.{quoted(parent.columns[place])}" for place in reference.targets]
    points = " AND ".join(f"{column} IS NOT NULL" for column in own)
    equal = " AND ".join(f"{key} = {column}" for key, column in zip(keys, own, strict=True))
    dangling = f"{points} AND NOT EXISTS (SELECT 1 FROM {quoted(parent.name)} AS parent WHERE {equal})"
    source = f"FROM {quoted(table.name)} WHERE {dangling}"
    if not next(connection.execute(f"SELECT EXISTS (SELECT 1 {source})"))[0] or not _all_have_parents(
        table, reference, parent
    ):
        return False
    connection.execute(f"DELETE {source}")
    return True


def _all_have_parents(table: Table, reference: Reference, parent: Table) -> bool:
    keys = {key_of(row, reference.targets) for row in parent.rows}
    used = {key_of(row, reference.columns) for row in table.rows}
    return all(None in key or key in keys for key in used)
