"""Databases of a strong model: asked for, built, repaired, and kept where they are like no earlier one."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.databases.paths import database_path
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor
from stages.synthesis.answers import AnswerError, DatabaseDraft, parse_answer
from stages.synthesis.database_builder import build_all
from stages.synthesis.items import SyntheticDatabase, open_database
from stages.synthesis.near_duplicates import NearDuplicates
from stages.synthesis.requests import Request, ask_database, ask_database_repair
from stages.synthesis.strong_model import Answer, BudgetedModel

SIMILAR_DATABASES = 0.9
"""Jaccard similarity of the names of tables and columns from which on two databases count as the same."""
_TABLES = (2, 3, 3, 4, 4, 5, 6)  # asked for in turn


@dataclass(slots=True)
class _Attempt:
    """A database that is being made: the model's last answer, and why it is refused (empty: not refused)."""

    db_id: str
    domain: str
    answer: str = ""
    draft: DatabaseDraft | None = None
    refusal: str = ""
    problem: str = ""


@dataclass
class DatabaseMaker:
    """Puts databases into `folder`. `counts`: the databases that are left out, by reason."""

    folder: Path
    limits: Limits
    executor: Executor[Any, Any]
    repair_rounds: int
    counts: Counter[str] = field(default_factory=Counter)
    _known: NearDuplicates = field(default_factory=lambda: NearDuplicates(SIMILAR_DATABASES))

    def ask(self, model: BudgetedModel, wanted: Sequence[tuple[str, str]]) -> list[SyntheticDatabase]:
        """Asks for databases with these (db_id, domain). Returns those that can be used and are like no earlier one, in
        their order."""
        attempts = all_attempts = [_Attempt(db_id, domain) for db_id, domain in wanted]
        requests = [ask_database(each.db_id, each.domain, _tables(each.db_id)) for each in attempts]
        contents: dict[str, bytes] = {}
        for number in range(self.repair_rounds + 1):
            contents |= self._build(_read(attempts, model.ask(requests)))
            attempts = [each for each in attempts if each.refusal]  # one that the budget did not allow has none
            if number == self.repair_rounds or not attempts:
                break
            requests = [_repair(each, number + 1) for each in attempts]
        self.counts.update(each.refusal for each in all_attempts if each.refusal)
        databases = [self._put(db_id, domain, contents[db_id]) for db_id, domain in wanted if db_id in contents]
        return [database for database in databases if self._is_new(database)]

    def add(self, drafts: Sequence[tuple[str, str, DatabaseDraft]]) -> list[SyntheticDatabase]:
        """Builds databases of a file, each with db_id and domain. Returns those that can be used."""
        attempts = [_Attempt(db_id, domain, draft=draft) for db_id, domain, draft in drafts]
        contents = self._build(attempts)
        self.counts.update(each.refusal for each in attempts if each.refusal)
        return [self._put(db_id, domain, contents[db_id]) for db_id, domain, _ in drafts if db_id in contents]

    def _build(self, attempts: Sequence[_Attempt]) -> dict[str, bytes]:
        """The databases of the drafts that can be built. The other attempts get their refusal."""
        drafted = [(each, each.draft) for each in attempts if each.draft]
        results = build_all([draft for _, draft in drafted], self.limits, self.executor) if drafted else []
        contents = {}
        for (attempt, _), built in zip(drafted, results, strict=True):
            attempt.refusal, attempt.problem = built.reason, built.message
            if built.database:
                contents[attempt.db_id] = built.database
        return contents

    def _put(self, db_id: str, domain: str, content: bytes) -> SyntheticDatabase:
        file = database_path(self.folder, db_id)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return open_database(db_id, domain, file)

    def _is_new(self, database: SyntheticDatabase) -> bool:
        """Whether no earlier database is nearly the same. Counts those that are."""
        is_new = self._known.is_new(_shingles(database))
        self.counts["near_duplicate"] += not is_new
        return is_new


def _tables(db_id: str) -> int:
    return _TABLES[int(db_id.rpartition("_")[2]) % len(_TABLES)]


def _read(attempts: Sequence[_Attempt], answers: Sequence[Answer | None]) -> list[_Attempt]:
    """The attempts that were answered, with the draft in the answer or the reason why there is none."""
    answered = []
    for attempt, answer in zip(attempts, answers, strict=True):
        if answer is None:
            continue
        attempt.answer, attempt.draft, attempt.refusal = answer.text, None, ""
        try:
            attempt.draft = parse_answer(answer.text, answer.finish_reason, DatabaseDraft)
        except AnswerError as error:
            attempt.refusal, attempt.problem = error.reason, error.message
        answered.append(attempt)
    return answered


def _repair(attempt: _Attempt, number: int) -> Request:
    return ask_database_repair(attempt.db_id, attempt.domain, attempt.answer, attempt.problem, number)


def _shingles(database: SyntheticDatabase) -> list[str]:
    """Each table with each of its columns."""
    pairs = []
    table = ""
    for line in database.ddl.splitlines():
        if match := re.match(r"CREATE TABLE (.+) \($", line):
            table = match[1].lower()
        elif match := re.match(r"  (\S+)", line):
            pairs.append(f"{table}.{match[1].lower()}")
    return pairs
