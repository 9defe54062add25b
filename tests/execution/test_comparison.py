import json
import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.execution.comparison import CONTRACTS, Cell, Contract, Result, Row, cannot_match, digest, strict
from tests import FIXTURES

CASES = json.loads((FIXTURES / "sql" / "compare.json").read_text(encoding="utf-8"))
CELL = st.sampled_from([None, 0, 1, 1.0, 2.5, "", "1", "a", b"a"])


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    width = draw(st.integers(1, 4))
    return draw(st.lists(st.tuples(*[CELL] * width), max_size=6))


def result(rows: list[Row], columns: int | None = None) -> Result:
    return Result(columns or (len(rows[0]) if rows else 1), rows)


def read_rows(rows: list[list[Any]]) -> list[Row]:
    return [tuple(bytes.fromhex(cell["blob"]) if isinstance(cell, dict) else cell for cell in row) for row in rows]


@pytest.mark.parametrize("contract", CONTRACTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_each_contract_decides_each_case_as_its_rule_says(case: dict[str, Any], contract: Contract) -> None:
    gold = result(read_rows(case["gold"]), case.get("gold_columns"))
    other = result(read_rows(case["rows"]), case.get("columns"))
    assert CONTRACTS[contract](gold, other, case.get("ordered", False)) is case[contract]


@pytest.mark.parametrize("contract", CONTRACTS)
@given(one=tables(), other=tables(), ordered=st.booleans())
def test_comparing_is_symmetric(contract: Contract, one: list[Row], other: list[Row], ordered: bool) -> None:
    compare = CONTRACTS[contract]
    assert compare(result(one), result(other), ordered) == compare(result(other), result(one), ordered)


@pytest.mark.parametrize("contract", CONTRACTS)
@given(rows=tables(), seed=st.integers(0, 9))
def test_the_order_of_rows_does_not_count_where_the_gold_is_unordered(
    contract: Contract, rows: list[Row], seed: int
) -> None:
    assert CONTRACTS[contract](result(rows), result(random.Random(seed).sample(rows, len(rows))), False)


@pytest.mark.parametrize("contract", ["spider", "strict"])
@given(rows=tables(), seed=st.integers(0, 9), ordered=st.booleans())
def test_the_order_of_columns_never_counts(contract: Contract, rows: list[Row], seed: int, ordered: bool) -> None:
    width = len(rows[0]) if rows else 1
    places = random.Random(seed).sample(range(width), width)
    assert CONTRACTS[contract](result(rows), result([tuple(row[i] for i in places) for row in rows]), ordered)


@given(one=tables(), other=tables())
def test_strict_finds_what_trying_every_order_of_columns_finds(one: list[Row], other: list[Row]) -> None:
    assert strict(result(one), result(other), False) == by_permutations(one, other)


def by_permutations(one: list[Row], other: list[Row]) -> bool:
    from collections import Counter
    from itertools import permutations

    if not one or not other:
        return one == other
    width = len(one[0])
    bag = Counter(one)
    return len(other[0]) == width and any(
        bag == Counter(tuple(row[i] for i in places) for row in other) for places in permutations(range(width))
    )


FLOATS = st.floats(allow_nan=False).flatmap(lambda value: st.sampled_from([value, math.nextafter(value, 0), -value]))


@given(one=FLOATS, other=FLOATS)
def test_strict_takes_two_floats_for_one_that_agree_in_twelve_significant_digits(one: float, other: float) -> None:
    agree = one == other or f"{one:.11e}" == f"{other:.11e}"
    assert strict(result([(one,)]), result([(other,)]), False) is agree


@given(cells=st.lists(FLOATS, min_size=1, max_size=6), seed=st.integers(0, 9))
def test_results_that_are_one_under_strict_are_never_told_apart_early(cells: list[float], seed: int) -> None:
    nudged: list[Row] = [(math.nextafter(cell, 0),) for cell in random.Random(seed).sample(cells, len(cells))]
    gold = result([(cell,) for cell in cells])
    if strict(gold, result(nudged), False):
        assert not cannot_match("strict", gold, 1, nudged[:1], len(nudged))
        assert not cannot_match("strict", gold, 1, nudged, len(nudged))


def test_strict_tells_results_with_floats_apart_early() -> None:
    gold = result([(0.3, "a")])
    assert cannot_match("strict", gold, 2, [(0.30000000001, "a")], 1)
    assert not cannot_match("strict", gold, 2, [("a", 0.30000000000000004)], 1)
    assert cannot_match("spider", gold, 2, [("a", 0.30000000000000004)], 1)


ROWS = 100_000
WIDE: dict[str, Callable[[random.Random], list[Row]]] = {
    "twelve equal columns": lambda _: [(number % 7,) * 12 for number in range(ROWS)],
    "columns of the same values": lambda generator: list(
        zip(*(generator.sample(range(ROWS), ROWS) for _ in range(12)), strict=True)
    ),
    "few values": lambda generator: [tuple(generator.choices("abc", k=12)) for _ in range(ROWS)],
    "one cell set in each row": lambda _: [tuple(int(i == number % 12) for i in range(12)) for number in range(ROWS)],
    "values that share a hash": lambda generator: [
        (*generator.choices([0, 2**61 - 1, 2**62 - 2], k=12), number) for number in range(ROWS)
    ],
}


@pytest.mark.parametrize("made", WIDE.values(), ids=WIDE)
def test_twelve_columns_of_a_hundred_thousand_rows_do_not_explode(made: Callable[[random.Random], list[Row]]) -> None:
    generator = random.Random(0)
    gold = made(generator)
    places = generator.sample(range(len(gold[0])), len(gold[0]))
    turned: list[Row] = [tuple(row[i] for i in places) for row in reversed(gold)]
    assert strict(result(gold), result(turned), False)
    changed = (*turned[-1][:-1], turned[0][-1])
    wrong = [*turned[:-1], changed if changed != turned[-1] else (*turned[-1][:-1], "other")]
    assert not strict(result(gold), result(wrong), False)


def test_tables_that_no_column_tells_apart_are_still_told_apart() -> None:
    def cycle(*members: int) -> list[Row]:  # one row for each edge of a ring of columns
        edges = zip(members, members[1:] + members[:1], strict=True)
        return [tuple(int(i in (one, other)) for i in range(8)) for one, other in edges]

    one_ring, two_rings = cycle(0, 1, 2, 3, 4, 5, 6, 7), cycle(0, 1, 2, 3) + cycle(4, 5, 6, 7)
    assert not strict(result(one_ring), result(two_rings), False)
    assert strict(result(one_ring), result(cycle(3, 5, 7, 1, 0, 2, 4, 6)), False)


@given(rows=tables(), seed=st.integers(0, 9))
def test_a_digest_is_of_the_bag_of_rows(rows: list[Row], seed: int) -> None:
    as_floats: list[Row] = [tuple(float(cell) if isinstance(cell, int) else cell for cell in row) for row in rows]
    shuffled = random.Random(seed).sample(as_floats, len(rows))
    assert digest(result(rows)) == digest(result(shuffled))
    assert digest(result(rows)) != digest(result([*rows, rows[0]] if rows else [(1,)]))


@pytest.mark.parametrize("cells", [(1, "1"), (None, "None"), (b"a", "a"), (0, None), (2**53, 2**53 + 1), ("a", "a ")])
def test_different_cells_have_different_digests(cells: tuple[Cell, Cell]) -> None:
    assert digest(Result(1, [(cells[0],)])) != digest(Result(1, [(cells[1],)]))
