import apsw
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stages.databases.quoting import RESERVED, identifier, type_name

any_name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def is_a_name_when_bare(word: str) -> bool:
    """Whether SQLite takes a bare word for the table and the column of that name, wherever one may stand."""
    connection = apsw.Connection(":memory:")
    columns = f"{word} INTEGER PRIMARY KEY, b, FOREIGN KEY ({word}) REFERENCES {word}"
    try:
        connection.execute(f"CREATE TABLE {word}({columns})")
        connection.execute(f"INSERT INTO {word} VALUES (7, 8)")
        query = f"SELECT {word}, one.{word} FROM {word} AS one WHERE {word} + 0 = 7 GROUP BY {word} ORDER BY {word}"
        join = f"SELECT {word}.{word}, max(t.b) - 1 FROM {word} AS t JOIN {word} ON t.{word} = {word}.{word}"
        return all(connection.execute(text).fetchall() == [(7, 7)] for text in (query, join))
    except apsw.SQLError:
        return False


@pytest.mark.parametrize("word", sorted(apsw.keywords))
def test_a_keyword_is_quoted_exactly_if_sqlite_does_not_take_it_for_a_name(word: str) -> None:
    assert (word.lower() not in RESERVED) is is_a_name_when_bare(word)


@given(any_name, any_name)
@example("order", 'a"b')
@example("", "x y")
def test_any_name_is_found_again_under_its_identifier(table: str, column: str) -> None:
    connection = apsw.Connection(":memory:")
    if table.lower().startswith("sqlite_"):
        return
    connection.execute(f"CREATE TABLE {identifier(table)}({identifier(column)})")
    assert connection.execute("SELECT name FROM sqlite_schema").get == table
    assert connection.execute("SELECT name FROM pragma_table_xinfo(?)", (table,)).get == column


@pytest.mark.parametrize("name", ["singer", "singer_id", "_x", "x1", "Größe", "名前", "x$y", "name", "key", "desc"])
def test_a_plain_name_stays_bare(name: str) -> None:
    assert identifier(name) == name


@given(st.sampled_from(["", "INT", "a b", "DECIMAL(10, 2)", "primary key", "a, b", ")", '"', "x)\n--", "not null"]))
def test_any_declared_type_is_declared_again(declared: str) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(f"CREATE TABLE t(a {type_name(declared)}, b)")
    columns = connection.execute("SELECT name, type FROM pragma_table_xinfo('t')").fetchall()
    assert columns == [("a", declared), ("b", "")]
