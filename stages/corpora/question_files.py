"""Parses question files strictly. An error names file, entry, field, value and fix; all are reported at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from stages.core.errors import UserError
from stages.core.files import parse_json
from stages.core.user_files import json_value, short
from stages.datasets.difficulties import DIFFICULTIES

_ERRORS_SHOWN = 10
_MAX_DB_ID_BYTES = 240  # db_id and suffix are the name of a file


@dataclass(frozen=True, slots=True)
class Entry:
    """A question of a source. `position`: its 0-based position in the source's file; a second file continues the count.
    `difficulty`: empty if the source has none. `other_golds`: version to SQL, for other versions of the gold query."""

    position: int
    db_id: str
    question: str
    gold_sql: str
    evidence: str = ""
    difficulty: str = ""
    other_golds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fields:
    """The names of a source's fields. `sql`: the names that the gold query may have."""

    question: str
    sql: tuple[str, ...]


class QuestionFile(NamedTuple):
    """The valid questions of one or more files, and a sentence for each error in them."""

    entries: list[Entry]
    errors: list[str]


def read_json(path: Path, fields: Fields) -> QuestionFile:
    """Reads a JSON file that holds a list of objects, one per question."""
    try:
        value = json_value(path)
    except UserError as error:
        return QuestionFile([], list(error.sentences))
    if isinstance(value, list) and value:
        return parse_rows(path, "entry", enumerate(value), fields)
    return QuestionFile([], [f"{path} holds no list of questions; give one object for each question"])


def parse_rows(path: Path, unit: str, rows: Iterable[tuple[int, object]], fields: Fields) -> QuestionFile:
    """Parses numbered rows, in their order. `unit`: what a row is called in errors: entry, line or row."""
    errors: list[str] = []
    entries: list[Entry] = []
    number = None
    for number, row in rows:
        row_errors = list(_row_errors(row, fields))
        errors += [f"{path}, {unit} {number}: {error}" for error in row_errors]
        if not row_errors and isinstance(row, dict):
            entries.append(_entry(len(entries), row, fields))
    if number is None:
        return QuestionFile([], [f"{path} holds no question; give one a {unit}"])
    if len(errors) > _ERRORS_SHOWN:
        errors = [*errors[:_ERRORS_SHOWN], f"{path}: and {len(errors) - _ERRORS_SHOWN} more such mistakes"]
    return QuestionFile(entries, errors)


def _row_errors(row: object, fields: Fields) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"{short(row)} is no object; give an object with `{fields.question}`, `{fields.sql[0]}` and `db_id`"
        return
    sql = [name for name in fields.sql if row.get(name) is not None]
    if len(sql) > 1:
        yield f"there are {' and '.join(f'`{name}`' for name in sql)}; give the gold query once"
    for name in (fields.question, sql[0] if sql else fields.sql[0], "db_id"):
        value = row.get(name)
        if value is None:
            yield f"`{name}` is missing; add it"
        elif not _is_text(value):
            yield f"`{name}` is {short(value)}; give a text"
    if not isinstance(row.get("evidence"), str | None):
        yield f"`evidence` is {short(row['evidence'])}; give a text"
    yield from _db_id_errors(row.get("db_id"))
    if row.get("difficulty") not in (None, "", *DIFFICULTIES):
        yield f"`difficulty` is {short(row['difficulty'])}; give one of {', '.join(DIFFICULTIES)}, or none"
    versions = _versions(row.get("other_golds"))
    if versions is None or not all(_is_text(text) for pair in versions.items() for text in pair):
        yield f"`other_golds` is {short(row['other_golds'])}; give an object of version and SQL"


def _db_id_errors(value: object) -> Iterator[str]:
    name = value.strip() if isinstance(value, str) else ""
    if set(name) & set("/\\\0") or name.startswith("."):
        yield f"`db_id` is {short(value)}; give the name of a database, not a path"
    if len(name.encode()) > _MAX_DB_ID_BYTES:
        yield f"`db_id` is {short(value)}; give a name of at most {_MAX_DB_ID_BYTES} bytes, because it names a file"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _versions(value: object) -> dict[str, Any] | None:
    """Parses `other_golds`: an object, or its JSON text (CSV has no objects). Returns None if it is neither."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    return {version: sql for version, sql in value.items() if sql is not None}  # Parquet adds NULLs


def _entry(position: int, row: dict[str, Any], fields: Fields) -> Entry:
    sql = next(row[name] for name in fields.sql if row.get(name) is not None)
    return Entry(
        position, row["db_id"].strip(), row[fields.question].strip(), sql.strip(), (row.get("evidence") or "").strip(),
        row.get("difficulty") or "", _versions(row.get("other_golds")) or {},
    )


def concatenate(files: Iterable[QuestionFile]) -> QuestionFile:
    """Joins several files; each continues the positions of the one before."""
    result = QuestionFile([], [])
    for file in files:
        start = len(result.entries)
        result.entries.extend(replace(entry, position=start + entry.position) for entry in file.entries)
        result.errors.extend(file.errors)
    return result
