"""The half of the test Hub that answers and changes nothing."""

import re
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs

from tests.hub.replies import Parts, Refused, Reply, commit_of, of_json, refused, repository_of, user_of
from tests.hub.state import Commit, Hub, Repository, Request

_WHEN = "2020-01-01T00:00:00.000Z"


def whoami(hub: Hub, request: Request, _: Parts) -> Reply:
    """The user of the token, their organisations, and the role of the token."""
    user = user_of(hub, request)
    if user is None:
        raise refused(401, "Invalid username or password.")
    orgs = [{"name": name} for name in user.organisations]
    return of_json({"name": user.name, "orgs": orgs, "auth": {"accessToken": {"role": user.role}}})


def info(hub: Hub, request: Request, parts: Parts) -> Reply:
    """What a repository is at a commit."""
    found = repository_of(hub, request, parts)
    commit = commit_of(found, parts["revision"] or "main")
    return of_json({
        "id": found.name, "author": found.name.split("/")[0], "sha": commit.sha,
        "siblings": [{"rfilename": path} for path in sorted(commit.files)], "private": found.private,
        "gated": "auto" if found.gated else False, "disabled": False, "tags": [], "downloads": 0, "likes": 0,
        "lastModified": _WHEN, "createdAt": _WHEN,
    })  # fmt: skip


def refs(hub: Hub, request: Request, parts: Parts) -> Reply:
    """The branches and tags."""
    found = repository_of(hub, request, parts)
    branches, tags = _named("heads", found.branches), _named("tags", found.tags)
    return of_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


def _named(what: str, to_sha: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{what}/{name}", "targetCommit": sha} for name, sha in to_sha.items()]


def tree(hub: Hub, request: Request, parts: Parts) -> Reply:
    """What lies in a folder, or under it where the query says `recursive`."""
    commit = commit_of(repository_of(hub, request, parts), parts["revision"])
    paths = _under(commit, parts["path"], "recursive=true" in request.query.lower())
    return of_json([_entry(path, commit) for path in paths])


def _under(commit: Commit, folder: str, recursive: bool) -> list[str]:
    folders, start = _folders(commit), f"{folder}/" if folder else ""
    if folder and folder not in folders:
        raise refused(404, f"{folder} does not exist", "EntryNotFound")
    below = sorted(path for path in {*folders, *commit.files} if path.startswith(start))
    return below if recursive else [path for path in below if "/" not in path.removeprefix(start)]


def paths_info(hub: Hub, request: Request, parts: Parts) -> Reply:
    """The same entries of the named paths, as far as they are there."""
    commit = commit_of(repository_of(hub, request, parts), parts["revision"])
    there = _folders(commit) | set(commit.files)
    return of_json([_entry(path, commit) for path in parse_qs(request.body.decode())["paths"] if path in there])


def _folders(commit: Commit) -> set[str]:
    parts = [path.split("/")[:-1] for path in commit.files]
    return {"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))}


def _entry(path: str, commit: Commit) -> dict[str, Any]:
    file = commit.files.get(path)
    if file is None:
        return {"type": "directory", "path": path, "oid": _tree_id(path, commit), "size": 0}
    sizes = {"size": len(file.data), "pointerSize": len(file.blob)}
    lfs = {"lfs": {"oid": file.sha256, **sizes}} if file.lfs else {}
    return {"type": "file", "path": path, "oid": file.blob_id, "size": len(file.data), **lfs}


def _tree_id(path: str, commit: Commit) -> str:
    under = [(name, file.blob_id) for name, file in sorted(commit.files.items()) if name.startswith(f"{path}/")]
    return sha1(repr(under).encode()).hexdigest()


def resolve(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A file, or part of it; of one in LFS the address, which needs no token."""
    found = repository_of(hub, request, parts)
    commit = commit_of(found, parts["revision"])
    if found.gated:
        raise _gated(found, found.gated)
    file = commit.files.get(parts["path"])
    if file is None:
        raise refused(404, "Entry not found", "EntryNotFound", {"X-Repo-Commit": commit.sha})
    if not file.lfs:
        return _part(request, file.data, {"X-Repo-Commit": commit.sha, "ETag": f'"{file.blob_id}"'})
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.data))}
    location = f"{hub.storage}/storage/{found.kind}/{found.name}/{file.sha256}"
    return Reply(302, b"", {"X-Repo-Commit": commit.sha, "Location": location, **linked})


def _gated(repository: Repository, status: int) -> Refused:
    wanted = "You must have access to it and be authenticated to access it." if status == 401 else "Visit it to ask."
    return refused(status, f"Access to {repository.name} is restricted. {wanted}", "GatedRepo")


def stored(hub: Hub, request: Request, parts: Parts) -> Reply:
    """An object of LFS, or part of it, for everyone who knows its address."""
    found = hub.repositories.get((parts["kind"], parts["name"]))
    if found is None or parts["oid"] not in found.objects:
        raise refused(404)
    return _part(request, found.objects[parts["oid"]], {"ETag": f'"{parts["oid"]}"'})


def _part(request: Request, data: bytes, headers: dict[str, str]) -> Reply:
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", **headers}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
    if asked is None:
        return Reply(200, data, headers)
    first, last = asked.groups()
    start = int(first) if first else max(0, len(data) - int(last))  # polars asks for the last eight: `bytes=-8`
    part = data[start : int(last) + 1 if first and last else None]
    if not part:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})
