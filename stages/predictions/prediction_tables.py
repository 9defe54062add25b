"""Predictions as a table, a row or object each: Parquet, CSV, TSV, JSONL and JSON lists of objects; read whole, or
refused with what does not fit.

The prediction stands in `sql`, as in the `candidates` dataset, or in one of the names that other systems give it. The
question is named by `question_id`, or by `index`, its position in the gold file; a table that names none has a row for
each question, in the gold's order. A `db_id` must be the gold's.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.user_files import DELIMITERS, JSONL, csv_rows, is_unicode, json_lines, parquet, refuse, short

ROWS = (*JSONL, ".parquet", *DELIMITERS)
_FIELDS = {
    "question_id": "a text", "index": "a whole number", "sample": "a whole number", "sql": "a text, or null for no SQL",
    "db_id": "a text",
}  # fmt: skip
_PREDICTED = ("sql", "prediction", "predicted_sql", "predict_sql", "pred_sql", "pred", "generated_sql")
_PREDICTED_OR_GOLD = ("query", "SQL")  # what Spider and BIRD call the gold query too
_OTHER_IDS = ("id", "idx", "qid", "instance_id", "question_idx", "question_index")
_UNITS = {".parquet": "row", ".csv": "row", ".tsv": "row", ".json": "entry"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that predictions are wanted for. `position`: its place in its source's file, from 0."""

    position: int
    question_id: str
    db_id: str


def read_rows(path: Path, count: int) -> pl.DataFrame:
    """place (a line, row or entry), question_id or index (text), sql, and of `sample` and `db_id` those that the file
    has. `count`: the number of questions that a table without question_id and index must have a row for."""
    if path.suffix.lower() == ".parquet":
        return _parquet_rows(path, count)
    errors: list[str] = []
    if path.suffix.lower() in DELIMITERS:
        return rows_of(path, enumerate(_typed(csv_rows(path, lambda head: _columns(path, head)))), count, errors)
    return rows_of(path, json_lines(path, errors), count, errors)


def rows_of(
    path: Path, objects: Iterable[tuple[int, Mapping[str, Any]]], count: int, errors: list[str]
) -> pl.DataFrame:
    """As `read_rows`, of objects with their places; the columns are those of the first one."""
    names: dict[str, str] = {}
    places: list[int] = []
    columns: dict[str, list[Any]] = {}
    for place, row in objects:
        names = names or _columns(path, row)
        columns = columns or {name: [] for name in names}
        places.append(place)
        for name, values in columns.items():
            value = row.get(names[name])
            if not _fits(name, value) or names[name] not in row:
                what = short(value) if names[name] in row else "not there"
                errors.append(f"{path}, {_unit(path)} {place}: `{names[name]}` is {what}; give {_FIELDS[name]}")
            values.append(_value(name, value))
    refuse(path, errors)
    if not places:
        raise UserError(f"{path} is empty; give one object a line, with question_id and sql")
    types = {name: pl.Int64() if name == "sample" else pl.String() for name in columns}
    return _with_index(path, pl.DataFrame({"place": places, **columns}, schema={"place": pl.Int64(), **types}), count)


def _typed(rows: Iterable[Mapping[str, str | None]]) -> Iterator[dict[str, str | int | None]]:
    """The rows of a text, with whole numbers for the digits of `index` and `sample`."""
    for row in rows:
        yield {
            name: int(cell) if cell and name in ("index", "sample") and cell.isdecimal() and len(cell) < 19 else cell
            for name, cell in row.items()
        }


def is_none(value: object) -> bool:
    """Whether a value stands for a prediction where there is none: BIRD's baselines write 0."""
    return value is None or (type(value) is int and value == 0)


def _fits(name: str, value: object) -> bool:
    if isinstance(value, str):
        return name not in ("index", "sample") and is_unicode(value)
    if name == "sql":
        return is_none(value)
    return name != "db_id" and type(value) is int and value.bit_length() < 64


def _value(name: str, value: object) -> object:
    if name == "sql":
        return value or None
    return value if name == "sample" else str(value)


def _parquet_rows(path: Path, count: int) -> pl.DataFrame:
    names: dict[str, str] = {}

    def chosen(columns: list[str]) -> list[str]:
        names.update(_columns(path, columns))
        return list(names.values())

    frame = parquet(path, chosen).select(pl.col(actual).alias(name) for name, actual in names.items())
    errors: list[str] = []
    for name, dtype in frame.schema.items():
        fits = dtype.is_integer() if name in ("index", "sample") else dtype in (pl.String, pl.Null)
        if not fits and not (name == "question_id" and dtype.is_integer()):
            errors.append(f"{path}: column `{names[name]}` is {dtype}; give {_FIELDS[name]}")
        elif name != "sql" and frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            errors.append(f"{path}, row {row}: `{names[name]}` is null; give {_FIELDS[name]}")
    refuse(path, errors)
    texts = [name for name in frame.columns if name != "sample"]
    return _with_index(path, frame.with_columns(pl.col(texts).cast(pl.String)).with_row_index("place"), count)


def _columns(path: Path, columns: Collection[str]) -> dict[str, str]:
    """What is read of a table: question_id or index, if it has one, sql, and sample and db_id, each with the column's
    own name. Raises UserError where it cannot be told which column holds the prediction or names the question."""
    if len(set(columns)) < len(columns):
        raise UserError(f"{path} has a column twice, of {', '.join(columns)}; name them apart")
    predicted = [name for name in _PREDICTED if name in columns]
    predicted = predicted or [name for name in _PREDICTED_OR_GOLD if name in columns]
    key = next((name for name in ("question_id", "index") if name in columns), None)
    if not predicted or (key is None and any(name in columns for name in _OTHER_IDS)):
        raise UserError(
            f"{path} needs the columns question_id (or index) and sql; it has {', '.join(columns)}; call the "
            f"prediction one of {', '.join((*_PREDICTED, *_PREDICTED_OR_GOLD))}, and the question question_id (the "
            "gold's) or index (its position in the gold file, from 0)"
        )
    if len(predicted) > 1:
        raise UserError(f"{path} has {' and '.join(predicted)}, each of which may be the prediction; leave one of them")
    named = {key: key} if key else {}
    others = {name: name for name in ("sample", "db_id") if name in columns and (key or name != "sample")}
    return {**named, "sql": predicted[0], **others}


def _with_index(path: Path, rows: pl.DataFrame, count: int) -> pl.DataFrame:
    """The rows, numbered as the questions are where they name none."""
    if rows.columns[1] in ("question_id", "index"):
        return rows
    if rows.height != count:
        raise UserError(
            f"{path} has {rows.height} {_unit(path)}s without question_id or index, but there are {count} gold "
            "questions; give one each, in the gold's order, or add `index`, the position in the gold file"
        )
    index = pl.Series("index", map(str, range(count)), dtype=pl.String)
    return rows.insert_column(1, index)


def _unit(path: Path) -> str:
    return _UNITS.get(path.suffix.lower(), "line")


def keys(rows: pl.DataFrame, asked: Sequence[Asked]) -> list[str]:
    """What the rows name each question by: its question_id, or its position as text."""
    by_id = rows.columns[1] == "question_id"
    return [one.question_id if by_id else str(one.position) for one in asked]


def by_question(path: Path, rows: pl.DataFrame, asked: Sequence[Asked]) -> list[list[str]]:
    """The texts of each question asked, in their order. Raises UserError where one has none, and for rows of others."""
    key, ids = rows.columns[1], keys(rows, asked)
    refuse(path, [
        f"{path} has question_id {short(name)}, as {count} gold questions do; give `index`, the position, instead"
        for name, count in Counter(ids).items() if count > 1
    ])
    order = pl.DataFrame({key: ids, "position": range(len(ids))}, schema={key: pl.String, "position": pl.Int64})
    rows = rows.join(order, on=key, how="left", maintain_order="left")
    answered = set(rows["position"].unique())
    unanswered = [name for position, name in enumerate(ids) if position not in answered]
    unit = _unit(path)
    errors = [*_strangers(path, unit, rows, key), *missing(path, unanswered, len(ids)), *_twins(path, unit, rows)]
    refuse(path, [*errors, *_other_databases(path, unit, rows, asked)])
    rows = rows.sort("position", *(["sample"] if "sample" in rows.columns else []), maintain_order=True)
    sqls = rows["sql"].fill_null("").str.strip_chars().to_list()
    ends = accumulate(rows.group_by("position", maintain_order=True).len()["len"])
    return [sqls[start:end] for start, end in pairwise([0, *ends])]


def _strangers(path: Path, unit: str, rows: pl.DataFrame, key: str) -> Iterator[str]:
    unknown = rows.filter(pl.col("position").is_null())
    for name, place, count in unknown.group_by(key, maintain_order=True).agg(pl.col("place").first(), pl.len()).rows():
        more = f" (and {count - 1} more such)" if count > 1 else ""
        yield f"{path}, {unit} {place}: {key} {short(name)} is not in the gold file{more}; take the rows out"


def _twins(path: Path, unit: str, rows: pl.DataFrame) -> Iterator[str]:
    if "sample" not in rows.columns:
        return
    key = rows.columns[1]
    places = pl.col("place").first(), pl.col("place").get(1, null_on_oob=True).alias("again"), pl.len()
    twice = rows.group_by(key, "sample", maintain_order=True).agg(places).filter(pl.col("len") > 1)
    for name, sample, place, again, _ in twice.rows():
        yield f"{path}, {unit} {again}: {key} {short(name)} has a sample {sample} at {unit} {place}; number them apart"


def _other_databases(path: Path, unit: str, rows: pl.DataFrame, asked: Sequence[Asked]) -> Iterator[str]:
    if "db_id" not in rows.columns:
        return
    for place, position, db_id in rows.drop_nulls("position").select("place", "position", "db_id").iter_rows():
        if (own := asked[position].db_id) != db_id:
            yield (
                f"{path}, {unit} {place}: the db_id is {short(db_id)}, but the gold's is {own!r}; "
                "name the question that is meant, or give the rows in the gold's order"
            )


def missing(path: Path, names: list[str], count: int) -> list[str]:
    """A sentence for the questions, of so many, that a file has no prediction for; none where there are none."""
    if not names:
        return []
    first = ", ".join(map(short, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"{path} has no prediction for {len(names)} of {count} questions ({first}); an empty text is no SQL"]
