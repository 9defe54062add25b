"""Searches counterexample databases on which a candidate that matches its gold parts from it: the work of one worker.

Mutants of a question's database are tried one after the other, first those that aim at the question, then those that
all questions of the database share. A mutant on which the gold is unstable (a LIMIT that cuts a tie, a NULL or numbers
as text in its order) is void for the question, and where only the order of its rows is open, that order does not
count. A mutant is kept if it parts the gold from a neighbour or a candidate that none before it parted: the others tell
nothing apart. Every mutant that is tried is tried on all candidates that were not parted yet.
"""

from dataclasses import asdict, dataclass

import apsw

from stages.audit.query_checks import Auditor, row_text
from stages.core.errors import UserError
from stages.datasets.counterexamples import WitnessClass
from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS
from stages.execution.comparison import CONTRACTS, Result
from stages.execution.process_limits import limit_process
from stages.execution.worker_pool import Heartbeat
from stages.mutation.findings import Finding, Findings, Question, Settings, Witness, untested
from stages.mutation.limit_ties import tie_probes
from stages.mutation.neighbours import neighbours_of
from stages.mutation.open_mutants import DatabaseMutants, OpenMutant
from stages.sql.text import orders, spider_orders, spider_text
from stages.sql.tokens import sql_tokens

_VOID = ("limit_tie", "text_number_sort", "null_first")


def make_searcher(settings: Settings, heartbeat: Heartbeat) -> "Searcher":
    """The work of one process, which is put under its limits for good."""
    limit_process(settings.limits.memory_mb)
    return Searcher(settings, heartbeat)


@dataclass(frozen=True, slots=True)
class _Gold:
    """A gold on one mutant; `ordered`: whether the order of its rows counts."""

    result: Result
    ordered: bool


class Searcher:
    """Returns the findings of a question. Keeps the mutants of one database."""

    def __init__(self, settings: Settings, heartbeat: Heartbeat | None = None) -> None:
        self._settings, self._heartbeat = settings, heartbeat
        self._database = ""
        self._mutants: DatabaseMutants | None = None

    def __call__(self, question: Question) -> Findings:
        gold = sql_tokens(question.gold_sql)
        if all(sql_tokens(sql) == gold for sql in question.candidates):
            return Findings([Finding("survived") for _ in question.candidates])
        try:
            return _Search(self._settings, self._mutants_of(question.database), question).findings()
        except (apsw.Error, UserError, UnicodeDecodeError) as error:
            self._forget()
            return untested(question, f"no mutant of its database can be made: {error}")
        except MemoryError:
            self._forget()
            return untested(question, "out of memory", nondeterministic=True)

    def _mutants_of(self, database: str) -> DatabaseMutants:
        if self._mutants is None or self._database != database:
            self._forget()
            settings = self._settings
            self._mutants = DatabaseMutants(database, settings.seed, settings.mutants, self._heartbeat)
            self._database = database
        return self._mutants

    def _forget(self) -> None:
        if self._mutants:
            self._mutants.close()
        self._mutants = None


class _Search:
    """The search for one question. Of candidates with equal tokens the first is executed for all (`_first`), and one
    with the tokens of the gold is not executed at all."""

    def __init__(self, settings: Settings, mutants: DatabaseMutants, question: Question) -> None:
        self._settings, self._mutants, self._question = settings, mutants, question
        self._gold_sql = self._text(question.gold_sql)
        neighbours = dict.fromkeys(map(self._text, neighbours_of(question.gold_sql, mutants.columns)))
        self._open_neighbours = [sql for sql in neighbours if sql != self._gold_sql]
        gold, tokens = sql_tokens(question.gold_sql), list(map(sql_tokens, question.candidates))
        self._first = [tokens.index(each) for each in tokens]
        self._open_candidates = {
            place: self._text(question.candidates[place]) for place in sorted(set(self._first)) if tokens[place] != gold
        }
        self._ran: set[str] = set()
        self._findings = {place: Finding("survived") for place, each in enumerate(tokens) if each == gold}
        self._tried = [0] * len(question.candidates)
        self._kept = self._void = 0
        self._nondeterministic = False

    def findings(self) -> Findings:
        there_are_mutants = False
        for mutant in self._mutants.of(self._question):
            there_are_mutants = True
            if self._kept == self._settings.mutants or not self._open_candidates:
                break
            gold = self._gold(mutant)
            if gold is None:
                self._void += 1
            else:
                self._try(mutant, gold)
        if not there_are_mutants:
            return untested(self._question, "no change of its database keeps the rules of its data")
        for place in self._open_candidates:
            kind: WitnessClass = "survived" if self._tried[place] else "untested"
            self._findings[place] = Finding(kind, self._tried[place])
        parted = len(self._ran - set(self._open_neighbours))
        return Findings(
            [self._findings[place] for place in self._first], self._kept, self._void, len(self._ran), parted,
            nondeterministic=self._nondeterministic,
        )  # fmt: skip

    def _gold(self, mutant: OpenMutant) -> _Gold | None:
        """The gold on a mutant; None where the mutant is void."""
        result = self._run(mutant, self._gold_sql)
        if result is None:
            return None
        auditor = Auditor(mutant.backward, self._settings.steps, self._settings.limits)
        flags = auditor.findings(self._gold_sql, result)
        self._nondeterministic |= auditor.nondeterministic
        if not auditor.complete or any(flag in flags for flag in _VOID) or self._cuts_tie(mutant):
            return None
        written = self._question.gold_sql
        spider = self._settings.contract == "spider"
        ordered = spider_orders(written) if spider else orders(written)
        return _Gold(result, ordered and "order_unstable" not in flags)

    def _cuts_tie(self, mutant: OpenMutant) -> bool:
        results = ((probe, self._run(mutant, probe.sql)) for probe in tie_probes(self._gold_sql))
        return any(result is not None and probe.cuts_tie(result.rows) for probe, result in results)

    def _try(self, mutant: OpenMutant, gold: _Gold) -> None:
        parted = {sql for sql in self._open_neighbours if self._neighbour_parts(mutant, gold, sql)}
        self._open_neighbours = [sql for sql in self._open_neighbours if sql not in parted]
        number = self._kept + 1
        for place, sql in list(self._open_candidates.items()):
            result = self._run(mutant, sql)
            if result is None:
                continue
            self._tried[place] += 1
            if self._parts(gold, result):
                witness = self._witness(mutant, gold, result, sql)
                self._findings[place] = Finding(_kind(gold.result, result), self._tried[place], number, asdict(witness))
                del self._open_candidates[place]
        self._kept += bool(parted) or any(finding.number == number for finding in self._findings.values())

    def _neighbour_parts(self, mutant: OpenMutant, gold: _Gold, sql: str) -> bool:
        result = self._run(mutant, sql)
        if result is None:
            return False
        self._ran.add(sql)
        return self._parts(gold, result)

    def _parts(self, gold: _Gold, result: Result) -> bool:
        """Whether the results differ. Where `spider` drops DISTINCT from both queries, how often a row comes says
        nothing of what they mean."""
        contract = self._settings.contract
        if gold.result.rows == result.rows or CONTRACTS[contract](gold.result, result, gold.ordered):
            return False  # rows that are equal are no witness, though `spider` may tell 1 from 1.0
        return contract != "spider" or gold.ordered or gold.result.bag.keys() != result.bag.keys()

    def _run(self, mutant: OpenMutant, sql: str) -> Result | None:
        execution = mutant.forward.execute(sql, self._settings.steps, self._settings.limits)
        self._nondeterministic |= execution.error_class in NONDETERMINISTIC_ERRORS
        return execution.result

    def _text(self, sql: str) -> str:
        return spider_text(sql) if self._settings.contract == "spider" else sql

    def _witness(self, mutant: OpenMutant, gold: _Gold, result: Result, sql: str) -> Witness:
        words = f"{self._gold_sql} {sql}".lower()
        changes = [f"{table}: {change}" for table, change in mutant.changes if table.lower() in words]
        gold_row, row = _first_difference(gold.result, result)
        return Witness(mutant.number, changes, gold_row, row, len(gold.result.rows), len(result.rows))


def _kind(gold: Result, result: Result) -> WitnessClass:
    if gold.bag == result.bag:
        return "order"
    return "duplicates" if gold.bag.keys() == result.bag.keys() else "rows"


def _first_difference(gold: Result, result: Result) -> tuple[str, str]:
    """The first row that comes less often in the other result; of equal bags, the first that comes at another place."""
    if gold.bag == result.bag:
        pairs = zip(gold.rows, result.rows, strict=True)
        return next((row_text(left), row_text(right)) for left, right in pairs if left != right)
    return row_text(gold.first_beyond(result)), row_text(result.first_beyond(gold))
