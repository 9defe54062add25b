"""Checks items: does the SQL answer the question, as far as executing it and asking again can show?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stages.audit.gold_worker import GoldRecord, audit
from stages.cache.result_cache import Cache
from stages.datasets.verdicts import GoldFlag
from stages.execution.judge import judge
from stages.execution.records import DIGEST_ROWS, Budget, GoldQuestion, Outcome, Rules
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor
from stages.synthesis.first_rows import first_rows
from stages.synthesis.items import Item
from stages.synthesis.names_check import is_english, unused_names

REFUSED_FLAGS: tuple[GoldFlag, ...] = ("empty", "limit_tie")
"""Findings of the gold audit that an item is refused for."""
CHECKS = ("english", "names", "runs", "no_empty", "no_limit_tie", "votes")
"""The checks of an item, in their order."""
_FLOOR, _FACTOR = 1_000_000, 50
"""VM steps of a vote: at least the first, or the second times those of the item's own SQL."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """What checks are made with. `step_budget`: VM steps of an item's SQL; `refused_flags`: of the gold audit."""

    step_budget: int
    limits: Limits
    executor: Executor[Any, Any]
    cache: Cache
    refused_flags: tuple[GoldFlag, ...] = REFUSED_FLAGS

    def check(self, items: Sequence[Item]) -> None:
        """Runs all checks but the votes. An item gets its refusal, or the names of the checks that it passed."""
        for item in items:
            _check_text(item)
        running = [item for item in items if not item.refusal]
        for item, record in zip(running, self._audit(running), strict=True):
            _check_record(item, record, self.refused_flags)

    def count_votes(self, items: Sequence[Item]) -> None:
        """Compares the results of each item's votes with its own. Refuses it unless no other result has more votes."""
        voted = [item for item in items if item.votes]
        golds = [_gold(item, record) for item, record in zip(voted, self._audit(voted), strict=True)]
        pairs = [(gold, vote) for item, gold in zip(voted, golds, strict=True) for vote in item.votes]
        rules = Rules("strict", Budget(_FLOOR, _FACTOR), self.limits, DIGEST_ROWS)
        outcomes = iter(judge(pairs, rules, self.executor, self.cache, "votes"))
        for item in voted:
            _count(item, [next(outcomes) for _ in item.votes])

    def first_rows(self, items: Sequence[Item]) -> list[list[str]]:
        """The first rows that each item's SQL returns, for people and models to read; none where it fails."""
        queries = [(str(item.database.file.absolute()), item.sql) for item in items]
        return first_rows(queries, self.step_budget, self.limits, self.executor)

    def _audit(self, items: Sequence[Item]) -> list[GoldRecord]:
        queries = [(str(item.database.file.absolute()), item.sql) for item in items]
        return audit(queries, self.step_budget, self.limits, self.executor, self.cache) if queries else []


def _check_text(item: Item) -> None:
    if not is_english(item.question):
        item.refuse("not_english", "the question is not in English")
        return
    item.passed.append("english")
    if problem := unused_names(item.question, item.sql, item.database.words):
        item.refuse("unused_name", problem)
        return
    item.passed.append("names")


def _check_record(item: Item, record: GoldRecord, refused_flags: Sequence[GoldFlag]) -> None:
    if record.verdict != "ok":
        item.refuse(record.verdict, f"the query fails: {record.error}")
        return
    item.passed.append("runs")
    for flag in refused_flags:
        if flag in record.findings:
            item.refuse(flag, record.findings[flag])
            return
        item.passed.append(f"no_{flag}")


def _gold(item: Item, record: GoldRecord) -> GoldQuestion:
    flags = "order_unstable" if "order_unstable" in record.findings else ""
    return GoldQuestion(str(item.database.file.absolute()), item.sql, record.verdict, record.steps or 0, flags)


def _count(item: Item, outcomes: Sequence[Outcome]) -> None:
    item.agreeing = sum(outcome.verdict == "match" for outcome in outcomes)
    others = Counter(outcome.digest for outcome in outcomes if outcome.verdict == "mismatch" and outcome.digest)
    most = max(others.values(), default=0)
    if item.agreeing and item.agreeing >= most:
        item.passed.append("votes")
        return
    problem = f"{len(outcomes)} other answers to the question: {item.agreeing} return what this query returns"
    item.refuse("outvoted", f"{problem}, {most} agree on another result")
