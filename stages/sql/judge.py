"""Gives candidates their verdicts: what `exec_results` and `evaluate` share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from stages.errors import UserError
from stages.sql.compare import CONTRACTS, Contract, Row, digest
from stages.sql.pool import Job, Record, run
from stages.sql.sandbox import Enough, Execution, Limits, OpenDatabases, check_databases, limit_process
from stages.sql.text import orders, spider_orders, spider_text, statements
from stages.sql.verdicts import Verdict

DIGEST_ROWS = 1000
"""A result is read on beyond its verdict up to this many rows, so that it can have a digest. After that, reading stops
as soon as no contract can still find it equal to the gold's."""

HANG_GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Budget:
    """VM steps that a candidate may take: `factor` times what the gold took, but never fewer than `floor`."""

    floor: int
    factor: int

    def steps(self, gold_steps: int) -> int:
        return max(self.floor, self.factor * gold_steps)


@dataclass(frozen=True, slots=True)
class Question:
    """What a candidate is judged against: a question's database and gold query, and the gold dataset's row for it."""

    db_id: str
    gold_sql: str
    gold_verdict: str
    gold_steps: int
    gold_flags: str


Item = tuple[Question, str]
"""A question and the SQL of one candidate for it ('' for none)."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What executing a candidate showed.

    `verdict` is that of the contract asked for, `verdicts` holds each contract's. The other fields tell of the text
    that ran for the contract asked for: `error` and `error_class` are None for match and mismatch; `rows` counts the
    rows read; `digest` is None unless the result was read to its end. Without a run there are no steps and no rows.
    """

    verdict: Verdict
    verdicts: dict[Contract, Verdict]
    error_class: str | None
    error: str | None
    steps: int | None
    rows: int | None
    digest: str | None


def read_questions(questions: pl.DataFrame, gold: pl.DataFrame) -> dict[str, Question]:
    """question_id to Question, for every row of the questions dataset. Raises UserError where gold lacks some."""
    joined = questions.join(gold, on="question_id", how="left")
    missing = joined.filter(pl.col("verdict").is_null())["question_id"].to_list()
    if missing:
        raise UserError(
            f"gold has no row for {len(missing)} questions (the first: {missing[0]}); run `dvc repro gold`"
        )
    rows = joined.select("question_id", "db_id", "gold_sql", "verdict", pl.col("steps").fill_null(0), "flags")
    return {question_id: Question(*fields) for question_id, *fields in rows.iter_rows()}


def judge(
    items: Sequence[Item],
    databases: Path,
    budget: Budget,
    limits: Limits,
    contract: Contract,
    workers: int,
    log: Path | None = None,
) -> list[Outcome]:
    """The outcome of each of `items`, in their order; equal ones are executed once.

    `databases`: the folder of `<db_id>/<db_id>.sqlite`; `workers`: processes, without influence on the outcomes;
    `log`: a file of finished work that a killed run goes on from (of the same items, databases, budget, limits and
    contract). Raises UserError, before any work, naming the databases that are missing or not SQLite.
    """
    check_databases((question.db_id for question, _ in items), databases)
    distinct = sorted(set(items), key=_order)
    job = Job(
        make_work=partial(_make_work, databases, budget, limits, contract),
        patience=limits.wall_seconds + HANG_GRACE_SECONDS,
        lost=lambda item: _record(_same_for_all("undecided", "its process was lost twice", "lost")),
        again=lambda record: bool(record["again"]),
    )
    records = run(job, distinct, workers, log, label="candidates")
    outcomes = {item: Outcome(**record["outcome"]) for item, record in zip(distinct, records, strict=True)}
    return [outcomes[item] for item in items]


def _order(item: Item) -> tuple[str, ...]:
    question, sql = item
    gold = (question.gold_sql, question.gold_verdict, str(question.gold_steps), question.gold_flags)
    return (question.db_id, *gold, sql)


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold query that ran: its execution as written and as the `spider` contract runs it, and what follows from them.
    `most_rows`: a result of more rows can neither be equal to it under a contract that counts rows nor have a digest.
    """

    question: Question
    written: Execution
    spider: Execution
    ordered: dict[Contract, bool]
    most_rows: int
    rows: frozenset[Row]

    def too_many(self, block: list[Row], count: int) -> bool:
        return count > self.most_rows

    def until_no_contract_matches(self) -> Enough:
        """For one query: True once there are too many rows, and one that is not the gold's, so that sets differ too."""
        strange = False

        def enough(block: list[Row], count: int) -> bool:
            nonlocal strange
            strange = strange or not self.rows.issuperset(block)
            return strange and count > self.most_rows

        return enough


def _make_work(databases: Path, budget: Budget, limits: Limits, contract: Contract) -> Callable[[Item], Record]:
    limit_process(limits.memory_mb)
    return _Judge(OpenDatabases(databases), budget, limits, contract)


class _Judge:
    """The work of one worker: keeps databases open, and the gold of the question it is at."""

    def __init__(self, databases: OpenDatabases, budget: Budget, limits: Limits, contract: Contract) -> None:
        self._databases, self._budget, self._limits, self._contract = databases, budget, limits, contract
        self._gold: _Gold | None = None

    def __call__(self, item: Item) -> Record:
        question, sql = item
        if question.gold_verdict == "undecided":
            return _record(_same_for_all("undecided", "the gold query is undecided", None))
        if question.gold_verdict != "ok":
            return _record(_same_for_all("gold_error", f"the gold query is {question.gold_verdict}", None))
        try:
            return self._judged(question, sql)
        except MemoryError:
            self._gold = None
            return _record(_same_for_all("undecided", "out of memory", "memory"), again=True)

    def _judged(self, question: Question, sql: str) -> Record:
        if self._gold is None or self._gold.question != question:
            self._gold = None  # two golds at once would need the memory of both
            self._gold = self._run_gold(question)
        gold, text = self._gold, spider_text(sql)
        written = self._run(question, sql, gold.until_no_contract_matches())
        spider = written if statements(sql) == [text] else self._run(question, text, gold.too_many)
        verdicts: dict[Contract, Verdict] = {
            "spider": _verdict("spider", gold.spider, spider, gold.ordered["spider"]),
            "bird": _verdict("bird", gold.written, written, gold.ordered["bird"]),
            "strict": _verdict("strict", gold.written, written, gold.ordered["strict"]),
        }
        outcome = _outcome(self._contract, verdicts, spider if self._contract == "spider" else written)
        runs = (gold.written, gold.spider, written, spider)
        return _record(outcome, again=any(run.error_class in ("time", "memory") for run in runs))

    def _run_gold(self, question: Question) -> _Gold:
        text = spider_text(question.gold_sql)
        written = self._run(question, question.gold_sql)
        spider = written if statements(question.gold_sql) == [text] else self._run(question, text)
        ordered: dict[Contract, bool] = {
            "spider": spider_orders(question.gold_sql),
            "bird": False,
            "strict": orders(question.gold_sql) and "order_unstable" not in question.gold_flags.split(","),
        }
        rows = frozenset(written.result.rows if written.result else [])
        return _Gold(question, written, spider, ordered, max(written.rows, spider.rows, DIGEST_ROWS), rows)

    def _run(self, question: Question, sql: str, enough: Enough | None = None) -> Execution:
        steps = self._budget.steps(question.gold_steps)
        return self._databases.get(question.db_id).execute(sql, steps, self._limits, enough)


def _verdict(contract: Contract, gold: Execution, run: Execution, ordered: bool) -> Verdict:
    """The rules of `stages.sql.verdicts`, in their order."""
    if gold.result is None:
        return "undecided" if gold.status == "undecided" else "gold_error"
    ended_by_a_count = run.status in ("ok", "over_budget") or run.error_class == "size"
    if contract != "bird" and ended_by_a_count and run.rows > len(gold.result.rows):
        return "mismatch"
    if run.status != "ok":
        return run.status
    if run.result is None:  # reading stopped because no contract can match
        return "mismatch"
    return "match" if CONTRACTS[contract](gold.result, run.result, ordered) else "mismatch"


def _outcome(contract: Contract, verdicts: dict[Contract, Verdict], run: Execution) -> Outcome:
    verdict = verdicts[contract]
    made = digest(run.result) if run.result else None
    if verdict in ("match", "mismatch"):
        return Outcome(verdict, verdicts, None, None, run.steps, run.rows, made)
    error = run.error or "the gold query has no result"
    return Outcome(verdict, verdicts, run.error_class, error, run.steps, run.rows, made)


def _same_for_all(verdict: Verdict, error: str, error_class: str | None) -> Outcome:
    return Outcome(verdict, dict.fromkeys(CONTRACTS, verdict), error_class, error, None, None, None)


def _record(outcome: Outcome, again: bool = False) -> Record:
    return {"outcome": {name: getattr(outcome, name) for name in Outcome.__slots__}, "again": again}
