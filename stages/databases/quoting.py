"""Names and types as SQL writes them."""

import re

RESERVED = frozenset([
    "add", "all", "alter", "and", "as", "autoincrement", "between", "case", "cast", "check", "collate", "commit",
    "constraint", "create", "current_date", "current_time", "current_timestamp", "default", "deferrable", "delete",
    "distinct", "drop", "else", "escape", "except", "exists", "foreign", "from", "group", "having", "if", "in", "index",
    "insert", "intersect", "into", "is", "isnull", "join", "limit", "not", "nothing", "notnull", "null", "on", "or",
    "order", "primary", "raise", "references", "returning", "select", "set", "table", "then", "to", "transaction",
    "union", "unique", "update", "using", "values", "when", "where",
])  # fmt: skip
"""The words that SQLite takes for a name only in quotes; its other keywords it takes bare."""

_PLAIN = re.compile(r"[^\W\d][\w$]*")
_PLAIN_TYPE = re.compile(r"[A-Za-z_]\w*( \w+)*( ?\([+-]?\w+(, ?[+-]?\w+)?\))?")


def quoted(name: str) -> str:
    """A name in double quotes."""
    return '"{}"'.format(name.replace('"', '""'))


def identifier(name: str) -> str:
    """A name in double quotes if it needs them, else bare."""
    plain = _PLAIN.fullmatch(name) and name.lower() not in RESERVED
    return name if plain else quoted(name)


def listed(names: tuple[str, ...]) -> str:
    """Names in parentheses, as a key has them."""
    return f"({', '.join(map(identifier, names))})"


def type_name(declared: str) -> str:
    """A declared type, empty for none; one that is no usual type was declared in quotes, and gets them again."""
    plain = _PLAIN_TYPE.fullmatch(declared) and RESERVED.isdisjoint(declared.lower().split())
    return declared if plain or not declared else quoted(declared)
