"""Draws the questions of a database: fills the slots of the kinds, and keeps golds that identify a right answer."""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apsw

from stages.core.errors import UserError
from stages.corpora.demo.databases import Column, Database, Table, load
from stages.corpora.demo.kinds import PLACEHOLDER, Kind, Slot

MAX_DRAWS = 12
"""Draws of a kind on a database after which the kind gets no more turns."""

Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True)
class Question:
    """A kept question."""

    db_id: str
    kind: str
    difficulty: str
    text: str
    sql: str


@dataclass(frozen=True)
class Filling:
    """What fills a slot, and how the SQL and the question write it."""

    value: Table | Column | str | int | float
    sql: str
    words: str


class QuestionDraw:
    """Draws the questions of a database. `drops` counts the draws that were not kept, by reason."""

    def __init__(self, database: Database, rng: random.Random) -> None:
        self.drops: Counter[str] = Counter()
        self._database = database
        self._rng = rng
        self.connection = load(database)
        reverse_scan = load(database)
        reverse_scan.execute("PRAGMA reverse_unordered_selects = 1")
        self._reordered = (load(database, reverse_ids=True), reverse_scan)
        self._used: set[str] = set()  # texts and queries of the questions so far

    def questions(self, kinds: Sequence[Kind], count: int) -> list[Question]:
        """Draws at most `count` questions, the kinds in turn; fewer if the kinds are exhausted. Raises UserError if a
        kind's SQL fails."""
        questions: list[Question] = []
        turn = self._rng.sample(kinds, len(kinds))
        while turn and len(questions) < count:
            next_turn = []
            for kind in turn:
                question = self._draw(kind)
                if question and len(questions) < count:
                    questions.append(question)
                    self._used |= {question.text, question.sql}
                    next_turn.append(kind)
            turn = next_turn
        return questions

    def _draw(self, kind: Kind) -> Question | None:
        for _ in range(MAX_DRAWS):
            fillings = _fill(kind.parsed, self._database, self._rng)
            phrasings = [
                text for text in kind.ask
                if fillings and all(_word(placeholder, fillings) for placeholder in PLACEHOLDER.finditer(text))
            ]  # fmt: skip
            if fillings is None or not phrasings:
                continue
            text, gold = _words(self._rng.choice(phrasings), fillings), _sql(kind.sql, fillings)
            reason = "asked before" if self._used & {text, gold} else self._drop_reason(kind, gold, fillings)
            if not reason:
                return Question(self._database.db_id, kind.kind, kind.difficulty, text, gold)
            self.drops[reason] += 1
        return None

    def _drop_reason(self, kind: Kind, gold: str, fillings: Mapping[str, Filling]) -> str:
        """Returns why a question is dropped, or "". The result of a gold identifies a right answer only if every query
        plan and every reading of the question gives it, and no simpler query does."""
        rows = _run(self.connection, kind, gold)
        if not any(value is not None for row in rows for value in row):
            return "empty"
        if any(not _same(kind, rows, _run(connection, kind, gold)) for connection in self._reordered):
            return "unstable"
        if any(not _same(kind, rows, _run(self.connection, kind, _sql(text, fillings))) for text in kind.alike):
            return "ambiguous"
        if any(_same(kind, rows, _run(self.connection, kind, _sql(text, fillings))) for text in kind.unlike):
            return "undiscriminating"
        return ""


def _run(connection: apsw.Connection, kind: Kind, sql: str) -> list[Row]:
    try:
        return connection.execute(sql).fetchall()
    except apsw.SQLError as error:
        raise UserError(f"kinds.yaml: kind {kind.kind}: {sql!r} fails ({error}); correct its SQL") from None


def _same(kind: Kind, rows: list[Row], others: list[Row]) -> bool:
    return rows == others if kind.ordered else Counter(rows) == Counter(others)


def _fill(slots: Mapping[str, Slot], database: Database, rng: random.Random) -> dict[str, Filling] | None:
    """Fills every slot, no two with the same value. Returns None if the draw leaves nothing to fill a slot with."""
    fillings: dict[str, Filling] = {}
    for name, slot in slots.items():
        used = [filling.value for filling in fillings.values()]
        options = [filling for filling in _options(slot, fillings, database) if filling.value not in used]
        if not options:
            return None
        fillings[name] = rng.choice(options)
    return fillings


def _options(slot: Slot, fillings: Mapping[str, Filling], database: Database) -> list[Filling]:
    """Returns everything that can fill a slot, given the slots that were filled before it."""
    if slot.what == "choice":
        return [Filling(words, sql, words) for words, sql in slot.choices]
    of = fillings[slot.of].value if slot.of else None
    if isinstance(of, Column):
        above = fillings[slot.above].value if slot.above else None
        return [_value(slot, value) for value in _values(slot.what, of) if above is None or value > above]  # type: ignore[operator]
    if isinstance(of, Table) and slot.what != "parent":
        return [Filling(column, column.name, _spoken(column.name)) for column in _COLUMNS[slot.what](of)]
    tables = [table for table in database.tables if _fits(slot.what, table, of)]
    return [Filling(table, table.name, _spoken(table.name)) for table in tables]


def _fits(what: str, table: Table, child: object) -> bool:
    match what:
        case "parent":
            return isinstance(child, Table) and table.name in child.parents
        case "child":
            return bool(table.parents)
        case "bridge":
            return len(table.parents) > 1
        case "table":
            return any(column.kind == "label" for column in table.columns)
    return True


def _numbers(table: Table) -> list[Column]:
    return [column for column in table.columns if column.kind == "number"]


_COLUMNS: dict[str, Callable[[Table], list[Column]]] = {
    "column": lambda table: list(table.columns),
    "label": lambda table: [column for column in table.columns if column.kind == "label"],
    "category": lambda table: [column for column in table.columns if column.kind == "category"],
    "number": _numbers,
    "amount": lambda table: [column for column in _numbers(table) if not column.years],
    "nullable": lambda table: [column for column in table.columns if None in column.values],
}


def _values(what: str, column: Column) -> Sequence[str | int | float]:
    stored = column.stored
    match what:
        case "threshold":
            return stored[1:-1]
        case "letter":
            return sorted({str(value)[0] for value in stored if str(value)[0].isalpha()})
        case "word":
            return sorted({word for value in stored for word in str(value).split() if word.isalpha() and len(word) > 3})
    return stored


def _value(slot: Slot, value: str | int | float) -> Filling:
    return Filling(value, f"'{value}'" if slot.what == "value" and isinstance(value, str) else str(value), str(value))


def _sql(template: str, fillings: Mapping[str, Filling]) -> str:
    return PLACEHOLDER.sub(lambda match: fillings[match["slot"]].sql, template)


def _words(template: str, fillings: Mapping[str, Filling]) -> str:
    return PLACEHOLDER.sub(lambda match: _word(match, fillings), template)


def _word(placeholder: re.Match[str], fillings: Mapping[str, Filling]) -> str:
    """Returns the words for a placeholder in a question; empty if a column lacks the superlative."""
    filling, form = fillings[placeholder["slot"]], placeholder["form"] or ""
    if isinstance(filling.value, Table) and form == "+":
        return filling.value.plural
    if isinstance(filling.value, Table) and form.startswith(">"):
        return filling.value.parents[fillings[form[1:]].sql]
    if isinstance(filling.value, Column) and form in (".high", ".low"):
        return filling.value.high if form == ".high" else filling.value.low
    if placeholder["before"] == "is ":
        return "are" if _is_plural(filling.words) else "is"
    return _with_article(filling.words) if placeholder["before"] else filling.words


def _is_plural(words: str) -> bool:
    return words.endswith("s") and not words.endswith(("ss", "us", "series", "species"))


def _with_article(words: str) -> str:
    if _is_plural(words):
        return words
    vowel = words[0] in "aeio" or (words[0] == "u" and not words.startswith(("uni", "use")))
    return f"{'an' if vowel else 'a'} {words}"


def _spoken(name: str) -> str:
    return name.replace("_", " ")
