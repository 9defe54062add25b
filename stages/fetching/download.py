"""Downloads a file over HTTP, and resumes an interrupted download.

`<name>.partial` beside the target holds the bytes so far, `<name>.validator` the server's version of the file (its
ETag, else its date). The remaining bytes are requested only if the file still has that version. A server without range
requests, or with another version, sends the whole file, and the download starts over.
"""

import time
from pathlib import Path

import requests
from requests.exceptions import ChunkedEncodingError

from stages.core.disk import disk_full_errors, need_room
from stages.core.display import show
from stages.core.progress import progress
from stages.core.redaction import redact

PAUSES = [1.0, 4.0, 15.0]
"""Seconds before each retry. An attempt that received bytes resets the retries."""

_TIMEOUT = (15, 60)
_BLOCK = 1 << 16
_TRANSIENT_STATUSES = {429, 500, 502, 503, 504}


class NotFetched(Exception):
    """A download failed. The message is the reason, as part of a sentence, without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(redact(reason))


class _Transient(NotFetched):
    """An attempt failed with an error that a retry may not meet."""


def download(url: str, target: Path) -> None:
    """Downloads `url` to `target`, whole or not at all. Raises NotFetched if the server cannot be reached or refuses,
    DiskFull if the disk has no room for the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, validator = (target.with_name(target.name + suffix) for suffix in (".partial", ".validator"))
    pauses, received = list(PAUSES), _size(partial)
    while True:
        try:
            _receive(url, partial, validator, target.name)
            break
        except _Transient as error:
            if _size(partial) > received:
                pauses, received = list(PAUSES), _size(partial)
            if not pauses:
                raise
            show(f"{error}; it is tried again in {pauses[0]:.0f} s")
            time.sleep(pauses.pop(0))
    partial.replace(target)
    validator.unlink(missing_ok=True)


def _receive(url: str, partial: Path, validator: Path, label: str) -> None:
    headers = {"Accept-Encoding": "identity"}
    if _size(partial) and _size(validator):
        headers |= {"Range": f"bytes={_size(partial)}-", "If-Range": validator.read_text()}
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == 416 and response.headers.get("Content-Range") == f"bytes */{_size(partial)}":
                return  # a process was killed between the last byte and the move into place
            offset = _offset(response, partial)
            tag = response.headers.get("ETag", "")
            is_weak = not tag.startswith('"')  # If-Range does not take weak tags
            validator.write_text(response.headers.get("Last-Modified", "") if is_weak else tag)
            _write(response, offset, partial, label)
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        raise _Transient(f"{url} could not be reached, or the connection was cut ({_root_cause(error)})") from None
    except requests.RequestException as error:
        raise NotFetched(f"{url} could not be downloaded ({error})") from None


def _offset(response: requests.Response, partial: Path) -> int:
    """Returns the position in the file at which the bytes of the response begin."""
    status, headers = response.status_code, response.headers
    if status in _TRANSIENT_STATUSES:
        raise _Transient(f"{response.url} answered with HTTP status {status}")
    if status not in (200, 206, 416):
        raise NotFetched(f"{response.url} answered with HTTP status {status}")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise NotFetched(f"{response.url} answered with a web page, not with the file")
    if status == 200:
        return 0
    if status == 206 and headers.get("Content-Range", "").startswith(f"bytes {_size(partial)}-"):
        return _size(partial)
    partial.unlink(missing_ok=True)
    raise _Transient(f"{response.url} answered with other bytes than were requested")


def _write(response: requests.Response, offset: int, partial: Path, label: str) -> None:
    length = int(response.headers.get("Content-Length", 0))
    need_room(partial, length)
    with (
        disk_full_errors(partial),
        partial.open("ab" if offset else "wb") as file,
        progress(label, offset + length if length else None, "B", initial=offset) as bar,
    ):
        for block in response.iter_content(_BLOCK):
            file.write(block)
            bar.update(len(block))


def _root_cause(error: BaseException) -> str:
    """Returns the message of the system's own error behind a network error."""
    while error.__context__:
        error = error.__context__
    return str(error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
