"""The work of one worker: executes a candidate and its gold, and gives the verdict under every contract.

Rows are compared as they come, and a query is stopped as soon as its result cannot match under any contract. A text
that several questions of a database share, golds included, runs once in a worker if its result is small.
"""

from dataclasses import dataclass
from itertools import chain

from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS, Verdict
from stages.execution.comparison import CONTRACT_NAMES, CONTRACTS, Contract, Row, cannot_match, digest
from stages.execution.process_limits import limit_process
from stages.execution.records import GoldQuestion, Item, Outcome, Rules, same_outcome
from stages.execution.sandbox import Execution, OpenDatabases, StopWhen
from stages.execution.worker_pool import Heartbeat
from stages.sql.text import is_too_long, orders, spider_orders, spider_text, statements

_REMEMBERED = 2000
_REMEMBERED_ROWS = 20
_REMEMBERED_LENGTH = 1000  # of a value
_REMEMBERED_SQL = 5000  # characters of a text


def make_worker(rules: Rules, heartbeat: Heartbeat) -> "Worker":
    """The work of one process, which is put under its limits for good."""
    limit_process(rules.limits.memory_mb)
    return Worker(rules, heartbeat)


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold query: its execution as written and as the `spider` contract runs it, and what follows from them."""

    question: GoldQuestion
    steps: int  # that a candidate may take
    written: Execution
    spider: Execution
    ordered: dict[Contract, bool]
    nondeterministic: bool  # the clock or memory ended one of its executions

    def of(self, contract: Contract) -> Execution:
        return self.spider if contract == "spider" else self.written


class Worker:
    """Returns the outcome of an item. Keeps databases open, and the gold of the current question."""

    def __init__(self, rules: Rules, heartbeat: Heartbeat | None = None) -> None:
        self._rules = rules
        self._databases = OpenDatabases(heartbeat)
        self._database = ""
        self._remembered: dict[str, Execution] = {}
        self._gold: _Gold | None = None

    def __call__(self, item: Item) -> Outcome:
        question, sql = item
        if question.gold_verdict == "undecided":
            return same_outcome("undecided", "the gold query is undecided")
        if question.gold_verdict not in ("ok", None):
            return same_outcome("gold_error", f"the gold query is {question.gold_verdict}")
        try:
            return self._judged(question, sql)
        except MemoryError:
            self._forget("")
            return same_outcome("undecided", "out of memory", "memory", nondeterministic=True)

    def _judged(self, question: GoldQuestion, sql: str) -> Outcome:
        gold, contract = self._gold_of(question), self._rules.contract
        text, is_one_text = _spider_form(sql)
        contracts = CONTRACT_NAMES if is_one_text else ("bird", "strict")
        written = self._run(sql, gold.steps, self._stop_when(gold, contracts))
        spider = written if is_one_text else self._run(text, gold.steps, self._stop_when(gold, ("spider",)))
        verdicts = tuple(_verdict(name, gold, spider if name == "spider" else written) for name in CONTRACT_NAMES)
        verdict, run = verdicts[CONTRACT_NAMES.index(contract)], spider if contract == "spider" else written
        nondeterministic = gold.nondeterministic or _is_nondeterministic(written, spider)
        error_class, error = None, None
        if verdict == "gold_error":
            error = f"the gold query: {gold.of(contract).error}"
            return Outcome(verdict, verdicts, error=error, nondeterministic=nondeterministic)
        if verdict not in ("match", "mismatch"):
            error_class, error = run.error_class, run.error or f"the gold query: {gold.of(contract).error}"
        if error_class in NONDETERMINISTIC_ERRORS:  # how far it came by then says nothing
            return Outcome(verdict, verdicts, error_class, error, nondeterministic=nondeterministic)
        result_digest = digest(run.result) if run.result and self._rules.digest_rows else None
        return Outcome(verdict, verdicts, error_class, error, run.steps, run.rows, result_digest, nondeterministic)

    def _gold_of(self, question: GoldQuestion) -> _Gold:
        if self._gold is None or self._gold.question != question:
            self._gold = None  # two golds at once would need the memory of both
            if self._database != question.database:
                self._forget(question.database)
            self._gold = self._run_gold(question)
        return self._gold

    def _forget(self, database: str) -> None:
        self._gold, self._database, self._remembered = None, database, {}

    def _run_gold(self, question: GoldQuestion) -> _Gold:
        is_known, budget, sql = question.gold_verdict is not None, self._rules.budget, question.gold_sql
        text, is_one_text = _spider_form(sql)
        most = budget.steps(question.gold_steps) if is_known else budget.gold
        written = self._run(sql, most)
        spider = written if is_one_text else self._run(text, most)
        flags = question.gold_flags.split(",")
        ordered: dict[Contract, bool] = {
            "spider": spider_orders(sql),
            "bird": False,
            "strict": written.result is not None and orders(sql) and "order_unstable" not in flags,
        }
        allowed = most if is_known else budget.steps(max(written.steps, spider.steps))
        return _Gold(question, allowed, written, spider, ordered, _is_nondeterministic(written, spider))

    def _stop_when(self, gold: _Gold, contracts: tuple[Contract, ...]) -> StopWhen:
        """For one run: it can stop once no contract can match, and the result has too many rows for a digest."""
        golds = [(name, result) for name in contracts if (result := gold.of(name).result)]
        digest_rows = self._rules.digest_rows if self._rules.contract in contracts else 0

        def stop_when(columns: int, block: list[Row], count: int) -> bool:
            golds[:] = [each for each in golds if not cannot_match(*each, columns, block, count)]
            return not golds and (count > digest_rows or not digest_rows)

        return stop_when

    def _run(self, sql: str, steps: int, stop_when: StopWhen | None = None) -> Execution:
        known = self._remembered.get(sql)
        if known and known.steps <= steps:
            columns = known.read.columns
            if not (stop_when and columns and stop_when(columns, [], 0)):
                return known  # so few rows that nothing else could have ended it
        execution = self._databases.get(self._database).execute(sql, steps, self._rules.limits, stop_when)
        if len(self._remembered) < _REMEMBERED and len(sql) <= _REMEMBERED_SQL and _is_small(execution):
            self._remembered[sql] = execution
        return execution


def _spider_form(sql: str) -> tuple[str, bool]:
    """The text that the `spider` contract runs, and whether it is `sql` itself. One that is too long stays as it is."""
    if is_too_long(sql):
        return sql, True
    text = spider_text(sql)
    return text, statements(sql) == [text]


def _is_nondeterministic(*executions: Execution) -> bool:
    return any(execution.error_class in NONDETERMINISTIC_ERRORS for execution in executions)


def _is_small(execution: Execution) -> bool:
    if not (execution.whole or execution.status == "exec_error") or execution.rows > _REMEMBERED_ROWS:
        return False
    cells = chain.from_iterable(execution.read.rows)
    return all(len(cell) <= _REMEMBERED_LENGTH for cell in cells if isinstance(cell, str | bytes))


def _verdict(contract: Contract, gold: _Gold, run: Execution) -> Verdict:
    """The rules of `stages.datasets.verdicts`, in their order."""
    expected = gold.of(contract)
    if expected.result is None:
        return "undecided" if expected.status == "undecided" else "gold_error"
    if run.result is not None:
        return "match" if CONTRACTS[contract](expected.result, run.result, gold.ordered[contract]) else "mismatch"
    if run.read.columns and cannot_match(contract, expected.result, run.read.columns, run.read.rows, run.rows):
        return "mismatch"
    if run.status == "ok":
        raise AssertionError(f"{contract}: the query was stopped although it could still match")
    return run.status
