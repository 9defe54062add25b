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
_CURRENT_YEAR = re.compile(r"year\s*\(\s*curdate\s*\(\s*\)\s*\)\s*", re.IGNORECASE)


def tokens_of(sql: str) -> list[str]:
    """The tokens of `sql`, those of space and comments too: together they are the text."""
    return _TOKEN.findall(sql)


def is_space(token: str) -> bool:
    """Whether a token is space or a comment."""
    return token.isspace() or token.startswith(("--", "/*"))


def statements(sql: str) -> list[str]:
    """The statements of `sql`, without their `;`; what holds only space and comments is none."""
    body = sql.strip(_SPACE_OR_END)
    if not body:
        return []
    if ";" not in body and "--" not in body and "/*" not in body:  # what nearly every query is
        return [body]
    found, solid = [""], [False]
    for token in tokens_of(body):
        if token == ";":
            found.append("")
            solid.append(False)
        else:
            found[-1] += token
            solid[-1] |= not is_space(token)
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
        sql = "".join(token for token in tokens_of(sql) if token.lower() != "distinct")
    return _CURRENT_YEAR.sub("2020", sql)


def spider_orders(sql: str) -> bool:
    """Whether "order by" occurs anywhere in `sql`, also in a subquery or a string: the evaluator's rule."""
    return "order by" in sql.lower()


def _words(sql: str) -> Iterator[str]:
    for token in tokens_of(sql):
        if not is_space(token):
            yield token.lower()
