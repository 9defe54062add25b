import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from stages.mutation.limit_ties import tie_probes
from tests import FIXTURES

CASES: list[dict[str, Any]] = json.loads((FIXTURES / "mutation/limit_ties.json").read_text(encoding="utf-8"))
ROWS = [(1, "Ada", 30, None), (2, "Bea", 40, None), (3, "Bea", 40, 3), (4, "Ada", 20, 4), (5, "Ada", 10, 5)]


@pytest.mark.parametrize("case", CASES, ids=[case["sql"] for case in CASES])
def test_a_limit_that_cuts_through_a_tie_is_found(case: dict[str, Any]) -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER, name TEXT, age INTEGER, other INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", ROWS)
        probes = [(probe, connection.execute(probe.sql).fetchall()) for probe in tie_probes(case["sql"])]
    assert any(probe.cuts_tie(rows) for probe, rows in probes) == case["cuts"]
