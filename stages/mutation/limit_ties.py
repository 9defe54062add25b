"""Finds out whether a LIMIT of a query cuts through a tie, also where the rows that it cuts between look the same.

`SELECT name … ORDER BY age DESC LIMIT 1` with two singers of the highest age is such a query, even if both have one
name: a query that asks for the highest age returns both of them, and which of the two answers is meant, the question
does not say.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from stages.execution.comparison import Row

_MOST_LENGTH = 5000


@dataclass(frozen=True, slots=True)
class Probe:
    """`sql` returns, beside what a query with a LIMIT selects, the terms that it orders by; `rows`: at most so many,
    one more than the limit; `terms`: how many of its last columns are the terms."""

    sql: str
    rows: int
    terms: int

    def cuts_tie(self, rows: Sequence[Row]) -> bool:
        """Whether the limit cuts between two rows that are equal in the terms; `rows`: the result of `sql`."""
        return len(rows) == self.rows > 1 and rows[-1][-self.terms :] == rows[-2][-self.terms :]


@lru_cache(maxsize=256)
def tie_probes(sql: str) -> tuple[Probe, ...]:
    """The probes of a query, one for each LIMIT behind an ORDER BY; none where it cannot be parsed. A probe of a
    correlated subquery cannot be executed."""
    if "limit" not in sql.lower() or len(sql) > _MOST_LENGTH:
        return ()
    try:
        return tuple(_probes(sqlglot.parse_one(sql, dialect="sqlite")))
    except (SqlglotError, RecursionError):
        return ()


def _probes(tree: exp.Expr) -> Iterator[Probe]:
    for select in tree.find_all(exp.Select):
        order, limit = select.args.get("order"), select.args.get("limit")
        if order and limit and limit.expression.name.isdecimal():
            probe, rows = select.copy(), int(limit.expression.name) + 1
            for term in order.expressions:
                probe.append("expressions", _selected(term.this, select).copy())
            probe.args["limit"].set("expression", exp.Literal.number(rows))
            yield Probe(probe.sql(dialect="sqlite"), rows, len(order.expressions))


def _selected(term: exp.Expr, select: exp.Select) -> exp.Expr:
    """The expression that an ORDER BY means by an alias, or by the number of a column."""
    if isinstance(term, exp.Literal) and term.name.isdecimal() and 0 < int(term.name) <= len(select.expressions):
        column: exp.Expr = select.expressions[int(term.name) - 1].unalias()
        return column
    named: dict[str, exp.Expr] = {
        item.alias.lower(): item.this for item in select.expressions if isinstance(item, exp.Alias)
    }
    return named.get(term.name.lower(), term) if isinstance(term, exp.Column) and not term.table else term
