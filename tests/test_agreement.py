import json
import sqlite3
from typing import Any

import pytest

from tests.benchmarks.agreement import (
    BENCHMARKS,
    OTHER_SQLITE,
    REPORTS,
    UNEXPLAINED,
    Benchmark,
    disagreements,
    labelled,
    summary_of,
)
from tests.real import REAL

pytestmark = [
    pytest.mark.realdata,
]
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def found() -> Rows:
    return {benchmark.name: disagreements(benchmark, labelled(benchmark), workers=2) for benchmark in BENCHMARKS}


@pytest.fixture(scope="module")
def written() -> Rows:
    lines = {b.name: (REPORTS / f"{b.name}.jsonl").read_text(encoding="utf-8").splitlines() for b in BENCHMARKS}
    return {name: [json.loads(line) for line in some] for name, some in lines.items()}


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((REPORTS / "summary.json").read_text(encoding="utf-8"))
    return value


def keys(rows: Rows) -> list[tuple[object, ...]]:
    names = ("system", "index", "db_id", "official", "verdict", "sql")
    return [(benchmark, *(row[name] for name in names)) for benchmark, some in rows.items() for row in some]


def test_all_verdicts_are_the_official_labels_but_for_those_listed(found: Rows, written: Rows) -> None:
    assert keys(found) == keys(written)


def test_no_listed_disagreement_is_unexplained(written: Rows) -> None:
    assert [row for rows in written.values() for row in rows if row["reason"] == UNEXPLAINED] == []


def test_the_listed_reasons_hold(found: Rows, written: Rows, summary: dict[str, Any]) -> None:
    same_sqlite = summary["python_sqlite3"] == sqlite3.sqlite_version
    for name, rows in written.items():
        for row, now in zip(rows, found[name], strict=True):
            if same_sqlite or row["reason"] != OTHER_SQLITE:  # what another SQLite does can be seen only with it
                assert row == now


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_the_summary_counts_what_is_listed(benchmark: Benchmark, written: Rows, summary: dict[str, Any]) -> None:
    assert summary[benchmark.name] == summary_of(benchmark, labelled(benchmark), written[benchmark.name])
    systems = len(list((REAL / benchmark.predictions).glob(f"*{benchmark.labels}")))
    assert summary[benchmark.name]["systems"] == systems
    assert summary[benchmark.name]["labels"] == systems * summary[benchmark.name]["questions"]
