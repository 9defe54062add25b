import json
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.audit.query_checks import Auditor, Findings, row_text
from stages.execution.number_collation import NumberOrder
from stages.execution.sandbox import Database
from tests import FIXTURES
from tests.execution.world import ENDLESS, LIMITS

CASES = json.loads((FIXTURES / "gold" / "queries.json").read_text(encoding="utf-8"))
TEXTS = st.text(alphabet="0123456789,.-+ aZ", max_size=6)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audit") / "shops.sqlite"
    connection = sqlite3.connect(made)
    for statement in CASES["schema"]:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return made


@pytest.fixture(scope="module")
def databases(path: Path) -> Iterator[tuple[Database, Database]]:
    pair = Database(path), Database(path, reverse_unspecified_order=True)
    yield pair
    for database in pair:
        database.close()


def audited(databases: tuple[Database, Database], sql: str) -> tuple[Auditor, Findings]:
    forward, other = databases
    result = forward.execute(sql, 1_000_000, LIMITS).result
    assert result is not None, sql
    auditor = Auditor(other, 1_000_000, LIMITS)
    return auditor, auditor.findings(sql, result)


@pytest.mark.parametrize(("sql", "findings"), CASES["cases"], ids=[sql for sql, _ in CASES["cases"]])
def test_a_query_is_found_to_have_what_it_has_and_nothing_else(
    sql: str, findings: dict[str, str], databases: tuple[Database, Database]
) -> None:
    auditor, found = audited(databases, sql)
    assert found == findings
    assert auditor.complete and not auditor.nondeterministic


def test_a_form_of_a_query_that_fails_leaves_the_audit_incomplete(databases: tuple[Database, Database]) -> None:
    auditor, found = audited(databases, "WITH max(a) AS (SELECT 1) SELECT a FROM max ORDER BY a")
    assert (found, auditor.complete, auditor.nondeterministic) == ({}, False, False)


def test_an_audit_that_meets_the_clock_keeps_what_it_found_and_says_so(databases: tuple[Database, Database]) -> None:
    empty = databases[0].execute("SELECT 1 WHERE 0", 1000, LIMITS).result
    assert empty is not None
    auditor = Auditor(databases[1], 10**12, replace(LIMITS, wall_seconds=0.1))
    assert auditor.findings(f"{ENDLESS} ORDER BY 1", empty) == {"empty": "It returns no row."}
    assert (auditor.complete, auditor.nondeterministic) == (False, True)


def test_the_collations_of_the_audit_are_not_there_for_a_query(databases: tuple[Database, Database]) -> None:
    execution = databases[0].execute("SELECT name FROM shop ORDER BY name COLLATE as_number", 1000, LIMITS)
    assert execution.status == "exec_error"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((), "()"), ((None, 1, 2.5, "it's"), "(NULL, 1, 2.5, \"it's\")"), ((b"\xff",), "(b'\\xff')"),
        (("x" * 40,), f"('{'x' * 38}…)"), (("x" * 10**6,), f"('{'x' * 38}…)"), (("x" * 38,), f"('{'x' * 38}')"),
        (tuple(range(7)), "(0, 1, 2, 3, 4, 5, …)"), (("a\udcff\n\u202e",), "('a\\udcff\\n\\u202e')"), (None, "none"),
    ],
)  # fmt: skip
def test_rows_in_evidence_are_short_and_printable(row: tuple[Any, ...] | None, text: str) -> None:
    assert row_text(row) == text


@given(TEXTS, TEXTS, TEXTS)
def test_the_order_of_numbers_is_an_order(one: str, two: str, three: str) -> None:
    compare = NumberOrder().compare
    assert compare(one, two) == -compare(two, one)
    assert (compare(one, two) == 0) == (one == two)
    if compare(one, two) <= 0 and compare(two, three) <= 0:
        assert compare(one, three) <= 0


@given(st.integers(-(10**15), 10**15), st.integers(-(10**15), 10**15))
def test_whole_numbers_are_in_the_order_of_their_values(one: int, two: int) -> None:
    assert NumberOrder().compare(str(one), str(two)) == (one > two) - (one < two)


@pytest.mark.parametrize(
    ("texts", "matters"),
    [(["9", "10"], True), (["10", "20"], False), (["9", "10", "Rome", "Oslo", "Lima"], False), (["7E1", "10"], False),
     (["1,000", "9"], True), (["1,00", "9"], False), (["9" * 31, "1"], False), (["-1", "-10"], True)],
)  # fmt: skip
def test_numbers_matter_where_they_are_most_of_the_texts_and_come_otherwise(texts: list[str], matters: bool) -> None:
    order = NumberOrder()
    for one in texts:
        for other in texts:
            order.compare(one, other)
    assert order.matters is matters
