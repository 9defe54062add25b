"""The room on a disk, and the error where there is none."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import UserError


class DiskFull(UserError):
    """The disk has no room for a file."""


@contextmanager
def disk_full_errors(path: Path) -> Iterator[None]:
    """Raises DiskFull in place of the system's error; `path`: the file or folder that is being written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_room(path, "") from None


def need_room(path: Path, size: int) -> None:
    """Raises DiskFull where the disk of `path` has fewer than `size` bytes free."""
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise _no_room(path, f" ({size:,} bytes are needed, {free:,} are free)")


def _no_room(path: Path, numbers: str) -> DiskFull:
    return DiskFull(f"the disk of {path} is full{numbers}; make room and run the same command again")
