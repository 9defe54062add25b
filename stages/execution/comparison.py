"""The comparison contracts: is a result what the gold's result is?

Each contract is a pure function of two results. `cannot_match` decides early, from the first rows of a result, that
it differs. Cells are compared as Python compares them: 1 equals 1.0, NULL equals NULL, text
never equals a number or a BLOB. Only `strict` has a tolerance between floats: it also compares them rounded to 12
significant digits, as `x*100/n` and `x/n*100` differ in the last bit. SQLite makes NULL of a NaN.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Literal, get_args

Cell = int | float | str | bytes | None
Row = tuple[Cell, ...]

Contract = Literal["spider", "bird", "strict"]
CONTRACT_NAMES: tuple[Contract, ...] = get_args(Contract)


@dataclass(frozen=True)
class Result:
    """What a query returned: the number of columns (also without a row) and the rows in order. Do not change the rows
    after a comparison: what was computed from them is kept."""

    columns: int
    rows: list[Row]

    @cached_property
    def bag(self) -> Counter[Row]:
        """How often each row occurs."""
        return Counter(self.rows)

    def first_beyond(self, compared: "Result") -> Row | None:
        """The first row that occurs more often here than in the compared result; None where there is none."""
        beyond = self.bag - compared.bag
        return next((row for row in self.rows if row in beyond), None)

    @cached_property
    def cells(self) -> Counter[frozenset[Cell]]:
        """How often each set of cells occurs as a row: the same for any order of the columns."""
        return Counter(map(frozenset, self.rows))

    @cached_property
    def rounded(self) -> "Result":
        """The same result, its floats rounded to 12 significant digits; itself where there are none."""
        return Result(self.columns, list(map(rounded_row, self.rows))) if self.has_floats else self

    @cached_property
    def has_floats(self) -> bool:
        """Whether any cell is a float."""
        return any(float in map(type, row) for row in self.rows)


def spider(gold: Result, result: Result, ordered: bool) -> bool:
    """The Spider test-suite evaluator's rule, quirks included.

    Two empty results are equal whatever their columns. Otherwise: as many rows, as many columns, and some order of the
    columns makes the bags of rows (`ordered`: the lists of rows) equal. Quirk: the cells of each row, sorted by their
    text and type, must agree too, which can tell 1 from 1.0.
    """
    if not gold.rows and not result.rows:
        return True
    return _same_table(gold, result, ordered) and _spider_row_texts_agree(gold, result, ordered)


def bird(gold: Result, result: Result, ordered: bool) -> bool:
    """BIRD's rule: the sets of rows are equal. Order and duplicates do not count, the order of columns does."""
    return gold.bag.keys() == result.bag.keys()


def strict(gold: Result, result: Result, ordered: bool) -> bool:
    """This project's rule: as many columns (also where no row comes back), and some order of the columns makes the bags
    of rows (`ordered`: the lists of rows) equal, as they are or with the floats of both rounded to 12 significant
    digits. Duplicates count. Integers are never rounded: one of more than 12 digits equals the float of its value only
    where all other cells are equal as they are."""
    if _same_table(gold, result, ordered):
        return True
    floats = gold.has_floats or result.has_floats
    return floats and _same_table(gold.rounded, result.rounded, ordered)


CONTRACTS: dict[Contract, Callable[[Result, Result, bool], bool]] = {"spider": spider, "bird": bird, "strict": strict}


def cannot_match(contract: Contract, gold: Result, columns: int, rows: Sequence[Row], count: int) -> bool:
    """True if no further rows could make the result match the gold's under the contract. The result has `columns`
    columns and at least `count` rows; `rows` are some of these. False decides nothing: it may still differ."""
    if columns != gold.columns and (gold.rows or rows or contract == "strict"):
        return True
    if contract == "bird":
        return not all(map(gold.bag.__contains__, rows))
    if count > len(gold.rows):
        return True
    if all(map(gold.cells.__contains__, map(frozenset, rows))):
        return False
    return contract == "spider" or not all(map(gold.rounded.cells.__contains__, map(frozenset, map(rounded_row, rows))))


def digest(result: Result) -> str:
    """Hex sha256 of the bag of rows: equal for results that differ only in the order of rows, or in 1 for 1.0."""
    rows = sorted(repr(_integral(row)) for row in result.rows)
    return sha256("\n".join([str(result.columns), *rows]).encode()).hexdigest()


def rounded_row(row: Row) -> Row:
    """A row with its floats rounded to 12 significant digits."""
    if float not in map(type, row):
        return row
    return tuple(float(f"{cell:.12g}") if isinstance(cell, float) else cell for cell in row)


def _integral(row: Row) -> Row:
    if float not in map(type, row):
        return row
    return tuple(int(cell) if isinstance(cell, float) and cell.is_integer() else cell for cell in row)


def _same_table(gold: Result, result: Result, ordered: bool) -> bool:
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    if gold.rows == result.rows:
        return True
    if ordered:  # the same rows in the same order, columns in any: the bags of whole columns are equal
        return gold.columns > 1 and gold.cells == result.cells and _columns(gold.rows) == _columns(result.rows)
    if gold.bag == result.bag:
        return True
    if gold.columns == 1 or gold.cells != result.cells:
        return False
    return sorted(gold.bag.values()) == sorted(result.bag.values()) and _isomorphic(gold.bag, result.bag)


def _columns(rows: Iterable[Row]) -> Counter[tuple[Cell, ...]]:
    return Counter(zip(*rows, strict=True))


@dataclass(frozen=True, slots=True)
class _Table:
    """Distinct rows with their counts; columns that are equal in every row are kept once (`copies` says how often).
    Cells are numbered, so that values made to share a hash cannot slow the search down."""

    counts: list[int]
    columns: list[tuple[int, ...]]
    copies: list[int]

    @staticmethod
    def of(bag: Counter[Row], numbers: dict[Cell, int]) -> "_Table":
        columns = Counter(
            tuple(numbers.setdefault(cell, len(numbers)) for cell in column) for column in zip(*bag, strict=True)
        )
        return _Table(list(bag.values()), list(columns), list(columns.values()))


def _isomorphic(gold: Counter[Row], bag: Counter[Row]) -> bool:
    """Whether some order of the columns makes the two bags of rows equal.

    Columns get colours that no right order can mix: by how often they occur and the values they hold, then by the
    values they hold in rows that look alike, until no colour splits further. Only columns that still share a colour are
    tried against each other. Colours are hashes: if two collide, one more order is tried, and compared exactly.
    """
    numbers: dict[Cell, int] = {}
    left, right = _Table.of(gold, numbers), _Table.of(bag, numbers)
    return _search(left, right, _first_colours(left), _first_colours(right))


def _search(gold: _Table, table: _Table, left: list[int], right: list[int]) -> bool:
    while True:
        if sorted(left) != sorted(right):
            return False
        shared = Counter(left)
        if len(shared) == len(left):
            return _placed(gold, left) == _placed(table, right)
        finer = _recoloured(gold, left)
        if len(set(finer)) == len(shared):
            break
        left, right = finer, _recoloured(table, right)
    colour = min((c for c in shared if shared[c] > 1), key=lambda c: (shared[c], c))
    fresh = max(left) + 1
    chosen = _replaced(left, left.index(colour), fresh)
    tries = [i for i, c in enumerate(right) if c == colour]
    return any(_search(gold, table, chosen, _replaced(right, i, fresh)) for i in tries)


def _replaced(colours: list[int], index: int, colour: int) -> list[int]:
    return [*colours[:index], colour, *colours[index + 1 :]]


def _placed(table: _Table, colours: list[int]) -> Counter[tuple[int, Row]]:
    columns = [column for _, column in sorted(zip(colours, table.columns, strict=True), key=lambda pair: pair[0])]
    return Counter(zip(table.counts, zip(*columns, strict=True), strict=True))


def _first_colours(table: _Table) -> list[int]:
    """Columns told apart by what they hold, without looking at whole rows."""
    return [
        hash((copies, sum(map(hash, zip(table.counts, column, strict=True)))))
        for copies, column in zip(table.copies, table.columns, strict=True)
    ]


def _recoloured(table: _Table, colours: list[int]) -> list[int]:
    """One round: rows are told apart by their cells' colours and values, then columns by their rows and values. Sums
    of hashes: the order of columns and of rows does not count."""
    rows = [
        hash((count, sum(map(hash, zip(colours, row, strict=True)))))
        for count, row in zip(table.counts, zip(*table.columns, strict=True), strict=True)
    ]
    return [
        hash((colour, sum(map(hash, zip(rows, column, strict=True)))))
        for colour, column in zip(colours, table.columns, strict=True)
    ]


def _spider_row_texts_agree(gold: Result, result: Result, ordered: bool) -> bool:
    if not gold.has_floats and not result.has_floats:
        return True
    left = [tuple(sorted(row, key=_text_and_type)) for row in gold.rows]
    right = [tuple(sorted(row, key=_text_and_type)) for row in result.rows]
    return left == right if ordered else set(left) == set(right)


def _text_and_type(cell: Cell) -> str:
    return str(cell) + str(type(cell))
