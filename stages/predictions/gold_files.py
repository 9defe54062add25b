"""Reads gold files in the formats of their authors: whole, or not at all, with an error for each line that is wrong.

The suffix selects the format: `.json`, `.jsonl` (or `.ndjson`), `.parquet`; any other is text, one query per line.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.user_files import JSONL, json_lines, json_value, parquet, refuse, short, text_lines
from stages.sql.hardness import hardness

_GOLD_SQL = ("SQL", "query", "gold_sql")
_GOLD_FIELDS = (*_GOLD_SQL, "question_id", "db_id", "difficulty", "source")

_Row = tuple[str, dict[str, Any]]  # its place in the file ("line 3"), and its fields


@dataclass(frozen=True, slots=True)
class Gold:
    """A question of a gold file. Predictions for it are compared with `sql` on the database `db_id`."""

    question_id: str  # the file's own, else the position as text: "0", "1", …
    db_id: str
    sql: str
    difficulty: str  # the file's own, else Spider's hardness
    source: str  # the `source` column of our `questions`, else ""


def read_gold(path: Path) -> list[Gold]:
    """Reads the questions of a gold file, in its order. A question_id may occur twice, as two of BIRD's mini-dev do.

    Formats: Spider's and BIRD's text (`SQL<TAB>db_id` per line; blank lines at the end are ignored), Spider's and
    BIRD's JSON (a list of objects with `query` or `SQL`, and `db_id`), JSONL and Parquet of the `questions` dataset
    (`gold_sql`). Raises UserError with a sentence for every mistake.
    """
    errors: list[str] = []
    rows = _gold_rows(path, errors)
    for place, row in rows:
        errors += [f"{path}, {place}: {error}" for error in _row_errors(row)]
    without_id = sum(row.get("question_id") is None for _, row in rows)
    if 0 < without_id < len(rows):
        errors.append(f"{path}: {without_id} of {len(rows)} questions have no question_id; give one to all, or to none")
    refuse(path, errors)
    if not rows:
        raise UserError(f"{path} is empty; give a gold file with at least one question")
    cached_hardness = cache(hardness)  # many questions may have the same gold
    return [_gold(position, row, cached_hardness) for position, (_, row) in enumerate(rows)]


def _gold_rows(path: Path, errors: list[str]) -> list[_Row]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        frame = parquet(path, lambda columns: _gold_columns(path, columns))
        return [(f"row {number}", row) for number, row in enumerate(frame.iter_rows(named=True))]
    if kind in JSONL:
        return [(f"line {number}", row) for number, row in json_lines(path, errors)]
    if kind == ".json":
        return _gold_entries(path, errors)
    lines = text_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    parts = [(number, *line.rpartition("\t")) for number, line in enumerate(lines, 1)]
    return [
        (f"line {number}", {"query": sql, "db_id": db_id} if tab else {"query": db_id})
        for number, sql, tab, db_id in parts
    ]


def _gold_columns(path: Path, columns: list[str]) -> list[str]:
    if "db_id" not in columns or not set(_GOLD_SQL) & set(columns):
        raise UserError(f"{path} needs the columns db_id and gold_sql; it has {', '.join(columns)}")
    return [name for name in _GOLD_FIELDS if name in columns]


def _gold_entries(path: Path, errors: list[str]) -> list[_Row]:
    entries = json_value(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} holds no JSON list; give a list of objects with `query` or `SQL`, and `db_id`")
    rows: list[_Row] = []
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            rows.append((f"entry {number}", entry))
        else:
            errors.append(f"{path}, entry {number}: {short(entry)} is no object; give `query` or `SQL`, and `db_id`")
    return rows


def _row_errors(row: dict[str, Any]) -> Iterator[str]:
    names = [name for name in _GOLD_SQL if row.get(name) is not None]
    if len(names) != 1:
        present = " and ".join(names) or "none"
        yield f"of `SQL`, `query` and `gold_sql` there is {present}; give the gold query in exactly one"
    for name in names:
        if not isinstance(row[name], str) or not row[name].strip():
            yield f"the gold query is {short(row[name])}; give SQL"
    db_id = row.get("db_id")
    if db_id is None:
        yield "there is no db_id; give it as `db_id`, or in text after the SQL and a tab"
    elif not isinstance(db_id, str) or len(db_id.split()) != 1:
        yield f"the db_id is {short(db_id)}; give a database's name, without spaces (in text after the SQL and a tab)"
    for name, types in (("question_id", (str, int)), ("difficulty", (str,)), ("source", (str,))):
        if row.get(name) is not None and type(row[name]) not in types:
            yield f"{name} is {short(row[name])}; give a text"


def _gold(position: int, row: dict[str, Any], hardness_of: Callable[[str], str]) -> Gold:
    sql = next(row[name] for name in _GOLD_SQL if row.get(name) is not None).strip()
    own_id = row.get("question_id")
    return Gold(
        question_id=str(position if own_id is None else own_id),
        db_id=row["db_id"].strip(),
        sql=sql,
        difficulty=row.get("difficulty") or hardness_of(sql),
        source=row.get("source") or "",
    )
