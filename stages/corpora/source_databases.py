"""Finds and checks the databases of sources, and puts them into a folder as `<db_id>/<db_id>.sqlite`.

A database is hard-linked if the file system allows it, so that a large one is neither read nor stored twice.
"""

import errno
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import apsw

from stages.core.files import write_json
from stages.corpora.bird import descriptions
from stages.databases.paths import conflict_problems, database_path, database_problem
from stages.databases.schema import read_schema

SUFFIXES = (".sqlite", ".db", ".sqlite3")
RENAME = "rename one of them, in its questions too"


def find_database(folders: Iterable[Path], db_id: str) -> Path | None:
    """Returns the file of a database in the first of `folders` that has it, or None. The file is
    `<db_id>/<db_id>.sqlite` or `<db_id>.sqlite`; the suffix may also be `.db` or `.sqlite3`."""
    return next((path for folder in folders for path in _files(folder, db_id)), None)


def _files(folder: Path, db_id: str) -> list[Path]:
    names = [name for suffix in SUFFIXES for name in (f"{db_id}/{db_id}{suffix}", f"{db_id}{suffix}")]
    return [folder / name for name in names if (folder / name).is_file()]


def duplicate_problems(folders: Iterable[Path], db_ids: Iterable[str]) -> list[str]:
    """Returns a sentence for each database that one folder holds in two files with different content."""
    files = ({db_id: _files(folder, db_id)} for folder in folders for db_id in db_ids)
    return [sentence for paths in files for sentence in conflict_problems(paths, RENAME)]


def source_database_problem(path: Path) -> str | None:
    """Returns a sentence saying why a database cannot be asked questions, or None. Beyond `database_problem` it checks
    that the schema can be read and has a table."""
    if problem := database_problem(path):
        return problem
    try:
        tables = read_schema(path, 0, {}).tables
    except (apsw.Error, UnicodeDecodeError) as error:
        return f"{path} cannot be read ({error}); replace it"
    return None if tables else f"{path} holds no table that a query can read; put the right database there"


def place_database(path: Path, db_id: str, folder: Path) -> None:
    """Puts a database, with `descriptions.json` if its columns are described, into a folder of databases."""
    target = database_path(folder, db_id)
    target.parent.mkdir(parents=True)
    try:
        os.link(path.resolve(), target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(path, target)  # another disk, or a file system without links
    if columns := descriptions(path):
        write_json(target.with_name("descriptions.json"), columns)
