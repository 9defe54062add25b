"""A small Hub on loopback for tests: the download half of its protocol, standard library only.

What it has are datasets with commits, each a whole set of files; a commit is named by its sha, a branch or a tag. It
answers `/api/datasets/{id}`, and under it `/revision/{rev}`, `/tree/{rev}[/{folder}]`, `/paths-info/{rev}` and
`/refs`; and `/datasets/{id}/resolve/{rev}/{path}` with HEAD, GET, ranges and ETags. Files are never in LFS or Xet, so
clients need `HF_HUB_DISABLE_XET=1`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.web import asked_range, running

Files = dict[str, bytes]

_WHEN = "2020-01-01T00:00:00.000Z"


@dataclass
class Dataset:
    """`commits`: sha to the files of that commit, in their order; `refs`: branch or tag to sha."""

    name: str
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Files, branch: str = "main") -> str:
        """Makes a commit of these files, and of no others, the head of a branch; returns its sha."""
        parent = self.refs.get(branch, "")
        tree = "".join(f"{path} {_blob_id(data)}\n" for path, data in sorted(files.items()))
        sha = sha1(f"{self.name}\n{parent}\n{tree}".encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[branch] = sha
        return sha

    def sha(self, revision: str) -> str | None:
        """The commit that a revision names."""
        return revision if revision in self.commits else self.refs.get(revision)


@dataclass
class Hub:
    """`asked`: method and path of every request so far."""

    address: str = ""
    datasets: dict[str, Dataset] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def dataset(self, name: str) -> Dataset:
        """The dataset `owner/name`, made where it is not there."""
        return self.datasets.setdefault(name, Dataset(name))


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub without datasets, while the context lasts."""
    hub = Hub()
    with running(type("Handler", (_Handler,), {"hub": hub})) as hub.address:
        yield hub


def _blob_id(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    API = re.compile(r"/api/datasets/(?P<name>[^/]+/[^/]+)(?:/(?P<what>revision|tree|paths-info|refs)(?P<rest>/.*)?)?")
    RESOLVE = re.compile(r"/datasets/(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")

    def do_GET(self) -> None:
        self._route()

    def do_HEAD(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def _route(self) -> None:
        address = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        self.hub.asked.append((self.command, address.path))
        for pattern, answer in ((self.API, self._api), (self.RESOLVE, self._resolve)):
            if match := pattern.fullmatch(address.path):
                parts = {key: unquote(value) if value else "" for key, value in match.groupdict().items()}
                answer(parts, parse_qs(body.decode()) if body else {})
                return
        self._error(404, "EntryNotFound")

    def _api(self, parts: dict[str, str], form: dict[str, list[str]]) -> None:
        dataset = self.hub.datasets.get(parts["name"])
        if dataset is None:
            self._error(404, "RepoNotFound")
            return
        revision, _, path = parts["rest"].removeprefix("/").partition("/")
        sha = dataset.sha(revision or "main")
        if parts["what"] == "refs":
            branches = [_ref(name, sha) for name, sha in dataset.refs.items()]
            self._json({"branches": branches, "tags": [], "converts": []})
        elif sha is None:
            self._error(404, "RevisionNotFound")
        elif parts["what"] == "tree":
            self._json(_tree(dataset.commits[sha], path))
        elif parts["what"] == "paths-info":
            self._json(_paths_info(dataset.commits[sha], form.get("paths", [])))
        else:
            self._json(_info(dataset, sha))

    def _resolve(self, parts: dict[str, str], _: dict[str, list[str]]) -> None:
        dataset = self.hub.datasets.get(parts["name"])
        sha = dataset.sha(parts["revision"]) if dataset else None
        if dataset is None or sha is None:
            self._error(404, "RevisionNotFound" if dataset else "RepoNotFound")
        elif parts["path"] not in dataset.commits[sha]:
            self._error(404, "EntryNotFound")
        else:
            self._file(dataset.commits[sha][parts["path"]], sha)

    def _file(self, data: bytes, sha: str) -> None:
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_blob_id(data)}"', "Accept-Ranges": "bytes"}
        part = asked_range(self.headers, data)
        if part:
            headers["Content-Range"] = f"bytes {part[0]}-{part[1]}/{len(data)}"
            self._send(206, data[part[0] : part[1] + 1], "application/octet-stream", headers)
        else:
            self._send(200, data, "application/octet-stream", headers)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), "application/json", {})

    def _error(self, status: int, code: str) -> None:
        self._send(status, json.dumps({"error": code}).encode(), "application/json", {"X-Error-Code": code})

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _info(dataset: Dataset, sha: str) -> dict[str, Any]:
    siblings = [{"rfilename": path} for path in sorted(dataset.commits[sha])]
    return {
        "_id": _blob_id(dataset.name.encode())[:24], "id": dataset.name, "sha": sha, "siblings": siblings, "tags": [],
        "private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "lastModified": _WHEN,
        "createdAt": _WHEN,
    }  # fmt: skip


def _ref(name: str, sha: str) -> dict[str, str]:
    return {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}


def _file_entry(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "oid": _blob_id(data), "size": len(data)}


def _folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": _blob_id(path.encode()), "size": 0}


def _folders(files: Files) -> set[str]:
    parts = [path.split("/")[:-1] for path in files]
    return {"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))}


def _tree(files: Files, under: str) -> list[dict[str, Any]]:
    """All below a folder, as `recursive=true` asks for; every client here does."""
    start = f"{under}/" if under else ""
    entries = [_folder_entry(path) for path in _folders(files)] + [_file_entry(*item) for item in files.items()]
    return sorted((entry for entry in entries if entry["path"].startswith(start)), key=lambda entry: str(entry["path"]))


def _paths_info(files: Files, paths: list[str]) -> list[dict[str, Any]]:
    folders = _folders(files)
    found = [_file_entry(path, files[path]) for path in paths if path in files]
    return found + [_folder_entry(path) for path in paths if path in folders]
