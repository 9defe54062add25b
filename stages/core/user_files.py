"""Reads files of users strictly: every error is reported with its line, and all at once."""

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.errors import short as short  # the readers of predictions and golds import it from here
from stages.core.files import HALF_PAIR, decode_json, is_text
from stages.core.parquet import parquet_errors

JSONL = (".jsonl", ".ndjson")
DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BOM = b"\xef\xbb\xbf"
_LISTED = 10


def parquet(path: Path, choose: Callable[[list[str]], list[str]]) -> pl.DataFrame:
    """The columns of a Parquet file that `choose` picks from its columns."""
    need_file(path)
    with parquet_errors(f"{path} is not a Parquet file", "give a whole one, or name it by what it is"):
        columns = choose(list(pl.read_parquet_schema(path)))
        return pl.read_parquet(path, columns=columns, use_pyarrow=False, glob=False)


def json_lines(path: Path, errors: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers. Blank lines are skipped, and lines with an error, each of
    which adds a sentence to `errors`."""
    need_file(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            content = line.removeprefix(_BOM if number == 1 else b"").strip()
            try:
                text = content.decode()
                value = decode_json(text, object_pairs_hook=_object) if text else None
            except ValueError as error:
                encoding = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
                errors.append(f"{path}, line {number}: this is not {encoding} ({error}); give one JSON object a line")
                continue
            if not is_text(value, text):
                errors.append(f"{path}, line {number}: {HALF_PAIR}; give UTF-8")
            elif isinstance(value, dict):
                yield number, value
            elif content:
                errors.append(f"{path}, line {number}: {short(value)} is no object; give one JSON object a line")


CsvRow = dict[str, str | None]


def csv_rows(path: Path, choose: Callable[[list[str]], object]) -> list[CsvRow]:
    """The rows of a CSV or TSV file as dicts by the names in its head; an empty cell is None. Any line ends are read.

    `choose` is called with the head, and may raise UserError. Raises UserError where the file is no CSV.
    """
    csv.field_size_limit(1_000_000_000)
    delimiter = DELIMITERS[path.suffix.lower()]
    reader = csv.reader(StringIO(whole_text(path), newline=""), strict=True, delimiter=delimiter)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        kind = path.suffix[1:].upper()
        raise UserError(f"{path}, line {reader.line_num}: this is not {kind} ({error}); correct it") from None
    head = rows.pop(0) if rows else []
    choose(head)
    for number, row in enumerate(rows):
        if len(row) != len(head):
            raise UserError(
                f"{path}, row {number} has {len(row)} cells, but the head has {len(head)}; "
                f"quote {'commas' if delimiter == ',' else 'tabs'}"
            )
    return [dict(zip(head, (cell or None for cell in row), strict=True)) for row in rows]


def json_value(path: Path) -> object:
    """The value of a JSON file. Raises UserError where it is not JSON, has a key twice or half a surrogate pair."""
    text = whole_text(path)
    try:
        value: object = decode_json(text, object_pairs_hook=_object)
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); correct it, or name the file .jsonl or .txt") from None
    if not is_text(value, text):
        places = [""]
        if isinstance(value, list):
            places = [f", entry {number}" for number, item in enumerate(value) if not is_text(item, text)]
        elif isinstance(value, dict):
            places = [f", key {short(key)}" for key, item in value.items() if not is_text([key, item], text)]
        refuse(path, [f"{path}{place}: {HALF_PAIR}; give UTF-8" for place in places])
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        (twice, _), = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {short(twice)} is there twice")
    return values


def text_lines(path: Path) -> list[str]:
    """The lines of a text file. Lines end at a line feed only, as Unicode's other separators occur inside SQL strings;
    a text without a line feed has the carriage returns of an old Mac."""
    text = whole_text(path)
    lines = text.split("\n" if "\n" in text else "\r")
    return lines if lines[-1] else lines[:-1]


def whole_text(path: Path) -> str:
    """The text of a file, without a byte order mark. Raises UserError where it is missing, empty or not UTF-8."""
    need_file(path)
    data = path.read_bytes().removeprefix(_BOM)
    if not data:
        raise UserError(f"{path} is empty; give a file with something in it")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise UserError(
            f"{path}, line {line}: byte {byte} (0x{data[error.start]:02x}) is not UTF-8; convert the file to UTF-8"
        ) from None


def need_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is no file; give the path of one")


def refuse(path: Path, errors: list[str]) -> None:
    """Raises UserError with the first ten of these errors, if there are any."""
    if len(errors) > _LISTED:
        errors = [*errors[:_LISTED], f"{path}: and {len(errors) - _LISTED} more"]
    if errors:
        raise UserError(*errors)
