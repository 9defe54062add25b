"""An HTTP server on loopback for tests of downloads: files from memory, with ranges, that can misbehave to order."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Range = tuple[int, int]


@dataclass
class Web:
    """What the server has and how it behaves. `cuts`: after how many bytes the next answers are cut; `statuses`: the
    status of the next answers, in place of the file; `ranges`, `etags`: whether it knows them; `kind`: the type it
    says a file has. `requests`: the path and the Range header of every request so far."""

    files: dict[str, bytes]
    address: str = ""
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    etags: bool = True
    kind: str = "application/octet-stream"
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Web]:
    """A server of these files, by path without the first slash, while the context lasts."""
    web = Web(files)
    with running(type("Handler", (_Handler,), {"web": web})) as web.address:
        yield web


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on a free port of loopback that answers with `handler`, while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def etag(data: bytes) -> str:
    return f'"{sha256(data).hexdigest()}"'


def requested_range(headers: Any, data: bytes) -> Range | None:
    """The first and the last byte that a request asks for, None where it asks for all or has another version."""
    first, _, last = headers.get("Range", "").removeprefix("bytes=").partition("-")
    if not first or headers.get("If-Range", etag(data)) != etag(data):
        return None
    return int(first), min(int(last or len(data) - 1), len(data) - 1)


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        web, path = self.web, self.path.removeprefix("/")
        web.requests.append((path, self.headers.get("Range")))
        data = web.files.get(path)
        status = web.statuses.pop(0) if web.statuses else 200
        if data is None or status != 200:
            self.send_response(404 if data is None else status)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        part = requested_range(self.headers, data) if web.ranges else None
        if part and part[0] >= len(data):
            self._answer(416, b"", data, f"bytes */{len(data)}")
        elif part:
            self._answer(206, data[part[0] : part[1] + 1], data, f"bytes {part[0]}-{part[1]}/{len(data)}")
        else:
            self._answer(200, data, data, None)

    def _answer(self, status: int, body: bytes, whole: bytes, content_range: str | None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.web.kind)
        self.send_header("Content-Length", str(len(body)))
        if content_range:
            self.send_header("Content-Range", content_range)
        if self.web.etags:
            self.send_header("ETag", etag(whole))
        self.end_headers()
        self.wfile.write(body[: self.web.cuts.pop(0)] if self.web.cuts else body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass
