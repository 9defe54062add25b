"""Gold and prediction files as their authors ship them: read whole, or refused with the lines that do not fit.

The suffix says how a file is read: `.json`, `.jsonl` (or `.ndjson`), `.parquet`; any other is text, one query a line.
All text is UTF-8, with or without a byte order mark; lines end with LF or CRLF, the last one may lack it. Space around
a query is dropped.

What cannot be told apart is refused, never guessed. In text and JSON a prediction may be followed by its db_id, after
a tab or after BIRD's separator, and SQL that holds a tab itself can look the same. So the larger part of a file decides
whether db_ids follow, and each prediction of the smaller part that can be read both ways is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from pathlib import Path
from typing import Any

import polars as pl

from stages.errors import UserError
from stages.sql.hardness import hardness

_LISTED = 10
_BOM = b"\xef\xbb\xbf"
_JSONL = (".jsonl", ".ndjson")
_GOLD_SQL = ("SQL", "query", "gold_sql")
_GOLD_FIELDS = (*_GOLD_SQL, "question_id", "db_id", "difficulty", "source")
_CANDIDATE_FIELDS = {
    "question_id": "a text", "index": "a whole number", "sample": "a whole number", "sql": "a text, or null for no SQL",
}
_BIRD_MARK = "----- bird -----"
_DB_ID = re.compile(r"[\w.\-]+")

_Row = tuple[str, dict[str, Any]]  # where it stands ("line 3"), and its fields
_Text = tuple[str, str]  # where it stands, and a prediction with what follows it


@dataclass(frozen=True, slots=True)
class Gold:
    """A question of a gold file: what is predicted for it is judged against `sql` on the database `db_id`."""

    question_id: str  # the file's own, else the position as text: "0", "1" …
    db_id: str
    sql: str
    difficulty: str  # the file's own, else Spider's hardness
    source: str  # the `source` column of our `questions`, else ""


def read_gold(path: Path) -> list[Gold]:
    """The questions of a gold file, in its order. A question_id may occur twice: two of BIRD's mini-dev do.

    Spider's and BIRD's text (`SQL<TAB>db_id` a line; blank lines at the end do not count), Spider's and BIRD's JSON (a
    list of objects with `query` or `SQL`, and `db_id`), JSONL and Parquet of the `questions` dataset (`gold_sql`).
    Raises UserError naming every mistake.
    """
    wrong: list[str] = []
    rows = _gold_rows(path, wrong)
    for place, row in rows:
        wrong += [f"{path}, {place}: {fault}" for fault in _gold_faults(row)]
    without_id = sum(row.get("question_id") is None for _, row in rows)
    if 0 < without_id < len(rows):
        wrong.append(f"{path}: {without_id} of {len(rows)} questions have no question_id; give one to all, or to none")
    _refuse(path, wrong)
    if not rows:
        raise UserError(f"{path} is empty; give a gold file with at least one question")
    return [_gold(position, row) for position, (_, row) in enumerate(rows)]


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
    if kind in _JSONL:
        return _by_question(path, "line", _jsonl_candidates(path), golds)
    return _without_db_ids(path, _json_texts(path, golds) if kind == ".json" else _line_texts(path, golds), golds)


def _gold_rows(path: Path, wrong: list[str]) -> list[_Row]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        frame = _parquet(path, lambda there: _gold_columns(path, there))
        return [(f"row {number}", row) for number, row in enumerate(frame.iter_rows(named=True))]
    if kind in _JSONL:
        return [(f"line {number}", row) for number, row in _json_lines(path, wrong)]
    if kind == ".json":
        return _gold_entries(path, wrong)
    lines = _lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    parted = [(number, *line.rpartition("\t")) for number, line in enumerate(lines, 1)]
    return [
        (f"line {number}", {"query": sql, "db_id": db_id} if tab else {"query": db_id})
        for number, sql, tab, db_id in parted
    ]


def _gold_columns(path: Path, there: list[str]) -> list[str]:
    if "db_id" not in there or not set(_GOLD_SQL) & set(there):
        raise UserError(f"{path} needs the columns db_id and gold_sql; it has {', '.join(there)}")
    return [name for name in _GOLD_FIELDS if name in there]


def _gold_entries(path: Path, wrong: list[str]) -> list[_Row]:
    entries = _json(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} holds no JSON list; give a list of objects with `query` or `SQL`, and `db_id`")
    rows: list[_Row] = []
    for number, entry in enumerate(entries):
        if isinstance(entry, dict):
            rows.append((f"entry {number}", entry))
        else:
            wrong.append(f"{path}, entry {number}: {_short(entry)} is no object; give `query` or `SQL`, and `db_id`")
    return rows


def _gold_faults(row: dict[str, Any]) -> Iterator[str]:
    names = [name for name in _GOLD_SQL if row.get(name) is not None]
    if len(names) != 1:
        there = " and ".join(names) or "none"
        yield f"of `SQL`, `query` and `gold_sql` there is {there}; give the gold query in exactly one"
    for name in names:
        if not isinstance(row[name], str) or not row[name].strip():
            yield f"the gold query is {_short(row[name])}; give SQL"
    db_id = row.get("db_id")
    if db_id is None:
        yield "there is no db_id; give it as `db_id`, or in text after the SQL and a tab"
    elif not isinstance(db_id, str) or len(db_id.split()) != 1:
        yield f"the db_id is {_short(db_id)}; give a database's name, without spaces (in text after the SQL and a tab)"
    for name, types in (("question_id", (str, int)), ("difficulty", (str,)), ("source", (str,))):
        if row.get(name) is not None and type(row[name]) not in types:
            yield f"{name} is {_short(row[name])}; give a text"


def _gold(position: int, row: dict[str, Any]) -> Gold:
    sql = next(row[name] for name in _GOLD_SQL if row.get(name) is not None).strip()
    own_id = row.get("question_id")
    return Gold(
        question_id=str(position if own_id is None else own_id),
        db_id=row["db_id"].strip(),
        sql=sql,
        difficulty=row.get("difficulty") or hardness(sql),
        source=row.get("source") or "",
    )


def _line_texts(path: Path, golds: Sequence[Gold]) -> list[list[_Text]]:
    lines = [(f"line {number}", line) for number, line in enumerate(_lines(path), 1)]
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
    value = _json(path)
    wrong: list[str] = []
    if isinstance(value, dict):
        keys = [str(position) for position in range(len(golds))]
        known = set(keys)
        wrong += [
            f"{path}, key {_short(key)}: this is no position in the gold file; give the keys \"0\" to \"{keys[-1]}\""
            for key in value if key not in known
        ]
        wrong += _missing(path, [key for key in keys if key not in value], len(golds))
        items = [(f'key "{key}"', value[key]) for key in keys if key in value]
    elif isinstance(value, list):
        if len(value) != len(golds):
            wrong.append(f"{path} has {len(value)} entries, but there are {len(golds)} gold questions; give one each")
        items = [(f"entry {number}", item) for number, item in enumerate(value)]
    else:
        raise UserError(f"{path} holds {_short(value)}; give an object of predictions by position, or a list of them")
    texts = [_texts(path, place, item, wrong) for place, item in items]
    _refuse(path, wrong)
    return texts


def _texts(path: Path, place: str, value: object, wrong: list[str]) -> list[_Text]:
    if value is None or isinstance(value, str):
        return [(place, value or "")]
    if isinstance(value, list) and value and all(text is None or isinstance(text, str) for text in value):
        return [(f"{place}, text {number}", text or "") for number, text in enumerate(value)]
    wrong.append(f"{path}, {place}: {_short(value)} is no prediction; give a text, a list of texts, or null for no SQL")
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
    _refuse(path, wrong)
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
        f"this ends with a tab and {_short(db_id)}, which may be SQL or a db_id, as most others have none; "
        "give all predictions a db_id, or write the tab as a space"
    )


def _db_fault(sql: str, db_id: str, gold: Gold) -> str:
    if not db_id:
        return f"no db_id follows {_short(sql)}, as one follows most; give {gold.db_id!r} after a tab, or none to any"
    return f"the db_id is {_short(db_id)}, but the gold's is {gold.db_id!r}; give the predictions in the gold's order"


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _jsonl_candidates(path: Path) -> pl.DataFrame:
    """place (a line), question_id or index (text), sql, and sample where the first row has it."""
    wrong: list[str] = []
    places: list[int] = []
    columns: dict[str, list[Any]] = {}
    for place, row in _json_lines(path, wrong):
        columns = columns or {name: [] for name in _candidate_columns(path, row)}
        places.append(place)
        for name, values in columns.items():
            value = row.get(name)
            if not _fits(name, value) or name not in row:
                what = _short(value) if name in row else "not there"
                wrong.append(f"{path}, line {place}: `{name}` is {what}; give {_CANDIDATE_FIELDS[name]}")
            values.append(str(value) if name in ("question_id", "index") else value)
    _refuse(path, wrong)
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
    frame = _parquet(path, lambda there: _candidate_columns(path, there))
    wrong: list[str] = []
    for name, dtype in frame.schema.items():
        fits = dtype.is_integer() if name in ("index", "sample") else dtype in (pl.String, pl.Null)
        if not fits and not (name == "question_id" and dtype.is_integer()):
            wrong.append(f"{path}: column `{name}` is {dtype}; give {_CANDIDATE_FIELDS[name]}")
        elif name != "sql" and frame[name].null_count():
            row = frame[name].is_null().arg_true()[0]
            wrong.append(f"{path}, row {row}: `{name}` is null; give {_CANDIDATE_FIELDS[name]}")
    _refuse(path, wrong)
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
    _refuse(path, [
        f"{path} has question_id {_short(name)}, as {count} gold questions do; give `index`, the position, instead"
        for name, count in Counter(ids).items() if count > 1
    ])
    order = pl.DataFrame({key: ids, "position": range(len(ids))}, schema={key: pl.String, "position": pl.Int64})
    rows = rows.join(order, on=key, how="left", maintain_order="left")
    answered = set(rows["position"].unique())
    unanswered = [name for position, name in enumerate(ids) if position not in answered]
    wrong = [*_strangers(path, unit, rows, key), *_missing(path, unanswered, len(ids)), *_twins(path, unit, rows)]
    _refuse(path, wrong)
    rows = rows.sort("position", *(["sample"] if "sample" in rows.columns else []), maintain_order=True)
    sqls = rows["sql"].fill_null("").str.strip_chars().to_list()
    ends = accumulate(rows.group_by("position", maintain_order=True).len()["len"])
    return [sqls[start:end] for start, end in pairwise([0, *ends])]


def _strangers(path: Path, unit: str, rows: pl.DataFrame, key: str) -> Iterator[str]:
    unknown = rows.filter(pl.col("position").is_null())
    for name, place, count in unknown.group_by(key, maintain_order=True).agg(pl.col("place").first(), pl.len()).rows():
        more = f" (and {count - 1} more such)" if count > 1 else ""
        yield f"{path}, {unit} {place}: {key} {_short(name)} is not in the gold file{more}; take the rows out"


def _twins(path: Path, unit: str, rows: pl.DataFrame) -> Iterator[str]:
    if "sample" not in rows.columns:
        return
    key = rows.columns[1]
    places = pl.col("place").first(), pl.col("place").get(1, null_on_oob=True).alias("again"), pl.len()
    twice = rows.group_by(key, "sample", maintain_order=True).agg(places).filter(pl.col("len") > 1)
    for name, sample, place, again, _ in twice.rows():
        yield f"{path}, {unit} {again}: {key} {_short(name)} has a sample {sample} at {unit} {place}; number them apart"


def _missing(path: Path, names: list[str], count: int) -> list[str]:
    if not names:
        return []
    first = ", ".join(map(_short, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"{path} has no prediction for {len(names)} of {count} gold questions ({first}); an empty text is no SQL"]


def _parquet(path: Path, choose: Callable[[list[str]], list[str]]) -> pl.DataFrame:
    """The columns of a Parquet file that `choose` takes of those that are there."""
    _need(path)
    try:
        return pl.read_parquet(path, columns=choose(list(pl.read_parquet_schema(path))), use_pyarrow=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(f"{path} is not a Parquet file ({error}); give one, or name it by what it is") from None


def _json_lines(path: Path, wrong: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file, with their line; mistakes go to `wrong`. Blank lines do not count."""
    _need(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            solid = line.removeprefix(_BOM if number == 1 else b"").strip()
            try:
                value = json.loads(solid.decode()) if solid else None
            except (ValueError, RecursionError) as error:
                what = "UTF-8" if isinstance(error, UnicodeDecodeError) else "JSON"
                wrong.append(f"{path}, line {number}: this is not {what} ({error}); give one JSON object a line")
                continue
            if isinstance(value, dict):
                yield number, value
            elif solid:
                wrong.append(f"{path}, line {number}: {_short(value)} is no object; give one JSON object a line")


def _json(path: Path) -> object:
    try:
        return json.loads(_text(path), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}); correct it, or name the file .jsonl or .txt") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        (twice, _), = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {_short(twice)} is there twice")
    return found


def _lines(path: Path) -> list[str]:
    """Lines end at a line feed only: other separators that Unicode knows stand inside SQL strings."""
    lines = _text(path).split("\n")
    return lines if lines[-1] else lines[:-1]


def _text(path: Path) -> str:
    _need(path)
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


def _need(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} is no file; give the path of one")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _refuse(path: Path, wrong: list[str]) -> None:
    if len(wrong) > _LISTED:
        wrong = [*wrong[:_LISTED], f"{path}: and {len(wrong) - _LISTED} more"]
    if wrong:
        raise UserError(*wrong)
