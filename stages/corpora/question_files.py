"""The questions of a source, read strictly: what is wrong is said with file, entry and field, and all of it at once."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import parse_json
from stages.core.user_files import is_unicode, json_value, short
from stages.datasets.difficulties import DIFFICULTIES

_FAULTS_SHOWN = 10
_LONGEST_DB_ID = 240  # with the suffix of a database it is a file's name


@dataclass(frozen=True, slots=True)
class Entry:
    """A question as its source has it.

    `position`: its place in the source's file, from 0 (of a second file, counted on). `difficulty` is empty where the
    source has none. `other_golds`: version to its SQL, of other versions of the gold query.
    """

    position: int
    db_id: str
    question: str
    gold_sql: str
    evidence: str = ""
    difficulty: str = ""
    other_golds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fields:
    """What a source calls its fields; `sql` may be any one of several names."""

    question: str
    sql: tuple[str, ...]


def read_json(path: Path, fields: Fields, wrong: list[str]) -> list[Entry]:
    """The questions of a JSON file that holds a list of objects; a whole file's mistakes go to `wrong`."""
    try:
        value = json_value(path)
    except UserError as error:
        wrong += error.sentences
        return []
    if isinstance(value, list) and value:
        return entries_of(path, "entry", enumerate(value), fields, wrong)
    wrong.append(f"{path} holds no list of questions; give one object for each question")
    return []


def entries_of(
    path: Path, unit: str, rows: Iterable[tuple[int, object]], fields: Fields, wrong: list[str]
) -> list[Entry]:
    """The questions of numbered rows, in their order; `unit` and number say where a row stands."""
    faults: list[str] = []
    entries: list[Entry] = []
    number = None
    for number, row in rows:
        found = list(_faults(row, fields))
        faults += [f"{path}, {unit} {number}: {fault}" for fault in found]
        if not found and isinstance(row, dict):
            entries.append(_entry(len(entries), row, fields))
    if len(faults) > _FAULTS_SHOWN:
        faults = [*faults[:_FAULTS_SHOWN], f"{path}: and {len(faults) - _FAULTS_SHOWN} more such mistakes"]
    if number is None:
        faults = [f"{path} holds no question; give one a {unit}"]
    wrong += faults
    return entries


def _faults(row: object, fields: Fields) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"{short(row)} is no object; give an object with `{fields.question}`, `{fields.sql[0]}` and `db_id`"
        return
    sql = [name for name in fields.sql if row.get(name) is not None]
    if len(sql) > 1:
        yield f"there are {' and '.join(f'`{name}`' for name in sql)}; give the gold query once"
    for name in (fields.question, sql[0] if sql else fields.sql[0], "db_id"):
        yield from _text_fault(name, row.get(name), needed=True)
    yield from _text_fault("evidence", row.get("evidence"), needed=False)
    yield from _db_id_fault(row.get("db_id"))
    if row.get("difficulty") not in (None, "", *DIFFICULTIES):
        yield f"`difficulty` is {short(row['difficulty'])}; give one of {', '.join(DIFFICULTIES)}, or none"
    versions = _versions(row.get("other_golds"))
    if versions is None or not all(_is_text(text) for pair in versions.items() for text in pair):
        yield f"`other_golds` is {short(row['other_golds'])}; give an object of version and SQL"


def _text_fault(name: str, value: object, needed: bool) -> Iterator[str]:
    if value is None:
        if needed:
            yield f"`{name}` is missing; add it"
    elif not isinstance(value, str) or (needed and not value.strip()):
        yield f"`{name}` is {short(value)}; give a text"
    elif not is_unicode(value):
        yield f"`{name}` holds half a surrogate pair, which is no text; give UTF-8"


def _db_id_fault(value: object) -> Iterator[str]:
    name = value.strip() if isinstance(value, str) else ""
    if set(name) & set("/\\\0") or name.startswith("."):
        yield f"`db_id` is {short(value)}; give the name of a database, not a path"
    if len(name.encode(errors="replace")) > _LONGEST_DB_ID:
        yield f"`db_id` is {short(value)}; give a name of at most {_LONGEST_DB_ID} bytes, as it names a file"


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and is_unicode(value)


def _versions(value: object) -> dict[str, Any] | None:
    """Other versions of the gold: an object, or its JSON text (a CSV file has no objects). None: neither."""
    if value is None or value == "":
        return {}
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError:
            return None
    if not isinstance(value, dict):
        return None
    return {version: sql for version, sql in value.items() if sql is not None}  # Parquet fills up with NULL


def _entry(position: int, row: dict[str, Any], fields: Fields) -> Entry:
    sql = next(row[name] for name in fields.sql if row.get(name) is not None)
    return Entry(
        position, row["db_id"].strip(), row[fields.question].strip(), sql.strip(), (row.get("evidence") or "").strip(),
        row.get("difficulty") or "", _versions(row.get("other_golds")) or {},
    )


def counted_on(lists: Iterable[list[Entry]]) -> list[Entry]:
    """The questions of several files as one list, their positions counted on from file to file."""
    entries: list[Entry] = []
    for some in lists:
        start = len(entries)
        entries += [replace(entry, position=start + entry.position) for entry in some]
    return entries
