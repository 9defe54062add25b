"""Unpacks zips of unknown origin.

Covered: no member is written outside the folder, none is a link or a device, none is written twice; what a zip says it
holds must fit the disk, and no member gives more than it says; checksums hold. Not covered: names that differ in case
only, on a disk that does not tell them apart (refused there as written twice).
"""

import errno
import lzma
import shutil
import stat
import struct
import zlib
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile, ZipInfo

from stages.core.disk import disk_full_errors, need_room
from stages.core.errors import naming, short

_LEFT_OUT = {"__MACOSX", ".DS_Store", "Thumbs.db"}
_BLOCK = 1 << 20
_DAMAGE = (BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError, UnicodeDecodeError, struct.error)
"""What zipfile and the decompressors raise for bytes that make no sense."""


class BrokenArchive(Exception):
    """A zip is cut, damaged or not to be trusted; the message says what is wrong, as the part of a sentence."""


def unpack(archive: Path, root: str, folder: Path) -> None:
    """Writes what lies under `root` in the zip into `folder`, without what macOS and Windows add.

    Raises BrokenArchive, DiskFull where there is no room, and OSError where the folder cannot be written; some of it
    may have been written then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with naming(folder), disk_full_errors(folder), ZipFile(archive) as zipped:
            members = _members(zipped, PurePosixPath(root))
            if not members:
                raise BrokenArchive(f"it holds no file in the folder {root!r}")
            need_room(folder, sum(member.file_size for member in members.values()))
            for path, member in members.items():
                _write(zipped, member, folder / path)
    except _DAMAGE as error:
        raise BrokenArchive(f"it is cut or damaged ({error})") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # of bz2, and of a place before the start of the archive
            raise
        raise BrokenArchive(f"it is cut or damaged ({error})") from None
    except (NotImplementedError, RuntimeError) as error:
        raise BrokenArchive(f"it cannot be read ({error})") from None


def unpack_nested(archive: Path) -> None:
    """Unpacks a zip that came out of another where it lies, and removes it. Raises as `unpack` does."""
    if not archive.is_file():
        raise BrokenArchive(f"it holds no {archive.name}")
    try:
        unpack(archive, ".", archive.parent)
    except BrokenArchive as error:
        raise BrokenArchive(f"of {archive.name} in it: {error}") from None
    archive.unlink()


def _members(zipped: ZipFile, root: PurePosixPath) -> dict[PurePosixPath, ZipInfo]:
    found: dict[PurePosixPath, ZipInfo] = {}
    for member in zipped.infolist():
        path = _safe(member)
        left_out = path.name.startswith("._") or _LEFT_OUT & set(path.parts)
        if member.is_dir() or not path.is_relative_to(root) or left_out:
            continue
        if path == root:
            raise BrokenArchive(f"it holds {member.filename!r}, which is the folder itself, as a file")
        if path.relative_to(root) in found:
            raise BrokenArchive(f"it holds {member.filename!r} twice")
        found[path.relative_to(root)] = member
    return found


def _safe(member: ZipInfo) -> PurePosixPath:
    if not member.filename or "\0" in member.filename:
        raise BrokenArchive(f"it holds a file with the name {member.filename!r}")
    path = PurePosixPath(member.filename)
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
        raise BrokenArchive(f"it holds {member.filename!r}, which would lie outside the folder")
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BrokenArchive(f"it holds {member.filename!r}, which is a link or a device, not a file")
    return path


def _write(zipped: ZipFile, member: ZipInfo, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipped.open(member) as packed, path.open("xb") as file:
            shutil.copyfileobj(packed, file, _BLOCK)
    except (FileExistsError, NotADirectoryError):
        raise BrokenArchive(f"it holds {member.filename!r} twice") from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise BrokenArchive(f"it holds {short(member.filename)}, a longer name than this disk takes") from None
