"""The requests to a strong model: for a database, a question with its SQL, the SQL of a question, and a repair.

A request depends on nothing but the seed and earlier answers, so that a run that is repeated asks the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from stages.synthesis.answers import DatabaseDraft, QueryDraft, QuestionDraft
from stages.synthesis.taxonomy import Difficulty

Kind = Literal["database", "question", "vote", "repair_database", "repair_query"]
FORMS: dict[Kind, type[DatabaseDraft] | type[QuestionDraft] | type[QueryDraft]] = {
    "database": DatabaseDraft, "question": QuestionDraft, "vote": QueryDraft, "repair_database": DatabaseDraft,
    "repair_query": QueryDraft,
}  # fmt: skip
"""What each kind of request asks for."""

_JSON = "Answer with one JSON object and nothing else."
_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 20_000  # of an answer that is sent back for repair
_SYSTEM = "You are an expert in relational databases and SQLite. You write data that other models learn from."


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `subject`: the id of the database or item that it is about; `attempt`: the number of the vote or of
    the repair, from 1."""

    kind: Kind
    subject: str
    db_id: str
    domain: str
    text: str
    difficulty: Difficulty | None = None
    attempt: int = 1

    @property
    def name(self) -> str:
        """The name of the request: no two requests of a run share it."""
        return f"{self.kind}/{self.subject}/{self.attempt}"

    def messages(self) -> list[dict[str, str]]:
        """The messages of a chat request."""
        return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": self.text}]


@dataclass(frozen=True, slots=True)
class Example:
    """A train question that a request shows: the DDL of its database, the question and its SQL."""

    ddl: str
    question: str
    sql: str


def ask_database(db_id: str, domain: str, tables: int) -> Request:
    """Asks for a database of a domain with about this many tables."""
    text = f"""Design a SQLite database about: {domain.replace("_", " ")}.

- About {tables} tables that foreign keys connect, each with a primary key and 2 to 8 columns of realistic names.
- 5 to 20 rows a table, invented but plausible and varied: repeated categories, ties, NULL where a value may be missing.
- Only CREATE TABLE statements: no views, triggers or virtual tables. Every foreign key points to an existing table.
- Every row has a value for each column, in the order of the columns, and keeps all constraints.

{_JSON} Its form:
{{"tables": [{{"name": "…", "create": "CREATE TABLE …", "rows": [[…], …]}}, …]}}"""
    return Request("database", db_id, db_id, domain, text)


def ask_question(
    item_id: str, db_id: str, domain: str, ddl: str, difficulty: Difficulty, concept: str, examples: Sequence[Example]
) -> Request:
    """Asks for one question of a difficulty about a database, with train examples for the style."""
    shown = "\n\n".join(f"{each.ddl}\nquestion: {each.question}\nsql: {each.sql}" for each in examples)
    style = f"Two questions of other databases, for the style:\n\n{shown}\n\n" if shown else ""
    text = f"""{style}The database, with its first rows as comments:

{ddl}

Write one new question that a user of this database would ask, and the SQLite query that answers it.
- Difficulty: {difficulty}. The query is about: {concept}.
- The question names every condition of the query, and uses values as the database spells them.
- The query returns exactly what is asked for, no further columns. Its result is not empty and does not depend on ties.

{_JSON} Its form: {{"question": "…", "sql": "…"}}"""
    return Request("question", item_id, db_id, domain, text, difficulty)


def ask_vote(item_id: str, db_id: str, domain: str, ddl: str, question: str, number: int) -> Request:
    """Asks for the SQL of a question, which is not shown the item's own."""
    text = f"""The database, with its first rows as comments:

{ddl}

Write the SQLite query that answers this question, and returns exactly what is asked for:
{question}

{_JSON} Its form: {{"sql": "…"}}"""
    return Request("vote", item_id, db_id, domain, text, attempt=number)


def ask_database_repair(db_id: str, domain: str, answer: str, problem: str, number: int) -> Request:
    """Sends a database back with what is wrong with it."""
    text = f"""This SQLite database cannot be used:

{answer[:_SHOWN_CHARACTERS]}

The problem: {problem}

Correct it. Keep everything else. {_JSON} Its form:
{{"tables": [{{"name": "…", "create": "CREATE TABLE …", "rows": [[…], …]}}, …]}}"""
    return Request("repair_database", db_id, db_id, domain, text, attempt=number)


def ask_query_repair(
    item_id: str, db_id: str, domain: str, ddl: str, question: str, sql: str, problem: str, rows: Sequence[str],
    number: int,
) -> Request:
    """Sends a query back with what is wrong with it, and the first rows that it returns."""
    returned = "\n".join(rows[:_SHOWN_ROWS]) or "(none)"
    text = f"""The database, with its first rows as comments:

{ddl}

The question: {question}
A query that should answer it: {sql}
The problem: {problem}
The first rows that it returns:
{returned}

Write the SQLite query that answers the question, and returns exactly what is asked for.

{_JSON} Its form: {{"sql": "…"}}"""
    return Request("repair_query", item_id, db_id, domain, text, attempt=number)
