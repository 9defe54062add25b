"""Gold files as their authors ship them: read whole, or refused with the lines that do not fit.

The suffix says how a file is read: `.json`, `.jsonl` (or `.ndjson`), `.parquet`; any other is text, one query a line.
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

_Row = tuple[str, dict[str, Any]]  # where it stands ("line 3"), and its fields


@dataclass(frozen=True, slots=True)
class Gold:
    """A question of a gold file: what is predicted for it is judged against `sql` on the database `db_id`."""

    question_id: str  # the file's own, else the position as text: "0", "1" …
    db_id: str
    sql: str
    difficulty: str  # the file's own, else Spider's hardness
    source: str  # the `source` column of our `questions`, else ""


def read_gold(path: Path) -> list[Gold]:
    """The questions of a gold file, in its order. A question_id may occur twice: two of BIRD's mini-dev do.

    Spider's and BIRD's text (`SQL<TAB>db_id` a line; blank lines at the end do not count), Spider's and BIRD's JSON (a
    list of objects with `query` or `SQL`, and `db_id`), JSONL and Parquet of the `questions` dataset (`gold_sql`).
    Raises UserError naming every mistake.
    """
    wrong: list[str] = []
    rows = _gold_rows(path, wrong)
    for place, row in rows:
        wrong += [f"{path}, {place}: {fault}" for fault in _gold_faults(row)]
    without_id = sum(row.get("question_id") is None for _, row in rows)
    if 0 < without_id < len(rows):
        wrong.append(f"{path}: {without_id} of {len(rows)} questions have no question_id; give one to all, or to none")
    refuse(path, wrong)
    if not rows:
        raise UserError(f"{path} is empty; give a gold file with at least one question")
    level = cache(hardness)  # many questions may have one gold
    return [_gold(position, row, level) for position, (_, row) in enumerate(rows)]


def _gold_rows(path: Path, wrong: list[str]) -> list[_Row]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        frame = parquet(path, lambda there: _gold_columns(path, there))
        return [(f"row {number}", row) for number, row in enumerate(frame.iter_rows(named=True))]
    if kind in JSONL:
        return [(f"line {number}", row) for number, row in json_lines(path, wrong)]
    if kind == ".json":
        return _gold_entries(path, wrong)
    lines = text_lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    parted = [(number, *line.rpartition("\t")) for number, line in enumerate(lines, 1)]
    return [
        (f"line {number}", {"query": sql, "db_id": db_id} if tab else {"query": db_id})
        for number, sql, tab, db_id in parted
    ]


def _gold_columns(path: Path, there: list[str]) -> list[str]:
    if "db_id" not in there or not set(_GOLD_SQL) & set(there):
        raise UserError(f"{path} needs the columns db_id and gold_sql; it has {', '.join(there)}")
    return [name for name in _GOLD_FIELDS if name in there]


def _gold_entries(path: Path, wrong: list[str]) -> list[_Row]:
    entries = json_value(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} holds no JSON list; give a list of objects with `query` or `SQL`, and `db_id`")
    rows: list[_Row] = []
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            rows.append((f"entry {number}", entry))
        else:
            wrong.append(f"{path}, entry {number}: {short(entry)} is no object; give `query` or `SQL`, and `db_id`")
    return rows


def _gold_faults(row: dict[str, Any]) -> Iterator[str]:
    names = [name for name in _GOLD_SQL if row.get(name) is not None]
    if len(names) != 1:
        there = " and ".join(names) or "none"
        yield f"of `SQL`, `query` and `gold_sql` there is {there}; give the gold query in exactly one"
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


def _gold(position: int, row: dict[str, Any], level: Callable[[str], str]) -> Gold:
    sql = next(row[name] for name in _GOLD_SQL if row.get(name) is not None).strip()
    own_id = row.get("question_id")
    return Gold(
        question_id=str(position if own_id is None else own_id),
        db_id=row["db_id"].strip(),
        sql=sql,
        difficulty=row.get("difficulty") or level(sql),
        source=row.get("source") or "",
    )
