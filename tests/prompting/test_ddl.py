import random
from pathlib import Path
from typing import get_args

import apsw
import pytest

from stages.databases.schema import Table, read_schema
from stages.prompting.ddl import Style, render_table, shuffle_tables
from tests.prompting.databases import FOLDER, SCRIPTS, make_database, schema_of
from tests.real import REAL

STYLES: tuple[Style, ...] = get_args(Style)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_database_is_shown_as_the_file_beside_its_script_says(script: str, style: Style, tmp_path: Path) -> None:
    texts = [render_table(table, style) for table in schema_of(script, tmp_path).tables]
    assert "\n".join(texts) + "\n" == (FOLDER / f"{script}.{style}.txt").read_text(encoding="utf-8")


def check_recreated(tables: tuple[Table, ...], database: Path) -> None:
    """Runs the CREATE TABLE texts in their order in a new database; the tables there must be the same."""
    real = [table for table in tables if not table.is_view]
    make_database(database, "\n".join(render_table(table, "create_table") for table in real))
    recreated = read_schema(database, 0, {}).tables
    for copy, table in zip(recreated, real, strict=True):
        assert [(column.name, column.type, column.key) for column in copy.columns] == [
            (column.name, column.type, column.key) for column in table.columns
        ]
        assert (copy.foreign_keys, copy.without_rowid) == (table.foreign_keys, table.without_rowid)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_create_render_tables_make_the_same_tables(script: str, tmp_path: Path) -> None:
    check_recreated(schema_of(script, tmp_path).tables, tmp_path / "again.sqlite")


@pytest.mark.realdata
def test_the_create_render_tables_of_real_databases_make_the_same_tables(tmp_path: Path) -> None:
    databases = sorted(REAL.rglob("*.sqlite"))
    assert len(databases) > 160
    for number, database in enumerate(databases):
        check_recreated(read_schema(database, 3, {}).tables, tmp_path / f"{number}.sqlite")


def test_rows_and_notes_are_comments_only(tmp_path: Path) -> None:
    tables = schema_of("rows", tmp_path).tables
    assert any(row for table in tables for row in table.rows)
    assert all(line.startswith("-- (") for table in tables for line in render_table(table, "compact").split("\n")[-1:]
               if table.rows)  # fmt: skip
    script = "\n".join(render_table(table, "create_table") for table in tables if not table.is_view)
    assert make_database(tmp_path / "again.sqlite", f"{script}\nCREATE TABLE after_all(x)").exists()


def test_shuffled_tables_are_the_same_tables_with_each_value_at_its_column(tmp_path: Path) -> None:
    tables = schema_of("rows", tmp_path).tables
    drawn = shuffle_tables(tables, random.Random("a"))
    assert [table.name for table in drawn] != [table.name for table in tables]
    assert {table.name for table in drawn} == {table.name for table in tables}
    for table in tables:
        (copy,) = (shuffled for shuffled in drawn if shuffled.name == table.name)
        assert sorted(copy.columns, key=table.columns.index) == list(table.columns)
        for row, copied_row in zip(table.rows, copy.rows, strict=True):
            values = dict(zip(copy.columns, copied_row, strict=True))
            assert [values[column] for column in table.columns] == list(row)


def test_a_shuffled_table_is_still_the_same_table(tmp_path: Path) -> None:
    drawn = [shuffle_tables([table], random.Random("b"))[0] for table in schema_of("keys", tmp_path).tables]
    make_database(tmp_path / "again.sqlite", "\n".join(render_table(table, "create_table") for table in drawn))
    query = "SELECT name FROM pragma_table_info('city') WHERE pk ORDER BY pk"
    connection = apsw.Connection(str(tmp_path / "again.sqlite"))
    assert connection.execute(query).fetchall() == [("name",), ("country",)]


def test_the_same_generator_gives_the_same_order_and_another_one_another(tmp_path: Path) -> None:
    tables = schema_of("keys", tmp_path).tables
    assert shuffle_tables(tables, random.Random("a")) == shuffle_tables(tables, random.Random("a"))
    assert shuffle_tables(tables, random.Random("a")) != shuffle_tables(tables, random.Random("b"))
