"""Reads statements, orders and the Spider evaluator's form from SQL text by its tokens. Nothing is parsed, so no text
fails."""

import re

from stages.sql.tokens import is_space, tokens_of

MAX_SQL_BYTES = 1_000_000
"""A text of more bytes in UTF-8 is not run, nor read otherwise: SQLite is told to refuse it."""

_SPACE_OR_END = "; \t\n\f\r"
_CURRENT_YEAR = re.compile(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def is_too_long(sql: str) -> bool:
    """Whether `sql` has more than MAX_SQL_BYTES, without the space around it. Takes no time, whatever the length."""
    if 4 * len(sql) <= MAX_SQL_BYTES:
        return False
    body = sql.strip(_SPACE_OR_END)
    return len(body) > MAX_SQL_BYTES or len(body.encode("utf-8", "surrogatepass")) > MAX_SQL_BYTES


def cut_if_too_long(sql: str) -> str:
    """`sql`, or so much of it that it is still too long, with a mark at its end: what stands behind may be space."""
    return f"{sql.strip(_SPACE_OR_END)[:MAX_SQL_BYTES]}…" if is_too_long(sql) else sql


def statements(sql: str) -> list[str]:
    """The statements of `sql`, without their `;`; what holds only space and comments is none."""
    body = sql.strip(_SPACE_OR_END)
    if not body:
        return []
    if ";" not in body and "--" not in body and "/*" not in body:  # what nearly every query is
        return [body]
    texts: list[list[str]] = [[]]
    for token in tokens_of(body):
        if token == ";":
            texts.append([])
        else:
            texts[-1].append(token)
    return ["".join(tokens) for tokens in texts if not all(map(is_space, tokens))]


def orders(sql: str) -> bool:
    """Whether the outermost query of `sql` has an ORDER BY.

    In SQLite every other ORDER BY (of a subquery, a WITH query, a window, an aggregate) stands inside parentheses, and
    a whole statement cannot, so ORDER BY outside all parentheses is exactly the outermost one.
    """
    depth, before = 0, ""
    for token in (token.lower() for token in tokens_of(sql) if not is_space(token)):
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
        sql = "".join(token for token in tokens_of(sql) if token.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", sql)


def spider_orders(sql: str) -> bool:
    """Whether "order by" occurs anywhere in `sql`, also in a subquery or a string: the evaluator's rule."""
    return "order by" in sql.lower()
