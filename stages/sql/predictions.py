"""Prediction files as their authors ship them: read whole, or refused with the lines that do not fit.

The suffix says how a file is read: `.json`, `.jsonl` (or `.ndjson`), `.parquet`; any other is text, one query a line.
All text is UTF-8, with or without a byte order mark; lines end with LF or CRLF, the last one may lack it. Space around
a query is dropped.

What cannot be told apart is refused, never guessed. In text and JSON a prediction may be followed by its db_id, after
a tab or after BIRD's separator, and SQL that holds a tab itself can look the same. So the larger part of a file decides
whether db_ids follow, and each prediction of the smaller part that can be read both ways is refused.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from stages.errors import UserError
from stages.sql.golds import Gold
from stages.sql.reading import JSONL, json_lines, json_value, parquet, refuse, short, text_lines

_CANDIDATE_FIELDS = {
    "question_id": "a text", "index": "a whole number", "sample": "a whole number", "sql": "a text, or null for no SQL",
}
_BIRD_MARK = "----- bird -----"
_DB_ID = re.compile(r"[\w.\-]+")

_Text = tuple[str, str]  # where it stands, and a prediction with what follows it


def read_predictions(path: Path, golds: Sequence[Gold]) -> list[list[str]]:
    """The predictions of each question, one or more texts, in the order of `golds`; `""` where there is no SQL.

    Text with one prediction a line (an empty line: no SQL), or several lines a question, questions parted by blank
    lines; BIRD's JSON object `{"0": "SQL\\t----- bird -----\\tdb_id"}`, its keys positions in the gold file, a value
    perhaps a list; a JSON list of texts or of lists of texts; JSONL and Parquet of the `candidates` dataset:
    question_id (or `index`, a position in the gold file; it must be that where the gold has a question_id twice), sql,
    and `sample`, by which they are sorted where it is there (else they stay in the file's order). Raises UserError
    naming every mistake.
    """
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _by_question(path, "row", _parquet_candidates(path), golds)
    if kind in JSONL:
        return _by_question(path, "line", _jsonl_candidates(path), golds)
    return _without_db_ids(path, _json_texts(path, golds) if kind == ".json" else _line_texts(path, golds), golds)


def _line_texts(path: Path, golds: Sequence[Gold]) -> list[list[_Text]]:
    lines = [(f"line {number}", line) for number, line in enumerate(text_lines(path), 1)]
    groups = [list(group) for blank, group in groupby(lines, key=lambda line: not line[1].strip()) if not blank]
    solid = next((number for number in range(len(lines), 0, -1) if lines[number - 1][1].strip()), 0)
    if len(lines) == len(golds):
        return [[line] for line in lines]
    if len(groups) == len(golds):
        return groups
    if solid == len(golds):
        return [[line] for line in lines[:solid]]
    parted = f", {len(groups)} groups of them parted by blank lines" if len(groups) > 1 else ""
    raise UserError(
        f"{path} has {len(lines)} lines{parted}, but there are {len(golds)} gold questions; give one line a question "
        "(an empty one: no SQL), or several lines a question with a blank line between questions"
    )


def _json_texts(path: Path, golds: Sequence[Gold]) -> list[list[_Text]]:
    value = json_value(path)
    wrong: list[str] = []
    if isinstance(value, dict):
        keys = [str(position) for position in range(len(golds))]
        known = set(keys)
        wrong += [
            f"{path}, key {short(key)}: this is no position in the gold file; give the keys \"0\" to \"{keys[-1]}\""
            for key in value if key not in known
        ]
        wrong += _missing(path, [key for key in keys if key not in value], len(golds))
        items = [(f'key "{key}"', value[key]) for key in keys if key in value]
    elif isinstance(value, list):
        if len(value) != len(golds):
            wrong.append(f"{path} has {len(value)} entries, but there are {len(golds)} gold questions; give one each")
        items = [(f"entry {number}", item) for number, item in enumerate(value)]
    else:
        raise UserError(f"{path} holds {short(value)}; give an object of predictions by position, or a list of them")
    texts = [_texts(path, place, item, wrong) for place, item in items]
    refuse(path, wrong)
    return texts


def _texts(path: Path, place: str, value: object, wrong: list[str]) -> list[_Text]:
    if value is None or isinstance(value, str):
        return [(place, value or "")]
    if isinstance(value, list) and value and all(text is None or isinstance(text, str) for text in value):
        return [(f"{place}, text {number}", text or "") for number, text in enumerate(value)]
    wrong.append(f"{path}, {place}: {short(value)} is no prediction; give a text, a list of texts, or null for no SQL")
    return []


def _without_db_ids(path: Path, texts: list[list[_Text]], golds: Sequence[Gold]) -> list[list[str]]:
    known = {gold.db_id for gold in golds}
    split = [[(place, text, *_split(text)) for place, text in group] for group in texts]
    db_ids = [db_id for group in split for _, text, _, db_id, _ in group if text.strip()]
    with_db_ids = 2 * sum(map(bool, db_ids)) > len(db_ids)
    wrong: list[str] = []
    read: list[list[str]] = []
    for gold, group in zip(golds, split, strict=True):
        read.append([])
        for place, text, sql, db_id, marked in group:
            if not (with_db_ids or marked):
                sql, fault = text.strip(), _tab_fault(db_id) if db_id in known else ""
            else:
                fault = "" if db_id == gold.db_id or not (sql or db_id) else _db_fault(sql, db_id, gold)
            if fault or not _is_unicode(sql):
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


def _db_fault(sql: str, db_id: str, gold: Gold) -> str:
    if not db_id:
        return f"no db_id follows {short(sql)}, as one follows most; give {gold.db_id!r} after a tab, or none to any"
    return f"the db_id is {short(db_id)}, but the gold's is {gold.db_id!r}; give the predictions in the gold's order"


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


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
        return name in ("question_id", "sql") and _is_unicode(value)
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


def _by_question(path: Path, unit: str, rows: pl.DataFrame, golds: Sequence[Gold]) -> list[list[str]]:
    key = rows.columns[1]
    ids = [gold.question_id if key == "question_id" else str(position) for position, gold in enumerate(golds)]
    refuse(path, [
        f"{path} has question_id {short(name)}, as {count} gold questions do; give `index`, the position, instead"
        for name, count in Counter(ids).items() if count > 1
    ])
    order = pl.DataFrame({key: ids, "position": range(len(ids))}, schema={key: pl.String, "position": pl.Int64})
    rows = rows.join(order, on=key, how="left", maintain_order="left")
    answered = set(rows["position"].unique())
    unanswered = [name for position, name in enumerate(ids) if position not in answered]
    wrong = [*_strangers(path, unit, rows, key), *_missing(path, unanswered, len(ids)), *_twins(path, unit, rows)]
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


def _missing(path: Path, names: list[str], count: int) -> list[str]:
    if not names:
        return []
    first = ", ".join(map(short, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"{path} has no prediction for {len(names)} of {count} gold questions ({first}); an empty text is no SQL"]
