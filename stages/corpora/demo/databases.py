"""Draws the databases of a domain: their tables, names and rows."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from graphlib import TopologicalSorter
from itertools import combinations
from typing import Literal, TypeVar

import apsw

from stages.core.errors import UserError
from stages.corpora.demo import domains

Value = str | int | float | None
N = TypeVar("N", int, float)

SIZES = {2: 15, 3: 45, 4: 30, 5: 10}
"""Number of tables of a database to its weight, in percent."""
MAX_DRAWS = 200
"""Draws of a database after which a domain counts as exhausted."""
MAX_COLUMNS = 5
"""Columns of a table, not counting keys."""


@dataclass(frozen=True)
class Column:
    """A drawn column that is not a key. `high` and `low`: the superlatives of its numbers, or empty."""

    name: str
    kind: Literal["label", "category", "number"]
    high: str
    low: str
    values: tuple[Value, ...]

    @property
    def stored(self) -> list[str | int | float]:
        """The distinct values without NULL, sorted."""
        return sorted({value for value in self.values if value is not None})

    @property
    def years(self) -> bool:
        """Whether the numbers look like years. Nobody adds up years."""
        return self.kind == "number" and all(isinstance(value, int) and 1000 <= value <= 2100 for value in self.stored)


@dataclass(frozen=True)
class Table:
    """A drawn table. `parents`: parent table to the words of the relation; `keys`: parent table to the referenced id of
    each row."""

    name: str
    plural: str
    columns: tuple[Column, ...]
    parents: dict[str, str]
    keys: dict[str, tuple[int, ...]]
    keys_first: bool
    rows: int


@dataclass(frozen=True)
class Database:
    """A drawn database. The tables are in the order of creation."""

    db_id: str
    tables: tuple[Table, ...]


def draw_databases(domain: domains.Domain, count: int, seed: int) -> list[Database]:
    """Draws `<domain>_1` … `<domain>_<count>`, no two with the same table and column names. Other domains have no
    influence. Raises UserError if the domain has too few names for that.
    """
    drawn: dict[object, Database] = {}
    for number in range(1, count + 1):
        rng = random.Random(f"{seed}/{domain.domain}_{number}")
        for _ in range(MAX_DRAWS):
            database = _draw_database(domain, f"{domain.domain}_{number}", rng)
            names = ((table.name, frozenset(column.name for column in table.columns)) for table in database.tables)
            if drawn.setdefault(frozenset(names), database) is database:
                break
        else:
            raise UserError(f"domain {domain.domain}: its names give fewer than {count} different databases; add some")
    return list(drawn.values())


def load(database: Database, reverse_ids: bool = False) -> apsw.Connection:
    """Creates the database in memory and returns a connection; `serialize("main")` gives the bytes of its file.
    `reverse_ids`: number the rows of every table from last to first, which gives the same content in another order."""
    sizes = {table.name: table.rows for table in database.tables}
    connection = apsw.Connection(":memory:")
    connection.execute("PRAGMA page_size = 1024")
    with connection:
        for table in database.tables:
            connection.execute(_create(table))
            rows = [_row(table, index, sizes, reverse_ids) for index in range(table.rows)]
            placeholders = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table.name} VALUES ({placeholders})", rows)
    return connection


def _draw_database(domain: domains.Domain, db_id: str, rng: random.Random) -> Database:
    chosen = _draw_tables(domain, rng)
    keys = {table.key for table in chosen}
    graph = {table.key: [parent for parent in table.belongs_to if parent in keys] for table in chosen}
    has_children = {parent for parents in graph.values() for parent in parents}
    by_key, keys_first = {table.key: table for table in chosen}, rng.random() < 0.5
    drawn: dict[str, Table] = {}
    for key in TopologicalSorter(graph).static_order():
        parents = {parent: drawn[parent] for parent in graph[key]}
        drawn[key] = _draw_table(domain, by_key[key], parents, key in has_children, keys_first, rng)
    tables = list(drawn.values())
    if rng.random() < 0.5:
        rng.shuffle(tables)
    return Database(db_id, tuple(tables))


def _draw_tables(domain: domains.Domain, rng: random.Random) -> list[domains.Table]:
    sizes = {size: sets for size in SIZES if (sets := [list(c) for c in combinations(domain.tables, size) if _fits(c)])}
    size = rng.choices(list(sizes), [SIZES[size] for size in sizes])[0]
    return rng.choice(sizes[size])


def _fits(tables: Sequence[domains.Table]) -> bool:
    """Whether the tables are connected, and those without a label have all their parents."""
    keys = {table.key for table in tables}
    if any(not table.labelled and not keys.issuperset(table.belongs_to) for table in tables):
        return False
    links = [{table.key, parent} for table in tables for parent in table.belongs_to if parent in keys]
    reached = {tables[0].key}
    for _ in tables:
        reached |= {key for link in links if link & reached for key in link}
    return reached == keys


def _draw_table(
    domain: domains.Domain, table: domains.Table, parents: dict[str, Table], has_children: bool, keys_first: bool,
    rng: random.Random,
) -> Table:
    name, _, plural = rng.choice(table.table).partition("/")
    columns = _draw_columns(table, rng)
    rows = rng.randint(7, 12) if has_children else rng.randint(10, 18)
    rows = min(rows, *(len(domain.pools[column.pool]) for column in columns if column.unique and column.pool), rows)
    drawn = [_draw_column(column, domain.pools, rows, rng) for column in columns]
    if table.labelled:
        drawn[0] = replace(drawn[0], kind="label")
    return Table(
        name=name,
        plural=plural.replace("_", " ") or _plural(name.replace("_", " ")),
        columns=tuple(drawn),
        parents={parent.name: table.belongs_to[key] for key, parent in parents.items()},
        keys={parent.name: _draw_keys(parent.rows, rows, rng) for parent in parents.values()},
        keys_first=keys_first,
        rows=rows,
    )


def _draw_columns(table: domains.Table, rng: random.Random) -> list[domains.Column]:
    """Draws the columns: the label, half of the optional ones, and of the rest so many that there are MAX_COLUMNS."""
    kept = [column for column in table.columns if not (column.optional and rng.random() < 0.5)] or table.columns[:1]
    dropped = rng.sample(kept[1:], max(0, len(kept) - MAX_COLUMNS))
    return [column for column in kept if column not in dropped]


def _draw_column(column: domains.Column, pools: dict[str, list[str]], rows: int, rng: random.Random) -> Column:
    values: list[Value]
    if column.pool is None:
        values = [*_draw_numbers(column, rows, rng)]
    elif column.unique:
        values = [*rng.sample(pools[column.pool], rows)]
    else:
        values = [*_draw_category(pools[column.pool], rows, rng)]
    if column.nulls:
        for row in rng.sample(range(rows), rng.randint(1, max(1, rows // 6))):
            values[row] = None
    kind: Literal["category", "number"] = "category" if column.pool else "number"
    return Column(rng.choice(column.name), kind, column.high or "", column.low or "", tuple(values))


def _draw_category(pool: list[str], rows: int, rng: random.Random) -> list[str]:
    """Draws repeated values: 3 to 5 of the pool, each at least once, with random weights."""
    values = rng.sample(pool, rng.randint(3, min(5, len(pool))))
    drawn = values + rng.choices(values, [rng.random() for _ in values], k=rows - len(values))
    rng.shuffle(drawn)
    return drawn


def _draw_numbers(column: domains.Column, rows: int, rng: random.Random) -> list[int] | list[float]:
    """Draws numbers of the range, rounded if it is wide so that they stay short. Half of the columns have ties."""
    if column.real:
        return _draw_steps(_tenths(*column.real), rows, column.unique, rng)
    low, high = column.whole or (0, 0)
    step = 10 ** max(0, int(math.log10(high - low)) - 2)
    return _draw_steps(range(-(-low // step) * step, high + 1, step), rows, column.unique, rng)


@cache
def _tenths(low: float, high: float) -> tuple[float, ...]:
    return tuple(round(low + i / 10, 1) for i in range(round((high - low) * 10) + 1))


def _draw_steps(steps: Sequence[N], rows: int, unique: bool, rng: random.Random) -> list[N]:
    distinct = unique or rng.random() < 0.5
    if distinct and len(steps) >= rows:
        return rng.sample(steps, rows)
    return rng.choices(rng.sample(steps, min(len(steps), rows * 2 // 3)), k=rows)


def _draw_keys(parents: int, rows: int, rng: random.Random) -> tuple[int, ...]:
    """Draws a parent id for each row. About a quarter of the parents, and at least one, has no children."""
    used = rng.sample(range(1, parents + 1), parents - max(1, parents // 4))
    return tuple(rng.choices(used, [0.3 + rng.random() for _ in used], k=rows))


def _plural(words: str) -> str:
    if words.endswith("y") and words[-2] not in "aeiou":
        return words[:-1] + "ies"
    return words + ("es" if words.endswith(("s", "x", "z", "ch", "sh")) else "s")


def _create(table: Table) -> str:
    types = {"label": "TEXT", "category": "TEXT", "number": "INTEGER"}
    columns = [
        f"{column.name} {'REAL' if any(isinstance(value, float) for value in column.values) else types[column.kind]}"
        for column in table.columns
    ]
    keys = [f"{parent}_id INTEGER" for parent in table.parents]
    references = [f"FOREIGN KEY ({parent}_id) REFERENCES {parent} ({parent}_id)" for parent in table.parents]
    body = keys + columns if table.keys_first else columns + keys
    return f"CREATE TABLE {table.name} ({', '.join([f'{table.name}_id INTEGER PRIMARY KEY', *body, *references])})"


def _row(table: Table, index: int, sizes: dict[str, int], reverse_ids: bool) -> list[Value]:
    def row_id(name: str, number: int) -> int:
        return sizes[name] + 1 - number if reverse_ids else number

    values: list[Value] = [column.values[index] for column in table.columns]
    keys: list[Value] = [row_id(parent, numbers[index]) for parent, numbers in table.keys.items()]
    return [row_id(table.name, index + 1), *(keys + values if table.keys_first else values + keys)]
