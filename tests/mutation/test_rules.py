"""What is mined from real rows, and what chance does not give."""

from pathlib import Path

import pytest

from stages.mutation.real_rows import Database, read_real_rows
from stages.mutation.rules import TableRules, column_rules, mine
from tests import FIXTURES
from tests.mutation.world import write_database

LEAGUE = (FIXTURES / "mutation" / "league.sql").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return read_real_rows(write_database(tmp_path_factory.mktemp("league"), LEAGUE))


def columns_of(database: Database, table: str) -> tuple[str, ...]:
    return next(each.columns for each in database.tables if each.name == table)


def rules_of(tmp_path: Path, columns: str, cells: str, rows: int = 300) -> tuple[TableRules, list[str]]:
    """The rules of a table of so many rows, and its blocks by the names of their columns."""
    script = f"CREATE TABLE t ({columns}); INSERT INTO t SELECT {cells} FROM n WHERE x <= {rows}"
    database = read_real_rows(write_database(tmp_path, script))
    rules = mine(database)["t"]
    return rules, [" ".join(columns_of(database, "t")[place] for place in block) for block in rules.blocks]


BLOCKS = {
    "country": ["continent"],
    "team": ["code", "budget", "stars", "founded dissolved"],
    "player": ["team_id", "position", "zip city", "joined left_on", "height", "email", "captain_id"],
    "season": ["team_id", "coach"],
    "result": ["year label", "team_id", "points"],
    "fan": ["team_id", "since"],
    "visit": ["player_id", "nick", "place"],
}


@pytest.mark.parametrize("table", BLOCKS)
def test_columns_that_depend_on_each_other_are_one_block_and_keys_and_names_are_in_none(
    league: Database, table: str
) -> None:
    names = columns_of(league, table)
    assert [" ".join(names[place] for place in block) for block in mine(league)[table].blocks] == BLOCKS[table]


@pytest.mark.parametrize(
    ("table", "ordered"), [("team", ("founded", "dissolved")), ("player", ("joined", "left_on")), ("result", None)]
)
def test_of_ordered_columns_the_first_is_never_greater(
    league: Database, table: str, ordered: tuple[str, str] | None
) -> None:
    names = columns_of(league, table)
    pairs = [(names[left], names[right]) for left, right in mine(league)[table].ordered]
    assert pairs == ([ordered] if ordered else [])


def test_foreign_keys_are_declared_or_mined_and_parents_may_all_have_children(league: Database) -> None:
    rules = mine(league)
    assert [reference.parent for reference in rules["visit"].references] == ["player"]
    assert {name: [reference.parent for reference in each.with_children] for name, each in rules.items()} == {
        "country": [], "team": ["country"], "player": ["team"], "season": ["team"], "result": ["season"], "fan": [],
        "visit": [],
    }  # fmt: skip


def test_a_column_of_few_values_is_closed_where_it_has_enough_rows() -> None:
    assert column_rules(["a", "b"] * 3).closed and not column_rules(["a", "b"] * 2).closed
    assert column_rules(list(range(30)) * 3).closed and not column_rules(list(range(31)) * 9).closed
    assert not column_rules(["a", "b", None, None, None, None]).closed


def test_a_column_is_never_null_if_no_row_has_one() -> None:
    assert column_rules([1, 2]).never_null and not column_rules([1, None]).never_null


def test_the_range_is_that_of_the_numbers() -> None:
    rules = column_rules([3, -1.5, None, "99", b"x"])
    assert (rules.low, rules.high) == (-1.5, 3)
    assert (column_rules(["a"]).low, column_rules([]).high) == (None, None)


def test_texts_may_be_whole_numbers_or_dates() -> None:
    assert column_rules(["007", "12", None]).decimals and not column_rules(["007", 12]).decimals
    assert not column_rules(["7.5"]).decimals and not column_rules([None]).decimals
    assert column_rules(["2020-01-31"]).dates and not column_rules(["2020-1-31"]).dates


def test_a_dependency_that_could_be_chance_is_not_taken_for_one(tmp_path: Path) -> None:
    """In six rows of which two have one value on the left, they agree on the right one time in three."""
    few = "id INTEGER PRIMARY KEY, l INT, r INT, a INT, b INT"
    cells = "x, x % 5, x % 5 % 3, x * x % 7, x * 3 % 4"
    assert rules_of(tmp_path, few, cells, 6)[1] == ["l", "r", "a", "b"]
    assert "l r" in rules_of(tmp_path, few, cells, 60)[1]


def test_a_column_that_is_nearly_always_the_same_depends_on_none_by_chance(tmp_path: Path) -> None:
    cells = "x, x / 2, CASE x WHEN 3 THEN 'no' ELSE 'yes' END, (x * x * 7 + x) % 101 % 9, (x * x * 3 + x) % 103 % 8"
    blocks = rules_of(tmp_path, "id INTEGER PRIMARY KEY, l INT, r TEXT, a INT, b INT", cells, 40)[1]
    assert all("r" not in block or block == "r" for block in blocks)


def test_columns_of_ranges_apart_are_not_ordered(tmp_path: Path) -> None:
    columns = "id INTEGER PRIMARY KEY, age INT, year INT, a INT, b INT"
    cells = "x, 20 + x * 7 % 40, 1990 + x * 11 % 30, x * x % 11, x * x * x % 13"
    assert rules_of(tmp_path, columns, cells)[0].ordered == ()


def test_few_rows_order_no_columns(tmp_path: Path) -> None:
    columns, cells = "id INTEGER PRIMARY KEY, low INT, high INT, a INT, b INT", "x, x % 4, x % 4 + x % 3, 1, 2"
    assert rules_of(tmp_path, columns, cells, 6)[0].ordered == ()
    assert (1, 2) in rules_of(tmp_path, columns, cells, 60)[0].ordered


@pytest.mark.parametrize(
    ("columns", "cells", "rows", "moves"),
    [
        ("code TEXT PRIMARY KEY, name TEXT, a INT, b INT", "'c' || x, 'n' || x, x % 3, x % 4", 9, False),
        ("id INTEGER PRIMARY KEY, name TEXT, a INT", "x, 'n' || x, x % 3", 9, False),
        ("id INTEGER PRIMARY KEY, name TEXT, a INT, b INT, c INT", "x, 'n' || x, x % 3, x % 2, x % 4", 49, True),
        ("id INTEGER PRIMARY KEY, name TEXT, a INT, b INT, c INT", "x, 'n' || x, x % 3, x % 2, x % 4", 50, False),
        ("id INTEGER PRIMARY KEY, name TEXT, a INT, b INT, c INT", "x, 'n' || (x % 59), x % 3, x % 2, x % 4", 60, True),
    ],
    ids=["with a text as key", "in a table that does little else", "by chance", "too many for chance", "not unique"],
)
def test_names_stay_with_their_key(tmp_path: Path, columns: str, cells: str, rows: int, moves: bool) -> None:
    assert any("name" in block for block in rules_of(tmp_path, columns, cells, rows)[1]) == moves


def test_a_column_that_points_at_some_keys_by_chance_is_no_foreign_key(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, size INT); INSERT INTO p SELECT x, x % 7 FROM n;"
        "CREATE TABLE t (key INTEGER PRIMARY KEY, age INT); INSERT INTO t SELECT x, x % 90 + 1 FROM n"
    )
    assert mine(read_real_rows(write_database(tmp_path, script)))["t"].references == ()
