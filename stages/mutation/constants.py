"""Finds the constants that queries compare columns with, from their tokens: any text can be read, SQL or not."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from stages.execution.comparison import Cell
from stages.sql.tokens import is_space, tokens_of

Constants = Mapping[str, frozenset[Cell]]
"""Name of a column, in lower case, to what it is compared with: numbers, texts, and patterns as %text%."""

_COMPARISONS = {"=", "<", ">", "!", "like", "between", "in", "not", "is", "glob"}
_JOINED = {"and", ",", "(", "-"}  # what may stand between a comparison and its constants
_CLAUSES = {"where", "having", "limit", "select", "by", "then", "else"}
_MOST_LENGTH = 200
_MOST_DIGITS = 15


def constants_of(queries: Iterable[str]) -> Constants:
    """The constants of all queries. A column is known by its name alone, whatever its table."""
    constants: dict[str, set[Cell]] = defaultdict(set)
    for sql in queries:
        _collect([token for token in tokens_of(sql) if not is_space(token)], constants)
    return {name: frozenset(values) for name, values in constants.items()}


def merged(left: Constants, right: Constants) -> Constants:
    """The constants of both."""
    return {name: left.get(name, frozenset()) | right.get(name, frozenset()) for name in (*left, *right)}


def texts_that_occur(constants: Constants, texts: Collection[str]) -> Constants:
    """The numbers, and those of the texts that are among `texts`. A pattern is none."""
    return {
        name: frozenset(value for value in values if not isinstance(value, str) or value in texts)
        for name, values in constants.items()
    }


def _collect(tokens: list[str], constants: dict[str, set[Cell]]) -> None:
    column, compared, is_pattern = "", False, False
    for place, token in enumerate(tokens):
        word = token.lower()
        if word in _CLAUSES:
            column = ""
        elif word in _COMPARISONS:
            compared, is_pattern = True, word == "like"
        elif (value := _constant(tokens, place)) is not None:
            if name := column if compared else _column_behind(tokens, place):
                constants[name].add(value)
                if is_pattern and isinstance(value, str):
                    constants[name].add(f"%{value.strip('%')}%")
        elif word in _JOINED or not _is_name(token):
            compared = compared and word in _JOINED
        elif word != "or":
            column, compared = unquoted(word), False


def _is_name(token: str) -> bool:
    return token[0].isalpha() or token[0] in '"`[_'


def unquoted(word: str) -> str:
    """The name that a token means, quoted or not."""
    return word[1:-1].replace(word[0] * 2, word[0]) if word[0] in "\"`['" else word


def _constant(tokens: list[str], place: int) -> Cell:
    """The value of a literal, None for another token. A text in double quotes is a literal behind a comparison."""
    token, before = tokens[place], tokens[place - 1].lower() if place else ""
    if len(token) > _MOST_LENGTH:
        return None
    if token[0] == "'" or (token[0] == '"' and before in _COMPARISONS | _JOINED):
        return token[1:-1].replace(token[0] * 2, token[0])
    if not (token.isascii() and token.isdecimal()) or before == "." or len(token) > _MOST_DIGITS:
        return None
    point, decimals = (*tokens[place + 1 : place + 3], "", "")[:2]
    sign = "-" if before == "-" and place > 1 and tokens[place - 2].lower() in _COMPARISONS | _JOINED else ""
    return float(f"{sign}{token}.{decimals}") if point == "." and decimals.isdecimal() else int(sign + token)


def _column_behind(tokens: list[str], place: int) -> str:
    """The column of `30 < T1.age`; '' where no comparison follows the constant."""
    behind = tokens[place + 1 : place + 6]
    if not behind or behind[0] not in _COMPARISONS:
        return ""
    names = [token.lower() for token in behind if token not in _COMPARISONS]
    name = names[2] if len(names) > 2 and names[1] == "." else names[0] if names else ""
    return unquoted(name) if name and _is_name(name) else ""
