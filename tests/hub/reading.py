"""The half of the test Hub that answers and changes nothing."""

import re
from collections.abc import Iterable
from hashlib import sha1
from typing import Any
from urllib.parse import parse_qs, urlencode

from tests.hub.replies import Parts, Refused, Reply, commit_of, of_json, refused, repository_of, user_of
from tests.hub.state import Commit, File, Hub, Repository, Request, User

_WHEN = "2020-01-01T00:00:00.000Z"


def whoami(hub: Hub, request: Request, _: Parts) -> Reply:
    """The user of the token, their organisations, and what the token may do."""
    user = user_of(hub, request)
    if user is None:
        raise refused(401, "Invalid username or password.")
    token: dict[str, Any] = {"displayName": "test", "role": user.role, "createdAt": _WHEN}
    if user.role == "fineGrained":
        token["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": _scoped(hub, user)}
    return of_json({
        "type": "user", "id": _id(user.name), "name": user.name, "fullname": user.name, "isPro": False,
        "orgs": [
            {"type": "org", "id": _id(name), "name": name, "fullname": name, "roleInOrg": "write"}
            for name in user.organisations
        ],
        "auth": {"type": "access_token", "accessToken": token},
    })  # fmt: skip


def _scoped(hub: Hub, user: User) -> list[dict[str, Any]]:
    kinds = {name: kind.removesuffix("s") for kind, name in hub.repositories}
    kinds |= {user.name: "user"} | dict.fromkeys(user.organisations, "org")
    return [
        {"entity": {"_id": _id(name), "type": kinds.get(name, "model"), "name": name}, "permissions": permissions}
        for name, permissions in user.scopes.items()
    ]


def _id(name: str) -> str:
    return sha1(name.encode()).hexdigest()[:24]


def info(hub: Hub, request: Request, parts: Parts) -> Reply:
    """What a repository is at a commit."""
    found = repository_of(hub, request, parts)
    empty = not found.commits and not parts["revision"]
    commit = Commit("", "", "", "", {}) if empty else commit_of(found, parts["revision"] or "main")
    siblings = [_sibling(path, file, "blobs" in request.query) for path, file in sorted(commit.files.items())]
    return of_json({
        "_id": _id(found.name), "id": found.name, "author": found.name.split("/")[0], "sha": commit.sha or None,
        "siblings": siblings, "private": found.private, "gated": "auto" if found.gated else False, "disabled": False,
        "tags": [], "downloads": 0, "likes": 0, "lastModified": _WHEN, "createdAt": _WHEN,
    })  # fmt: skip


def _sibling(path: str, file: File, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": path}
    lfs = {"lfs": {"sha256": file.sha256, **_sizes(file)}} if file.lfs else {}
    return {"rfilename": path, "size": len(file.data), "blobId": file.blob_id, **lfs}


def _sizes(file: File) -> dict[str, int]:
    return {"size": len(file.data), "pointerSize": len(file.blob)}


def refs(hub: Hub, request: Request, parts: Parts) -> Reply:
    """The branches and tags."""
    found = repository_of(hub, request, parts)
    branches, tags = _named("heads", found.branches), _named("tags", found.tags)
    return of_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


def _named(what: str, to_sha: dict[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "ref": f"refs/{what}/{name}", "targetCommit": sha} for name, sha in to_sha.items()]


def commits(hub: Hub, request: Request, parts: Parts) -> Reply:
    """The commits up to a revision, the newest first."""
    found = repository_of(hub, request, parts)
    return of_json([
        {
            "id": commit.sha, "title": commit.title, "message": commit.message, "date": _WHEN,
            "authors": [{"user": found.name.split("/")[0]}],
        }
        for commit in _history(found, commit_of(found, parts["revision"]))
    ])  # fmt: skip


def _history(repository: Repository, commit: Commit) -> list[Commit]:
    history = [commit]
    while history[-1].parent:
        history.append(repository.commits[history[-1].parent])
    return history


def tree(hub: Hub, request: Request, parts: Parts) -> Reply:
    """What lies in a folder, or under it where the query says `recursive`, page by page."""
    found = repository_of(hub, request, parts)
    commit = commit_of(found, parts["revision"])
    query = {key: value for key, [value] in parse_qs(request.query).items()}
    paths = _under(commit, parts["path"], _is_true(query.get("recursive")))
    begin = int(query.get("cursor", 0))
    entries = _entries(found, commit, paths[begin : begin + hub.page], _is_true(query.get("expand")))
    if begin + hub.page >= len(paths):
        return of_json(entries)
    following = urlencode({**query, "cursor": begin + hub.page})
    return of_json(entries, headers={"Link": f'<{hub.address}{request.path}?{following}>; rel="next"'})


def _under(commit: Commit, folder: str, recursive: bool) -> list[str]:
    folders, start = _folders(commit), f"{folder}/" if folder else ""
    if folder and folder not in folders:
        raise refused(404, f"{folder} does not exist", "EntryNotFound")
    below = sorted(path for path in {*folders, *commit.files} if path.startswith(start))
    return below if recursive else [path for path in below if "/" not in path.removeprefix(start)]


def _is_true(text: str | None) -> bool:
    return (text or "").lower() in ("true", "1")


def paths_info(hub: Hub, request: Request, parts: Parts) -> Reply:
    """The same entries of the named paths, as far as they are there."""
    found = repository_of(hub, request, parts)
    commit, form = commit_of(found, parts["revision"]), parse_qs(request.body.decode())
    there = _folders(commit) | set(commit.files)
    paths = [path for path in form.get("paths", []) if path in there]
    return of_json(_entries(found, commit, paths, _is_true(form.get("expand", [""])[0])))


def _folders(commit: Commit) -> set[str]:
    parts = [path.split("/")[:-1] for path in commit.files]
    return {"/".join(names[: depth + 1]) for names in parts for depth in range(len(names))}


def _entries(repository: Repository, commit: Commit, paths: Iterable[str], expand: bool) -> list[dict[str, Any]]:
    return [{**_entry(path, commit), **(_expanded(repository, commit, path) if expand else {})} for path in paths]


def _entry(path: str, commit: Commit) -> dict[str, Any]:
    file = commit.files.get(path)
    if file is None:
        return {"type": "directory", "path": path, "oid": _tree_id(path, commit), "size": 0}
    lfs = {"lfs": {"oid": file.sha256, **_sizes(file)}} if file.lfs else {}
    return {"type": "file", "path": path, "oid": file.blob_id, "size": len(file.data), **lfs}


def _tree_id(path: str, commit: Commit) -> str:
    under = [(name, file.blob_id) for name, file in sorted(commit.files.items()) if name.startswith(f"{path}/")]
    return sha1(repr(under).encode()).hexdigest()


def _expanded(repository: Repository, commit: Commit, path: str) -> dict[str, Any]:
    """The last commit that changed a path."""
    last, *before = _history(repository, commit)
    for earlier in before:
        if _entry(path, earlier)["oid"] != _entry(path, commit)["oid"]:
            break
        last = earlier
    return {"lastCommit": {"id": last.sha, "title": last.title, "date": _WHEN}}


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
    start = int(first) if first else max(0, len(data) - int(last))  # `bytes=-8`: the last eight
    part = data[start : int(last) + 1 if first and last else None]
    if not part:
        return Reply(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    return Reply(206, part, {**headers, "Content-Range": f"bytes {start}-{start + len(part) - 1}/{len(data)}"})
