"""JSONL and Parquet of the `candidates` dataset, a row a prediction: read whole, or refused with what does not fit."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from stages.errors import UserError
from stages.sql.reading import JSONL, is_unicode, json_lines, parquet, refuse, short

ROWS = (*JSONL, ".parquet")
_CANDIDATE_FIELDS = {
    "question_id": "a text", "index": "a whole number", "sample": "a whole number", "sql": "a text, or null for no SQL",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that predictions are wanted for. `position`: its place in its source's file, from 0."""

    position: int
    question_id: str
    db_id: str


def read_rows(path: Path) -> pl.DataFrame:
    """place (a line or row), question_id or index (text), sql, and `sample` where the file has it."""
    return _parquet_candidates(path) if path.suffix.lower() == ".parquet" else _jsonl_candidates(path)


def _jsonl_candidates(path: Path) -> pl.DataFrame:
    """place (a line), question_id or index (text), sql, and sample where the first row has it."""
    wrong: list[str] = []
    places: list[int] = []
    columns: dict[str, list[Any]] = {}
    for place, row in json_lines(path, wrong):
        columns = columns or {name: [] for name in _candidate_columns(path, row)}
        places.append(place)
        for name, values in columns.items():
            value = row.get(name)
            if not _fits(name, value) or name not in row:
                what = short(value) if name in row else "not there"
                wrong.append(f"{path}, line {place}: `{name}` is {what}; give {_CANDIDATE_FIELDS[name]}")
            values.append(str(value) if name in ("question_id", "index") else value)
    refuse(path, wrong)
    if not places:
        raise UserError(f"{path} is empty; give one object a line, with question_id and sql")
    types = {name: pl.Int64() if name == "sample" else pl.String() for name in columns}
    return pl.DataFrame({"place": places, **columns}, schema={"place": pl.Int64(), **types})


def _fits(name: str, value: object) -> bool:
    if isinstance(value, str):
        return name in ("question_id", "sql") and is_unicode(value)
    if value is None:
        return name == "sql"
    return name != "sql" and type(value) is int and value.bit_length() < 64


def _parquet_candidates(path: Path) -> pl.DataFrame:
    """place (a row), question_id or index (text), sql, and sample where the file has it."""
    frame = parquet(path, lambda there: _candidate_columns(path, there))
    wrong: list[str] = []
    for name, dtype in frame.schema.items():
        fits = dtype.is_integer() if name in ("index", "sample") else dtype in (pl.String, pl.Null)
        if not fits and not (name == "question_id" and dtype.is_integer()):
            wrong.append(f"{path}: column `{name}` is {dtype}; give {_CANDIDATE_FIELDS[name]}")
        elif name != "sql" and frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            wrong.append(f"{path}, row {row}: `{name}` is null; give {_CANDIDATE_FIELDS[name]}")
    refuse(path, wrong)
    texts = [name for name in frame.columns if name != "sample"]
    return frame.with_columns(pl.col(texts).cast(pl.String)).with_row_index("place")


def _candidate_columns(path: Path, there: Collection[str]) -> list[str]:
    key = "question_id" if "question_id" in there else "index"
    if key not in there or "sql" not in there:
        raise UserError(f"{path} needs the columns question_id (or index) and sql; it has {', '.join(there)}")
    return [key, "sql", "sample"] if "sample" in there else [key, "sql"]


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
    unit = "row" if path.suffix.lower() == ".parquet" else "line"
    wrong = [*_strangers(path, unit, rows, key), *missing(path, unanswered, len(ids)), *_twins(path, unit, rows)]
    refuse(path, wrong)
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


def missing(path: Path, names: list[str], count: int) -> list[str]:
    """A sentence for the questions, of so many, that a file has no prediction for; none where there are none."""
    if not names:
        return []
    first = ", ".join(map(short, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"{path} has no prediction for {len(names)} of {count} questions ({first}); an empty text is no SQL"]
