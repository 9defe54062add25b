"""Whether a disk has room, and the sentence where it has none."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.errors import UserError


class DiskFull(UserError):
    """There is no room for what was to be written."""


@contextmanager
def disk_full_errors(path: Path) -> Iterator[None]:
    """Tells of a full disk in a sentence that names what was being written: `path`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_room(path, "") from None


def need_room(path: Path, size: int) -> None:
    """Raises DiskFull where the disk of `path` has fewer than `size` bytes left."""
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise _no_room(path, f" ({size:,} bytes are needed, {free:,} are free)")


def _no_room(path: Path, numbers: str) -> DiskFull:
    return DiskFull(f"the disk of {path} is full{numbers}; make room and run the same command again")
