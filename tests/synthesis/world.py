"""A tiny database, a strong model that answers as a test wants, and workers that run in this process."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from stages.audit import gold_worker
from stages.cache.result_cache import Cache
from stages.databases.paths import database_path
from stages.execution import worker
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor, Job
from stages.synthesis import database_builder, first_rows
from stages.synthesis.answers import DatabaseDraft
from stages.synthesis.database_builder import build
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.item_checks import Verifier
from stages.synthesis.items import Item, SyntheticDatabase, open_database
from stages.synthesis.mending import Mending
from stages.synthesis.requests import Request
from stages.synthesis.strong_model import Answer, BudgetedModel, BudgetParams
from stages.synthesis.synthesizer import ModelSource, Synthesizer
from stages.synthesis.taxonomy import read_taxonomy

LIMITS = Limits(wall_seconds=20, memory_mb=512, max_rows=20_000, result_mb=20)
STEPS = 1_000_000
NO_LIMIT = BudgetParams(requests=None, tokens=None, cost=None)
SINGERS = {
    "name": "singer",
    "create": "CREATE TABLE singer (singer_id INTEGER PRIMARY KEY, stage_name TEXT, age INTEGER, country TEXT)",
    "rows": [[1, "Ada", 30, "Peru"], [2, "Bea", 40, "Peru"], [3, "Cid", 40, "Chad"], [4, "Dan", 51, None]],
}
ALBUMS = {
    "name": "album",
    "create": "CREATE TABLE album (album_id INTEGER PRIMARY KEY, singer_id INTEGER REFERENCES singer, title TEXT)",
    "rows": [[1, 1, "One"], [2, 1, "Two"], [3, 2, "Three"], [4, None, "Four"]],
}


def draft(*tables: dict[str, Any]) -> DatabaseDraft:
    return DatabaseDraft.model_validate({"tables": list(tables)})


def music(folder: Path, db_id: str = "strong_music_0001") -> SyntheticDatabase:
    """Singers of whom two have the same age, and albums of which one is of no singer."""
    content = build(draft(SINGERS, ALBUMS)).database
    assert content
    file = database_path(folder, db_id)
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return open_database(db_id, "music", file)


def item(database: SyntheticDatabase, question: str, sql: str, number: int = 0) -> Item:
    return Item(f"strong/music_0001/{number:02}", database, question, sql)


def inline(job: Job[Any, Any], tasks: Sequence[Any], chunks: list[list[int]]) -> Iterator[dict[int, Any]]:
    """An executor without processes, for what is not hostile: starting one takes longer than a query."""
    work = job.make_work(lambda: None)
    for chunk in chunks:
        yield {index: job.decode(json.loads(json.dumps(job.encode(work(tasks[index]))))) for index in chunk}


def work_here(patch: pytest.MonkeyPatch) -> None:
    """Lets `inline` run the work of workers here, without the limits that a process cannot get rid of."""
    for module in (gold_worker, worker, database_builder, first_rows):
        patch.setattr(module, "limit_process", lambda memory_mb: None)


def verifier(folder: Path, executor: Executor[Any, Any] = inline) -> Verifier:
    return Verifier(STEPS, LIMITS, executor, Cache(folder / "cache"))


def tables_of(db_id: str) -> list[dict[str, Any]]:
    """The tables that the scripted model gives a database: no two have a name in common."""
    name = f"{db_id}_visit"
    create = f"CREATE TABLE {name} (visit_id INTEGER PRIMARY KEY, points INTEGER)"
    return [{"name": name, "create": create, "rows": [[number, 10 * number] for number in range(1, 9)]}]


def sql_of(request: Request) -> str:
    number = int(request.subject.rpartition("/")[2])
    return f"SELECT {number}, count(*) FROM {request.db_id}_visit WHERE points > {7 * number}"


def right_answer(request: Request) -> str:
    if request.kind in ("database", "repair_database"):
        return json.dumps({"tables": tables_of(request.db_id)})
    number = int(request.subject.rpartition("/")[2])
    question = f"What is {number}, and how many visits of {request.domain} have more than {7 * number} points?"
    return json.dumps({"question": question, "sql": sql_of(request)})


@dataclass
class ScriptedModel:
    """`answer_of`: the text of each answer. `asked`: all requests so far. Each answer counts as 100 tokens of the
    prompt and 20 of its own; a million tokens cost 2 and 8."""

    answer_of: Callable[[Request], str] = right_answer
    asked: list[Request] = field(default_factory=list)
    name: str = "scripted"
    version: str = "1"
    max_tokens: int = 50

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        self.asked += requests
        return [Answer(self.answer_of(request), "stop", 100, 20) for request in requests]

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        return (2 * prompt_tokens + 8 * completion_tokens) / 1e6

    @property
    def kinds(self) -> list[str]:
        return [request.kind for request in self.asked]


def budget(**limits: Any) -> BudgetParams:
    return BudgetParams.model_validate(NO_LIMIT.model_dump() | limits)


def synthesizer(
    folder: Path, model: ScriptedModel, limits: BudgetParams = NO_LIMIT, votes: int = 0, repair_rounds: int = 0,
    executor: Executor[Any, Any] = inline,
) -> tuple[Synthesizer, BudgetedModel]:  # fmt: skip
    """What makes items of two domains, four to a database."""
    budgeted = BudgetedModel(model, limits)
    maker = DatabaseMaker(folder / "databases", LIMITS, executor, repair_rounds)
    source = ModelSource(budgeted, maker, read_taxonomy(), ["bank", "zoo"], 4, [], 1)
    return Synthesizer(source, Mending(verifier(folder, executor), budgeted, votes, repair_rounds)), budgeted
