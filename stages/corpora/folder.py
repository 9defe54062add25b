"""A user's own corpus: a table of questions for each split, and a folder of SQLite files.

`train`, `dev` and `test`, each as `.parquet`, `.jsonl`, `.csv` or `.json`, with the columns `question`, `db_id` and
`gold_sql` (or `SQL`, or `query`), and perhaps `evidence`, `difficulty` and `other_golds` (an object of version and
SQL).
The databases lie in `databases`, as `<db_id>.sqlite` or `<db_id>/<db_id>.sqlite`.
"""

from pathlib import Path

from stages.core.errors import UserError
from stages.core.user_files import csv_rows, json_lines, parquet
from stages.corpora.question_files import Entry, Fields, entries_of, read_json

FIELDS = Fields("question", ("gold_sql", "SQL", "query"))
_OTHER_FIELDS = ("db_id", "evidence", "difficulty", "other_golds")
_KINDS = (".parquet", ".jsonl", ".csv", ".json")


def read(folder: Path, split: str, wrong: list[str]) -> list[Entry]:
    """The questions of a split."""
    paths = [path for kind in _KINDS if (path := folder / f"{split}{kind}").is_file()]
    if len(paths) != 1:
        there = " and ".join(path.name for path in paths) or "none"
        names = ", ".join(f"{split}{kind}" for kind in _KINDS)
        wrong.append(f"{folder} needs the questions of `{split}` in one of {names}; there is {there}")
        return []
    (path,) = paths
    try:
        return _read(path, wrong)
    except UserError as error:
        wrong += error.sentences
        return []


def _read(path: Path, wrong: list[str]) -> list[Entry]:
    if path.suffix == ".json":
        return read_json(path, FIELDS, wrong)
    if path.suffix == ".jsonl":
        told = len(wrong)
        rows = list(json_lines(path, wrong))
        return entries_of(path, "line", rows, FIELDS, wrong) if rows or len(wrong) == told else []
    if path.suffix == ".csv":
        return entries_of(path, "row", enumerate(csv_rows(path, lambda there: _known(path, there))), FIELDS, wrong)
    frame = parquet(path, lambda there: _known(path, there))
    return entries_of(path, "row", enumerate(frame.iter_rows(named=True)), FIELDS, wrong)


def _known(path: Path, there: list[str]) -> list[str]:
    """The columns that are read, of those of a table. Raises UserError where one is there twice or none is a gold query
    (or question, or db_id)."""
    needed = ({FIELDS.question}, {*FIELDS.sql}, {"db_id"})
    if len(set(there)) < len(there) or not all(names & set(there) for names in needed):
        raise UserError(
            f"{path} has the columns {', '.join(there)}; give question, db_id and gold_sql, each once, parted by commas"
        )
    return [name for name in (FIELDS.question, *FIELDS.sql, *_OTHER_FIELDS) if name in there]


def databases(folder: Path, split: str) -> list[Path]:
    """Where the databases lie."""
    return [folder / "databases"]
