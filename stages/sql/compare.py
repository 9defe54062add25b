"""The comparison contracts: is a result what the gold's result is?

Each contract is a pure function of two results. Cells are compared as Python compares them: 1 equals 1.0, NULL equals
NULL, text never equals a number or a BLOB, and there is no tolerance between floats. SQLite makes NULL of a NaN.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, get_args

Cell = int | float | str | bytes | None
Row = tuple[Cell, ...]

Contract = Literal["spider", "bird", "strict"]
CONTRACT_NAMES: tuple[Contract, ...] = get_args(Contract)


@dataclass(frozen=True, slots=True)
class Result:
    """What a query returned: the number of columns (also where there is no row) and the rows in order."""

    columns: int
    rows: list[Row]


def spider(gold: Result, result: Result, ordered: bool) -> bool:
    """The Spider test-suite evaluator's rule, quirks included.

    Two empty results are equal whatever their columns. Otherwise: as many rows, as many columns, and some order of the
    columns makes the bags of rows (`ordered`: the lists of rows) equal. Quirk: the cells of each row, sorted by their
    text and type, must agree too, which can part 1 from 1.0.
    """
    if not gold.rows and not result.rows:
        return True
    if not _same_table(gold, result, ordered):
        return False
    return _spider_row_texts_agree(gold.rows, result.rows, ordered)


def bird(gold: Result, result: Result, ordered: bool) -> bool:
    """BIRD's rule: the sets of rows are equal. Order and duplicates do not count, the order of columns does."""
    return set(gold.rows) == set(result.rows)


def strict(gold: Result, result: Result, ordered: bool) -> bool:
    """This project's rule: as many columns (also where no row comes back), and some order of the columns makes the bags
    of rows (`ordered`: the lists of rows) equal. Duplicates count."""
    return _same_table(gold, result, ordered)


CONTRACTS: dict[Contract, Callable[[Result, Result, bool], bool]] = {"spider": spider, "bird": bird, "strict": strict}


def digest(result: Result) -> str:
    """Hex sha256 of the bag of rows: equal for results that differ only in the order of rows, or in 1 for 1.0."""
    rows = sorted(repr(_integral(row)) for row in result.rows)
    return sha256("\n".join([str(result.columns), *rows]).encode()).hexdigest()


def _integral(row: Row) -> Row:
    if float not in map(type, row):
        return row
    return tuple(int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in row)


def _same_table(gold: Result, result: Result, ordered: bool) -> bool:
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    if ordered:  # the same rows in the same order, columns in any: the bags of whole columns are equal
        return gold.rows == result.rows or _bag(zip(*gold.rows, strict=True)) == _bag(zip(*result.rows, strict=True))
    gold_bag, bag = Counter(gold.rows), Counter(result.rows)
    if gold_bag == bag:
        return True
    if gold.columns == 1 or sorted(gold_bag.values()) != sorted(bag.values()):
        return False
    return _isomorphic(_Table.of(gold_bag), _Table.of(bag))


def _bag(columns: "zip[tuple[Cell, ...]]") -> Counter[tuple[Cell, ...]]:
    return Counter(columns)


@dataclass(frozen=True, slots=True)
class _Table:
    """Distinct rows with their counts; columns that are equal in every row are kept once (`copies` says how often)."""

    counts: list[int]
    columns: list[tuple[Cell, ...]]
    copies: list[int]

    @staticmethod
    def of(bag: Counter[Row]) -> "_Table":
        columns = Counter(zip(*bag, strict=True))
        return _Table(list(bag.values()), list(columns), list(columns.values()))


def _isomorphic(gold: _Table, table: _Table) -> bool:
    """Whether some order of the columns makes the two bags of rows equal.

    Columns get colours that no right order can mix: by how often they occur, then by the values they hold in rows that
    look alike, until colours part no further. Only columns that still share a colour are tried against each other.
    """
    return len(gold.columns) == len(table.columns) and _search(gold, table, gold.copies, table.copies)


def _search(gold: _Table, table: _Table, left: Sequence[int], right: Sequence[int]) -> bool:
    colours = _refined(gold, table, left, right)
    if colours is None:
        return False
    left, right = colours
    shared = Counter(left)
    if len(shared) == len(left):
        return _placed(gold, left) == _placed(table, right)
    colour = min((c for c in shared if shared[c] > 1), key=lambda c: (shared[c], c))
    fresh = max(left) + 1
    chosen = _replaced(left, left.index(colour), fresh)
    tries = [i for i, c in enumerate(right) if c == colour]
    return any(_search(gold, table, chosen, _replaced(right, i, fresh)) for i in tries)


def _replaced(colours: Sequence[int], index: int, colour: int) -> list[int]:
    return [*colours[:index], colour, *colours[index + 1 :]]


def _placed(table: _Table, colours: Sequence[int]) -> Counter[tuple[int, Row]]:
    columns = [column for _, column in sorted(zip(colours, table.columns, strict=True), key=lambda pair: pair[0])]
    return Counter(zip(table.counts, zip(*columns, strict=True), strict=True))


def _refined(
    gold: _Table, table: _Table, left: Sequence[int], right: Sequence[int]
) -> tuple[Sequence[int], Sequence[int]] | None:
    """The finest colours that looking at whole rows gives, or None where they show the tables to be different."""
    while True:
        names: dict[object, int] = {}
        new_left, new_right = _recoloured(gold, left, names), _recoloured(table, right, names)
        if sorted(new_left) != sorted(new_right):
            return None
        if len(set(new_left)) == len(set(left)):
            return new_left, new_right
        left, right = new_left, new_right


def _recoloured(table: _Table, colours: Sequence[int], names: dict[object, int]) -> list[int]:
    """One round: rows are told apart by their cells' colours and values, then columns by their rows and values.
    `names` numbers what was seen, alike for both tables."""
    rows = [
        names.setdefault((count, frozenset(Counter(zip(colours, row, strict=True)).items())), len(names))
        for count, row in zip(table.counts, zip(*table.columns, strict=True), strict=True)
    ]
    return [
        names.setdefault((colour, frozenset(Counter(zip(rows, column, strict=True)).items())), len(names))
        for colour, column in zip(colours, table.columns, strict=True)
    ]


def _spider_row_texts_agree(gold: list[Row], rows: list[Row], ordered: bool) -> bool:
    if not any(isinstance(cell, float) for row in (*gold, *rows) for cell in row):
        return True
    left = [tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell)))) for row in gold]
    right = [tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell)))) for row in rows]
    return left == right if ordered else set(left) == set(right)
