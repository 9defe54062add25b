"""The mistakes of the demo's strong model: those that language models make when they write data."""

import random
import re
from collections.abc import Iterator
from typing import Any

from stages.corpora.demo.databases import Database

BROKEN_TEXT = ("unparsable_json", "cut_answer")
"""Of an answer as a whole."""
BROKEN_ROWS = ("missing_value", "text_for_number", "repeated_key", "dangling_key", "unknown_parent", "broken_ddl")
"""Of a database: schema and rows disagree, or the schema does not build."""
BROKEN_SQL = ("unknown_column", "unknown_table", "syntax_error", "nothing_returned")
"""Of a query that fails, or returns nothing."""
WRONG_SQL = (
    "wrong_column", "forgotten_condition", "extra_distinct", "missing_distinct", "wrong_comparison", "wrong_aggregate",
    "wrong_direction", "wrong_value",
)  # fmt: skip
"""Of a query that runs and answers another question."""

_SWAPS = {
    "wrong_comparison": {">=": ">", "<=": "<", ">": ">=", "<": "<=", "!=": "="},
    "wrong_aggregate": {"MAX(": "MIN(", "MIN(": "MAX(", "AVG(": "SUM(", "SUM(": "AVG(", "COUNT(DISTINCT ": "COUNT("},
    "wrong_direction": {" DESC": "", " ASC": " DESC"},
}
_CONDITIONS = (
    r" WHERE [^()]*?(?= GROUP BY| ORDER BY|$)", r" (?:AND|OR) [^()]*?(?= GROUP BY| ORDER BY| AND| OR|$)",
    r" HAVING [^)]*\)[^()]*$",
)  # fmt: skip


def spoil_text(text: str, mistake: str, rng: random.Random) -> str:
    """The text of an answer with a mistake of BROKEN_TEXT."""
    if mistake == "cut_answer":
        return text[: rng.randrange(len(text) // 2, len(text) - 2)]
    return text.replace('": ', "': ", 1)


def spoil_tables(tables: list[dict[str, Any]], mistake: str, rng: random.Random) -> str:
    """Puts a mistake of BROKEN_ROWS into the tables. Returns its name: another one where that is not possible."""
    table = rng.choice(tables)
    row = rng.choice(table["rows"])
    with_parent = [each for each in tables if "REFERENCES" in each["create"]]
    if mistake in ("dangling_key", "unknown_parent") and not with_parent:
        mistake = "missing_value"
    if mistake == "missing_value":
        row.pop()
    elif mistake == "text_for_number":
        row[0] = "unknown"
    elif mistake == "repeated_key":
        table["rows"].append(list(row))
    elif mistake == "broken_ddl":
        table["create"] = table["create"].replace(", ", " ", 1).replace(" INTEGER PRIMARY KEY", " INTEGER PRIMARY", 1)
    else:
        child = rng.choice(with_parent)
        if mistake == "unknown_parent":
            child["create"] = child["create"].replace("REFERENCES ", "REFERENCES all_", 1)
        else:
            name = re.findall(r"FOREIGN KEY \((\w+)\)", child["create"])[0]
            columns = re.findall(r"[(,] ?(\w+) (?:INTEGER|REAL|TEXT)", child["create"])
            rng.choice(child["rows"])[columns.index(name)] = 999
    return mistake


def broken_queries(sql: str, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Queries that fail or return nothing, each with its mistake of BROKEN_SQL."""
    yield re.sub(r"\b([a-z]\w+)\b", r"\1_name", sql, count=1), "unknown_column"
    yield re.sub(r"FROM (\w+)", r"FROM \1_table", sql, count=1), "unknown_table"
    yield sql.replace("SELECT", "SELECT,", 1), "syntax_error"
    yield f"SELECT * FROM ({sql}) WHERE 1 = 0", "nothing_returned"


def wrong_queries(sql: str, database: Database, rng: random.Random) -> Iterator[tuple[str, str]]:
    """Queries that may run and answer another question, each with its mistake of WRONG_SQL."""
    for table in database.tables:
        names = [column.name for column in table.columns]
        for name in names:
            if re.search(rf"\b{name}\b", sql) and len(names) > 1:
                column = rng.choice([each for each in names if each != name])
                yield re.sub(rf"\b{name}\b", column, sql, count=1), "wrong_column"
    for pattern in _CONDITIONS:
        if re.search(pattern, sql):
            yield re.sub(pattern, "", sql, count=1), "forgotten_condition"
    if sql.startswith("SELECT ") and not sql.startswith("SELECT DISTINCT"):
        yield sql.replace("SELECT ", "SELECT DISTINCT ", 1), "extra_distinct"
    if "DISTINCT " in sql:
        yield sql.replace("DISTINCT ", "", 1), "missing_distinct"
    for mistake, swaps in _SWAPS.items():
        yield from ((sql.replace(old, new, 1), mistake) for old, new in swaps.items() if old in sql)
    yield from _wrong_values(sql, database, rng)


def _wrong_values(sql: str, database: Database, rng: random.Random) -> Iterator[tuple[str, str]]:
    values = {str(value) for table in database.tables for column in table.columns for value in column.stored}
    for value in re.findall(r"= '([^']*)'", sql):
        same = [
            str(each) for table in database.tables for column in table.columns
            if value in column.stored for each in column.stored if each != value
        ]  # fmt: skip
        if value in values and same:
            yield sql.replace(f"'{value}'", f"'{rng.choice(same)}'", 1), "wrong_value"
