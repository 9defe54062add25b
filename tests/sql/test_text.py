import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.sql.text import orders, spider_text, statements
from stages.sql.tokens import tokens_of
from tests import FIXTURES

CASES = json.loads((FIXTURES / "sql" / "text.json").read_text(encoding="utf-8"))
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


@given(PIECES)
def test_any_text_can_be_read(pieces: list[str]) -> None:
    sql = " ".join(pieces)
    assert len(statements(sql)) <= sql.count(";") + 1
    assert isinstance(orders(sql), bool) and "".join(tokens_of(sql)) == sql
    assert ";" not in spider_text(sql) or any(quote in sql for quote in ("'", '"', "[", "`", "--", "/*"))
