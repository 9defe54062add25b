"""The mutants of a database, open to be queried: those that aim at one question, and those that all questions share."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from stages.execution import sandbox
from stages.execution.worker_pool import Heartbeat
from stages.mutation.changes import make_mutant
from stages.mutation.constants import Constants, constants_of, merged, texts_that_occur, unquoted
from stages.mutation.findings import Question
from stages.mutation.image import image_of
from stages.mutation.real_rows import Database, read_real_rows
from stages.mutation.rules import mine
from stages.sql.tokens import sql_tokens

AIMED = 3
"""Mutants that aim at one question, for each that may be kept."""
SHARED = 1
"""Mutants that all questions of a database share, for each that may be kept."""


class OpenMutant:
    """A mutant of a database, open; `backward` runs scans without an ORDER BY the other way round."""

    def __init__(self, number: int, changes: list[tuple[str, str]], image: bytes, heartbeat: Heartbeat | None) -> None:
        self.number, self.changes = number, changes
        self.forward = sandbox.Database(image, heartbeat=heartbeat)
        self.backward = sandbox.Database(image, reverse_unspecified_order=True, heartbeat=heartbeat)

    def close(self) -> None:
        self.forward.close()
        self.backward.close()


class DatabaseMutants:
    """The mutants of one database file. `kept`: how many of them a question may keep; `seed`: of what is changed.
    Raises UserError, apsw.Error or UnicodeDecodeError where the file cannot be read, or a mutant of it not be made."""

    def __init__(self, file: str, seed: int, kept: int, heartbeat: Heartbeat | None = None) -> None:
        self._seed, self._kept, self._heartbeat = seed, kept, heartbeat
        self._real = read_real_rows(Path(file))
        self._rules = mine(self._real)
        self._shared = [self._mutant(self._real, {}, number, False) for number in range(SHARED * kept)]

    def close(self) -> None:
        for mutant in self._shared:
            mutant.close()

    @property
    def columns(self) -> tuple[tuple[str, ...], ...]:
        """The columns of each table of the open database."""
        return tuple(table.columns for table in self._real.tables)

    def _constants(self, question: Question) -> Constants:
        """Those of the gold, and of candidates the numbers and the texts that occur in the data: what a model made up
        is no likely value."""
        from_candidates = texts_that_occur(constants_of(question.candidates), self._real.texts)
        return merged(constants_of([question.gold_sql]), from_candidates)

    def _mutant(self, real: Database, constants: Constants, number: int, aimed: bool) -> OpenMutant:
        mutant = make_mutant(real, self._rules, constants, self._seed, number, aimed)
        return OpenMutant(number, mutant.changes, image_of(real, mutant), self._heartbeat)

    def of(self, question: Question) -> Iterator[OpenMutant]:
        """First those that aim at the question, made one by one as they are needed, then those of the database. One
        that is the database itself is none."""
        constants = self._constants(question)
        real, first = self._read_by([question.gold_sql, *question.candidates]), len(self._shared)
        for number in range(first, first + AIMED * self._kept):
            with closing(self._mutant(real, constants, number, True)) as mutant:
                if mutant.changes:
                    yield mutant
        yield from (mutant for mutant in self._shared if mutant.changes)

    def _read_by(self, queries: Sequence[str]) -> Database:
        """The database with the tables alone that the queries may read, and those that these point at."""
        words = {unquoted(token).lower() for sql in queries for token in sql_tokens(sql)}
        if self._real.has_views:
            return self._real
        kept = {table.name for table in self._real.tables if table.name.lower() in words}
        for _ in self._real.tables:
            kept |= {reference.parent for name in kept for reference in self._rules[name].references}
        return replace(self._real, tables=tuple(table for table in self._real.tables if table.name in kept))
