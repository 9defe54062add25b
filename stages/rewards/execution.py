"""The verdict of a completion as its reward, with the signature of TRL's `reward_funcs`.

    reward = ExecutionReward(Path("data/databases"), contract="strict", runs=0.1)
    GRPOTrainer(..., reward_funcs=reward)

It judges as `stages.exec_results` does: in the sandbox, within budgets of VM steps, in worker processes that may die.
It imports neither torch nor TRL.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.databases.held_files import HeldFiles
from stages.databases.paths import check_databases, database_path
from stages.datasets.verdicts import VERDICTS, Verdict
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.execution.judge import judge
from stages.execution.records import Budget, GoldQuestion, Item, Rules
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import KeptWorkers, local, usable_cpus
from stages.extraction.extract import extract_sql
from stages.mutation.findings import Question, Settings
from stages.mutation.witnesses import find_witnesses

Completion = str | Sequence[Mapping[str, Any]]
"""A text, or the messages of a conversation that the model wrote."""

BUDGET = Budget(floor=1_000_000, factor=50)
LIMITS = Limits(wall_seconds=10, memory_mb=1024, max_rows=500_000, result_mb=200)
ACCIDENT = "right_by_accident"
"""The metric that logs the share of completions which matched their database, but no counterexample database."""


class ExecutionReward:
    """Rewards completions: 1.0 for `match`, `runs` for `mismatch`, 0.0 for an error, an exceeded budget or no SQL.

    `undecided` and `gold_error` give None. TRL leaves such a completion out of its group's mean and standard deviation,
    and gives it the advantage 0. Worker processes are kept from call to call; they end with this process, or by
    `close`.
    """

    __name__ = "execution"  # TRL logs the reward under it

    def __init__(
        self, databases: Path, contract: Contract = "strict", runs: float = 0.0, counterexamples: int = 0, *,
        seed: int = 1, budget: Budget = BUDGET, limits: Limits = LIMITS, workers: int | None = None,
    ) -> None:  # fmt: skip
        """`databases`: a folder with <db_id>/<db_id>.sqlite. `counterexamples`: how many counterexample databases a
        match is tried on, and `seed` is theirs; 0 = none. `workers`: None shares the processors among the processes of
        this machine. Raises UserError for every value that is none."""
        problems = [] if databases.is_dir() else [f"{databases} is no folder; give that of the databases"]
        if contract not in CONTRACT_NAMES:
            problems.append(f"`contract` is {contract!r}; give one of {', '.join(CONTRACT_NAMES)}")
        if not 0 <= runs < 1:
            problems.append(f"`runs` is {runs}; give a share from 0 to below 1")
        if counterexamples < 0:
            problems.append(f"`counterexamples` is {counterexamples}; give a number of databases, or 0")
        if problems:
            raise UserError(*problems)
        self._databases, self._runs = databases, runs
        self._rules = Rules(contract, budget, limits)
        self._settings = Settings(contract, seed, counterexamples, budget.floor, limits)
        self._workers = workers or max(1, usable_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        self._judges, self._searchers = KeptWorkers(), KeptWorkers()
        self._held: dict[str, HeldFiles] = {}

    def __call__(
        self, prompts: Sequence[object], completions: Sequence[Completion], db_id: Sequence[str] | None = None,
        gold_sql: Sequence[str] | None = None, gold_flags: Sequence[str] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list[Any]], None] | None = None, **_: object,
    ) -> list[float | None]:  # fmt: skip
        """The reward of each completion, None for no signal.

        `db_id`, `gold_sql` and `gold_flags` are columns of the training dataset. The last is optional: with
        `order_unstable` in it, the order of the gold's rows does not count. Raises UserError where a column or a
        database is missing.
        """
        missing = [name for name, column in (("db_id", db_id), ("gold_sql", gold_sql)) if column is None]
        if db_id is None or gold_sql is None:
            raise UserError(*(f"the training dataset has no column `{name}`; add it" for name in missing))
        sqls = [extract_sql(text_of(completion)) for completion in completions]
        flags = gold_flags or [""] * len(sqls)
        golds = zip(self._paths(db_id), gold_sql, flags, strict=True)
        questions = [GoldQuestion(path, gold, gold_flags=flag or "") for path, gold, flag in golds]
        verdicts, accidents = self.verdicts(list(zip(questions, sqls, strict=True)))
        if log_metric:
            counts = Counter(verdicts)
            for verdict in VERDICTS:
                log_metric(f"verdicts/{verdict}", counts[verdict] / max(len(verdicts), 1))
            if self._settings.mutants:
                log_metric(ACCIDENT, accidents / max(len(verdicts), 1))
        if log_extra:
            log_extra("verdict", verdicts)
        return [reward_of(verdict, self._runs) for verdict in verdicts]

    def verdicts(self, items: Sequence[Item]) -> tuple[list[Verdict], int]:
        """The verdict of each item, and how many of them are `mismatch` only by a counterexample database."""
        outcomes = judge(items, self._rules, local(self._workers, self._judges), label="rewards")
        verdicts: list[Verdict] = [outcome.verdict for outcome in outcomes]
        accidental = self._accidental(
            [item for item, verdict in zip(items, verdicts, strict=True) if verdict == "match"]
        )
        is_accident = [item in accidental and verdict == "match" for item, verdict in zip(items, verdicts, strict=True)]
        pairs = zip(is_accident, verdicts, strict=True)
        verdicts = ["mismatch" if accident else verdict for accident, verdict in pairs]
        return verdicts, sum(is_accident)

    def close(self) -> None:
        """Ends the worker processes; a later call starts new ones."""
        self._judges.close()
        self._searchers.close()

    def _accidental(self, matches: Sequence[Item]) -> set[Item]:
        """Those of the matches that a counterexample database tells from their gold. Each is searched by itself, so
        that its reward does not depend on what else was sampled."""
        if not self._settings.mutants:
            return set()
        distinct = list(dict.fromkeys(matches))
        questions = [Question(gold.database, gold.gold_sql, (sql,)) for gold, sql in distinct]
        findings = find_witnesses(questions, self._settings, local(self._workers, self._searchers))
        return {item for item, each in zip(distinct, findings, strict=True) if each.candidates[0].witness}

    def _paths(self, db_ids: Sequence[str]) -> list[str]:
        """The database file of each completion. The kept workers have files open, so none may change."""
        paths = {db_id: str(database_path(self._databases, db_id).absolute()) for db_id in set(db_ids)}
        new = [db_id for db_id, path in paths.items() if path not in self._held]
        check_databases(new, self._databases)
        self._held |= {paths[db_id]: HeldFiles([paths[db_id]]) for db_id in new}
        for path in paths.values():
            self._held[path].require_unchanged()
        return [paths[db_id] for db_id in db_ids]


def reward_of(verdict: Verdict, runs: float) -> float | None:
    """The reward of a verdict; None where it says nothing of the completion. `runs`: that of a wrong result."""
    if verdict in ("undecided", "gold_error"):
        return None
    return {"match": 1.0, "mismatch": runs}.get(verdict, 0.0)


def text_of(completion: Completion) -> str:
    """What the model wrote: of messages the text of the last one by the assistant, "" where there is none."""
    if isinstance(completion, str):
        return completion
    contents = [message.get("content") for message in completion if message.get("role") == "assistant"]
    content = contents[-1] if contents else None
    if isinstance(content, str) or not content:
        return content or ""
    return "".join(str(block.get("text", "")) for block in content if block.get("type") == "text")
