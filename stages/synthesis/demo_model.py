"""The demo's strong model: the generator of the demo corpus, in its part, with the mistakes that such models make.

It answers for domains of which the human part has no train questions. It knows the right answer to everything that it
is asked, and gives it, except in a share of its answers, which have one mistake each. One vote in ten repeats the
mistake of its item; apart from that, mistakes are independent. Real models repeat their own more often, so votes find
fewer of those.
"""

import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import apsw

from stages.corpora.demo.corpus import DemoParams
from stages.corpora.demo.databases import Database, draw_databases, load
from stages.corpora.demo.domains import read_domains
from stages.corpora.demo.kinds import Kind, read_kinds
from stages.corpora.demo.questions import Question, QuestionDraw
from stages.synthesis.mistakes import (
    BROKEN_ROWS,
    BROKEN_TEXT,
    WRONG_SQL,
    broken_queries,
    spoil_tables,
    spoil_text,
    wrong_queries,
)  # fmt: skip
from stages.synthesis.requests import Request
from stages.synthesis.strong_model import Answer

_SPARE = 200
"""Databases of a domain beyond those that train, dev and test would have."""
_REPEATED = 0.1
"""Share of the votes that repeat the mistake of their item."""


class DemoModel:
    """Plays the strong model. `mistakes`: the name of each request so far to the mistake in its answer, empty for none.

    `corpus`: the params of the demo corpus. The databases are those that its train part would have, and further ones,
    but never those of dev and test.
    """

    name = "demo"
    max_tokens = 0

    def __init__(self, seed: int, corpus: DemoParams, mistake_rate: float) -> None:
        self.version = f"seed {seed}, mistakes {mistake_rate}"
        self.mistakes: dict[str, str] = {}
        self.domains = corpus.strong_domain_names
        self._seed, self._corpus, self._rate = seed, corpus, mistake_rate
        self._domains = {domain.domain: domain for domain in read_domains()}
        self._kinds = read_kinds()
        self._draws: dict[str, QuestionDraw] = {}
        self._questions: dict[str, Question] = {}
        self._wrong: dict[str, tuple[str, str]] = {}  # item to SQL and mistake, of the items with a silent one
        self._databases = cache(self._draw_databases)

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """Nothing."""
        return 0.0

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """The answer to each request, in their order."""
        return [Answer(self._text(request), "stop", 0, 0) for request in requests]

    def right_sql(self, item_id: str) -> str:
        """The right SQL of an item that was asked for."""
        return self._questions[item_id].sql

    def _text(self, request: Request) -> str:
        rng = random.Random(f"{self._seed}/{request.name}")
        makes_mistake = rng.random() < self._rate
        if request.kind in ("database", "repair_database"):
            text, mistake = self._database_text(request, rng if makes_mistake else None)
        else:
            text, mistake = self._query_text(request, rng, makes_mistake)
        self.mistakes[request.name] = mistake
        return text

    def _database_text(self, request: Request, rng: random.Random | None) -> tuple[str, str]:
        tables = _tables(load(self._database(request)))
        mistake = rng.choice((*BROKEN_ROWS, *BROKEN_TEXT)) if rng else ""
        if rng and mistake in BROKEN_ROWS:
            mistake = spoil_tables(tables, mistake, rng)
        text = json.dumps({"tables": tables})
        return (spoil_text(text, mistake, rng) if rng and mistake in BROKEN_TEXT else text), mistake

    def _query_text(self, request: Request, rng: random.Random, makes_mistake: bool) -> tuple[str, str]:
        question = self._question(request)
        sql, mistake = question.sql, ""
        if request.kind == "vote" and request.subject in self._wrong and rng.random() < _REPEATED:
            sql, mistake = self._wrong[request.subject]
        elif makes_mistake:
            sql, mistake = self._mistaken(request, question, rng)
        if request.kind == "question" and mistake in WRONG_SQL:
            self._wrong[request.subject] = sql, mistake
        is_question = request.kind == "question"
        text = json.dumps({"question": question.text, "sql": sql} if is_question else {"sql": sql})
        return (spoil_text(text, mistake, rng) if mistake in BROKEN_TEXT else text), mistake

    def _mistaken(self, request: Request, question: Question, rng: random.Random) -> tuple[str, str]:
        """Another query, and the mistake in it. Half of the mistakes show at once; the others run, return rows, and
        return other ones than the right query."""
        if rng.random() < 0.5:
            options = [*broken_queries(question.sql, rng), *((question.sql, name) for name in BROKEN_TEXT)]
            return rng.choice(options)
        connection = self._draws[request.db_id].connection
        silent = list(wrong_queries(question.sql, self._database(request), rng))
        rng.shuffle(silent)
        right = connection.execute(question.sql).fetchall()
        return next(_noticed(connection, silent, right), (question.sql, ""))

    def _question(self, request: Request) -> Question:
        if request.subject not in self._questions:
            if request.db_id not in self._draws:
                rng = random.Random(f"{self._seed}/{request.db_id}")
                self._draws[request.db_id] = QuestionDraw(self._database(request), rng)
            self._questions[request.subject] = self._draw_question(request, self._draws[request.db_id])
        return self._questions[request.subject]

    def _draw_question(self, request: Request, draw: QuestionDraw) -> Question:
        """A question of the wanted difficulty, or of another where the database has no further one."""
        rng = random.Random(f"{self._seed}/{request.subject}/kinds")
        order: list[Kind] = rng.sample(self._kinds, len(self._kinds))
        for kind in sorted(order, key=lambda kind: kind.difficulty != request.difficulty):
            if questions := draw.questions([kind], 1):
                return questions[0]
        raise ValueError(f"the demo has no further question about {request.subject}")

    def _database(self, request: Request) -> Database:
        """The database of a db_id that ends with its number. Those reserved for dev and test are passed over."""
        number = int(request.db_id.rpartition("_")[2]) - 1
        index = number if number < self._corpus.train_databases else number + self._reserved
        databases = self._databases(request.domain)
        return databases[index % len(databases)]

    def _draw_databases(self, domain: str) -> list[Database]:
        count = self._corpus.train_databases + self._reserved + _SPARE
        return draw_databases(self._domains[domain], count, self._corpus.seed)

    @property
    def _reserved(self) -> int:
        return self._corpus.dev_databases + self._corpus.test_databases


def _tables(connection: apsw.Connection) -> list[dict[str, Any]]:
    """The tables of a database as a model writes them."""
    tables = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'table'").fetchall()
    return [
        {"name": name, "create": create, "rows": [list(row) for row in connection.execute(f"SELECT * FROM {name}")]}
        for name, create in tables
    ]


def _noticed(
    connection: apsw.Connection, queries: Sequence[tuple[str, str]], right: list[Any]
) -> Iterator[tuple[str, str]]:
    """Those of the queries that run, return rows, and do not return the right ones."""
    for sql, mistake in queries:
        try:
            rows = connection.execute(sql).fetchall()
        except apsw.SQLError:
            continue
        if rows and sorted(map(repr, rows)) != sorted(map(repr, right)):
            yield sql, mistake
