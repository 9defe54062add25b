"""Finds the databases that questions ask, and lays them out as `<db_id>/<db_id>.sqlite`.

A database is linked, not copied, where the file system can: a big one is neither read nor stored twice.
"""

import errno
import filecmp
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import apsw

from stages.core.files import write_json
from stages.corpora.bird import descriptions
from stages.databases.paths import database_path, database_problem
from stages.databases.schema import read_schema

SUFFIXES = (".sqlite", ".db", ".sqlite3")


def find_database(folders: Iterable[Path], db_id: str) -> Path | None:
    """The file of a database in the first of `folders` that has it: `<db_id>/<db_id>.sqlite`, or without a folder of
    its own; `.db` and `.sqlite3` will do."""
    return next((path for folder in folders for path in _files(folder, db_id)), None)


def _files(folder: Path, db_id: str) -> list[Path]:
    names = [name for suffix in SUFFIXES for name in (f"{db_id}/{db_id}{suffix}", f"{db_id}{suffix}")]
    return [folder / name for name in names if (folder / name).is_file()]


def doubles(folders: Iterable[Path], db_ids: Iterable[str]) -> list[str]:
    """A sentence for each database that a folder has twice, in files that are not the same."""
    places = ((folder, db_id) for folder in folders for db_id in db_ids)
    files = {(folder, db_id): _files(folder, db_id) for folder, db_id in places}
    return [sentence for (_, db_id), paths in files.items() if paths for sentence in conflicts({db_id: paths})]


def conflicts(found: Mapping[str, Sequence[Path]]) -> list[str]:
    """A sentence for each db_id whose files, one a source, are not all the same database."""
    return [
        f"the database `{db_id}` is another one in {path} than in {first}; rename one of them, in its questions too"
        for db_id, (first, *others) in found.items()
        for path in others
        if not (path.samefile(first) or filecmp.cmp(first, path, shallow=False))
    ]


def fault(path: Path) -> str | None:
    """Why a database cannot be used, as a sentence."""
    if problem := database_problem(path):
        return problem
    try:
        tables = read_schema(path, 0, {}).tables
    except (apsw.Error, UnicodeDecodeError) as error:
        return f"{path} cannot be read ({error}); replace it"
    return None if tables else f"{path} holds no table that a query can read; put the right database there"


def place(path: Path, db_id: str, folder: Path) -> None:
    """Puts a database and what is known of its columns (`descriptions.json`) into a folder of databases."""
    placed = database_path(folder, db_id)
    placed.parent.mkdir(parents=True)
    _link(path.resolve(), placed)
    told = descriptions(path)
    if told:
        write_json(placed.with_name("descriptions.json"), told)


def _link(path: Path, placed: Path) -> None:
    try:
        os.link(path, placed)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        shutil.copyfile(path, placed)  # another disk, or a file system without links
