"""Reads predictions from tables: Parquet, CSV, TSV, JSONL and JSON lists of objects, one row or object per prediction.

The prediction is in the column `sql`, as in the `candidates` dataset, or under a name that other systems use. The
question is named by `question_id`, or by `index`, its position in the gold file. A table without both has one row per
question, in the gold's order. A `db_id` must be the gold's. A file with any error is refused.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.user_files import DELIMITERS, JSONL, csv_rows, json_lines, parquet, refuse, short

TABLE_SUFFIXES = (*JSONL, ".parquet", *DELIMITERS)
_FIELDS = {
    "question_id": "a text", "index": "a whole number", "sample": "a whole number", "sql": "a text, or null for no SQL",
    "db_id": "a text",
}  # fmt: skip
_SQL_COLUMNS = ("sql", "prediction", "predicted_sql", "predict_sql", "pred_sql", "pred", "generated_sql")
_GOLD_SQL_COLUMNS = ("query", "SQL")  # Spider's and BIRD's names of the gold query, used if no other is there
_OTHER_ID_COLUMNS = ("id", "idx", "qid", "instance_id", "question_idx", "question_index")
_UNITS = {".parquet": "row", ".csv": "row", ".tsv": "row", ".json": "entry"}


@dataclass(frozen=True, slots=True)
class QuestionRef:
    """Identifies a question that predictions are read for. `position`: 0-based, in its source's file."""

    position: int
    question_id: str
    db_id: str


def read_table(path: Path, count: int) -> pl.DataFrame:
    """Reads the columns place (number of the line, row or entry), question_id or index (text) and sql, and sample and
    db_id if the file has them. `count`: rows that a table without question_id and index must have."""
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path, count)
    errors: list[str] = []
    if path.suffix.lower() in DELIMITERS:
        rows = map(_typed, csv_rows(path, lambda header: _select_columns(path, header)))
        return table_of_objects(path, enumerate(rows), count, errors)
    return table_of_objects(path, json_lines(path, errors), count, errors)


def table_of_objects(
    path: Path, objects: Iterable[tuple[int, Mapping[str, Any]]], count: int, errors: list[str]
) -> pl.DataFrame:
    """Makes the table of `read_table` from objects with their places. The first object gives the columns. `errors`:
    sentences for lines that are not objects, added while `objects` is read; all are raised together."""
    names: dict[str, str] = {}
    places: list[int] = []
    columns: dict[str, list[Any]] = {}
    for place, row in objects:
        names = names or _select_columns(path, row)
        columns = columns or {name: [] for name in names}
        places.append(place)
        for name, values in columns.items():
            value = row.get(names[name])
            if not _is_valid(name, value) or names[name] not in row:
                shown = short(value) if names[name] in row else "not there"
                errors.append(f"{path}, {_unit(path)} {place}: `{names[name]}` is {shown}; give {_FIELDS[name]}")
            values.append(_normalize(name, value))
    refuse(path, errors)
    if not places:
        raise UserError(f"{path} is empty; give one object a line, with question_id and sql")
    types = {name: pl.Int64() if name == "sample" else pl.String() for name in columns}
    return _with_index(path, pl.DataFrame({"place": places, **columns}, schema={"place": pl.Int64(), **types}), count)


def _typed(row: Mapping[str, str | None]) -> dict[str, str | int | None]:
    """Converts `index` and `sample` of a CSV row to whole numbers."""
    return {
        name: int(cell) if cell and name in ("index", "sample") and cell.isdecimal() and len(cell) < 19 else cell
        for name, cell in row.items()
    }


def is_no_prediction(value: object) -> bool:
    """Whether a value means that there is no prediction: null, or 0 as BIRD's baselines write."""
    return value is None or (type(value) is int and value == 0)


def _is_valid(name: str, value: object) -> bool:
    if isinstance(value, str):
        return name not in ("index", "sample")
    if name == "sql":
        return is_no_prediction(value)
    return name != "db_id" and type(value) is int and value.bit_length() < 64


def _normalize(name: str, value: object) -> object:
    if name == "sql":
        return value or None
    return value if name == "sample" else str(value)


def _parquet_rows(path: Path, count: int) -> pl.DataFrame:
    names: dict[str, str] = {}

    def select(columns: list[str]) -> list[str]:
        names.update(_select_columns(path, columns))
        return list(names.values())

    frame = parquet(path, select).select(pl.col(actual).alias(name) for name, actual in names.items())
    errors: list[str] = []
    for name, dtype in frame.schema.items():
        valid = dtype.is_integer() if name in ("index", "sample") else dtype in (pl.String, pl.Null)
        if not valid and not (name == "question_id" and dtype.is_integer()):
            errors.append(f"{path}: column `{names[name]}` is {dtype}; give {_FIELDS[name]}")
        elif name != "sql" and frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            errors.append(f"{path}, row {row}: `{names[name]}` is null; give {_FIELDS[name]}")
    refuse(path, errors)
    texts = [name for name in frame.columns if name != "sample"]
    return _with_index(path, frame.with_columns(pl.col(texts).cast(pl.String)).with_row_index("place"), count)


def _select_columns(path: Path, columns: Collection[str]) -> dict[str, str]:
    """Maps question_id or index (if any), sql, and sample and db_id (if any) to the names of the table's columns.
    Raises UserError if it is not clear which column holds the prediction or names the question."""
    if len(set(columns)) < len(columns):
        raise UserError(f"{path} has a column twice, of {', '.join(columns)}; name them apart")
    predicted = [name for name in _SQL_COLUMNS if name in columns]
    predicted = predicted or [name for name in _GOLD_SQL_COLUMNS if name in columns]
    key = next((name for name in ("question_id", "index") if name in columns), None)
    if not predicted or (key is None and any(name in columns for name in _OTHER_ID_COLUMNS)):
        raise UserError(
            f"{path} needs the columns question_id (or index) and sql; it has {', '.join(columns)}; call the "
            f"prediction one of {', '.join((*_SQL_COLUMNS, *_GOLD_SQL_COLUMNS))}, and the question question_id (the "
            "gold's) or index (its position in the gold file, from 0)"
        )
    if len(predicted) > 1:
        raise UserError(f"{path} has {' and '.join(predicted)}, each of which may be the prediction; leave one of them")
    others = {name: name for name in ("sample", "db_id") if name in columns and (key or name != "sample")}
    return {**({key: key} if key else {}), "sql": predicted[0], **others}


def _with_index(path: Path, rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """Adds the column index to a table that names no questions, which must have a row for each of `count`."""
    if {"question_id", "index"} & set(rows.columns):
        return rows
    if rows.height != count:
        raise UserError(
            f"{path} has {rows.height} {_unit(path)}s without question_id or index, but there are {count} gold "
            "questions; give one each, in the gold's order, or add `index`, the position in the gold file"
        )
    return rows.insert_column(1, pl.Series("index", map(str, range(count)), dtype=pl.String))


def _unit(path: Path) -> str:
    return _UNITS.get(path.suffix.lower(), "line")


def key_column(rows: pl.DataFrame) -> str:
    """Returns the column that names the question: question_id or index."""
    return "question_id" if "question_id" in rows.columns else "index"


def row_keys(rows: pl.DataFrame, questions: Sequence[QuestionRef]) -> list[str]:
    """Returns the value of the key column for each question: its question_id, or its position as text."""
    by_id = key_column(rows) == "question_id"
    return [question.question_id if by_id else str(question.position) for question in questions]


def texts_by_question(path: Path, rows: pl.DataFrame, questions: Sequence[QuestionRef]) -> list[list[str]]:
    """Returns the predictions for each question, in the order of `questions`. Raises UserError for questions without a
    prediction and for rows of other questions."""
    key, ids = key_column(rows), row_keys(rows, questions)
    refuse(path, [
        f"{path} has question_id {short(name)}, as {count} gold questions do; give `index`, the position, instead"
        for name, count in Counter(ids).items() if count > 1
    ])
    order = pl.DataFrame({key: ids, "position": range(len(ids))}, schema={key: pl.String, "position": pl.Int64})
    rows = rows.join(order, on=key, how="left", maintain_order="left")
    answered = set(rows["position"].unique())
    unanswered = [name for position, name in enumerate(ids) if position not in answered]
    refuse(path, [
        *_unknown_questions(path, rows), *missing_predictions(path, unanswered, len(ids)),
        *_repeated_samples(path, rows), *_wrong_db_ids(path, rows, questions),
    ])  # fmt: skip
    rows = rows.sort("position", *(["sample"] if "sample" in rows.columns else []), maintain_order=True)
    rows = rows.with_columns(pl.col("sql").fill_null("").str.strip_chars())
    return rows.group_by("position", maintain_order=True).agg("sql")["sql"].to_list()


def _unknown_questions(path: Path, rows: pl.DataFrame) -> Iterator[str]:
    key = key_column(rows)
    unknown = rows.filter(pl.col("position").is_null())
    for name, place, count in unknown.group_by(key, maintain_order=True).agg(pl.col("place").first(), pl.len()).rows():
        more = f" (and {count - 1} more such)" if count > 1 else ""
        yield f"{path}, {_unit(path)} {place}: {key} {short(name)} is not in the gold file{more}; take the rows out"


def _repeated_samples(path: Path, rows: pl.DataFrame) -> Iterator[str]:
    if "sample" not in rows.columns:
        return
    key, unit = key_column(rows), _unit(path)
    places = pl.col("place").first(), pl.col("place").get(1, null_on_oob=True).alias("again"), pl.len()
    repeated = rows.group_by(key, "sample", maintain_order=True).agg(places).filter(pl.col("len") > 1)
    for name, sample, place, again, _ in repeated.rows():
        yield f"{path}, {unit} {again}: {key} {short(name)} has a sample {sample} at {unit} {place}; number them apart"


def _wrong_db_ids(path: Path, rows: pl.DataFrame, questions: Sequence[QuestionRef]) -> Iterator[str]:
    if "db_id" not in rows.columns:
        return
    for place, position, db_id in rows.drop_nulls("position").select("place", "position", "db_id").iter_rows():
        if (gold_db_id := questions[position].db_id) != db_id:
            yield (
                f"{path}, {_unit(path)} {place}: the db_id is {short(db_id)}, but the gold's is {gold_db_id!r}; "
                "name the question that is meant, or give the rows in the gold's order"
            )


def missing_predictions(path: Path, names: list[str], count: int) -> list[str]:
    """Returns a sentence if there are questions (`names`, of `count`) without a prediction, else nothing."""
    if not names:
        return []
    first = ", ".join(map(short, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    fix = "write an empty text where the system gave no SQL"
    return [f"{path} has no prediction for {len(names)} of {count} questions ({first}); {fix}"]
