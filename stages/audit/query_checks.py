"""Finds problems of a gold query that runs, by running variants of it.

Each finding is a flag with one sentence of evidence, where rows stand with their first 6 values, each of at most 40
characters; … marks what is left out.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from stages.audit.query_variants import compared_by, limit_forms, may_cut, sorts, tie_forms
from stages.datasets.verdicts import NONDETERMINISTIC_ERRORS, GoldFlag
from stages.execution.comparison import Cell, Result, Row, rounded_row
from stages.execution.sandbox import Database, Limits
from stages.sql.text import orders

Findings = dict[GoldFlag, str]

_VALUE_LENGTH = 40
_VALUES = 6
_MORE_STEPS = 4  # than the query itself: another form of it may take more
_LIMIT_STEPS = 5_000_000  # of a form that sorts all rows of which the query takes some: they may be without end


@dataclass(slots=True)
class Auditor:
    """Runs the variants of one query, all of them within the limits of one query.

    `database`: opened with `reverse_unspecified_order`; `complete`: whether all variants came to their end;
    `nondeterministic`: whether time, memory or the disk ended one.
    """

    database: Database
    budget: int
    limits: Limits
    complete: bool = True
    nondeterministic: bool = False
    ends: float = field(init=False)  # of time.monotonic

    def __post_init__(self) -> None:
        self.ends = time.monotonic() + self.limits.wall_seconds

    def findings(self, sql: str, forward: Result) -> Findings:
        """The findings of a query with the result `forward`. Raises MemoryError."""
        findings: Findings = {} if forward.rows else {"empty": "It returns no row."}
        findings |= self.ties(sql, forward)
        if sorts(sql):
            findings |= self._sort_findings(sql)
        return findings

    def ties(self, sql: str, forward: Result) -> Findings:
        """`limit_tie` or `order_unstable`, if the query leaves something open. Floats are held equal to 12 digits."""
        forms = [(form, _MORE_STEPS * self.budget) for form in tie_forms(sql)]
        forms += [(form, min(self.budget, _LIMIT_STEPS)) for form in limit_forms(sql)]
        unstable: Findings = {}
        for form, steps in forms:
            other = self._run(form, steps)
            if other and (places := _changed(forward.rows, other.rows, False)):
                return {"limit_tie": f"One run gives {places[0]}, the other {places[1]}."}
            if other and not unstable and orders(sql) and (places := _changed(forward.rows, other.rows, True)):
                unstable = {"order_unstable": f"One run gives {places[0]}, the other {places[1]}."}
        return unstable

    def _sort_findings(self, sql: str) -> Findings:
        """What comes of sorting numbers as text, and NULL first. All forms here have one plan: ties do not tell."""
        numbers = self._run(compared_by(sql, "as_number"))
        counts, cuts = self.database.number_order.matters, may_cut(sql)
        texts = self._run(compared_by(sql, "as_text")) if numbers and (counts or cuts) else None
        last = self._run(compared_by(sql, "as_text", nulls_last=True)) if texts and cuts else None
        findings: Findings = {}
        if texts and numbers and counts and (places := _changed(texts.rows, numbers.rows, orders(sql))):
            findings["text_number_sort"] = f"Compared as text it gives {places[0]}, compared as numbers {places[1]}."
        if texts and last and (places := _changed(texts.rows, last.rows, False)):
            findings["null_first"] = f"With NULL first it gives {places[0]}, with NULL last {places[1]}."
        return findings

    def _run(self, sql: str, steps: int | None = None) -> Result | None:
        left = replace(self.limits, wall_seconds=max(0.0, self.ends - time.monotonic()))
        execution = self.database.execute(sql, steps or _MORE_STEPS * self.budget, left)
        self.complete &= execution.result is not None
        self.nondeterministic |= execution.error_class in NONDETERMINISTIC_ERRORS
        return execution.result


def _changed(rows: Sequence[Row], other_rows: Sequence[Row], ordered: bool) -> tuple[str, str] | None:
    """Where two results differ, in words: the first place if the order counts, else a row that is in one only."""
    rows, other_rows = list(map(rounded_row, rows)), list(map(rounded_row, other_rows))
    if rows == other_rows:
        return None
    if ordered:
        pairs = enumerate(zip_longest(rows, other_rows), 1)
        place, (left, right) = next((place, pair) for place, pair in pairs if pair[0] != pair[1])
        return f"as row {place} {row_text(left)}", f"as row {place} {row_text(right)}"
    bag, other_bag = Counter(rows), Counter(other_rows)
    if bag == other_bag:
        return None
    return _first_only(rows, bag - other_bag), _first_only(other_rows, other_bag - bag)


def _first_only(rows: Sequence[Row], only: Counter[Row]) -> str:
    return next((f"the row {row_text(row)}" for row in rows if row in only), "no such row")


def row_text(row: Row | None) -> str:
    """A row as it stands in evidence; None: there is none."""
    if row is None:
        return "none"
    more = ["…"] if len(row) > _VALUES else []
    return f"({', '.join([*map(_cell_text, row[:_VALUES]), *more])})"


def _cell_text(cell: Cell) -> str:
    if isinstance(cell, str | bytes):
        cell = cell[:_VALUE_LENGTH]  # its quotes make it longer than that
    return "NULL" if cell is None else shortened(repr(cell), _VALUE_LENGTH)


def shortened(text: str, length: int) -> str:
    """At most so many characters of `text`, … included."""
    return text if len(text) <= length else f"{text[:length - 1]}…"
