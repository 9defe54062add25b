"""Makes mutants of a database: few of its real rows, changed within the rules that its data keeps.

Every mutant is a sub-sample that follows the foreign keys. In it some columns are permuted, some values occur again,
foreign keys point at other rows, so that groups are empty, small or large, values lie just beside the constants of
queries, and NULLs stand where the column has some. All of this is drawn by the seed and the number of the mutant alone.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from stages.execution.comparison import Cell, Row
from stages.mutation.constants import Constants
from stages.mutation.real_rows import Database, Reference, Table, key_of
from stages.mutation.rules import TableRules

SIZES = (14, 8, 24, 40, 6, 18, 30, 11)
"""Rows of each table, about, of one mutant after the other."""

_LONGEST_CHAIN = 30  # of rows that point at rows of their own table, or round a cycle of tables

Rows = dict[str, dict[Row, None]]
"""Rows of each table by its name, in the order in which they were taken."""

Link = tuple[str, Reference]
"""The name of a table, and one of its foreign keys."""


@dataclass(slots=True)
class Mutant:
    """`rows` of each table by its name, and in `originals` the real row that each of them was; `changes`: what was
    done, in words, each with the name of its table; `aimed`: see `sample_rows`."""

    number: int
    aimed: bool
    rows: dict[str, list[list[Cell]]]
    originals: dict[str, list[Row]]
    changes: list[tuple[str, str]] = field(default_factory=list)


def sample_rows(
    database: Database, rules: Mapping[str, TableRules], constants: Constants, random: Random, number: int, aimed: bool
) -> Mutant:
    """A mutant of unchanged real rows: of each table some rows that hold constants of queries and some others, and all
    rows that these point at. `aimed`: the constants are those of one question, and many rows will take them, so that
    several conditions hold for one row."""
    size = SIZES[number % len(SIZES)]
    wanted = _constants_of_keys(database, rules, constants)
    rows: Rows = {}
    for table in database.tables:
        holding = _rows_with_constants(table, constants, wanted[table.name], random)[: size // 2 + 1]
        others = random.sample(table.rows, min(len(table.rows), size))
        rows[table.name] = dict.fromkeys([*holding, *others][:size])
    _close(rows, database, rules)
    place = {table.name: {row: place for place, row in enumerate(table.rows)} for table in database.tables}
    originals = {name: sorted(taken, key=place[name].__getitem__) for name, taken in rows.items()}
    mutant = Mutant(number, aimed, {name: list(map(list, taken)) for name, taken in originals.items()}, originals)
    for table in database.tables:
        if len(originals[table.name]) < len(table.rows) or not table.whole:
            mutant.changes.append((table.name, f"{len(originals[table.name])} of its rows"))
    return mutant


def _constants_of_keys(
    database: Database, rules: Mapping[str, TableRules], constants: Constants
) -> dict[str, dict[int, frozenset[Cell]]]:
    """Of each table, the constants that columns pointing at one of its columns are compared with."""
    keys: dict[str, dict[int, frozenset[Cell]]] = {table.name: {} for table in database.tables}
    for table in database.tables:
        for reference in rules[table.name].references:
            for place, target in zip(reference.columns, reference.targets, strict=True):
                values = constants.get(table.columns[place].lower(), frozenset())
                keys[reference.parent][target] = keys[reference.parent].get(target, frozenset()) | values
    return keys


def _rows_with_constants(
    table: Table, constants: Constants, keys: Mapping[int, frozenset[Cell]], random: Random
) -> list[Row]:
    """For each constant that is compared with a column, or with one that points at it, a row that holds it."""
    rows = []
    for place, name in enumerate(table.columns):
        values = constants.get(name.lower(), frozenset()) | keys.get(place, frozenset())
        holders: dict[Cell, list[Row]] = {}
        for row in table.rows if values else ():
            if row[place] in values:
                holders.setdefault(row[place], []).append(row)
        rows += [random.choice(holding) for holding in holders.values()]
    random.shuffle(rows)
    return rows


def _close(rows: Rows, database: Database, rules: Mapping[str, TableRules]) -> None:
    """Adds the rows that others point at. Then, where every parent has children in the data, takes away the parents
    that have none here, and what points at them."""
    tables = {table.name: table for table in database.tables}
    links = [(name, reference) for name in tables for reference in rules[name].references]
    for _ in range(_LONGEST_CHAIN):
        added = [_add_parents(rows, name, reference, tables[reference.parent]) for name, reference in links]
        if not any(added):
            break
    parental = [(name, reference) for name, reference in links if reference in rules[name].with_children]
    while any(_remove_childless(rows, name, reference, links) for name, reference in parental):
        pass


def _add_parents(rows: Rows, name: str, reference: Reference, parent: Table) -> bool:
    """Returns whether one was missing."""
    missing = {key_of(row, reference.columns) for row in rows[name]}
    missing -= {key_of(row, reference.targets) for row in rows[reference.parent]}
    parents = parent.rows if missing else ()
    added = [row for row in parents if key_of(row, reference.targets) in missing]
    rows[reference.parent].update(dict.fromkeys(added))
    return bool(added)


def _remove_childless(rows: Rows, name: str, reference: Reference, links: Sequence[Link]) -> bool:
    """Returns whether a parent was without a child."""
    used = {key_of(row, reference.columns) for row in rows[name]}
    childless = {row for row in rows[reference.parent] if key_of(row, reference.targets) not in used}
    _remove(rows, reference.parent, childless, links)
    return bool(childless)


def _remove(rows: Rows, name: str, removed: Collection[Row], links: Sequence[Link]) -> None:
    """Takes rows of a table away, and those that point at them."""
    waiting = [(name, removed)]
    while waiting:
        parent, gone = waiting.pop()
        rows[parent] = {row: None for row in rows[parent] if row not in gone}
        for child, reference in links if gone else ():
            if reference.parent == parent:
                keys = {key for row in gone if None not in (key := key_of(row, reference.targets))}
                waiting.append((child, {row for row in rows[child] if key_of(row, reference.columns) in keys}))
