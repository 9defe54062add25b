"""Reads BIRD and its mini-dev as their authors ship them: questions with evidence and difficulty, databases with CSV
files that describe the columns, and other versions of the gold queries.

Other versions are in files beside the questions: `<split>_gold_<version>.sql` has a line `SQL<TAB>db_id` for each
question, in their order; `<split>_tied_append.json` has BIRD's golds that were changed to keep ties;
`<split>_<date>….json` is a revision. The JSON files name a question by `question_id`, its position in the dev set.
"""

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import StringIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from stages.core.errors import UserError, collect_errors
from stages.core.user_files import json_value, text_lines
from stages.corpora.question_files import Entry, Fields, QuestionFile, read_json

FIELDS = Fields("question", ("SQL",))
MINI = "bird-mini"


class OtherGold(NamedTuple):
    """Another version of the gold query of the question at `position`."""

    position: int
    version: str
    sql: str


def read(folder: Path, split: str) -> QuestionFile:
    """Reads the questions of a split (train or dev). A version that differs in white space only is ignored."""
    path = folder / ("mini_dev_sqlite.json" if folder.name == MINI else f"{split}.json")
    if not path.is_file() and (folder / split / path.name).is_file():  # the train set is shipped in its own folder
        path = folder / split / path.name
    entries, errors = read_json(path, FIELDS)
    versions: dict[int, dict[str, str]] = {}  # position of a question to version to SQL
    with collect_errors(errors):
        for gold in chain(_gold_files(path, split, entries), _revisions(path.parent, split, entries)):
            if gold.sql.split() != entries[gold.position].gold_sql.split():
                versions.setdefault(gold.position, {})[gold.version] = gold.sql
    return QuestionFile([replace(entry, other_golds=versions.get(entry.position, {})) for entry in entries], errors)


def databases(folder: Path, split: str) -> list[Path]:
    """Returns the folders of a split's databases. Those of mini-dev are in BIRD's folder beside it."""
    folders = [folder / f"{split}_databases", folder / split / f"{split}_databases"]
    return [*folders, folder.with_name("bird") / "dev_databases"] if folder.name == MINI else folders


def _gold_files(path: Path, split: str, entries: list[Entry]) -> Iterator[OtherGold]:
    prefix = f"{split}_gold_"
    for file in sorted(path.parent.glob(f"{prefix}*.sql")):
        lines = [line.rstrip("\r").rpartition("\t") for line in text_lines(file)]
        mismatches = [
            number for number, (entry, (_, _, db_id)) in enumerate(zip(entries, lines, strict=False), 1)
            if db_id.strip() != entry.db_id
        ]  # fmt: skip
        if entries and (len(lines) != len(entries) or mismatches):
            where = f"line {mismatches[0]} is of another database" if mismatches else f"it has {len(lines)} lines"
            raise UserError(
                f"{file} does not fit the {len(entries)} questions of {path}: {where}; give the lines `SQL<TAB>db_id` "
                "in the order of the questions, or take the file away"
            )
        for position, (sql, _, _) in enumerate(lines):
            yield OtherGold(position, file.stem.removeprefix(prefix), sql.strip())


def _revisions(folder: Path, split: str, entries: list[Entry]) -> Iterator[OtherGold]:
    for path in [*sorted(folder.glob(f"{split}_2*.json")), *folder.glob(f"{split}_tied_append.json")]:
        value = json_value(path)
        for number, row in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(row, dict) or type(row.get("question_id")) is not int or type(row.get("SQL")) is not str:
                raise UserError(f"{path}, entry {number}: `question_id` and `SQL` are needed; add them")
            position = row["question_id"]
            entry = entries[position] if 0 <= position < len(entries) else None
            if entries and (entry is None or row.get("db_id", entry.db_id) != entry.db_id):
                raise UserError(
                    f"{path}, entry {number}: `question_id` {position} is no question of the {split} set, or "
                    "one of another database; correct it, or take the file away"
                )
            version = path.stem.removeprefix(f"{split}_").partition("-")[0]
            yield OtherGold(position, version, row["SQL"].strip())


Descriptions = dict[str, dict[str, dict[str, str]]]
"""Table to column to `name`, `description` and `values`; empty ones are left out."""


def descriptions(database: Path) -> Descriptions:
    """Reads the CSV files in `database_description` beside a database. Returns an empty dict if there are none.

    A file is named after its table. BIRD's files are UTF-8, some with a byte order mark, and a few are Windows-1252;
    Excel also writes UTF-16, and semicolons or tabs instead of commas. Lines may end as on any system, including a
    carriage return alone. Hidden files, such as macOS puts beside each file (`._x.csv`), are ignored. Raises UserError
    naming a file that is not CSV.
    """
    files = sorted((database.parent / "database_description").glob("*.csv"))
    tables = {path.stem.strip(): _read_columns(path) for path in files if not path.name.startswith(".")}
    return {table: columns for table, columns in tables.items() if columns}


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _read_columns(path: Path) -> dict[str, dict[str, str]]:
    csv.field_size_limit(1_000_000_000)
    text = _decode(path)
    header = next(iter(text.splitlines()), "")
    reader = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        return dict(_parse_columns(reader))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: this is not CSV ({error}); correct it") from None


def _parse_columns(rows: Iterable[list[str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Columns of a file: original_column_name, column_name, column_description, data_format, value_description."""
    for number, row in enumerate(rows):
        cells = [" ".join(cell.replace("\0", " ").split()) for cell in [*row, *[""] * 5][:5]]
        texts = {"name": cells[1], "description": cells[2], "values": cells[4]}
        if number and cells[0] and any(texts.values()):
            yield cells[0], {name: text for name, text in texts.items() if text}
