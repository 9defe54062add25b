"""Writes names and types as SQL."""

import re

RESERVED = frozenset([
    "add", "all", "alter", "and", "as", "autoincrement", "between", "case", "cast", "check", "collate", "commit",
    "constraint", "create", "current_date", "current_time", "current_timestamp", "default", "deferrable", "delete",
    "distinct", "drop", "else", "escape", "except", "exists", "foreign", "from", "group", "having", "if", "in", "index",
    "insert", "intersect", "into", "is", "isnull", "join", "limit", "not", "nothing", "notnull", "null", "on", "or",
    "order", "primary", "raise", "references", "returning", "select", "set", "table", "then", "to", "transaction",
    "union", "unique", "update", "using", "values", "when", "where",
])  # fmt: skip
"""Keywords that SQLite accepts as names only in quotes. It accepts its other keywords without."""

_PLAIN = re.compile(r"[^\W\d][\w$]*")
_PLAIN_TYPE = re.compile(r"[A-Za-z_]\w*( \w+)*( ?\([+-]?\w+(, ?[+-]?\w+)?\))?")


def quoted(name: str) -> str:
    """Puts a name in double quotes."""
    return '"{}"'.format(name.replace('"', '""'))


def identifier(name: str) -> str:
    """Puts a name in double quotes if it needs them."""
    plain = _PLAIN.fullmatch(name) and name.lower() not in RESERVED
    return name if plain else quoted(name)


def listed(names: tuple[str, ...]) -> str:
    """Writes the column list of a key: names in parentheses."""
    return f"({', '.join(map(identifier, names))})"


def type_name(declared: str) -> str:
    """Writes a declared type (empty: none). An unusual one was declared in quotes, and gets them again."""
    plain = _PLAIN_TYPE.fullmatch(declared) and RESERVED.isdisjoint(declared.lower().split())
    return declared if plain or not declared else quoted(declared)
