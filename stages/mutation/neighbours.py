"""Neighbours of a query: the same query with one change, as a wrong candidate often differs from its gold.

One change each: another aggregate, another comparison, AND for OR, DISTINCT on or off, the other direction of an order,
another column, a constant one higher or lower, a condition left out. What they are good for is to measure a
counterexample database by: one on which a query and its neighbours give the same result tests nothing.
"""

from collections.abc import Iterator
from functools import lru_cache

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

MOST_NEIGHBOURS = 16
_MOST_LENGTH = 5000
Columns = tuple[tuple[str, ...], ...]
"""Of each table of a database."""

_CHANGED_TO: dict[type[exp.Expr], tuple[type[exp.Expr], ...]] = {
    exp.Max: (exp.Min,), exp.Min: (exp.Max,), exp.Sum: (exp.Avg,), exp.Avg: (exp.Sum,),
    exp.GT: (exp.GTE, exp.LT), exp.GTE: (exp.GT,), exp.LT: (exp.LTE, exp.GT), exp.LTE: (exp.LT,),
    exp.EQ: (exp.NEQ,), exp.NEQ: (exp.EQ,), exp.And: (exp.Or,), exp.Or: (exp.And,),
    exp.Intersect: (exp.Union,), exp.Union: (exp.Intersect,), exp.Except: (exp.Intersect,),
}  # fmt: skip


@lru_cache(maxsize=256)
def neighbours_of(sql: str, columns: Columns) -> tuple[str, ...]:
    """At most MOST_NEIGHBOURS neighbours, spread over the query; none where it cannot be parsed. Some cannot be
    executed: those with a column that the query's tables do not have."""
    if len(sql) > _MOST_LENGTH:
        return ()
    try:
        tree = sqlglot.parse_one(sql, dialect="sqlite")
        texts = list(dict.fromkeys(_changed(tree, columns)))
    except (SqlglotError, RecursionError):
        return ()
    step = max(1.0, len(texts) / MOST_NEIGHBOURS)
    return tuple(texts[int(place * step)] for place in range(min(len(texts), MOST_NEIGHBOURS)))


def _changed(tree: exp.Expr, columns: Columns) -> Iterator[str]:
    for node in list(tree.walk()):
        for variant in _variants(node, columns):
            if node is tree:
                yield variant.sql(dialect="sqlite")
            else:
                node.replace(variant)
                yield tree.sql(dialect="sqlite")
                variant.replace(node)


def _variants(node: exp.Expr, columns: Columns) -> Iterator[exp.Expr]:
    """What the node is changed to, each one change."""
    kind = type(node)
    for changed in _CHANGED_TO.get(kind, ()):
        arguments = {name: value.copy() if isinstance(value, exp.Expr) else value for name, value in node.args.items()}
        yield changed(**arguments)
    if isinstance(node, exp.And):
        yield from (node.left.copy(), node.right.copy())
    elif isinstance(node, exp.Ordered):
        yield exp.Ordered(this=node.this.copy(), desc=not node.args.get("desc"))
    elif isinstance(node, exp.Literal) and node.is_int and not isinstance(node.parent, exp.Limit):
        yield from (exp.Literal.number(int(node.name) + step) for step in (1, -1))
    elif isinstance(node, exp.Select):
        yield from _select_variants(node)
    elif isinstance(node, exp.Column):
        yield from _next_column(node, columns)


def _select_variants(node: exp.Select) -> Iterator[exp.Expr]:
    """DISTINCT on or off, without a clause, and each join as a LEFT JOIN."""
    changed = node.copy()
    changed.set("distinct", None if node.args.get("distinct") else exp.Distinct())
    yield changed
    for clause in ("where", "having", "group"):
        if node.args.get(clause):
            changed = node.copy()
            changed.set(clause, None)
            yield changed
    for place in range(len(node.args.get("joins") or ())):
        changed = node.copy()
        changed.args["joins"][place].set("side", "LEFT")
        yield changed


def _next_column(node: exp.Column, columns: Columns) -> Iterator[exp.Expr]:
    """The column that comes after this one in the first table that has it."""
    for names in columns:
        lowered = [name.lower() for name in names]
        if node.name.lower() in lowered and len(names) > 1:
            changed = node.copy()
            following = names[(lowered.index(node.name.lower()) + 1) % len(names)]
            changed.set("this", exp.to_identifier(following, quoted=True))
            yield changed
            return
