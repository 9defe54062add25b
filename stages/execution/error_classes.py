"""The class of an error that SQLite gives for a query."""

import re

from stages.datasets.verdicts import ErrorClass

_MESSAGES: tuple[tuple[str, ErrorClass], ...] = (
    (r"syntax error|unrecognized token|incomplete input|a JOIN clause is required|unknown join type|"
     r"(?:ORDER BY|LIMIT) clause should come after|too many SQL variables|variable number|"
     r".*null character|'utf-8' codec can't encode", "syntax"),
    (r"not authorized|authorization denied|access to .* is prohibited\Z|.* prohibited in", "forbidden"),
    (r"no such table", "no_such_table"),
    (r"no such column|cannot join using column|no tables specified", "no_such_column"),
    (r"ambiguous", "ambiguous_column"),
    (r"no such function", "no_such_function"),
    (r"misuse of|aggregate functions are not allowed|(?:a )?HAVING clause on a non-aggregate", "aggregate_misuse"),
    (r"wrong number of arguments|SELECTs to the left and right|sub-select returns|.* should be between 1 and|"
     r"all VALUES must have|.* has \d+ values for|row value misused|.* must match any column in", "wrong_count"),
    (r"too many|.* too large|.* too deep|.* too complex|.*stack overflow|at most \d+ tables|.*recursion limit",
     "too_complex"),
)  # fmt: skip
_REPEATED = re.compile(r'\Anear ".*": |\Afts\d: ', re.DOTALL)


def error_class(message: str) -> ErrorClass:
    """The class of an SQLite error message about a query that could not be run. What the message repeats of the query,
    as a column that is named like another error, decides nothing."""
    own_words = _REPEATED.sub("", message).partition(": ")[0]
    flags = re.IGNORECASE | re.DOTALL
    return next((name for pattern, name in _MESSAGES if re.match(pattern, own_words, flags)), "other")
