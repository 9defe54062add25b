"""Reads a user's own corpus: a table of questions for each split, and a folder of SQLite files.

The tables are `train`, `dev` and `test`, each as `.parquet`, `.jsonl`, `.csv` or `.json`. The columns are `question`,
`db_id` and `gold_sql` (or `SQL`, or `query`), and optionally `evidence`, `difficulty` and `other_golds` (an object of
version to SQL). The databases are `databases/<db_id>.sqlite` or `databases/<db_id>/<db_id>.sqlite`.
"""

from pathlib import Path

from stages.core.errors import UserError
from stages.core.user_files import csv_rows, json_lines, parquet
from stages.corpora.question_files import Fields, QuestionFile, parse_rows, read_json

FIELDS = Fields("question", ("gold_sql", "SQL", "query"))
_OTHER_FIELDS = ("db_id", "evidence", "difficulty", "other_golds")
_SUFFIXES = (".parquet", ".jsonl", ".csv", ".json")


def read(folder: Path, split: str) -> QuestionFile:
    """Reads the questions of a split."""
    paths = [path for suffix in _SUFFIXES if (path := folder / f"{split}{suffix}").is_file()]
    if len(paths) != 1:
        existing = " and ".join(path.name for path in paths) or "none"
        names = ", ".join(f"{split}{suffix}" for suffix in _SUFFIXES)
        return QuestionFile([], [f"{folder} needs the questions of `{split}` in one of {names}; there is {existing}"])
    try:
        return _read(paths[0])
    except UserError as error:
        return QuestionFile([], list(error.sentences))


def _read(path: Path) -> QuestionFile:
    if path.suffix == ".json":
        return read_json(path, FIELDS)
    if path.suffix == ".jsonl":
        json_errors: list[str] = []
        rows = list(json_lines(path, json_errors))
        if json_errors and not rows:
            return QuestionFile([], json_errors)
        entries, errors = parse_rows(path, "line", rows, FIELDS)
        return QuestionFile(entries, json_errors + errors)
    if path.suffix == ".csv":
        return parse_rows(path, "row", enumerate(csv_rows(path, lambda columns: _select(path, columns))), FIELDS)
    frame = parquet(path, lambda columns: _select(path, columns))
    return parse_rows(path, "row", enumerate(frame.iter_rows(named=True)), FIELDS)


def _select(path: Path, columns: list[str]) -> list[str]:
    """Returns the columns to read. Raises UserError if a column occurs twice, or question, db_id or gold is missing."""
    required = ({FIELDS.question}, {*FIELDS.sql}, {"db_id"})
    if len(set(columns)) < len(columns) or not all(names & set(columns) for names in required):
        raise UserError(
            f"{path} has the columns {', '.join(columns)}; give question, db_id and gold_sql, each once, separated by "
            "commas"
        )
    return [name for name in (FIELDS.question, *FIELDS.sql, *_OTHER_FIELDS) if name in columns]


def databases(folder: Path, split: str) -> list[Path]:
    """Returns the folder of the databases."""
    return [folder / "databases"]
