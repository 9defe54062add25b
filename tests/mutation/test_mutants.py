"""What every mutant keeps of the database that it is made of."""

import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.execution.comparison import Row
from stages.mutation.changes import make_mutant
from stages.mutation.constants import Constants, constants_of
from stages.mutation.image import image_of
from stages.mutation.real_rows import Database, read_real_rows
from stages.mutation.rules import TableRules, mine
from tests import FIXTURES
from tests.mutation.world import broken_by_sqlite, broken_rules, opened, write_database

LEAGUE = (FIXTURES / "mutation" / "league.sql").read_text(encoding="utf-8")
QUERIES = [
    "SELECT nick FROM player WHERE height > 180 AND joined < '2001-06-01' AND position = 'FW' AND city LIKE '%o%'",
    "SELECT code FROM team WHERE budget >= 14.5 OR stars = 3 OR founded BETWEEN 1910 AND 1920 OR dissolved IS NULL",
    "SELECT points FROM result WHERE points < 9 AND year = 2001 AND label = 'year 1' AND zip = '00003'",
    "SELECT * FROM visit WHERE place = 'place3' AND player_id = 4 AND email = 'mail7' AND email = 'new' AND height = 9",
]


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, dict[str, TableRules]]:
    database = read_real_rows(write_database(tmp_path_factory.mktemp("league"), LEAGUE))
    return database, mine(database)


@settings(max_examples=150)
@given(seed=st.integers(0, 2**63 - 1), number=st.integers(0, 60), aimed=st.booleans())
def test_every_mutant_keeps_what_sqlite_and_the_mined_rules_ask(
    league: tuple[Database, dict[str, TableRules]], seed: int, number: int, aimed: bool
) -> None:
    database, rules = league
    mutant = make_mutant(database, rules, constants_of(QUERIES), seed, number, aimed)
    with opened(image_of(database, mutant)) as connection:
        assert broken_by_sqlite(connection) == []
        assert broken_rules(database, rules, connection) == []


CELLS = st.none() | st.integers(0, 4) | st.sampled_from(["a", "b", "7", "2020-01-31", "2020-02-01"]) | st.just(2.5)
PARENTS = st.lists(st.tuples(st.integers(0, 40), CELLS, CELLS), unique_by=lambda row: row[0], max_size=40)
CHILDREN = st.lists(st.tuples(st.integers(0, 40), CELLS, CELLS, CELLS), max_size=60)
TABLES = """
    CREATE TABLE p (id INTEGER PRIMARY KEY, a, b, other REFERENCES p);
    CREATE TABLE c (p_id INT REFERENCES p, a, b, d, UNIQUE (p_id, a));
    CREATE TABLE q (id INTEGER PRIMARY KEY REFERENCES p, a, b, d) WITHOUT ROWID;
"""


@settings(max_examples=200)
@given(PARENTS, CHILDREN, st.integers(0, 99))
def test_mutants_of_any_rows_keep_what_their_rules_ask(parents: list[Row], children: list[Row], number: int) -> None:
    with TemporaryDirectory() as name:
        path = write_database(Path(name), TABLES)
        with closing(sqlite3.connect(path)) as writer, writer:
            first = parents[0][0] if parents else None
            writer.executemany("INSERT INTO p VALUES (?, ?, ?, ?)", [(*row, first) for row in parents])
            for table in ("c", "q"):
                writer.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?, ?, ?, ?)", children)
            writer.execute("DELETE FROM c WHERE p_id NOT IN (SELECT id FROM p)")
            writer.execute("DELETE FROM q WHERE id NOT IN (SELECT id FROM p)")
        database = read_real_rows(path)
    rules = mine(database)
    constants: Constants = {"a": frozenset([1, "a", "2020-01-31", "%a%"]), "d": frozenset([2.5, "7", 99])}
    for aimed in (False, True):
        mutant = make_mutant(database, rules, constants, 1, number, aimed)
        with opened(image_of(database, mutant)) as connection:
            assert broken_by_sqlite(connection) == []
            assert broken_rules(database, rules, connection) == []
