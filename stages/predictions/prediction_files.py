"""Reads prediction files in the formats of their authors: whole, or not at all, with an error for each wrong line.

The suffix selects the format: `.json`, `.jsonl` (or `.ndjson`), `.csv`, `.tsv`, `.parquet`; any other is text, one
query per line. Text is UTF-8, with or without a byte order mark; lines end with LF or CRLF, which the last may lack.
White space around a query is dropped. An ambiguous file is refused, never guessed. In text and JSON a prediction may be
followed by its db_id: see `stages.predictions.prediction_db_ids`.
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
from stages.predictions import prediction_tables as tables
from stages.predictions.gold_files import Gold
from stages.predictions.prediction_db_ids import PlacedText, PredictionTexts, strip_db_ids
from stages.predictions.prediction_tables import QuestionRef, is_no_prediction

_FENCE = re.compile(r"\s*```\w*\s*")
_CONTINUATION = re.compile(
    r"\s*(?:from|where|join|(?:inner|left|right|full|cross|natural)\s+(?:outer\s+)?join|on|group\s+by|having|order\s+by|"
    r"limit|and|or|union|intersect|except)\b|\s*[),]",
    re.IGNORECASE,
)

_Texts = dict[int, list[PlacedText]]  # position of a question to its predictions


def read_predictions(path: Path, golds: Sequence[Gold], counts: Counter[str] | None = None) -> list[list[str]]:
    """Reads the predictions for each question, one or more texts, in the order of `golds`; `""` means no SQL.

    Formats: text with one prediction per line (an empty line: no SQL), or several lines per question with blank lines
    between questions; BIRD's JSON object `{"0": "SQL\\t----- bird -----\\tdb_id"}`, whose keys are positions in the
    gold file and whose values may be lists, or 0 or null for no SQL; a JSON list of texts or of lists of texts; the
    tables of `stages.predictions.prediction_tables`, by question_id or index (by index if a question_id occurs twice in
    the gold), sorted by `sample` if they have it, else in the file's order. The counts of `strip_db_ids` are added to
    `counts`. Raises UserError with a sentence for every mistake.
    """
    questions = [QuestionRef(position, gold.question_id, gold.db_id) for position, gold in enumerate(golds)]
    content, errors = _content(path, len(golds))
    if isinstance(content, pl.DataFrame):
        return tables.texts_by_question(path, content, questions)
    unanswered = [str(question.position) for question in questions if question.position not in content]
    refuse(path, [*errors, *tables.missing_predictions(path, unanswered, len(questions))])
    predictions = strip_db_ids(path, [content[question.position] for question in questions], questions)
    if counts is not None:
        counts.update(predictions.counts)
    return predictions.texts


def read_predictions_for(path: Path, questions: Sequence[QuestionRef], count: int) -> PredictionTexts:
    """Reads the predictions for some of the `count` questions of a source's file, in the order of `questions`.

    The formats are those of `read_predictions`. Text, JSON lists, and tables without question_id and index have a
    prediction for each of the `count` questions, so a file of another length is refused. Other files may lack the
    questions that are not asked for. Raises UserError with a sentence for every mistake.
    """
    content, errors = _content(path, count)
    if isinstance(content, pl.DataFrame):
        _refuse_unknown_keys(path, content, questions[0].question_id.rpartition("/")[0], count)
        rows = content.filter(pl.col(tables.key_column(content)).is_in(tables.row_keys(content, questions)))
        return PredictionTexts(tables.texts_by_question(path, rows, questions), Counter(), content.height - rows.height)
    unanswered = [question.question_id for question in questions if question.position not in content]
    refuse(path, [*errors, *tables.missing_predictions(path, unanswered, len(questions))])
    texts = [content[question.position] for question in questions]
    not_asked = sum(map(len, content.values())) - sum(map(len, texts))
    return strip_db_ids(path, texts, questions)._replace(not_asked=not_asked)


def _refuse_unknown_keys(path: Path, rows: pl.DataFrame, prefix: str, count: int) -> None:
    """`prefix`: what the question_ids of the test set begin with, `<source>/<split>`."""
    key = tables.key_column(rows)
    valid = [str(number) if key == "index" else f"{prefix}/{number:04}" for number in range(count)]
    unknown = rows.filter(~pl.col(key).is_in(valid))
    if unknown.height:
        raise UserError(
            f"{path}: {key} {short(unknown[key][0])} is none of the {count} questions of {prefix}, nor are "
            f"{unknown.height - 1} more; give {valid[0]} to {valid[-1]}"
            + (f", or `index`, 0 to {count - 1}, in its place" if key == "question_id" else "")
        )


def _content(path: Path, count: int) -> tuple[pl.DataFrame | _Texts, list[str]]:
    """Returns the rows of a table, or the texts for each of `count` questions, and the errors among them."""
    kind = path.suffix.lower()
    if kind in tables.TABLE_SUFFIXES:
        return tables.read_table(path, count), []
    if kind != ".json":
        return dict(enumerate(_line_texts(path, count))), []
    value = json_value(path)
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return tables.table_of_objects(path, enumerate(value), count, []), []
    return _json_texts(path, value, count)


def _line_texts(path: Path, count: int) -> list[list[PlacedText]]:
    lines = [(f"line {number}", line) for number, line in enumerate(text_lines(path), 1)]
    groups = [list(group) for blank, group in groupby(lines, key=lambda line: not line[1].strip()) if not blank]
    last_nonempty = next((number for number in range(len(lines), 0, -1) if lines[number - 1][1].strip()), 0)
    _refuse_json_lines(path, groups)
    if len(lines) == count:
        return [[line] for line in lines]
    if len(groups) == count:
        if fence := next((place for group in groups for place, line in group if _FENCE.fullmatch(line)), None):
            raise UserError(f"{path}, {fence}: this is a code fence, but each line is a prediction; give the SQL alone")
        if part := next((place for group in groups for place, line in group[1:] if _CONTINUATION.match(line)), None):
            raise UserError(
                f"{path}, {part}: this goes on with the statement before it, but each line is a prediction; write each "
                "query on one line, or give JSON"
            )
        return groups
    if last_nonempty == count:
        return [[line] for line in lines[:count]]
    grouping = f", {len(groups)} groups of them separated by blank lines" if len(groups) > 1 else ""
    raise UserError(
        f"{path} has {len(lines)} lines{grouping}, but there are {count} gold questions; give one line a question "
        "(an empty one: no SQL), or several lines a question with a blank line between questions"
    )


def _refuse_json_lines(path: Path, groups: list[list[PlacedText]]) -> None:
    """Refuses JSONL under another suffix: read as text, none of its lines would run."""
    place, line = groups[0][0] if groups else ("", "")
    try:
        value = decode_json(line) if line.lstrip().startswith("{") else None
    except ValueError:
        return
    if isinstance(value, dict) and {"question_id", "index"} & value.keys():
        raise UserError(f"{path}, {place}: this is JSON; name the file .jsonl, as it has an object a line")


def _json_texts(path: Path, value: object, count: int) -> tuple[_Texts, list[str]]:
    """Returns the texts by position, and the errors. A list must have `count` entries, an object may have fewer."""
    errors: list[str] = []
    if isinstance(value, list):
        if len(value) != count:
            errors.append(f"{path} has {len(value)} entries, but there are {count} gold questions; give one each")
        items = [(position, f"entry {position}", item) for position, item in enumerate(value)]
    elif isinstance(value, dict):
        positions = {str(position): position for position in range(count)}
        if unknown := [key for key in value if key not in positions]:
            more = f" (and {len(unknown) - 1} more such)" if len(unknown) > 1 else ""
            errors.append(
                f"{path}, key {short(unknown[0])}: this is no position{more}; give the keys \"0\" to \"{count - 1}\""
            )
        items = [(positions[key], f'key "{key}"', item) for key, item in value.items() if key in positions]
    else:
        raise UserError(f"{path} holds {short(value)}; give an object of predictions by position, or a list of them")
    errors += [
        f"{path}, {place}: {short(item)} is no prediction; give a text, a list of texts, or null for no SQL"
        for _, place, item in items if not _texts(place, item)
    ]  # fmt: skip
    return {position: _texts(place, item) for position, place, item in items}, errors


def _texts(place: str, value: object) -> list[PlacedText]:
    """Returns the predictions in a JSON value; none if it is invalid."""
    if is_no_prediction(value) or isinstance(value, str):
        return [(place, str(value or ""))]
    if isinstance(value, list) and all(is_no_prediction(text) or isinstance(text, str) for text in value):
        return [(f"{place}, text {number}", text or "") for number, text in enumerate(value)]
    return []
