"""A small Hub on loopback for tests: the download half of its protocol, standard library only.

What it has are datasets and models with commits, each a whole set of files; a commit is named by its sha, a branch or
a tag. It answers `/api/{datasets|models}/{id}`, and under it `/revision/{rev}`, `/tree/{rev}[/{folder}]`,
`/paths-info/{rev}` and `/refs`; and `[/datasets]/{id}/resolve/{rev}/{path}` with HEAD, GET, ranges and ETags. Files are
never in LFS or Xet, so clients need `HF_HUB_DISABLE_XET=1`.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from huggingface_hub import constants

from tests.web import asked_range, running

Files = dict[str, bytes]

_WHEN = "2020-01-01T00:00:00.000Z"
_FILE = "{}/{{repo_id}}/resolve/{{revision}}/{{filename}}"


@dataclass
class Repository:
    """A dataset or a model. `commits`: sha to the files of that commit, in their order; `refs`: branch or tag to sha;
    `gated`: the status that a request for a file is refused with, 401 (log in) or 403 (accept the licence)."""

    name: str
    commits: dict[str, Files] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: int | None = None

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
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def dataset(self, name: str) -> Repository:
        """The dataset `owner/name`, made where it is not there."""
        return self.repositories.setdefault(("datasets", name), Repository(name))

    def model(self, name: str) -> Repository:
        """The model `owner/name`, made where it is not there."""
        return self.repositories.setdefault(("models", name), Repository(name))


@contextmanager
def running_hub() -> Iterator[Hub]:
    """An empty Hub, while the context lasts."""
    hub = Hub()
    with running(type("Handler", (_Handler,), {"hub": hub})) as hub.address:
        yield hub


def _blob_id(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data).hexdigest()


@contextmanager
def hub_of(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[Hub]:
    """A running Hub that this process takes for the Hub, with a cache in `folder` and a token to keep."""
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    with running_hub() as hub:
        own = {
            "ENDPOINT": hub.address, "HUGGINGFACE_CO_URL_TEMPLATE": _FILE.format(hub.address),
            "HF_HUB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": False, "HF_HUB_DISABLE_XET": True,
        }  # fmt: skip
        for name, value in own.items():
            patch.setattr(constants, name, value)
        yield hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    API = re.compile(
        r"/api/(?P<kind>datasets|models)/(?P<name>[^/]+/[^/]+)"
        r"(?:/(?P<what>revision|tree|paths-info|refs)(?:/(?P<revision>[^/]+))?(?:/(?P<path>.+))?)?"
    )
    RESOLVE = re.compile(r"/(?:(?P<kind>datasets)/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")

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
        found = self.hub.repositories.get((parts["kind"], parts["name"]))
        if found is None:
            self._error(404, "RepoNotFound")
            return
        sha = found.sha(parts["revision"] or "main")
        if parts["what"] == "refs":
            branches = [_ref(name, sha) for name, sha in found.refs.items()]
            self._json({"branches": branches, "tags": [], "converts": []})
        elif sha is None:
            self._error(404, "RevisionNotFound")
        elif parts["what"] == "tree":
            self._json(_tree(found.commits[sha], parts["path"]))
        elif parts["what"] == "paths-info":
            self._json(_paths_info(found.commits[sha], form.get("paths", [])))
        else:
            self._json(_info(found, sha))

    def _resolve(self, parts: dict[str, str], _: dict[str, list[str]]) -> None:
        found = self.hub.repositories.get((parts["kind"] or "models", parts["name"]))
        sha = found.sha(parts["revision"]) if found else None
        if found is None or sha is None:
            self._error(404, "RevisionNotFound" if found else "RepoNotFound")
        elif found.gated:
            self._error(found.gated, "GatedRepo")
        elif parts["path"] not in found.commits[sha]:
            self._error(404, "EntryNotFound")
        else:
            self._file(found.commits[sha][parts["path"]], sha)

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


def _info(repository: Repository, sha: str) -> dict[str, Any]:
    siblings = [{"rfilename": path} for path in sorted(repository.commits[sha])]
    return {
        "_id": _blob_id(repository.name.encode())[:24], "id": repository.name, "sha": sha, "siblings": siblings,
        "tags": [], "private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0,
        "lastModified": _WHEN, "createdAt": _WHEN,
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
