"""Where databases lie, and whether their files can be used."""

import filecmp
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import apsw

from stages.core.errors import UserError
from stages.core.layout import DATABASES
from stages.databases.connection import open_read_only


def database_path(folder: Path, db_id: str) -> Path:
    """Returns the path of a database in a folder of databases."""
    return folder / db_id / f"{db_id}.sqlite"


def suite_paths(suite: Path, db_id: str) -> list[str]:
    """Returns the additional databases of one schema, in a folder laid out like the distilled test suites. Hidden
    files, such as macOS puts beside each file (`._x.sqlite`), are ignored."""
    return sorted(str(path) for path in (suite / db_id).glob("*.sqlite") if not path.name.startswith("."))


def check_databases(db_ids: Iterable[str], folder: Path = DATABASES) -> dict[str, Path]:
    """The file of each database, sorted by db_id. Raises UserError naming every one that is missing or not SQLite."""
    paths = {db_id: database_path(folder, db_id) for db_id in sorted(set(db_ids))}
    problems = [problem for path in paths.values() if (problem := _missing_or_unusable(path))]
    if problems:
        raise UserError(*problems)
    return paths


def _missing_or_unusable(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} does not exist; put the database there, or run `dvc repro corpus` to make it"
    return database_problem(path, "replace it, or run `dvc repro corpus` to make it again")


def conflict_problems(files: Mapping[str, Sequence[Path]], fix: str) -> list[str]:
    """Returns a sentence for each file of a db_id that differs from the first file of that db_id."""
    return [
        f"the database `{db_id}` is another one in {path} than in {paths[0]}; {fix}"
        for db_id, paths in files.items()
        for path in paths[1:]
        if not (path.samefile(paths[0]) or filecmp.cmp(paths[0], path, shallow=False))
    ]


def database_problem(path: Path, fix: str = "replace it") -> str | None:
    """Returns a sentence saying why a file cannot be used as a database, or None. `fix`: what the user should do."""
    try:
        with closing(open_read_only(path)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
        reason = _truncation(path) if path.stat().st_size else "it is empty"  # SQLite would open an empty file
    except UserError as error:
        return str(error)
    except apsw.Error as error:
        reason = str(error)
    return f"{path} is not an SQLite database ({reason}); {fix}" if reason else None


def _truncation(path: Path) -> str:
    """Says that a file is shorter than its header states, or returns "". SQLite would read zeros for missing pages. The
    fields of the header: https://www.sqlite.org/fileformat.html#the_database_header"""
    with path.open("rb") as file:
        header = file.read(100)
    page_size, change_counter, pages, version_valid_for = (
        int.from_bytes(header[start:end], "big") for start, end in ((16, 18), (24, 28), (28, 32), (92, 96))
    )
    size = pages * (65_536 if page_size == 1 else page_size)
    if change_counter != version_valid_for or size <= path.stat().st_size:  # old SQLite versions wrote no page count
        return ""
    return f"it is cut off: it has {path.stat().st_size:,} of {size:,} bytes"
