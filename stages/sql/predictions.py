"""Prediction files as their authors ship them: read whole, or refused with the lines that do not fit.

The suffix says how a file is read: `.json`, `.jsonl` (or `.ndjson`), `.parquet`; any other is text, one query a line.
All text is UTF-8, with or without a byte order mark; lines end with LF or CRLF, the last one may lack it. Space around
a query is dropped.

What cannot be told apart is refused, never guessed. In text and JSON a prediction may be followed by its db_id, after
a tab or after BIRD's separator, and SQL that holds a tab itself can look the same. So the larger part of a file decides
whether db_ids follow, and each prediction of the smaller part that can be read both ways is refused.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import polars as pl

from stages.errors import UserError
from stages.sql.golds import Gold
from stages.sql.prediction_rows import ROWS, Asked, by_question, keys, missing, read_rows
from stages.sql.reading import is_unicode, json_value, refuse, short, text_lines

_BIRD_MARK = "----- bird -----"
_DB_ID = re.compile(r"[\w.\-]+")

_Text = tuple[str, str]  # where it stands, and a prediction with what follows it
_Items = Mapping[int, tuple[str, object]]  # position to where it stands, and what should be predictions


def read_predictions(path: Path, golds: Sequence[Gold]) -> list[list[str]]:
    """The predictions of each question, one or more texts, in the order of `golds`; `""` where there is no SQL.

    Text with one prediction a line (an empty line: no SQL), or several lines a question, questions parted by blank
    lines; BIRD's JSON object `{"0": "SQL\\t----- bird -----\\tdb_id"}`, its keys positions in the gold file, a value
    perhaps a list; a JSON list of texts or of lists of texts; JSONL and Parquet of the `candidates` dataset:
    question_id (or `index`, a position in the gold file; it must be that where the gold has a question_id twice), sql,
    and `sample`, by which they are sorted where it is there (else they stay in the file's order). Raises UserError
    naming every mistake.
    """
    asked = [Asked(position, gold.question_id, gold.db_id) for position, gold in enumerate(golds)]
    kind = path.suffix.lower()
    if kind in ROWS:
        return by_question(path, read_rows(path), asked)
    texts = _json_texts(path, len(golds)) if kind == ".json" else _line_texts(path, len(golds))
    return _without_db_ids(path, texts, asked)


def read_predictions_of(path: Path, asked: Sequence[Asked], count: int) -> tuple[list[list[str]], int]:
    """The predictions of the questions asked, in their order, and how many of other questions the file has.

    As `read_predictions`, where only some of the `count` questions of the source's file are asked. Text and JSON lists
    hold a prediction for every one of them, so that a file of another length is refused; a JSON object, JSONL and
    Parquet may leave out what is not asked. Raises UserError naming every mistake.
    """
    kind = path.suffix.lower()
    if kind in ROWS:
        rows = read_rows(path)
        _refuse_strangers(path, rows, asked[0].question_id.rpartition("/")[0], count)
        known = rows.filter(pl.nth(1).is_in(keys(rows, asked)))
        return by_question(path, known, asked), rows.height - known.height
    wrong: list[str] = []
    if kind == ".json":
        items = _json_items(path, count, wrong)
        wrong += missing(path, [one.question_id for one in asked if one.position not in items], len(asked))
        texts = {position: _texts(path, *item, wrong) for position, item in items.items()}
    else:
        texts = dict(enumerate(_line_texts(path, count)))
    refuse(path, wrong)
    chosen = [texts[one.position] for one in asked]
    others = sum(map(len, texts.values())) - sum(map(len, chosen))
    return _without_db_ids(path, chosen, asked), others


def _refuse_strangers(path: Path, rows: pl.DataFrame, test_set: str, count: int) -> None:
    """`test_set`: the beginning of its question_ids, `<source>/<split>`."""
    name = rows.columns[1]
    there = [str(number) if name == "index" else f"{test_set}/{number:04}" for number in range(count)]
    strange = rows.filter(~pl.nth(1).is_in(there))
    if strange.height:
        raise UserError(
            f"{path}: {name} {short(strange[name][0])} is none of the {count} questions of {test_set}, nor are "
            f"{strange.height - 1} more; give {there[0]} to {there[-1]}"
        )


def _line_texts(path: Path, count: int) -> list[list[_Text]]:
    lines = [(f"line {number}", line) for number, line in enumerate(text_lines(path), 1)]
    groups = [list(group) for blank, group in groupby(lines, key=lambda line: not line[1].strip()) if not blank]
    solid = next((number for number in range(len(lines), 0, -1) if lines[number - 1][1].strip()), 0)
    if len(lines) == count:
        return [[line] for line in lines]
    if len(groups) == count:
        return groups
    if solid == count:
        return [[line] for line in lines[:solid]]
    parted = f", {len(groups)} groups of them parted by blank lines" if len(groups) > 1 else ""
    raise UserError(
        f"{path} has {len(lines)} lines{parted}, but there are {count} gold questions; give one line a question "
        "(an empty one: no SQL), or several lines a question with a blank line between questions"
    )


def _json_texts(path: Path, count: int) -> list[list[_Text]]:
    wrong: list[str] = []
    items = _json_items(path, count, wrong)
    wrong += missing(path, [str(position) for position in range(count) if position not in items], count)
    texts = [_texts(path, *items[position], wrong) for position in range(count) if position in items]
    refuse(path, wrong)
    return texts


def _json_items(path: Path, count: int, wrong: list[str]) -> _Items:
    """What stands for each of `count` questions; a list must have as many entries, an object may have fewer."""
    value = json_value(path)
    if isinstance(value, list):
        if len(value) != count:
            wrong.append(f"{path} has {len(value)} entries, but there are {count} gold questions; give one each")
        return {position: (f"entry {position}", item) for position, item in enumerate(value)}
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {short(value)}; give an object of predictions by position, or a list of them")
    known = {str(position): position for position in range(count)}
    strange = [key for key in value if key not in known]
    if strange:
        more = f" (and {len(strange) - 1} more such)" if len(strange) > 1 else ""
        wrong.append(
            f"{path}, key {short(strange[0])}: this is no position{more}; give the keys \"0\" to \"{count - 1}\""
        )
    return {known[key]: (f'key "{key}"', item) for key, item in value.items() if key in known}


def _texts(path: Path, place: str, value: object, wrong: list[str]) -> list[_Text]:
    if value is None or isinstance(value, str):
        return [(place, value or "")]
    if isinstance(value, list) and value and all(text is None or isinstance(text, str) for text in value):
        return [(f"{place}, text {number}", text or "") for number, text in enumerate(value)]
    wrong.append(f"{path}, {place}: {short(value)} is no prediction; give a text, a list of texts, or null for no SQL")
    return []


def _without_db_ids(path: Path, texts: list[list[_Text]], asked: Sequence[Asked]) -> list[list[str]]:
    known = {question.db_id for question in asked}
    split = [[(place, text, *_split(text)) for place, text in group] for group in texts]
    db_ids = [db_id for group in split for _, text, _, db_id, _ in group if text.strip()]
    with_db_ids = 2 * sum(map(bool, db_ids)) > len(db_ids)
    wrong: list[str] = []
    read: list[list[str]] = []
    for question, group in zip(asked, split, strict=True):
        read.append([])
        for place, text, sql, db_id, marked in group:
            if not (with_db_ids or marked):
                sql, fault = text.strip(), _tab_fault(db_id) if db_id in known else ""
            else:
                fault = "" if db_id == question.db_id or not (sql or db_id) else _db_fault(sql, db_id, question)
            if fault or not is_unicode(sql):
                wrong.append(f"{path}, {place}: {fault or 'half a surrogate pair is no text; give UTF-8'}")
            read[-1].append(sql)
    refuse(path, wrong)
    return read


def _split(text: str) -> tuple[str, str, bool]:
    """A prediction's SQL, the word after it that stands where a db_id would, and whether BIRD's mark says it is one."""
    if "\t" not in text and _BIRD_MARK not in text:  # what nearly every prediction is
        return text.strip(), "", False
    sql, mark, db_id = text.rpartition(_BIRD_MARK)
    if mark:
        return sql.strip(), db_id.strip(), True
    head, tab, word = text.rstrip().rpartition("\t")
    if not tab or head[-1:].isspace() or not _DB_ID.fullmatch(word.strip()):  # a tab after space indents SQL
        return text.strip(), "", False
    return head.strip(), word.strip(), False


def _tab_fault(db_id: str) -> str:
    return (
        f"this ends with a tab and {short(db_id)}, which may be SQL or a db_id, as most others have none; "
        "give all predictions a db_id, or write the tab as a space"
    )


def _db_fault(sql: str, db_id: str, question: Asked) -> str:
    own = repr(question.db_id)
    if not db_id:
        return f"no db_id follows {short(sql)}, as one follows most; give {own} after a tab, or none to any"
    return f"the db_id is {short(db_id)}, but the gold's is {own}; give the predictions in the gold's order"
