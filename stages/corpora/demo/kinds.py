"""Reads the kinds of question from `kinds.yaml`. README.md ("A kind of question") explains the words."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from stages.core.params import Params
from stages.corpora.demo.content import read_content
from stages.sql.text import orders

FILE = Path(__file__).with_name("kinds.yaml")
PLACEHOLDER = re.compile(r"\{(?P<before>a |is )?(?P<slot>\w+)(?P<form>\+|>\w+|\.high|\.low)?\}")
"""A placeholder in a template: `{t}`, `{a t}`, `{is n}`, `{t+}`, `{t>p}`, `{n.high}`."""

TABLES = ("table", "any table", "child", "bridge", "parent")
COLUMNS = ("column", "label", "category", "number", "amount", "nullable")
VALUES = ("value", "threshold", "letter", "word")
_TYPES = "|".join((*TABLES, *COLUMNS, *VALUES))
_SLOT = re.compile(rf"(?P<what>{_TYPES})(?: of (?P<of>\w+))?(?: above (?P<above>\w+))?")
_RANGE = re.compile(r"(\d+) to (\d+)")


@dataclass(frozen=True)
class Slot:
    """What fills a slot: a table, a column `of` a table, a value `of` a column, or one of `choices`, pairs of the words
    in the question and the SQL."""

    what: str
    of: str = ""
    above: str = ""
    choices: tuple[tuple[str, str], ...] = ()


class Kind(Params):
    """A kind of question. A question is kept only if the queries in `unlike` give another result than the gold, and the
    other readings of the question, in `alike`, the same result."""

    kind: str
    difficulty: Literal["easy", "medium", "hard", "extra"]
    slots: dict[str, str | dict[str, str]]
    sql: str
    unlike: list[str] = Field([])
    alike: list[str] = Field([])
    ask: list[str] = Field(min_length=3)

    @cached_property
    def ordered(self) -> bool:
        """Whether the outermost query orders its rows."""
        return orders(self.sql)

    @cached_property
    def parsed(self) -> dict[str, Slot]:
        """The slots by name, in the order in which they are filled."""
        return {name: _parse(name, text) for name, text in self.slots.items()}

    @model_validator(mode="after")
    def _check(self) -> Self:
        slots = self.parsed
        for name, slot in slots.items():
            self._check_slot(name, slot, slots)
        for template in (self.sql, *self.unlike, *self.alike, *self.ask):
            self._check_template(template, slots)
        return self

    def _check_slot(self, name: str, slot: Slot, slots: dict[str, Slot]) -> None:
        wanted = TABLES if slot.what in (*COLUMNS, "parent") else COLUMNS if slot.what in VALUES else ()
        earlier = list(slots)[: list(slots).index(name)]
        if wanted and (slot.of not in earlier or slots[slot.of].what not in wanted):
            raise ValueError(f"kind {self.kind}: slot {name}: {slot.of!r} is no earlier slot that has a {slot.what}")
        if slot.above and slot.above not in earlier:
            raise ValueError(f"kind {self.kind}: slot {name}: {slot.above!r} is no earlier slot to be above")

    def _check_template(self, template: str, slots: dict[str, Slot]) -> None:
        if set("{}") & set(PLACEHOLDER.sub("", template)):
            raise ValueError(f"kind {self.kind}: {template!r} has a brace that is no slot")
        for match in PLACEHOLDER.finditer(template):
            if not _has_form(match["slot"], match["form"] or "", slots):
                raise ValueError(f"kind {self.kind}: {template!r} has {match[0]}, which is no slot or has no such form")


class Kinds(Params):
    """The content of `kinds.yaml`."""

    kinds: list[Kind] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [kind.kind for kind in self.kinds]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"the kind {', '.join(repeated)} stands twice")
        return self


def read_kinds(path: Path = FILE) -> list[Kind]:
    """Reads all kinds of question, in the file's order. Raises UserError with all mistakes."""
    return read_content(path, Kinds).kinds


def _has_form(name: str, form: str, slots: dict[str, Slot]) -> bool:
    if name not in slots or not form:
        return name in slots
    if form.startswith("."):
        return slots[name].what in COLUMNS
    is_table = slots[name].what in TABLES
    return is_table and (form == "+" or (form[1:] in slots and slots[form[1:]] == Slot("parent", name)))


def _parse(name: str, text: str | dict[str, str]) -> Slot:
    if isinstance(text, dict):
        return Slot("choice", choices=tuple(text.items()))
    if span := _RANGE.fullmatch(text):
        return Slot("choice", choices=tuple((str(k), str(k)) for k in range(int(span[1]), int(span[2]) + 1)))
    match = _SLOT.fullmatch(text)
    if not match:
        raise ValueError(f"slot {name} is {text!r}, which is no type of slot")
    return Slot(match["what"], match["of"] or "", match["above"] or "")
