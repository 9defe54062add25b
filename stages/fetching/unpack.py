"""Unpacks zips of unknown origin.

Covered: no member is written outside the folder, none is a link or a device, none is written twice; the sizes that a
zip states must fit the disk, and no member is larger than stated; checksums are verified. Not covered: names that
differ only in case, on a file system that does not distinguish them (refused there as written twice).
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
from stages.core.errors import name_in_errors, short

_IGNORED = {"__MACOSX", ".DS_Store", "Thumbs.db"}
_BLOCK = 1 << 20
_DAMAGE_ERRORS = (BadZipFile, zlib.error, lzma.LZMAError, EOFError, OverflowError, UnicodeDecodeError, struct.error)
"""What zipfile and the decompressors raise for invalid bytes."""


class BrokenArchive(Exception):
    """A zip is truncated, damaged or unsafe. The message is the reason, as part of a sentence."""


def unpack(archive: Path, root: str, folder: Path) -> None:
    """Unpacks the files under `root` in the zip into `folder`, without the files that macOS and Windows add. Raises
    BrokenArchive, DiskFull if there is no room, and OSError if the folder cannot be written; some files may have been
    written then."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with name_in_errors(folder), disk_full_errors(folder), ZipFile(archive) as zipped:
            members = _members(zipped, PurePosixPath(root))
            if not members:
                raise BrokenArchive(f"it holds no file in the folder {root!r}")
            need_room(folder, sum(member.file_size for member in members.values()))
            for path, member in members.items():
                _write(zipped, member, folder / path)
    except _DAMAGE_ERRORS as error:
        raise BrokenArchive(f"it is cut or damaged ({error})") from None
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # raised by bz2, and for an offset before the start of the archive
            raise
        raise BrokenArchive(f"it is cut or damaged ({error})") from None
    except (NotImplementedError, RuntimeError) as error:
        raise BrokenArchive(f"it cannot be read ({error})") from None


def unpack_nested(archive: Path) -> None:
    """Unpacks a zip that was in another zip, in its own folder, and deletes it. Raises what `unpack` raises."""
    if not archive.is_file():
        raise BrokenArchive(f"it holds no {archive.name}")
    try:
        unpack(archive, ".", archive.parent)
    except BrokenArchive as error:
        raise BrokenArchive(f"of {archive.name} in it: {error}") from None
    archive.unlink()


def _members(zipped: ZipFile, root: PurePosixPath) -> dict[PurePosixPath, ZipInfo]:
    members: dict[PurePosixPath, ZipInfo] = {}
    for member in zipped.infolist():
        path = _safe_path(member)
        ignored = path.name.startswith("._") or _IGNORED & set(path.parts)
        if member.is_dir() or not path.is_relative_to(root) or ignored:
            continue
        if path == root:
            raise BrokenArchive(f"it holds {member.filename!r}, which is the folder itself, as a file")
        if path.relative_to(root) in members:
            raise BrokenArchive(f"it holds {member.filename!r} twice")
        members[path.relative_to(root)] = member
    return members


def _safe_path(member: ZipInfo) -> PurePosixPath:
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
