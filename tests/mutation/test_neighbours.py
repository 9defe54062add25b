import json

import pytest

from stages.mutation.neighbours import MOST_NEIGHBOURS, neighbours_of
from tests import FIXTURES

CASES: dict[str, list[str]] = json.loads((FIXTURES / "mutation/neighbours.json").read_text(encoding="utf-8"))
"""SQL to some of its neighbours, or to none."""
COLUMNS = (("id", "age", "name"), ("t_id",))


@pytest.mark.parametrize("sql", CASES)
def test_a_neighbour_has_one_change(sql: str) -> None:
    neighbours = neighbours_of(sql, COLUMNS)
    assert set(CASES[sql]) <= set(neighbours) and bool(neighbours) == bool(CASES[sql])
    assert len(set(neighbours)) == len(neighbours) <= MOST_NEIGHBOURS


def test_the_neighbours_of_a_long_query_are_spread_over_it() -> None:
    sql = f"SELECT id FROM t WHERE {' AND '.join(f'age = {number}' for number in range(100, 200))} ORDER BY id"
    neighbours = neighbours_of(sql, COLUMNS)
    assert len(neighbours) == MOST_NEIGHBOURS
    changed = [number for number in range(100, 200) if any(f"age = {number} " not in f"{each} " for each in neighbours)]
    assert min(changed) < 120 and max(changed) > 180


@pytest.mark.parametrize("sql", ["SELECT " + "(" * 2000 + "1" + ")" * 2000, "SELECT 1 " + "+ 1 " * 2000])
def test_a_query_that_is_too_long_or_deep_has_none(sql: str) -> None:
    assert neighbours_of(sql, COLUMNS) == ()
