from pathlib import Path
from typing import Any

import pytest

from stages.audit.gold_worker import GoldRecord, _audited, _Settings, unstable_orders
from stages.cache.result_cache import Cache
from stages.execution.sandbox import Database, Execution, OpenDatabases
from stages.execution.worker_pool import Executor, local
from tests.execution.world import ENDLESS, LIMITS, make_database

BY_AGE, BY_NAME = "SELECT name FROM singer ORDER BY age", "SELECT name FROM singer ORDER BY name"
CUT_TIE = "SELECT name FROM singer ORDER BY age LIMIT 2"
INNER = "SELECT count(*) FROM (SELECT name FROM singer ORDER BY age)"


@pytest.fixture
def music(tmp_path: Path) -> str:
    return str(make_database(tmp_path))


def test_only_an_outermost_order_that_is_left_open_is_unstable(music: str, tmp_path: Path) -> None:
    golds = [BY_AGE, BY_NAME, CUT_TIE, INNER, "SELECT absent ORDER BY 1", f"{ENDLESS} ORDER BY 1", "x" * 2_000_000]
    executor: Executor[tuple[str, str], GoldRecord] = local(1)
    for _ in range(2):  # the second time from the cache
        unstable = unstable_orders(
            [(music, gold) for gold in golds], 1_000_000, LIMITS, executor, Cache(tmp_path / "cache")
        )
        assert unstable == {(music, BY_AGE)}


def test_an_audit_that_meets_the_clock_is_retried_and_not_cached(music: str, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = Database.execute

    def late(self: Database, sql: str, *arguments: Any) -> Execution:
        if "tie_breaker" in sql:
            return Execution("undecided", 5, error="met the wall clock", error_class="time")
        return execute(self, sql, *arguments)

    monkeypatch.setattr(Database, "execute", late)
    record = _audited(OpenDatabases(), _Settings(1_000_000, LIMITS, only_ties=True), (music, BY_AGE))
    assert record.nondeterministic and not record.audited
