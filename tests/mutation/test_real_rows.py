import json
from pathlib import Path

import pytest

from stages.mutation.real_rows import Database, Reference, Table, key_of, read_real_rows
from tests import FIXTURES
from tests.mutation.world import write_database

CASES = json.loads((FIXTURES / "mutation/odd_databases.json").read_text(encoding="utf-8"))


def odd(folder: Path, name: str) -> Database:
    return read_real_rows(write_database(folder, ";".join(CASES[name]["script"])))


def test_a_table_has_its_rows_keys_and_foreign_keys(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE p (a INT, b INT, c INT UNIQUE, PRIMARY KEY (b, a)); INSERT INTO p VALUES (1, 2, 3);"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT, FOREIGN KEY (b, a) REFERENCES P)"
    )
    parent, child = read_real_rows(write_database(tmp_path, script)).tables
    assert parent == Table("p", ("a", "b", "c"), ((1, 0), (2,)), True, (), ((1, 2, 3),), True)
    assert parent.primary == (1, 0) and child.primary == (0,)
    assert child.references == (Reference((2, 1), "p", (1, 0)),)


@pytest.mark.parametrize(
    ("name", "tables"),
    [("a virtual table", ["t"]), ("a view", ["t"]), ("triggers", ["t", "log"]), ("no table", []),
     ("AUTOINCREMENT, DEFAULT and a collation", ["t"])],
)  # fmt: skip
def test_only_tables_of_rows_are_read(tmp_path: Path, name: str, tables: list[str]) -> None:
    database = odd(tmp_path, name)
    assert [table.name for table in database.tables] == tables
    assert len(database.create) == len(tables) and database.has_views == (name == "a view")
    assert not any("TRIGGER" in statement for statement in (*database.create, *database.create_more))


def test_generated_columns_are_left_out(tmp_path: Path) -> None:
    (table,) = odd(tmp_path, "generated columns").tables
    assert table.columns == ("id", "a", "d") and table.keys == ((0,),)


def test_rows_with_text_that_is_not_utf8_are_left_out(tmp_path: Path) -> None:
    (table,) = odd(tmp_path, "text that is not UTF-8").tables
    assert len(table.rows) == 270 and table.whole and all(int(str(row[0])) % 10 for row in table.rows)


@pytest.mark.parametrize("name", ["a foreign key to a missing table"])
def test_a_foreign_key_to_what_does_not_exist_is_none(tmp_path: Path, name: str) -> None:
    assert odd(tmp_path, name).tables[0].references == ()


def test_keys_are_compared_as_numbers_where_they_are_some() -> None:
    assert key_of(("7", 7, "07", "x", None, -3, "-3", "9" * 30), range(8)) == (
        7, 7, "07", "x", None, -3, -3, "9" * 30,
    )  # fmt: skip


def test_the_file_is_not_written(tmp_path: Path) -> None:
    path = write_database(tmp_path, CASES["a view"]["script"][0])
    content = path.read_bytes()
    read_real_rows(path)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
