"""BIRD and its mini-dev, as their authors ship them: questions with evidence and difficulty, databases with CSV files
that describe the columns, and other versions of the gold queries.

Another version is a file beside the questions: `<split>_gold_<version>.sql`, with the lines `SQL<TAB>db_id` in their
order; `<split>_tied_append.json`, BIRD's questions whose gold was made to keep ties; or `<split>_<date>….json`, a
revision. The latter two name a question by its `question_id`, its position in the dev set.
"""

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import StringIO
from itertools import chain
from pathlib import Path

from stages.core.errors import UserError
from stages.core.user_files import json_value, text_lines
from stages.corpora.question_files import Entry, Fields, read_json

FIELDS = Fields("question", ("SQL",))
MINI = "bird-mini"

Versions = dict[int, dict[str, str]]
"""Position of a question to version to SQL."""


def read(folder: Path, split: str, wrong: list[str]) -> list[Entry]:
    """The questions of a split (train or dev). A version that differs in white space only is none."""
    path = folder / ("mini_dev_sqlite.json" if folder.name == MINI else f"{split}.json")
    if not path.is_file() and (folder / split / path.name).is_file():  # the train set is shipped in a folder of its own
        path = folder / split / path.name
    entries = read_json(path, FIELDS, wrong)
    try:
        versions = _versions(path, split, entries)
    except UserError as error:
        wrong += error.sentences
        return entries
    return [replace(entry, other_golds=versions.get(entry.position, {})) for entry in entries]


def databases(folder: Path, split: str) -> list[Path]:
    """Where the databases of a split lie; mini-dev's are BIRD's too, in the folder beside."""
    own = [folder / f"{split}_databases", folder / split / f"{split}_databases"]
    return [*own, folder.with_name("bird") / "dev_databases"] if folder.name == MINI else own


def _versions(path: Path, split: str, entries: list[Entry]) -> Versions:
    found: Versions = {}
    for version, position, sql in chain(_gold_files(path, split, entries), _revisions(path.parent, split, entries)):
        if sql.split() != entries[position].gold_sql.split():
            found.setdefault(position, {})[version] = sql
    return found


def _gold_files(path: Path, split: str, entries: list[Entry]) -> Iterator[tuple[str, int, str]]:
    start = f"{split}_gold_"
    for file in sorted(path.parent.glob(f"{start}*.sql")):
        lines = [line.rstrip("\r").rpartition("\t") for line in text_lines(file)]
        other = [
            number for number, (entry, (_, _, db_id)) in enumerate(zip(entries, lines, strict=False), 1)
            if db_id.strip() != entry.db_id
        ]  # fmt: skip
        if entries and (len(lines) != len(entries) or other):
            where = f"line {other[0]} is of another database" if other else f"it has {len(lines)} lines"
            raise UserError(
                f"{file} does not fit the {len(entries)} questions of {path}: {where}; give the lines `SQL<TAB>db_id` "
                "in the order of the questions, or take the file away"
            )
        for position, (sql, _, _) in enumerate(lines):
            yield file.stem.removeprefix(start), position, sql.strip()


def _revisions(folder: Path, split: str, entries: list[Entry]) -> Iterator[tuple[str, int, str]]:
    for path in [*sorted(folder.glob(f"{split}_2*.json")), *folder.glob(f"{split}_tied_append.json")]:
        value = json_value(path)
        for number, row in enumerate(value if isinstance(value, list) else [value]):
            wanted = {"question_id": int, "SQL": str}
            if not isinstance(row, dict) or any(type(row.get(name)) is not kind for name, kind in wanted.items()):
                raise UserError(f"{path}, entry {number}: `question_id` and `SQL` are needed; add them")
            asked = dict(enumerate(entries)).get(row["question_id"])
            if entries and (asked is None or row.get("db_id", asked.db_id) != asked.db_id):
                raise UserError(
                    f"{path}, entry {number}: `question_id` {row['question_id']} is no question of the {split} set, or "
                    "one of another database; correct it, or take the file away"
                )
            yield path.stem.removeprefix(f"{split}_").partition("-")[0], row["question_id"], row["SQL"].strip()


Descriptions = dict[str, dict[str, dict[str, str]]]
"""Table to column to `name`, `description` and `values`, as texts; empty ones are left out."""


def descriptions(database: Path) -> Descriptions:
    """What the CSV files in `database_description` beside a database say of its columns; empty where there are none.

    A table is what its file is called. BIRD's files are UTF-8, some with a byte order mark, and a few of them
    Windows-1252; Excel also writes UTF-16, and semicolons or tabs for commas. Lines may end as on any system, also with
    a carriage return alone. A hidden file, as macOS puts one beside each (`._x.csv`), is none. Raises UserError naming
    a file that is no CSV.
    """
    files = sorted((database.parent / "database_description").glob("*.csv"))
    tables = {path.stem.strip(): _columns(path) for path in files if not path.name.startswith(".")}
    return {table: columns for table, columns in tables.items() if columns}


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-16" if data.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _columns(path: Path) -> dict[str, dict[str, str]]:
    csv.field_size_limit(1_000_000_000)
    text = _text(path)
    head = next(iter(text.splitlines()), "")
    reader = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    try:
        return dict(_described(reader))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: this is not CSV ({error}); correct it") from None


def _described(rows: Iterable[list[str]]) -> Iterator[tuple[str, dict[str, str]]]:
    """Columns of the file: original_column_name, column_name, column_description, data_format, value_description."""
    for number, row in enumerate(rows):
        cells = [" ".join(cell.replace("\0", " ").split()) for cell in [*row, *[""] * 5][:5]]
        told = {"name": cells[1], "description": cells[2], "values": cells[4]}
        if number and cells[0] and any(told.values()):
            yield cells[0], {name: text for name, text in told.items() if text}
