"""The HTTP of the test Hub: which request is answered by what, and what goes wrong on the way."""

import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from tests.hub import reading, writing
from tests.hub.replies import Parts, Refused, Reply, refused
from tests.hub.state import Fault, Hub, Request

Answer = Callable[[Hub, Request, Parts], Reply]

_NAME = "(?P<name>[^/]+/[^/]+?)"
_API = f"/api/(?P<kind>datasets|models)/{_NAME}"
_GIT = f"/(?:(?P<kind>datasets)/)?{_NAME}"
_AT = "(?P<revision>[^/]+)"
_STORED = f"/storage/(?P<kind>datasets|models)/{_NAME}/(?P<oid>[0-9a-f]{{64}})"
_ROUTES: list[tuple[str, str, Answer]] = [
    ("GET", "/api/whoami-v2", reading.whoami),
    ("POST", "/api/validate-yaml", writing.validate_card),
    ("POST", "/api/repos/create", writing.create),
    ("GET", f"{_API}(?:/revision/{_AT})?", reading.info),
    ("GET", f"{_API}/refs", reading.refs),
    ("GET", f"{_API}/tree/{_AT}(?:/(?P<path>.+))?", reading.tree),
    ("POST", f"{_API}/paths-info/{_AT}", reading.paths_info),
    ("POST", f"{_API}/tag/{_AT}", writing.tag),
    ("POST", f"{_API}/preupload/{_AT}", writing.preupload),
    ("POST", f"{_API}/commit/{_AT}", writing.commit),
    ("POST", f"{_GIT}\\.git/info/lfs/objects/batch", writing.batch),
    ("PUT", _STORED, writing.upload),
    ("GET|HEAD", _STORED, reading.stored),
    ("GET|HEAD", f"{_GIT}/resolve/{_AT}/(?P<path>.+)", reading.resolve),
]

_HARNESSES = "/api/agent-harnesses"  # asked for once a day, by whichever request is the first: no part of any test


class Handler(BaseHTTPRequestHandler):
    """Answers for `hub`, which a class made of this one has."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        """Any method: the routes tell them apart."""
        path, length = urlsplit(self.path).path, int(self.headers.get("Content-Length", 0))
        if path != _HARNESSES:
            self.hub.asked.append((self.command, path))
        fault = self.hub.fault(self.command, path)
        if fault and fault.cut is not None and length:
            self.rfile.read(min(fault.cut, length))
            self.close_connection = True
            return
        request = self._request(self.rfile.read(length))
        self.hub.requests.append(request)
        reply = refused(fault.status, fault.message).reply if fault and fault.status else _answer(self.hub, request)
        self._send(reply, fault)

    do_HEAD = do_POST = do_PUT = do_GET

    def _request(self, body: bytes) -> Request:
        address, token = urlsplit(self.path), self.headers.get("Authorization", "").removeprefix("Bearer ")
        return Request(self.command, address.path, address.query, token or None, self.headers, body)

    def _send(self, reply: Reply, fault: Fault | None) -> None:
        if fault and (fault.lost or fault.cut == 0):
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body if fault is None else reply.body[: fault.cut])
        self.close_connection = self.close_connection or (fault is not None and fault.cut is not None)

    def log_message(self, *_: object) -> None:
        """Nothing is logged."""


def _answer(hub: Hub, request: Request) -> Reply:
    for method, path, answer in _ROUTES:
        match = re.fullmatch(path, request.path) if re.fullmatch(method, request.method) else None
        if match:
            parts = {key: unquote(value or "") for key, value in match.groupdict().items()}
            try:
                with hub.lock:
                    return answer(hub, request, parts)
            except Refused as refusal:
                return refusal.reply
    return refused(404, f"The test Hub knows no {request.method} {request.path}").reply
