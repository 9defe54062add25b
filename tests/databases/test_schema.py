from pathlib import Path

import apsw
import pytest

from stages.databases.descriptions import notes_of
from stages.databases.first_rows import VALUE_LENGTH
from stages.databases.schema import Table, read_schema
from tests.prompting.databases import make_database, schema_of


def rows_of(script: str, folder: Path, example_rows: int = 2) -> tuple[tuple[str, ...], ...]:
    """The example rows of the first table of a script."""
    return read_schema(make_database(folder / "made.sqlite", script), example_rows, {}).tables[0].rows


def test_what_no_query_can_read_is_left_out_and_counted(tmp_path: Path) -> None:
    schema = schema_of("odd_tables", tmp_path)
    assert +schema.left_out == {"virtual_table": 3, "shadow_table": 8, "unreadable_view": 3}


def test_a_description_is_found_whatever_its_letter_case_and_counted_if_its_column_is_not_there(tmp_path: Path) -> None:
    database = make_database(tmp_path / "made.sqlite", "CREATE TABLE Attendance (Link_To_Event TEXT, other INT)")
    columns = {"link_to_event": {"description": "the event"}, "gone": {"description": "nothing"}}
    schema = read_schema(database, 0, notes_of({"ATTENDANCE": columns, "absent": columns}))
    assert [column.note for column in schema.tables[0].columns] == ["the event", ""]
    assert schema.left_out["unknown_column"] == 3


def test_a_database_is_not_changed_and_nothing_is_made_beside_it(tmp_path: Path) -> None:
    schema_of("rows", tmp_path)
    database = tmp_path / "rows.sqlite"
    before = database.read_bytes()
    read_schema(database, 5, {})
    assert database.read_bytes() == before
    assert list(tmp_path.iterdir()) == [database]


@pytest.mark.parametrize("content", [None, b"no database" * 100])
def test_a_file_that_is_no_database_is_an_error_and_is_not_made(content: bytes | None, tmp_path: Path) -> None:
    database = tmp_path / "made.sqlite"
    if content:
        database.write_bytes(content)
    with pytest.raises((apsw.CantOpenError, apsw.NotADBError)):
        read_schema(database, 0, {})
    assert database.exists() is bool(content)


@pytest.mark.parametrize(
    "kind",
    [
        "id INTEGER PRIMARY KEY, x)", "id, x)", "id INT PRIMARY KEY, x) WITHOUT ROWID",
        "id INT, x TEXT COLLATE NOCASE, PRIMARY KEY (id, x DESC)) WITHOUT ROWID",
    ],
)  # fmt: skip
def test_of_the_data_only_the_rows_that_are_shown_are_read(kind: str, tmp_path: Path) -> None:
    script = f"CREATE TABLE t({kind}; CREATE INDEX by_x ON t(x, id); CREATE VIEW v AS SELECT max(x) FROM t; " + (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
        "INSERT INTO t SELECT i, 'value ' || (40000 - i) FROM n"
    )
    database = make_database(tmp_path / "made.sqlite", script)
    whole, kept = database.read_bytes(), 4096 * 20
    database.write_bytes(whole[:kept] + b"\xff" * (len(whole) - kept))  # what is read from here on is malformed
    connection = apsw.Connection(str(database))
    with pytest.raises(apsw.CorruptError):
        connection.execute("SELECT count(x) FROM t NOT INDEXED").fetchall()
    connection.close()
    tables = read_schema(database, 3, {}).tables
    assert [table.rows for table in tables] == [tuple((str(i), f"'value {40000 - i}'") for i in (1, 2, 3)), ()]


def test_two_thousand_columns_are_read_with_their_rows(tmp_path: Path) -> None:
    names = [f"column {number}" for number in range(2000)]
    columns = ", ".join(f'"{name}" TEXT' for name in names)
    script = f"CREATE TABLE wide({columns}); INSERT INTO wide(\"column 1999\") VALUES ('last')"
    (table,) = read_schema(make_database(tmp_path / "made.sqlite", script), 1, {}).tables
    assert [column.name for column in table.columns] == names
    assert table.rows == (("NULL",) * 1999 + ("'last'",),)


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_text_is_shown_the_same_in_every_encoding(encoding: str, tmp_path: Path) -> None:
    script = f"PRAGMA encoding = '{encoding}'; CREATE TABLE größe(x); INSERT INTO größe VALUES ('naïve 名前 🙂')"
    assert rows_of(script, tmp_path) == (("'naïve 名前 🙂'",),)


def test_text_that_is_no_utf8_is_shown_with_its_bytes_replaced(tmp_path: Path) -> None:
    assert rows_of("CREATE TABLE t(x); INSERT INTO t VALUES (CAST(x'61ff62' AS TEXT))", tmp_path) == (("'a�b'",),)


@pytest.mark.parametrize("length", [VALUE_LENGTH, VALUE_LENGTH + 1])
def test_a_text_is_cut_only_if_it_is_longer_than_the_cap(length: int, tmp_path: Path) -> None:
    script = f"CREATE TABLE t(x); INSERT INTO t VALUES (replace(hex(zeroblob({length})), '00', 'é'))"
    text = "é" * VALUE_LENGTH + ("…" if length > VALUE_LENGTH else "")
    assert rows_of(script, tmp_path) == ((f"'{text}'",),)


def test_rows_that_cannot_be_computed_are_left_out_and_counted(tmp_path: Path) -> None:
    script = """
        CREATE TABLE t(x); INSERT INTO t VALUES (1); CREATE TABLE u(x); INSERT INTO u VALUES (1);
        PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = 'CREATE TABLE t(x, y AS (a_function_of_its_makers(x)))' WHERE name = 't'
    """
    schema = read_schema(make_database(tmp_path / "made.sqlite", script), 1, {})
    assert [table.rows for table in schema.tables] == [(), (("1",),)]
    assert schema.left_out["unreadable_rows"] == 1


def test_a_table_named_like_rowid_columns_gives_its_rows_in_order(tmp_path: Path) -> None:
    script = "CREATE TABLE rowid(rowid, oid, _rowid_); INSERT INTO rowid VALUES (3, 2, 1), (1, 2, 3)"
    assert rows_of(script, tmp_path) == (("3", "2", "1"), ("1", "2", "3"))


def test_the_tables_that_sqlite_keeps_for_itself_are_not_shown(tmp_path: Path) -> None:
    script = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (1); ANALYZE"
    tables: tuple[Table, ...] = read_schema(make_database(tmp_path / "made.sqlite", script), 1, {}).tables
    assert [table.name for table in tables] == ["t"]
