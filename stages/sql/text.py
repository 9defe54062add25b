"""What can be told from SQL text by its tokens, without parsing it: reading never fails, whatever a model wrote.

Tokens are cut as SQLite cuts them: strings, quoted names and comments are one token each, so a `;` or a keyword inside
them is never taken for one outside.
"""

import re
from collections.abc import Iterator

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'?|"(?:[^"]|"")*"?|`(?:[^`]|``)*`?|\[[^\]]*\]?|--[^\n]*|/\*.*?(?:\*/|\Z)|\w+|\s+|.""", re.DOTALL
)
_SPACE_OR_END = "; \t\n\f\r"
_AFTER_ORDER = {"limit", "rows", "range", "groups", ")", ";"}
_CURRENT_YEAR = re.compile(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def statements(sql: str) -> list[str]:
    """The statements of `sql`, without their `;`; what holds only space and comments is none."""
    body = sql.strip(_SPACE_OR_END)
    if not body:
        return []
    if ";" not in body and "--" not in body and "/*" not in body:  # what nearly every query is
        return [body]
    found, solid = [""], [False]
    for token in _TOKEN.findall(body):
        if token == ";":
            found.append("")
            solid.append(False)
        else:
            found[-1] += token
            solid[-1] |= not _is_space(token)
    return [text for text, holds in zip(found, solid, strict=True) if holds]


def orders(sql: str) -> bool:
    """Whether the outermost query of `sql` has an ORDER BY.

    In SQLite every other ORDER BY (of a subquery, a WITH query, a window, an aggregate) stands inside parentheses, and
    a whole statement cannot, so ORDER BY outside all parentheses is exactly the outermost one.
    """
    depth, before = 0, ""
    for token in _words(sql):
        depth += (token == "(") - (token == ")")
        if depth == 0 and token == "by" and before == "order":
            return True
        before = token
    return False


def spider_text(sql: str) -> str:
    """`sql` as the Spider test-suite evaluator executes it, `keep_distinct` off.

    Spaced operators joined (`> =`), all but the first statement dropped, the word DISTINCT dropped, `YEAR(CURDATE())`
    replaced by 2020.
    """
    sql = sql.replace("> =", ">=").replace("< =", "<=").replace("! =", "!=")
    sql = next(iter(statements(sql)), "")
    if "distinct" in sql.lower():
        sql = "".join(token for token in _TOKEN.findall(sql) if token.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", sql)


def spider_orders(sql: str) -> bool:
    """Whether "order by" occurs anywhere in `sql`, also in a subquery or a string: the evaluator's rule."""
    return "order by" in sql.lower()


def ties_reversed(sql: str) -> str:
    """`sql` with `tie_breaker()` as last term of every ORDER BY: a function that gives a smaller number each time.

    Rows that the ORDER BY leaves tied then come the other way round. Not of a compound (UNION …), whose ORDER BY takes
    columns only.
    """
    made: list[str] = []
    open_orders, compounds, before = [False], [False], ""
    for token in [*_TOKEN.findall(sql), ";"]:
        word = token.lower()
        if open_orders[-1] and word in _AFTER_ORDER:
            made.append(", tie_breaker() ")
            open_orders[-1] = False
        if word == "(":
            open_orders.append(False)
            compounds.append(False)
        elif word == ")" and len(open_orders) > 1:
            open_orders.pop()
            compounds.pop()
        elif word in ("union", "intersect", "except"):
            compounds[-1] = True
        elif word == "by" and before == "order":
            open_orders[-1] = not compounds[-1]
        made.append(token)
        before = before if _is_space(token) else word
    return "".join(made[:-1])


def _words(sql: str) -> Iterator[str]:
    for token in _TOKEN.findall(sql):
        if not _is_space(token):
            yield token.lower()


def _is_space(token: str) -> bool:
    return token.isspace() or token.startswith(("--", "/*"))
