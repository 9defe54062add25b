"""Prediction files as their authors ship them: read whole, or refused with the lines that do not fit.

The suffix says how a file is read: `.json`, `.jsonl` (or `.ndjson`), `.csv`, `.tsv`, `.parquet`; any other is text, one
query a line. All text is UTF-8, with or without a byte order mark; lines end with LF or CRLF, the last one may lack it.
Space around a query is dropped. What cannot be told apart is refused, never guessed. In text and JSON a prediction may
be followed by its db_id: see `stages.predictions.prediction_db_ids`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import polars as pl

from stages.core.errors import UserError
from stages.core.files import decode_json
from stages.core.user_files import json_value, refuse, short, text_lines
from stages.predictions.gold_files import Gold
from stages.predictions.prediction_db_ids import Text, without_db_ids
from stages.predictions.prediction_tables import ROWS, Asked, by_question, is_none, keys, missing, read_rows, rows_of

_FENCE = re.compile(r"\s*```\w*\s*")
_GOES_ON = re.compile(
    r"\s*(?:from|where|join|(?:inner|left|right|full|cross|natural)\s+(?:outer\s+)?join|on|group\s+by|having|order\s+by|"
    r"limit|and|or|union|intersect|except)\b|\s*[),]",
    re.IGNORECASE,
)

_Texts = dict[int, list[Text]]  # position to the predictions for it


def read_predictions(path: Path, golds: Sequence[Gold], seen: Counter[str] | None = None) -> list[list[str]]:
    """The predictions of each question, one or more texts, in the order of `golds`; `""` where there is no SQL.

    Text with one prediction a line (an empty line: no SQL), or several lines a question, questions parted by blank
    lines; BIRD's JSON object `{"0": "SQL\\t----- bird -----\\tdb_id"}`, its keys positions in the gold file, a value
    perhaps a list, or 0 or null for no SQL; a JSON list of texts or of lists of texts; JSONL, CSV, TSV, Parquet and
    JSON lists of objects, as `stages.predictions.prediction_tables` tells: by question_id (or `index`, a position in
    the gold file; it must be that where the gold has a question_id twice), sorted by `sample` where it is there (else
    they stay in the file's order). `seen`: see `without_db_ids`. Raises UserError naming every mistake.
    """
    asked = [Asked(position, gold.question_id, gold.db_id) for position, gold in enumerate(golds)]
    content, errors = _content(path, len(golds))
    if isinstance(content, pl.DataFrame):
        return by_question(path, content, asked)
    unanswered = [str(question.position) for question in asked if question.position not in content]
    errors += missing(path, unanswered, len(asked))
    refuse(path, errors)
    return without_db_ids(path, [content[question.position] for question in asked], asked, seen)


def read_predictions_of(
    path: Path, asked: Sequence[Asked], count: int, seen: Counter[str] | None = None
) -> tuple[list[list[str]], int]:
    """The predictions of the questions asked, in their order, and how many of other questions the file has.

    As `read_predictions`, where only some of the `count` questions of the source's file are asked. Text, JSON lists,
    and tables without question_id and index hold a prediction for every one of them, so that a file of another length
    is refused; the others may leave out what is not asked. Raises UserError naming every mistake.
    """
    content, errors = _content(path, count)
    if isinstance(content, pl.DataFrame):
        _refuse_strangers(path, content, asked[0].question_id.rpartition("/")[0], count)
        known = content.filter(pl.nth(1).is_in(keys(content, asked)))
        return by_question(path, known, asked), content.height - known.height
    unanswered = [question.question_id for question in asked if question.position not in content]
    errors += missing(path, unanswered, len(asked))
    refuse(path, errors)
    chosen = [content[question.position] for question in asked]
    others = sum(map(len, content.values())) - sum(map(len, chosen))
    return without_db_ids(path, chosen, asked, seen), others


def _refuse_strangers(path: Path, rows: pl.DataFrame, test_set: str, count: int) -> None:
    """`test_set`: the beginning of its question_ids, `<source>/<split>`."""
    name = rows.columns[1]
    there = [str(number) if name == "index" else f"{test_set}/{number:04}" for number in range(count)]
    strange = rows.filter(~pl.nth(1).is_in(there))
    if strange.height:
        raise UserError(
            f"{path}: {name} {short(strange[name][0])} is none of the {count} questions of {test_set}, nor are "
            f"{strange.height - 1} more; give {there[0]} to {there[-1]}"
            + (f", or `index`, 0 to {count - 1}, in its place" if name == "question_id" else "")
        )


def _content(path: Path, count: int) -> tuple[pl.DataFrame | _Texts, list[str]]:
    """The rows of a table, or the texts for each of `count` questions, and what is wrong with them."""
    errors: list[str] = []
    kind = path.suffix.lower()
    if kind in ROWS:
        return read_rows(path, count), errors
    if kind != ".json":
        return dict(enumerate(_line_texts(path, count))), errors
    value = json_value(path)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return rows_of(path, enumerate(value), count, errors), errors
    return _json_texts(path, value, count, errors), errors


def _line_texts(path: Path, count: int) -> list[list[Text]]:
    lines = [(f"line {number}", line) for number, line in enumerate(text_lines(path), 1)]
    groups = [list(group) for blank, group in groupby(lines, key=lambda line: not line[1].strip()) if not blank]
    solid = next((number for number in range(len(lines), 0, -1) if lines[number - 1][1].strip()), 0)
    _refuse_objects(path, groups)
    if len(lines) == count:
        return [[line] for line in lines]
    if len(groups) == count:
        if fence := next((place for group in groups for place, line in group if _FENCE.fullmatch(line)), None):
            raise UserError(f"{path}, {fence}: this is a code fence, but each line is a prediction; give the SQL alone")
        if part := next((place for group in groups for place, line in group[1:] if _GOES_ON.match(line)), None):
            raise UserError(
                f"{path}, {part}: this goes on with the statement before it, but each line is a prediction; write each "
                "query on one line, or give JSON"
            )
        return groups
    if solid == count:
        return [[line] for line in lines[:solid]]
    parted = f", {len(groups)} groups of them parted by blank lines" if len(groups) > 1 else ""
    raise UserError(
        f"{path} has {len(lines)} lines{parted}, but there are {count} gold questions; give one line a question "
        "(an empty one: no SQL), or several lines a question with a blank line between questions"
    )


def _refuse_objects(path: Path, groups: list[list[Text]]) -> None:
    """Refuses JSONL under another name: as text, no line of it would run."""
    place, line = groups[0][0] if groups else ("", "")
    try:
        value = decode_json(line) if line.lstrip().startswith("{") else None
    except ValueError:
        return
    if isinstance(value, dict) and {"question_id", "index"} & value.keys():
        raise UserError(f"{path}, {place}: this is JSON; name the file .jsonl, as it has an object a line")


def _json_texts(path: Path, value: object, count: int, errors: list[str]) -> _Texts:
    """What stands for each of `count` questions; a list must have as many entries, an object may have fewer."""
    if isinstance(value, list):
        if len(value) != count:
            errors.append(f"{path} has {len(value)} entries, but there are {count} gold questions; give one each")
        return {position: _texts(path, f"entry {position}", item, errors) for position, item in enumerate(value)}
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {short(value)}; give an object of predictions by position, or a list of them")
    known = {str(position): position for position in range(count)}
    strange = [key for key in value if key not in known]
    if strange:
        more = f" (and {len(strange) - 1} more such)" if len(strange) > 1 else ""
        errors.append(
            f"{path}, key {short(strange[0])}: this is no position{more}; give the keys \"0\" to \"{count - 1}\""
        )
    return {known[key]: _texts(path, f'key "{key}"', item, errors) for key, item in value.items() if key in known}


def _texts(path: Path, place: str, value: object, errors: list[str]) -> list[Text]:
    if is_none(value) or isinstance(value, str):
        return [(place, str(value or ""))]
    if isinstance(value, list) and value and all(is_none(text) or isinstance(text, str) for text in value):
        return [(f"{place}, text {number}", text or "") for number, text in enumerate(value)]
    errors.append(f"{path}, {place}: {short(value)} is no prediction; give a text, a list of texts, or null for no SQL")
    return []
