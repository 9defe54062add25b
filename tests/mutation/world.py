"""What the tests of counterexample databases share: databases of a few lines, their search, and what a mutant keeps."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import apsw

from stages.databases.quoting import quoted
from stages.execution.comparison import Contract, Row
from stages.mutation.findings import Findings, Question, Settings
from stages.mutation.real_rows import Database, Table, key_of
from stages.mutation.rules import TableRules
from stages.mutation.search import Searcher
from tests.execution.world import LIMITS

_NUMBERS = count()


def write_database(folder: Path, script: str, encoding: str = "UTF-8") -> Path:
    """A database file made by an SQL script, which may call the functions `of_app` and `regexp` of an application, and
    read the numbers 1 to 300 from `n.x`, which is not in the file."""
    path = folder / f"{next(_NUMBERS)}.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.create_function("of_app", 1, lambda value: 1, deterministic=True)
        connection.create_function("regexp", 2, lambda pattern, value: 1, deterministic=True)
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        numbers = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 300) SELECT x FROM n"
        connection.execute(f"CREATE TEMP TABLE n AS {numbers}")
        connection.executescript(script)
    return path


def settings_of(contract: Contract = "strict", mutants: int = 10, seed: int = 1) -> Settings:
    return Settings(contract, seed, mutants, 1_000_000, LIMITS)


def search(path: Path, gold: str, *candidates: str, contract: Contract = "strict", mutants: int = 10) -> Findings:
    """The findings of one question, in this process."""
    return Searcher(settings_of(contract, mutants))(Question(str(path), gold, candidates))


def again(sql: str) -> str:
    """The same query in other tokens: a candidate with those of its gold is not executed."""
    return f"{sql} /* again */"


def kinds(findings: Findings) -> list[str]:
    return [finding.kind for finding in findings.candidates]


def opened(image: bytes) -> closing[apsw.Connection]:
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", image)
    return closing(connection)


def rows_of(connection: apsw.Connection, table: Table) -> list[Row]:
    columns = ", ".join(map(quoted, table.columns))
    return list(connection.execute(f"SELECT {columns} FROM {quoted(table.name)}"))


def broken_by_sqlite(connection: apsw.Connection) -> list[Row]:
    """What SQLite itself says against a database: of its types, NOT NULL, CHECK, keys and foreign keys."""
    problems: list[Row] = [row for row in connection.execute("PRAGMA integrity_check") if row != ("ok",)]
    return [*problems, *connection.execute("PRAGMA foreign_key_check")]


def broken_rules(database: Database, rules: dict[str, TableRules], connection: apsw.Connection) -> list[str]:
    """The mined rules that the rows of a mutant break, in words."""
    rows = {table.name: rows_of(connection, table) for table in database.tables}
    return [
        f"{table.name}: {problem}"
        for table in database.tables
        for problem in (
            *_broken_columns(table, rules[table.name], rows[table.name]),
            *_broken_blocks(table, rules[table.name], rows[table.name]),
            *_broken_references(table.name, rules[table.name], rows, database),
        )
    ]


def _broken_columns(table: Table, rules: TableRules, rows: Sequence[Row]) -> list[str]:
    """A foreign key may point at any parent, also at one that it does not point at in the data."""
    pointing = {place for reference in rules.references for place in reference.columns}
    problems = []
    for place, (name, column) in enumerate(zip(table.columns, rules.columns, strict=True)):
        cells = [row[place] for row in rows]
        present = [cell for cell in cells if cell is not None]
        numbers = [cell for cell in present if isinstance(cell, int | float)]
        kinds = {type(row[place]) for row in table.rows}
        low, high = column.low or 0, column.high or 0
        holds = {
            "type": {*map(type, cells)} <= kinds,
            "never NULL": not column.never_null or len(present) == len(cells),
            "closed": place in pointing or not column.closed or column.values.issuperset(present),
            "range": place in pointing or all(low <= number <= high for number in numbers),
        }
        problems += [f"{name} {rule}" for rule, is_kept in holds.items() if not is_kept]
    return problems


def _broken_blocks(table: Table, rules: TableRules, rows: Sequence[Row]) -> list[str]:
    """Of each block the cells of a row stand together in a real row, and so do the cells that stay with the key."""
    moving = {place for block in rules.blocks for place in block}
    fixed = tuple(place for place in range(len(table.columns)) if place not in moving)
    problems = [
        ", ".join(table.columns[place] for place in part)
        for part in [*rules.blocks, fixed]
        if len(part) > 1 and not {_cells(row, part) for row in rows} <= {_cells(row, part) for row in table.rows}
    ]
    for left, right in rules.ordered:
        pairs: list[tuple[Any, Any]] = [(row[left], row[right]) for row in rows if None not in (row[left], row[right])]
        if any(low > high for low, high in pairs):
            problems.append(f"{table.columns[left]} <= {table.columns[right]}")
    return problems


def _cells(row: Row, places: Sequence[int]) -> Row:
    return tuple(row[place] for place in places)


def _broken_references(name: str, rules: TableRules, rows: dict[str, list[Row]], database: Database) -> list[str]:
    real = {table.name: table.rows for table in database.tables}
    problems = []
    for reference in rules.references:
        used = {key for row in rows[name] if None not in (key := key_of(row, reference.columns))}
        keys = {key_of(row, reference.targets) for row in rows[reference.parent]}
        real_used = {key for row in real[name] if None not in (key := key_of(row, reference.columns))}
        if real_used <= {key_of(row, reference.targets) for row in real[reference.parent]} and not used <= keys:
            problems.append(f"{reference} dangles")
        if reference in rules.with_children and not keys <= used:
            problems.append(f"{reference} has a parent without children")
    return problems
