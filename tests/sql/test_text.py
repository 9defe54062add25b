import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.sql.text import compared_by, limit_forms, may_cut, orders, sorts, spider_text, statements, tie_forms

CASES = json.loads((Path(__file__).parents[1] / "fixtures" / "sql" / "text.json").read_text(encoding="utf-8"))
WORDS = [
    "'", '"', "[", "]", "`", ";", "--", "/*", "*/", "\n", "(", ")", ",", ".", "*", "ORDER", "BY", "LIMIT", "UNION",
    "distinct", "SELECT", "min", "max", "desc", "nulls", "rows", "lag", "OVER",
]  # fmt: skip
PIECES = st.lists(st.sampled_from(WORDS))


@pytest.mark.parametrize(("sql", "count"), CASES["statements"])
def test_statements_are_counted_as_sqlite_cuts_them(sql: str, count: int) -> None:
    assert len(statements(sql)) == count


@pytest.mark.parametrize(("sql", "ordered"), CASES["orders"])
def test_only_the_outermost_query_decides_whether_order_counts(sql: str, ordered: bool) -> None:
    assert orders(sql) is ordered


@pytest.mark.parametrize(("sql", "text"), CASES["spider"])
def test_spider_text_is_what_the_evaluator_executes(sql: str, text: str) -> None:
    assert spider_text(sql) == text


@pytest.mark.parametrize(("sql", "text"), CASES["ties"])
def test_every_order_by_gets_a_tie_breaker(sql: str, text: str) -> None:
    others = [text.replace("tie_breaker", other) for other in ("-tie_breaker", "random")]
    assert tie_forms(sql) == ([text, *others] if text != sql else [sql])


@pytest.mark.parametrize(("sql", "text"), CASES["limits"])
def test_a_limit_gets_an_order_where_there_is_none_at_all(sql: str, text: str | None) -> None:
    assert limit_forms(sql)[:1] == ([text] if text else [])
    assert len(limit_forms(sql)) == (3 if text else 0)


@pytest.mark.parametrize(("sql", "text"), CASES["compared"])
def test_every_order_and_extreme_is_compared_by_the_collation(sql: str, text: str) -> None:
    assert compared_by(sql, "c") == text
    assert sorts(sql) is (sql != text)


@pytest.mark.parametrize(("sql", "text"), CASES["nulls_last"])
def test_nulls_are_put_last_where_the_order_is_ascending_and_the_query_does_not_say(sql: str, text: str) -> None:
    assert compared_by(sql, "c", nulls_last=True) == text


@pytest.mark.parametrize(("sql", "cuts"), CASES["may_cut"])
def test_an_ascending_order_decides_the_rows_only_before_a_limit_or_inside(sql: str, cuts: bool) -> None:
    assert may_cut(sql) is cuts


@given(PIECES)
def test_a_text_without_order_or_extremes_is_never_changed(pieces: list[str]) -> None:
    sql = " ".join(piece for piece in pieces if piece not in ("BY", "min", "max"))
    assert tie_forms(sql) == [compared_by(sql, "c", nulls_last=True)] == [sql]
    assert not sorts(sql) and not may_cut(sql)


@given(PIECES)
def test_any_text_can_be_read(pieces: list[str]) -> None:
    sql = " ".join(pieces)
    assert len(statements(sql)) <= sql.count(";") + 1
    assert isinstance(orders(sql), bool)
    for made in (*tie_forms(sql), *limit_forms(sql), compared_by(sql, "c"), compared_by(sql, "c", nulls_last=True)):
        assert len(made) >= len(sql)
    assert ";" not in spider_text(sql) or any(quote in sql for quote in ("'", '"', "[", "`", "--", "/*"))
