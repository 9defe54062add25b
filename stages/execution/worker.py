"""The work of one worker: executes a candidate and its gold, and gives the verdict under every contract.

Rows are compared as they come, and a query is ended as soon as no contract can find its result equal any more. A text
that several questions of a database share, the gold's too, runs once in a worker as long as its result is small.
"""

from dataclasses import dataclass
from itertools import chain

from stages.datasets.verdicts import MACHINE_MADE, Verdict
from stages.execution.comparison import CONTRACT_NAMES, CONTRACTS, Contract, Result, Row, digest, parted
from stages.execution.process_limits import limit_process
from stages.execution.query_checks import Auditor
from stages.execution.sandbox import Enough, Execution, Limits, OpenDatabases
from stages.execution.worker_pool import Beat, Record
from stages.sql.text import is_too_long, orders, spider_orders, spider_text, statements

DIGEST_ROWS = 1000
"""A usual Rules.digest_rows: wrong results of up to this many rows can be told apart, and vote in maj@k."""

_REMEMBERED = 2000
_REMEMBERED_ROWS = 20
_REMEMBERED_LENGTH = 1000  # of a value
_REMEMBERED_SQL = 5000  # characters of a text


@dataclass(frozen=True, slots=True)
class Budget:
    """VM steps that a candidate may take: `factor` times what the gold took, but never fewer than `floor`. `gold`: what
    a gold may take that was not executed before."""

    floor: int
    factor: int
    gold: int = 50_000_000

    def steps(self, gold_steps: int) -> int:
        return max(self.floor, self.factor * gold_steps)


@dataclass(frozen=True, slots=True)
class Rules:
    """How candidates are judged. `digest_rows`: a result is read on beyond its verdict up to this many rows, so that it
    can have a digest; 0: no digests."""

    contract: Contract
    budget: Budget
    limits: Limits
    digest_rows: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """What a candidate is judged against: a database file, a gold query, and the gold dataset's row for it (verdict
    None: it was not executed before, and is executed and audited here)."""

    database: str
    gold_sql: str
    gold_verdict: str | None = None
    gold_steps: int = 0
    gold_flags: str = ""


Item = tuple[Question, str]
"""A question and the SQL of one candidate for it ('' for none)."""


def make_referee(rules: Rules, beat: Beat) -> "Referee":
    """Called once in each worker."""
    limit_process(rules.limits.memory_mb)
    return Referee(rules, beat)


def record_for_all(verdict: Verdict, error: str, error_class: str | None, again: bool = False) -> Record:
    """The record of a candidate that was not executed: the same under every contract."""
    return [verdict, [verdict] * len(CONTRACT_NAMES), error_class, error, None, None, None, again]


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold query: its execution as written and as the `spider` contract runs it, and what follows from them."""

    question: Question
    steps: int  # that a candidate may take
    written: Execution
    spider: Execution
    ordered: dict[Contract, bool]
    machine_made: bool  # the clock or memory ended one of its executions

    def of(self, contract: Contract) -> Execution:
        return self.spider if contract == "spider" else self.written


class Referee:
    """From an item to its record. Keeps databases open, and the gold of the question it is at."""

    def __init__(self, rules: Rules, beat: Beat | None = None) -> None:
        self._rules = rules
        self._databases = OpenDatabases(beat)
        self._database = ""
        self._remembered: dict[str, Execution] = {}
        self._gold: _Gold | None = None

    def __call__(self, item: Item) -> Record:
        """Verdict, verdicts, error_class, error, steps, rows, digest as in Outcome, and whether to try again alone."""
        question, sql = item
        if question.gold_verdict == "undecided":
            return record_for_all("undecided", "the gold query is undecided", None)
        if question.gold_verdict not in ("ok", None):
            return record_for_all("gold_error", f"the gold query is {question.gold_verdict}", None)
        try:
            return self._judged(question, sql)
        except MemoryError:
            self._forget("")
            return record_for_all("undecided", "out of memory", "memory", again=True)

    def _judged(self, question: Question, sql: str) -> Record:
        if self._gold is None or self._gold.question != question:
            self._gold = None  # two golds at once would need the memory of both
            if self._database != question.database:
                self._forget(question.database)
            self._gold = self._run_gold(question)
        gold, asked = self._gold, self._rules.contract
        text, one_text = _spider_form(sql)
        written = self._run(sql, gold.steps, self._enough(gold, CONTRACT_NAMES if one_text else ("bird", "strict")))
        spider = written if one_text else self._run(text, gold.steps, self._enough(gold, ("spider",)))
        verdicts = [_verdict(name, gold, spider if name == "spider" else written) for name in CONTRACT_NAMES]
        again = gold.machine_made or any(run.error_class in MACHINE_MADE for run in (written, spider))
        run = spider if asked == "spider" else written
        verdict = verdicts[CONTRACT_NAMES.index(asked)]
        if verdict == "gold_error":
            return [verdict, verdicts, None, f"the gold query: {gold.of(asked).error}", None, None, None, again]
        made = digest(run.result) if run.result and self._rules.digest_rows else None
        if verdict in ("match", "mismatch"):
            return [verdict, verdicts, None, None, run.steps, run.rows, made, again]
        error_class, error = run.error_class, run.error or f"the gold query: {gold.of(asked).error}"
        if error_class in MACHINE_MADE:  # how far it came by then says nothing
            return [verdict, verdicts, error_class, error, None, None, None, again]
        return [verdict, verdicts, error_class, error, run.steps, run.rows, made, again]

    def _forget(self, database: str) -> None:
        self._gold, self._database, self._remembered = None, database, {}

    def _run_gold(self, question: Question) -> _Gold:
        known, budget, sql = question.gold_verdict is not None, self._rules.budget, question.gold_sql
        text, one_text = _spider_form(sql)
        most = budget.steps(question.gold_steps) if known else budget.gold
        written = self._run(sql, most)
        spider = written if one_text else self._run(text, most)
        flags, auditor = question.gold_flags.split(","), None
        if not known and written.result and orders(sql):
            auditor = Auditor(self._databases.get(self._database, other_way=True), most, self._rules.limits)
            flags = list(auditor.ties(sql, written.result))
        ordered: dict[Contract, bool] = {
            "spider": spider_orders(sql),
            "bird": False,
            "strict": written.result is not None and orders(sql) and "order_unstable" not in flags,
        }
        allowed = most if known else budget.steps(max(written.steps, spider.steps))
        machine_made = any(run.error_class in MACHINE_MADE for run in (written, spider))
        machine_made |= auditor is not None and auditor.machine_made
        return _Gold(question, allowed, written, spider, ordered, machine_made)

    def _enough(self, gold: _Gold, contracts: tuple[Contract, ...]) -> Enough:
        """For one run: True once no contract can match, and too many rows came for a digest."""
        left = [(name, result) for name in contracts if (result := gold.of(name).result)]
        unread = self._rules.digest_rows if self._rules.contract in contracts else 0

        def enough(columns: int, block: list[Row], count: int) -> bool:
            left[:] = [(name, result) for name, result in left if not parted(name, result, columns, block, count)]
            return not left and (count > unread or not unread)

        return enough

    def _run(self, sql: str, steps: int, enough: Enough | None = None) -> Execution:
        known = self._remembered.get(sql)
        if known and known.steps <= steps and not (enough and known.read.columns and enough(known.read.columns, [], 0)):
            return known  # so few rows that nothing else could have ended it
        execution = self._databases.get(self._database).execute(sql, steps, self._rules.limits, enough)
        if len(self._remembered) < _REMEMBERED and len(sql) <= _REMEMBERED_SQL and _is_small(execution):
            self._remembered[sql] = execution
        return execution


def _spider_form(sql: str) -> tuple[str, bool]:
    """The text that the `spider` contract runs, and whether it is `sql` itself. One that is too long stays as it is."""
    if is_too_long(sql):
        return sql, True
    text = spider_text(sql)
    return text, statements(sql) == [text]


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
    read: Result = run.read
    if read.columns and parted(contract, expected.result, read.columns, read.rows, run.rows):
        return "mismatch"
    if run.status == "ok":
        raise AssertionError(f"{contract}: the query was ended although it could still match")
    return run.status
