from pathlib import Path

from stages.execution.comparison import Row
from stages.mutation.image import image_of
from stages.mutation.mutants import Mutant
from stages.mutation.real_rows import read_real_rows
from tests.mutation.world import broken_by_sqlite, opened, write_database


def rows_written(path: Path, changed: dict[str, list[Row]], query: str) -> list[Row]:
    """What a query returns on the image of a mutant in which the first rows of some tables were changed."""
    database = read_real_rows(path)
    originals = {table.name: list(table.rows) for table in database.tables}
    rows = {
        name: [list(row) for row in (*changed.get(name, []), *real[len(changed.get(name, [])) :])]
        for name, real in originals.items()
    }
    with opened(image_of(database, Mutant(0, False, rows, originals))) as connection:
        assert broken_by_sqlite(connection) == []
        return list(connection.execute(query))


def test_a_row_that_the_schema_refuses_is_the_real_one(tmp_path: Path) -> None:
    path = write_database(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT NOT NULL CHECK (a > 0), b TEXT UNIQUE);"
        "INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z'), (4, 4, 'v')",
    )
    changed: list[Row] = [(1, None, "x"), (2, -1, "y"), ("text", 3, "z"), (4, 9, "w")]
    expected = [(1, 1, "x"), (2, 2, "y"), (3, 3, "z"), (4, 9, "w")]
    assert rows_written(path, {"t": changed}, "SELECT * FROM t") == expected


def test_a_real_row_that_breaks_a_check_is_written(tmp_path: Path) -> None:
    path = write_database(
        tmp_path,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a INT CHECK (of_app(a))); INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    database = read_real_rows(path)
    mutant = Mutant(0, False, {"t": [[1, 7], [2, 2]]}, {"t": [(1, 1), (2, 2)]})
    with opened(image_of(database, mutant)) as connection:
        assert list(connection.execute("SELECT * FROM t")) == [(1, 1), (2, 2)]


def test_of_two_rows_with_one_key_the_first_is_written_and_none_points_at_the_other(tmp_path: Path) -> None:
    path = write_database(
        tmp_path,
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a INT); INSERT INTO p VALUES (1, 10), (2, 20);"
        "CREATE TABLE t (id INT PRIMARY KEY, p_id INT REFERENCES p) WITHOUT ROWID; INSERT INTO t VALUES (5, 1), (6, 2);"
        "CREATE TABLE u (t_id INT REFERENCES t); INSERT INTO u VALUES (5), (6), (NULL);"
        "CREATE UNIQUE INDEX halves ON p (a / 10)",
    )
    changed: dict[str, list[Row]] = {"p": [(1, 25)]}
    assert rows_written(path, changed, "SELECT id FROM p") == [(1,)]
    assert rows_written(path, changed, "SELECT id FROM t") == [(5,)]
    assert rows_written(path, changed, "SELECT t_id FROM u") == [(5,), (None,)]


def test_rows_that_point_at_nothing_in_the_data_stay(tmp_path: Path) -> None:
    path = write_database(
        tmp_path,
        "CREATE TABLE p (id INTEGER PRIMARY KEY); INSERT INTO p VALUES (1);"
        "CREATE TABLE t (id INTEGER PRIMARY KEY, p_id INT REFERENCES p); INSERT INTO t VALUES (5, 1), (6, 2)",
    )
    database = read_real_rows(path)
    originals = {table.name: list(table.rows) for table in database.tables}
    mutant = Mutant(0, False, {name: list(map(list, rows)) for name, rows in originals.items()}, originals)
    with opened(image_of(database, mutant)) as connection:
        assert list(connection.execute("SELECT id FROM t")) == [(5,), (6,)]


def test_the_same_mutant_is_the_same_bytes_in_the_encoding_of_the_database(tmp_path: Path) -> None:
    path = write_database(tmp_path, "CREATE TABLE t (a); INSERT INTO t VALUES ('é')", "UTF-16le")
    database = read_real_rows(path)
    mutant = Mutant(0, False, {"t": [["é"]]}, {"t": [("é",)]})
    images = {image_of(database, mutant) for _ in range(3)}
    assert len(images) == 1
    with opened(images.pop()) as connection:
        assert connection.pragma("encoding") == "UTF-16le"
