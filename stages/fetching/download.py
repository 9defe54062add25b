"""Downloads a file over HTTP, and goes on where an earlier try was cut.

`<name>.partial` beside the target holds what has come so far, `<name>.validator` what the server called that version of
the file (its ETag, else its date): the rest is asked for only under the condition that it still is this version.
A server that knows no ranges, or has another version by now, sends the whole file, and the download starts anew.
"""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import requests
from requests.exceptions import ChunkedEncodingError
from tqdm import tqdm

from stages.core.disk import disk_full_errors, need_room
from stages.core.display import show
from stages.core.redaction import redact

PAUSES = [1.0, 4.0, 15.0]
"""Seconds before each further try. A try that brought something makes the count start anew."""

LINE_SECONDS = 30.0
"""Between two lines of progress where there is no terminal."""

_TIMEOUT = (15, 60)
_BLOCK = 1 << 16
_TRY_AGAIN = {429, 500, 502, 503, 504}


class NotFetched(Exception):
    """Something could not be downloaded; the message says why, as the part of a sentence, without secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(redact(reason))


class _Cut(NotFetched):
    """A try failed in a way that another may not."""


def download(url: str, target: Path) -> None:
    """Puts the file at `url` in the place of `target`, whole or not at all.

    Raises NotFetched where the server cannot be reached or refuses, DiskFull where there is no room for the file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial, validator = (target.with_name(target.name + suffix) for suffix in (".partial", ".validator"))
    pauses, most = list(PAUSES), _size(partial)
    while True:
        try:
            _receive(url, partial, validator, target.name)
            break
        except _Cut as cut:
            if _size(partial) > most:
                pauses, most = list(PAUSES), _size(partial)
            if not pauses:
                raise
            show(f"{cut}; it is tried again in {pauses[0]:.0f} s")
            time.sleep(pauses.pop(0))
    partial.replace(target)
    validator.unlink(missing_ok=True)


def _receive(url: str, partial: Path, validator: Path, label: str) -> None:
    try:
        headers = {"Accept-Encoding": "identity"} | _condition(partial, validator)
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416 and answer.headers.get("Content-Range") == f"bytes */{_size(partial)}":
                return  # a process was killed between the last byte and the move into place
            offset = _offset(answer, partial)
            validator.write_text(_version(answer))
            _write(answer, offset, partial, label)
    except (requests.ConnectionError, requests.Timeout, ChunkedEncodingError) as error:
        raise _Cut(f"{url} could not be reached, or the connection was cut ({_cause(error)})") from None
    except requests.RequestException as error:
        raise NotFetched(f"{url} could not be downloaded ({error})") from None


def _condition(partial: Path, validator: Path) -> dict[str, str]:
    version = validator.read_text() if validator.is_file() else ""
    return {"Range": f"bytes={_size(partial)}-", "If-Range": version} if version and _size(partial) else {}


def _version(answer: requests.Response) -> str:
    tag = answer.headers.get("ETag", "")
    weak = not tag.startswith('"')  # and may not stand in If-Range
    return answer.headers.get("Last-Modified", "") if weak else tag


def _offset(answer: requests.Response, partial: Path) -> int:
    """Where in the file the answer's bytes begin."""
    status, told = answer.status_code, answer.headers
    if status in _TRY_AGAIN:
        raise _Cut(f"{answer.url} answered with HTTP status {status}")
    if status not in (200, 206, 416):
        raise NotFetched(f"{answer.url} answered with HTTP status {status}")
    if told.get("Content-Type", "").startswith("text/html"):
        raise NotFetched(f"{answer.url} answered with a web page, not with the file")
    if status == 200:
        return 0
    if status == 206 and told.get("Content-Range", "").startswith(f"bytes {_size(partial)}-"):
        return _size(partial)
    partial.unlink(missing_ok=True)
    raise _Cut(f"{answer.url} answered with other bytes than were asked for")


def _write(answer: requests.Response, offset: int, partial: Path, label: str) -> None:
    coming = int(answer.headers.get("Content-Length", 0))
    need_room(partial, coming)
    with disk_full_errors(partial), partial.open("ab" if offset else "wb") as file:
        for block in _shown(answer.iter_content(_BLOCK), label, offset, coming and offset + coming):
            file.write(block)


def _shown(blocks: Iterable[bytes], label: str, done: int, total: int) -> Iterator[bytes]:
    """The blocks, with a bar on a terminal and a line now and then elsewhere. A total of 0: not known."""
    told, of_all = time.monotonic(), f" of {total / 1e6:,.0f}" if total else ""
    with tqdm(desc=label, initial=done, total=total or None, unit="B", unit_scale=True, disable=None) as bar:
        for block in blocks:
            yield block
            done += len(block)
            bar.update(len(block))
            if bar.disable and time.monotonic() - told > LINE_SECONDS:
                show(f"{label}: {done / 1e6:,.0f}{of_all} MB")
                told = time.monotonic()


def _cause(error: BaseException) -> str:
    """What an error of the network came from, in the words of the system."""
    while error.__context__:
        error = error.__context__
    return str(error)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
