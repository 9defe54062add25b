"""The changes of a mutant: what is done to its rows, within the rules of each table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from random import Random

from stages.execution.comparison import Cell, Row
from stages.mutation.constants import Constants
from stages.mutation.mutants import Mutant, sample_rows
from stages.mutation.near_values import values_beside
from stages.mutation.real_rows import Database, Reference, Table, key_of
from stages.mutation.rules import TableRules

_SHARE = 0.45  # of the columns, by each kind of change
_NULL_SHARE = 0.2  # of the rows
_MOST_VALUES = 4  # beside constants, in one column


def make_mutant(
    database: Database, rules: Mapping[str, TableRules], constants: Constants, seed: int, number: int, aimed: bool
) -> Mutant:
    """The mutant with this number, of the `rules` that `stages.mutation.rules.mine` found: the same rows for the same
    arguments. `aimed`: see `stages.mutation.mutants.sample_rows`."""
    random = Random(f"{seed}/{number}")
    mutant = sample_rows(database, rules, constants, random, number, aimed)
    names = {table.name: [name.lower() for name in table.columns] for table in database.tables}
    targets = [(link.parent, place) for each in rules.values() for link in each.references for place in link.targets]
    for table in database.tables:
        if len(mutant.rows[table.name]) > 1:
            pointed_at = frozenset(place for name, place in targets if name == table.name)
            _change(_Changes(table, rules[table.name], mutant, constants, random, names, database.texts, pointed_at))
    return mutant


@dataclass(frozen=True, slots=True)
class _Changes:
    """A table of a mutant, and what it is changed with. `names`: the columns of every table, in lower case; `texts`: of
    the whole database; `pointed_at`: the columns of this table that foreign keys point at."""

    table: Table
    rules: TableRules
    mutant: Mutant
    constants: Constants
    random: Random
    names: Mapping[str, Sequence[str]]
    texts: frozenset[str]
    pointed_at: frozenset[int]

    @property
    def rows(self) -> list[list[Cell]]:
        return self.mutant.rows[self.table.name]

    def note(self, places: Sequence[int], what: str) -> None:
        """Writes down what was done to columns."""
        columns = ", ".join(self.table.columns[place] for place in places)
        self.mutant.changes.append((self.table.name, f"{columns} {what}"))

    def drawn(self, share: float = _SHARE) -> bool:
        return self.random.random() < share


def _change(changes: _Changes) -> None:
    pointing = {place for reference in changes.rules.references for place in reference.columns}
    keys = {place for key in changes.table.keys for place in key}
    for reference in changes.rules.references:
        if changes.drawn():
            _point_elsewhere(changes, reference)
    blocks = [block for block in changes.rules.blocks if pointing.isdisjoint(block)]
    for block in blocks:
        if changes.drawn():
            _permute(changes, block)
    free = [block for block in blocks if keys.isdisjoint(block)]
    if free and changes.drawn():
        _repeat(changes, [place for block in free for place in block])
    for block in free:
        if changes.drawn():
            _repeat(changes, block)
        if len(block) == 1:
            _write_nulls(changes, block[0])
        for place in block:
            _move_to_constants(changes, block, place)


def _permute(changes: _Changes, block: Sequence[int]) -> None:
    """The values of the block change rows, those of all its columns together."""
    parts = [[row[place] for place in block] for row in changes.rows]
    changes.random.shuffle(parts)
    for row, part in zip(changes.rows, parts, strict=True):
        for place, value in zip(block, part, strict=True):
            row[place] = value
    changes.note(block, "permuted")


def _repeat(changes: _Changes, block: Sequence[int]) -> None:
    """A third of the rows take the values of another row. With all columns outside of keys as the block, they repeat
    that row as far as keys allow."""
    for row in changes.random.sample(changes.rows, max(1, len(changes.rows) // 3)):
        source = changes.random.choice(changes.rows)
        for place in block:
            row[place] = source[place]
    changes.note(block, "repeated")


def _write_nulls(changes: _Changes, place: int) -> None:
    """Some rows have NULL, in a column that has some in the data."""
    rules = changes.rules.columns[place]
    if rules.never_null or not rules.values or not changes.drawn():
        return
    for row in changes.rows:
        if changes.drawn(_NULL_SHARE):
            row[place] = None
    changes.note([place], "NULL in some rows")


def _move_to_constants(changes: _Changes, block: Sequence[int], place: int) -> None:
    """Rows take the constants that queries compare the column with, and the values just beside them. A text that the
    data holds, but only in other columns, is compared with one of those."""
    constants = changes.constants.get(changes.table.columns[place].lower(), frozenset())
    rules = changes.rules.columns[place]
    usable = [value for value in values_beside(constants, rules) if value in rules.values or value not in changes.texts]
    if not usable or not changes.drawn(2 * _SHARE):
        return
    values = changes.random.sample(usable, min(len(usable), _MOST_VALUES))
    count = len(changes.rows) if changes.mutant.aimed else 2 * len(values)
    rows = changes.random.sample(changes.rows, min(2 * len(changes.rows) // 3 + 1, count))
    placed = [
        value for row, value in zip(rows, cycle(values), strict=False) if _place(changes, block, place, row, value)
    ]
    if placed:
        changes.note([place], f"set to {', '.join(map(repr, dict.fromkeys(placed)))} in some rows")


def _place(changes: _Changes, block: Sequence[int], place: int, row: list[Cell], value: Cell) -> bool:
    """Writes the value; in a block of several columns, the values of the whole block from a real row that holds it."""
    if len(block) == 1:
        row[place] = value
        return True
    sources = [source for source in changes.table.rows if source[place] == value]
    if not sources:
        return False
    source = changes.random.choice(sources)
    for copied in block:
        row[copied] = source[copied]
    return True


def _point_elsewhere(changes: _Changes, reference: Reference) -> None:
    """Each row points at another parent: few parents have many children, some have none. Columns that a rule links with
    others, or that rows of another table point at, stay."""
    parents = _parents(changes, reference)
    alone = all((place,) in changes.rules.blocks for place in reference.columns)
    if len(parents) < 2 or not alone or not changes.pointed_at.isdisjoint(reference.columns):
        return
    weights = [1 / (rank + 1) for rank in range(len(parents))]
    keys = _Keys(changes.table, changes.rows)
    for row in changes.rows:
        if None in (row[place] for place in reference.columns):
            continue
        itself = key_of(row, reference.targets) if reference.parent == changes.table.name else None
        for parent in changes.random.choices(parents, weights, k=3):
            if parent != itself and keys.replace(row, reference.columns, _as_stored(changes, reference, parent)):
                break
    if reference in changes.rules.with_children:
        _give_children(changes, reference, parents, keys)
    changes.note(reference.columns, f"of other rows of {reference.parent}")


def _parents(changes: _Changes, reference: Reference) -> list[Row]:
    """The keys of the parents in random order; of an aimed mutant, first those that hold a constant of the question,
    or are one that the foreign key is compared with."""
    names = changes.names[reference.parent]
    compared = [changes.constants.get(changes.table.columns[place].lower(), ()) for place in reference.columns]
    holding: dict[Row, bool] = {}
    for row in changes.mutant.rows[reference.parent]:
        key = key_of(row, reference.targets)
        holds = any(value in changes.constants.get(name, ()) for name, value in zip(names, row, strict=True))
        holding[key] = holds or any(value in values for value, values in zip(key, compared, strict=True))
    parents = [key for key in holding if None not in key]
    changes.random.shuffle(parents)
    return sorted(parents, key=lambda key: not holding[key]) if changes.mutant.aimed else parents


def _as_stored(changes: _Changes, reference: Reference, key: Row) -> Row:
    """A key as the foreign key holds it, which may be a text where the key is a number."""
    kinds = [changes.rules.columns[place].kind for place in reference.columns]
    return tuple(str(cell) if kind is str else cell for kind, cell in zip(kinds, key, strict=True))


def _give_children(changes: _Changes, reference: Reference, parents: Sequence[Row], keys: "_Keys") -> None:
    """Each parent without a child takes one from a parent that has several."""
    children = Counter(key_of(row, reference.columns) for row in changes.rows)
    for parent in parents:
        for row in changes.rows if not children[parent] else ():
            before = key_of(row, reference.columns)
            stored = _as_stored(changes, reference, parent)
            if children[before] > 1 and keys.replace(row, reference.columns, stored):
                children[before] -= 1
                children[parent] += 1
                break


class _Keys:
    """The keys of the rows of a table, none of which occurs twice."""

    def __init__(self, table: Table, rows: Sequence[list[Cell]]) -> None:
        self._keys = table.keys
        self._taken = [{key_of(row, key) for row in rows} for key in table.keys]

    def replace(self, row: list[Cell], places: Sequence[int], values: Sequence[Cell]) -> bool:
        """Writes the values into the row, and returns True; or False, if another row has its key then."""
        before = [key_of(row, key) for key in self._keys]
        replaced = [row[place] for place in places]
        for place, value in zip(places, values, strict=True):
            row[place] = value
        after = [key_of(row, key) for key in self._keys]
        new = [place for place, (left, right) in enumerate(zip(before, after, strict=True)) if left != right]
        if any(after[place] in self._taken[place] and None not in after[place] for place in new):
            for place, value in zip(places, replaced, strict=True):
                row[place] = value
            return False
        for place in new:
            self._taken[place].discard(before[place])
            self._taken[place].add(after[place])
        return True
