import json

import pytest
from hypothesis import given

from stages.audit.query_variants import compared_by, limit_forms, may_cut, sorts, tie_forms
from tests import FIXTURES
from tests.sql.test_text import PIECES

CASES = json.loads((FIXTURES / "sql" / "rewriting.json").read_text(encoding="utf-8"))


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
def test_any_text_can_be_rewritten(pieces: list[str]) -> None:
    sql = " ".join(pieces)
    for made in (*tie_forms(sql), *limit_forms(sql), compared_by(sql, "c"), compared_by(sql, "c", nulls_last=True)):
        assert len(made) >= len(sql)
