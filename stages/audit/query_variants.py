"""Variants of a query, for its audit: ties broken otherwise, texts compared otherwise, NULL last.

Nothing is parsed: the text is cut into tokens and some are added, so any text has variants. One that SQLite refuses
fails when it is run.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from stages.sql.tokens import is_space, tokens_of

_AFTER_ORDER = {"limit", "rows", "range", "groups", ";"}
_ORDER = {"asc", "desc", "nulls"}
_COMPOUND = ("union", "intersect", "except")
_TIE_TERMS = ("tie_breaker()", "-tie_breaker()", "random()")
_ROW_BY_ROW = {"row_number", "ntile", "lag", "lead", "first_value", "last_value", "nth_value"}
_MAY_SORT = re.compile(r"order|min|max", re.IGNORECASE)


def tie_forms(sql: str) -> list[str]:
    """`sql` with another last term in every ORDER BY: `tie_breaker()`, a function that gives a smaller number each
    time, `-tie_breaker()` and `random()`. Rows that the ORDER BY leaves tied come one way round, the other, and mixed.
    Where there is no ORDER BY to add it to, `sql` itself.

    Never one form alone, since adding a term may itself turn the order round in which rows come (SQLite sorts groups by
    as many terms as the ORDER BY has, in its direction). None is added in a compound (UNION …), whose ORDER BY takes
    columns only; in an aggregate, for which rows that are scanned backwards are enough; in a window whose function
    gives tied rows one value, as rank() does, whose frame leaves out tied rows, or that has a name.
    """
    tokens = tokens_of(sql)
    ends = [clause.terms[-1].end for clause in _read(tokens).clauses if clause.orders and not clause.whole]
    return [_with(tokens, {}, dict.fromkeys(ends, f", {term}")) for term in _TIE_TERMS] if ends else [sql]


def limit_forms(sql: str) -> list[str]:
    """`sql` with an ORDER BY before every LIMIT, of the terms of `tie_forms`, where it has LIMIT and no ORDER BY at
    all: DISTINCT and groups come sorted, whichever way a table is scanned. None for a compound."""
    tokens = tokens_of(sql)
    read = _read(tokens)
    limits = [] if any(clause.orders for clause in read.clauses) else read.limits
    return [_with(tokens, dict.fromkeys(limits, f"ORDER BY {term} "), {}) for term in _TIE_TERMS] if limits else []


def compared_by(sql: str, collation: str, nulls_last: bool = False) -> str:
    """`sql` with texts compared by `collation` in every term of an ORDER BY, and where min() or max() has one argument.

    A COLLATE is all that is added: a term that is an alias, the number of a column or a column of a compound stays one.
    `nulls_last`: rows with NULL in an ascending term come last too, unless the query says itself where they come.
    """
    tokens = tokens_of(sql)
    before, after = dict[int, str](), dict[int, str]()
    for clause in _read(tokens).clauses:
        for term in clause.terms:
            before[term.first], after[term.last] = "(", f") COLLATE {collation}"
            if nulls_last and clause.orders and term.order in ("", "asc"):
                after[term.end] = after.get(term.end, "") + " NULLS LAST"
    return _with(tokens, before, after)


def sorts(sql: str) -> bool:
    """Whether `compared_by` finds anything to compare in `sql`."""
    return bool(_MAY_SORT.search(sql) and _read(tokens_of(sql)).clauses)


def may_cut(sql: str) -> bool:
    """Whether an ascending ORDER BY of `sql` can decide which rows there are, and not only their order: there is a
    LIMIT, or the ORDER BY stands inside parentheses."""
    tokens = tokens_of(sql)
    ascending = [
        clause
        for clause in _read(tokens).clauses
        if clause.orders and any(term.order in ("", "asc") for term in clause.terms)
    ]
    return any(clause.inside for clause in ascending) or (bool(ascending) and "limit" in map(str.lower, tokens))


@dataclass(slots=True)
class _Term:
    """Indices of tokens: the first and last of an expression, and the last of what is said of its order (`order`, in
    lower case without spaces: "desc", "ascnullslast")."""

    first: int
    last: int
    end: int
    order: str = ""


@dataclass(slots=True)
class _Clause:
    """The terms of an ORDER BY (`orders`), or the arguments of a min() or max(). `whole`: no term may be added."""

    orders: bool
    whole: bool = False
    inside: bool = False
    terms: list[_Term] = field(default_factory=list)
    begun: bool = False  # whether the next token belongs to the last term

    def add(self, index: int, word: str, before: str) -> bool:
        """Takes one more token. False: the clause ended before it."""
        if not self.begun:
            self.begun = word != "distinct" or self.orders
            self.terms += [_Term(index, index, index)] if self.begun else []
            return True
        term, own = self.terms[-1], self.orders and before != "."
        if own and word in _AFTER_ORDER:
            self.whole &= word != "rows"  # such a frame parts tied rows
            return False
        if word == ",":
            self.begun = False
        elif own and (term.order or word in _ORDER):
            term.order, term.end = term.order + word, index
        else:
            term.last = term.end = index
        return True


@dataclass(slots=True)
class _Level:
    """What stands directly inside one pair of parentheses. `called`: the function that was called last there; `plain`:
    its ORDER BY may get one more term; `selects`: it is a query, and no compound."""

    plain: bool = False
    selects: bool = False
    called: str = ""
    clause: _Clause | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    """Every ORDER BY, and every min() and max() of one argument, in the order in which they begin; and where the LIMIT
    of each query begins that is no compound."""

    clauses: list[_Clause]
    limits: list[int]


def _read(tokens: Sequence[str]) -> _Read:
    clauses, limits, levels, before = list[_Clause](), list[int](), [_Level(plain=True)], ""
    for index, token in enumerate(tokens):
        if is_space(token):
            continue
        word = token.lower()
        if word == ")" and len(levels) > 1:
            levels.pop()
        level = levels[-1]
        if level.clause and not level.clause.add(index, word, before):
            level.clause = None
        if word == "(":
            extreme = _Clause(orders=False) if before in ("min", "max") else None
            clauses += [extreme] if extreme else []
            levels.append(_Level(plain=before == "over" and level.called in _ROW_BY_ROW, clause=extreme))
            level.called = before
        elif word == "by" and before == "order":
            level.clause = _Clause(True, not level.plain, len(levels) > 1)
            clauses.append(level.clause)
        elif word == "select" or word in _COMPOUND:
            level.plain = level.selects = word == "select" and before not in (*_COMPOUND, "all")
        elif word == "limit" and level.selects and before != ".":
            limits.append(index)
        before = word
    return _Read([clause for clause in clauses if clause.terms and (clause.orders or len(clause.terms) == 1)], limits)


def _with(tokens: Sequence[str], before: Mapping[int, str], after: Mapping[int, str]) -> str:
    return "".join(before.get(index, "") + token + after.get(index, "") for index, token in enumerate(tokens))
