"""Labels do not depend on the machine: not on the number of workers, and not on what else it does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Rules
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import local, usable_cpus
from tests.execution.world import CROSS_JOIN, ENDLESS, counting, make_database

RULES = Rules("strict", Budget(floor=2_000_000, factor=10), Limits(60, 512, 20_000, 20), digest_rows=100)


@contextmanager
def busy_cores() -> Iterator[None]:
    """A loop that never rests on every core, and one more."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(usable_cpus() + 1)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    music = str(make_database(tmp_path))
    names = "SELECT name FROM singer"
    golds = [names, "SELECT count(*) FROM album", counting(1000), f"{names} ORDER BY 1"]
    near_the_budget = [counting(steps) for steps in range(100_000, 140_000, 2_500)]
    texts = [*golds, ENDLESS, CROSS_JOIN, "SELECT name FROM singer, album", "SELECT 1 +", "", *near_the_budget]
    return [(GoldQuestion(music, gold), sql) for gold in golds for sql in texts]


@pytest.mark.slow
def test_labels_are_the_same_with_one_and_sixteen_workers_idle_and_with_every_core_busy(items: list[Item]) -> None:
    idle = judge(items, RULES, local(1))
    verdicts = {outcome.verdict for outcome in idle}
    assert verdicts == {"match", "mismatch", "exec_error", "over_budget", "no_sql"}
    assert judge(items, RULES, local(16)) == idle
    with busy_cores():
        assert judge(items, RULES, local(1)) == idle
        assert judge(items, RULES, local(16)) == idle
