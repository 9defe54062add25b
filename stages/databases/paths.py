"""Where a database lies, and whether its file can be used."""

from collections.abc import Iterable
from pathlib import Path

import apsw

from stages.core.errors import UserError
from stages.databases.connection import open_read_only


def database_path(folder: Path, db_id: str) -> Path:
    """Where a database lies in a folder of databases."""
    return folder / db_id / f"{db_id}.sqlite"


def suite_paths(suite: Path, db_id: str) -> list[str]:
    """The further databases of one schema, in a folder laid out as the distilled test suites are. A hidden file, as
    macOS puts one beside each (`._x.sqlite`), is none."""
    return sorted(str(path) for path in (suite / db_id).glob("*.sqlite") if not path.name.startswith("."))


def check_databases(db_ids: Iterable[str], folder: Path) -> dict[str, Path]:
    """The file of each database, sorted by db_id. Raises UserError naming every one that is missing or not SQLite."""
    paths = {db_id: database_path(folder, db_id) for db_id in sorted(set(db_ids))}
    problems = [problem for path in paths.values() if (problem := _problem(path))]
    if problems:
        raise UserError(*problems)
    return paths


def _problem(path: Path) -> str | None:
    if not path.is_file():
        return f"{path} does not exist; put the database there, or run `dvc repro corpus` to make it"
    return database_problem(path, "replace it, or run `dvc repro corpus` to make it again")


def database_problem(path: Path, fix: str = "replace it") -> str | None:
    """Why a file cannot be used as a database, as a sentence. `fix`: what to do about one that is none."""
    try:
        _read_schema_table(path)
        reason = "" if path.stat().st_size else "it is empty"  # SQLite takes that for a database without tables
        reason = reason or _missing_bytes(path)
    except UserError as error:
        return str(error)
    except apsw.Error as error:
        reason = str(error)
    return f"{path} is not an SQLite database ({reason}); {fix}" if reason else None


def _read_schema_table(path: Path) -> None:
    connection = open_read_only(path)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    finally:
        connection.close()


def _missing_bytes(path: Path) -> str:
    """What a file lacks of the pages that its header tells of; empty where nothing. SQLite reads zeros in their place.
    The header is SQLite's (https://www.sqlite.org/fileformat.html#the_database_header)."""
    with path.open("rb") as file:
        header = file.read(100)
    page_size, changes, pages, told_by = (
        int.from_bytes(header[start:end], "big") for start, end in ((16, 18), (24, 28), (28, 32), (92, 96))
    )
    size = pages * (65_536 if page_size == 1 else page_size)
    if changes != told_by or size <= path.stat().st_size:  # an old SQLite wrote no number of pages
        return ""
    return f"it is cut off: it has {path.stat().st_size:,} of {size:,} bytes"
