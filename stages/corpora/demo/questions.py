"""Asks a database questions: fills the slots of the kinds, and keeps the golds that a right answer can be told by."""

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import apsw

from stages.core.errors import UserError
from stages.corpora.demo.databases import Column, Database, Table, load
from stages.corpora.demo.kinds import PLACE, Kind, Slot

TRIES = 12
"""Draws of a kind on a database before it is given up for this turn."""

Row = tuple[str | int | float | None, ...]


@dataclass(frozen=True)
class Question:
    """A kept question."""

    kind: str
    difficulty: str
    text: str
    sql: str


@dataclass(frozen=True)
class Filling:
    """What fills a slot: the thing itself, and how the SQL and the question write it."""

    thing: Table | Column | str | int | float
    sql: str
    words: str


@dataclass(frozen=True)
class Views:
    """A database, and the same content turned: its rows numbered, or read, the other way round."""

    plain: apsw.Connection
    turned: tuple[apsw.Connection, apsw.Connection]


def ask(
    database: Database, kinds: Sequence[Kind], count: int, rng: random.Random, drops: Counter[str]
) -> list[Question]:
    """At most `count` questions, the kinds in turn; fewer where the database has no more to ask. Counts each draw that
    was not kept in `drops`, by its reason. Raises UserError where a kind's SQL fails."""
    views = _views(database)
    asked: list[Question] = []
    seen: set[str] = set()
    turn = rng.sample(kinds, len(kinds))
    while turn and len(asked) < count:
        again = []
        for kind in turn:
            question = _ask_one(database, views, kind, seen, rng, drops)
            if question and len(asked) < count:
                asked.append(question)
                seen |= {question.text, question.sql}
                again.append(kind)
        turn = again
    return asked


def _views(database: Database) -> Views:
    reverse = load(database)
    reverse.execute("PRAGMA reverse_unordered_selects = 1")
    return Views(load(database), (load(database, backwards=True), reverse))


def _ask_one(
    database: Database, views: Views, kind: Kind, seen: set[str], rng: random.Random, drops: Counter[str]
) -> Question | None:
    for _ in range(TRIES):
        filled = _fill(kind.parsed, database, rng)
        phrasings = [text for text in kind.ask if filled and _has_words(text, filled)]
        if filled is None or not phrasings:
            continue
        text, gold = _words(rng.choice(phrasings), filled), _sql(kind.sql, filled)
        reason = "asked before" if seen & {text, gold} else _fault(views, kind, gold, filled)
        if not reason:
            return Question(kind.kind, kind.difficulty, text, gold)
        drops[reason] += 1
    return None


def _fault(views: Views, kind: Kind, gold: str, filled: Mapping[str, Filling]) -> str:
    """Why a question is not asked, or nothing: only results that hold for every right plan and reading, and for no
    simpler query, tell a right answer from a wrong one."""
    rows = _run(views.plain, kind, gold)
    if not any(value is not None for row in rows for value in row):
        return "empty"
    if any(not _same(kind, rows, _run(turned, kind, gold)) for turned in views.turned):
        return "unstable"
    if any(not _same(kind, rows, _run(views.plain, kind, _sql(text, filled))) for text in kind.alike):
        return "ambiguous"
    if any(_same(kind, rows, _run(views.plain, kind, _sql(text, filled))) for text in kind.unlike):
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
    """A filling of every slot, no two with the same; nothing where the draw leads to a slot that nothing fits."""
    filled: dict[str, Filling] = {}
    for name, slot in slots.items():
        taken = [filling.thing for filling in filled.values()]
        fitting = [filling for filling in _fillings(slot, filled, database) if filling.thing not in taken]
        if not fitting:
            return None
        filled[name] = rng.choice(fitting)
    return filled


def _fillings(slot: Slot, filled: Mapping[str, Filling], database: Database) -> list[Filling]:
    if slot.what == "choice":
        return [Filling(words, sql, words) for words, sql in slot.choices]
    of = filled[slot.of].thing if slot.of else None
    if isinstance(of, Column):
        above = filled[slot.above].thing if slot.above else None
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


def _sql(template: str, filled: Mapping[str, Filling]) -> str:
    return PLACE.sub(lambda place: filled[place["slot"]].sql, template)


def _has_words(template: str, filled: Mapping[str, Filling]) -> bool:
    return all(_place(place, filled) for place in PLACE.finditer(template))


def _words(template: str, filled: Mapping[str, Filling]) -> str:
    return PLACE.sub(lambda place: _place(place, filled), template)


def _place(place: re.Match[str], filled: Mapping[str, Filling]) -> str:
    filling, form = filled[place["slot"]], place["form"] or ""
    if isinstance(filling.thing, Table) and form == "+":
        return filling.thing.plural
    if isinstance(filling.thing, Table) and form.startswith(">"):
        return filling.thing.parents[filled[form[1:]].sql]
    if isinstance(filling.thing, Column) and form in (".high", ".low"):
        return filling.thing.high if form == ".high" else filling.thing.low
    if place["before"] == "is ":
        return "are" if _is_plural(filling.words) else "is"
    return _with_article(filling.words) if place["before"] else filling.words


def _is_plural(words: str) -> bool:
    return words.endswith("s") and not words.endswith(("ss", "us", "series", "species"))


def _with_article(words: str) -> str:
    if _is_plural(words):
        return words
    vowel = words[0] in "aeio" or (words[0] == "u" and not words.startswith(("uni", "use")))
    return f"{'an' if vowel else 'a'} {words}"


def _spoken(name: str) -> str:
    return name.replace("_", " ")
