"""What a strong model made: databases, and items, each a question about one of them with its SQL."""

from dataclasses import dataclass, field
from pathlib import Path

from stages.databases.schema import Schema, read_schema
from stages.prompting.ddl import render_table
from stages.synthesis.names_check import DatabaseWords, words_of_database

_EXAMPLE_ROWS = 3


@dataclass(frozen=True, slots=True)
class SyntheticDatabase:
    """A database that passed its checks. `ddl`: as the strong model sees it, with its first rows."""

    db_id: str
    domain: str
    file: Path
    ddl: str
    words: DatabaseWords


def open_database(db_id: str, domain: str, file: Path) -> SyntheticDatabase:
    """Reads the schema of a database. Raises apsw.Error as `read_schema` does."""
    schema = read_schema(file, _EXAMPLE_ROWS, {})
    ddl = "\n".join(render_table(table, "create_table") for table in schema.tables)
    return SyntheticDatabase(db_id, domain, file, ddl, words_of_database(_names(schema)))


def _names(schema: Schema) -> list[str]:
    return [name for table in schema.tables for name in (table.name, *(column.name for column in table.columns))]


@dataclass(slots=True)
class Item:
    """A question with its SQL, and what the checks showed so far.

    `concept`: the SQL concept that was asked for; `evidence`: a hint beside the question; either may be empty.
    `passed`: the names of the checks that it passed, in their order; `refusal`: the reason why it is left out, empty as
    long as there is none; `problem`: the same in a sentence; `agreeing`: how many of its `votes` return what its SQL
    returns; `repairs`: rounds of repair; `first_sql`: the SQL before the first repair, None if it was not repaired.
    """

    item_id: str
    database: SyntheticDatabase
    question: str
    sql: str
    concept: str = ""
    evidence: str = ""
    passed: list[str] = field(default_factory=list)
    refusal: str = ""
    problem: str = ""
    votes: list[str] = field(default_factory=list)
    agreeing: int = 0
    repairs: int = 0
    first_sql: str | None = None

    @property
    def asked(self) -> str:
        """What the model is asked: the evidence, if any, and the question."""
        return f"{self.evidence}\n{self.question}" if self.evidence else self.question

    def refuse(self, refusal: str, problem: str) -> None:
        """Notes why the item is left out."""
        self.refusal, self.problem = refusal, problem

    def replace_sql(self, sql: str) -> None:
        """Puts repaired SQL in the place of the item's, which has to pass all checks again."""
        self.first_sql = self.sql if self.first_sql is None else self.first_sql
        self.sql, self.refusal, self.problem, self.passed, self.agreeing = sql, "", "", [], 0
