"""Mines from the real rows of a table what its changed rows must still keep.

Types and keys are declared. Mined, without a model, are columns never NULL, categories, ranges, names, functional
dependencies, ordered columns, foreign keys that were not declared, and parents that all have children. What could hold
by chance is not taken for a rule.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TypeVar

from stages.execution.comparison import Cell, Row
from stages.mutation.real_rows import Database, Reference, Table, key_of

_Ordered = TypeVar("_Ordered", float, str)

MOST_CATEGORIES = 30
_ROWS_A_CATEGORY = 3  # on average, at least: else a further value is likely
_ROWS = 1000  # that dependencies are mined from
_COLUMNS = 40
_CHANCE = 0.01
_ORDERED_ROWS = 7
_NAMES = 50  # as many values that each occur once are no chance
_FEW_COLUMNS = 3  # of a table that does little else than name things; one more where it has two names for them
_TWO_NAMES = 8  # rows in which two names are no chance
_PARENTS = 10  # that all have children, with _CHILDREN each on average, are no chance
_CHILDREN = 2
_ALL_PARENTS = 50  # as many that all have a child are no chance, however few children each has
_SHARED_TEXTS = 5  # of a column that points at a key without saying so
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """What the values of a column keep. `kind`: the type of most, None where all are NULL; `low` and `high`: the range
    of its numbers; `closed`: it holds categories, and no further value may come; `unique`: each value occurs once in
    the data; `decimals`, `dates`: its texts are whole numbers, or dates as YYYY-MM-DD."""

    kind: type | None
    never_null: bool
    values: frozenset[Cell]
    low: float | None
    high: float | None
    closed: bool
    unique: bool
    decimals: bool
    dates: bool


@dataclass(frozen=True, slots=True)
class TableRules:
    """`columns`: by position; `blocks`: the columns that may change, those that depend on each other in one block (not
    the primary key, and no names, which stay with it); `ordered`: pairs of columns of which the first is never greater;
    `references`: declared and mined foreign keys; `with_children`: those of them whose every parent has a child."""

    columns: tuple[ColumnRules, ...]
    blocks: tuple[tuple[int, ...], ...]
    ordered: tuple[tuple[int, int], ...]
    references: tuple[Reference, ...]
    with_children: tuple[Reference, ...]


def mine(database: Database) -> dict[str, TableRules]:
    """The rules of each table, by its name."""
    tables = {table.name: table for table in database.tables}
    return {table.name: _mine(table, tables) for table in database.tables}


def _mine(table: Table, tables: Mapping[str, Table]) -> TableRules:
    columns = tuple(column_rules([row[place] for row in table.rows]) for place in range(len(table.columns)))
    references = (*table.references, *_undeclared(table, columns, tables))
    pointing = {place for reference in references for place in reference.columns}
    fixed = {*table.primary, *_names(table, columns)} - pointing
    free = [place for place in range(len(columns)) if place not in fixed][:_COLUMNS]
    rows = table.rows[:_ROWS]
    both = list(permutations(free, 2))
    ordered = tuple(pair for pair in both if _is_ordered(rows, *pair, columns))
    linked = [pair for pair in both if _depends(rows, *pair)]
    parental = tuple(
        reference for reference in references if _all_have_children(table, reference, tables[reference.parent])
    )
    return TableRules(columns, _blocks(free, [*linked, *ordered]), ordered, references, parental)


def column_rules(values: Sequence[Cell]) -> ColumnRules:
    """The rules of a column with these values."""
    present = [value for value in values if value is not None]
    kinds = Counter(map(type, present))
    numbers = [value for value in present if isinstance(value, int | float)]
    distinct = frozenset(present)
    return ColumnRules(
        kind=kinds.most_common(1)[0][0] if kinds else None,
        never_null=len(present) == len(values),
        values=distinct,
        low=min(numbers, default=None),
        high=max(numbers, default=None),
        closed=len(distinct) <= MOST_CATEGORIES and len(present) >= _ROWS_A_CATEGORY * len(distinct),
        unique=len(distinct) == len(present) > 1,
        decimals=bool(distinct) and all(isinstance(value, str) and value.isdecimal() for value in distinct),
        dates=bool(distinct) and all(isinstance(value, str) and _DATE.fullmatch(value) for value in distinct),
    )


def _names(table: Table, columns: Sequence[ColumnRules]) -> set[int]:
    """Columns that name what a row is about, as its key does: their values occur once, and there are too many of them
    for chance, or the key is a text too, or the table does little else."""
    key = table.primary
    unique = {place for place, rules in enumerate(columns) if rules.unique and rules.kind in (int, str)} - {*key}
    texts = {place for place in unique if columns[place].kind is str}
    has_text_key = len(key) == 1 and columns[key[0]].kind is str
    few = len(table.columns) <= _FEW_COLUMNS + (len(texts) > 1 and len(table.rows) >= _TWO_NAMES)
    return texts if has_text_key or few else {place for place in unique if len(columns[place].values) >= _NAMES}


def _undeclared(table: Table, columns: Sequence[ColumnRules], tables: Mapping[str, Table]) -> list[Reference]:
    """Foreign keys that are not declared: columns whose values all occur in the one key of another table, which has a
    column of the same name, or where there are many texts."""
    declared = {place for reference in table.references for place in reference.columns}
    keys = {parent.name: parent.primary[0] for parent in tables.values() if len(parent.primary) == 1}
    keys_of = {name: {key_of(row, [key]) for row in tables[name].rows} for name, key in keys.items()}
    candidates = [place for place in range(len(columns)) if place not in declared and place != keys.get(table.name)]
    references = []
    for place in candidates:
        rules = columns[place]
        for name, key in keys.items():
            parent = tables[name]
            same_name = parent.columns[key].lower() == table.columns[place].lower()
            many_texts = rules.kind is str and len(rules.values) >= _SHARED_TEXTS
            may_point = rules.values and name != table.name and parent.whole and (same_name or many_texts)
            if may_point and {key_of(row, [place]) for row in table.rows} - {(None,)} <= keys_of[name]:
                references.append(Reference((place,), name, (key,)))
                break
    return references


def _depends(rows: Sequence[Row], left: int, right: int) -> bool:
    """Whether the right column has one value for each of the left one, and that is no chance: as many rows as repeat a
    left value would have to agree on the right one, each as likely as any two rows of the table."""
    value_of: dict[Cell, Cell] = {}
    for row in rows:
        if value_of.setdefault(row[left], row[right]) != row[right]:
            return False
    counts = Counter(row[right] for row in rows)
    agreement = sum((count / len(rows)) ** 2 for count in counts.values())
    return len(counts) > 1 and agreement ** (len(rows) - len(value_of)) < _CHANCE


def _is_ordered(rows: Sequence[Row], left: int, right: int, columns: Sequence[ColumnRules]) -> bool:
    """Whether the left column is never greater, in enough rows, and although the ranges of both overlap."""
    if {columns[left].kind, columns[right].kind} <= {int, float}:
        numbers = [(row[left], row[right]) for row in rows]
        return _keeps_order([
            (low, high) for low, high in numbers if isinstance(low, int | float) and isinstance(high, int | float)
        ])  # fmt: skip
    if columns[left].dates and columns[right].dates:
        return _keeps_order([(str(row[left]), str(row[right])) for row in rows if row[left] and row[right]])
    return False


def _keeps_order(pairs: Sequence[tuple[_Ordered, _Ordered]]) -> bool:
    if len(pairs) < _ORDERED_ROWS or any(low > high for low, high in pairs):
        return False
    return max(low for low, _ in pairs) > min(high for _, high in pairs)


def _all_have_children(table: Table, reference: Reference, parent: Table) -> bool:
    """Whether no parent is without a child, in a table of so many parents and children that it is no chance."""
    parents = {key_of(row, reference.targets) for row in parent.rows}
    used = {key_of(row, reference.columns) for row in table.rows}
    several = len(parents) >= _PARENTS and len(table.rows) >= _CHILDREN * len(parents)
    enough = several or len(parents) >= _ALL_PARENTS
    return table.whole and parent.whole and enough and parents <= used


def _blocks(places: Sequence[int], linked: Sequence[tuple[int, int]]) -> tuple[tuple[int, ...], ...]:
    """The places in blocks, two linked ones always in one."""
    block = {place: place for place in places}
    for left, right in linked:
        kept, merged = sorted((block[left], block[right]))
        block = {place: kept if name == merged else name for place, name in block.items()}
    return tuple(tuple(place for place in places if block[place] == name) for name in sorted(set(block.values())))
