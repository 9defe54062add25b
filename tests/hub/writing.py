"""The half of the test Hub that changes what it has."""

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any

from tests.hub.replies import Parts, Reply, commit_of, of_json, refused, user_of, writable
from tests.hub.state import ATTRIBUTES, Commit, File, Hub, Repository, Request


def validate_card(hub: Hub, request: Request, _: Parts) -> Reply:
    """Whether a README.md may be committed. It is not looked at: what is wrong with it is `hub.card_errors`."""
    errors = [{"message": message} for message in hub.card_errors]
    return of_json({"errors": errors, "warnings": []}, 400 if errors else 200)


def create(hub: Hub, request: Request, _: Parts) -> Reply:
    """A new repository, whose first commit is its .gitattributes."""
    user, asked = user_of(hub, request), json.loads(request.body)
    if user is None:
        raise refused(401, "Invalid username or password.")
    kind, owner = asked.get("type") or "model", asked.get("organization") or user.name
    name = f"{owner}/{asked['name']}"
    if not user.may_write(name):
        raise refused(403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"')
    url = f"{hub.address}/{'datasets/' if kind == 'dataset' else ''}{name}"
    if (f"{kind}s", name) in hub.repositories:
        message = f"You already created this {kind} repo"
        return of_json({"error": message, "url": url}, 409, {"X-Error-Message": message})
    made = Repository(f"{kind}s", name, private=asked.get("visibility") == "private")
    made.add({".gitattributes": File(ATTRIBUTES.encode())}, "main", "initial commit")
    hub.repositories[made.kind, name] = made
    return of_json({"url": url, "name": name, "private": made.private})


def tag(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A tag at a revision."""
    found, name = writable(hub, request, parts), json.loads(request.body)["tag"]
    commit = commit_of(found, parts["revision"])
    if name in found.tags:
        raise refused(409, f"Tag reference exists already: refs/tags/{name}")
    found.tags[name] = commit.sha
    return Reply()


def preupload(hub: Hub, request: Request, parts: Parts) -> Reply:
    """How each file is to be sent, and what is there in its place."""
    found, asked = writable(hub, request, parts), json.loads(request.body)
    files = _head(found, parts["revision"]).files
    return of_json({"files": [_mode(found, files, file) for file in asked["files"]]})


def _mode(repository: Repository, files: dict[str, File], asked: dict[str, Any]) -> dict[str, Any]:
    path = asked["path"]
    lfs = repository.to_lfs(path, asked["size"], b64decode(asked["sample"]))
    old = files.get(path)
    return {
        "path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False,
        **({"oid": old.sha256 if old.lfs else old.blob_id} if old else {}),
    }  # fmt: skip


def _head(repository: Repository, name: str) -> Commit:
    """The head of a branch."""
    if name not in repository.branches:
        raise refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return repository.commits[repository.branches[name]]


def commit(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A commit on a branch: a header, then the changes, one JSON object a line."""
    found, name = writable(hub, request, parts), parts["revision"]
    header, *changes = [json.loads(line) for line in request.body.splitlines()]
    head, asked = _head(found, name), header["value"]
    if asked.get("parentCommit", head.sha) != head.sha:
        raise refused(412, "A commit has happened since. Please refresh and try again.")
    files = dict(head.files)
    for change in changes:
        _change(found, files, change["key"], change["value"])
    made = found.add(files, name, asked["summary"], asked.get("description", ""))
    url = f"{hub.address}/{'datasets/' if found.kind == 'datasets' else ''}{found.name}/commit/{made.sha}"
    return of_json({"success": True, "commitOid": made.sha, "commitUrl": url, "hookOutput": ""})


def _change(repository: Repository, files: dict[str, File], key: str, value: dict[str, Any]) -> None:
    path = value["path"]
    if key == "file":
        files[path] = File(b64decode(value["content"]))
    elif key == "lfsFile":
        if value["oid"] not in repository.objects:
            raise refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
        files[path] = File(repository.objects[value["oid"]], lfs=True)
    elif key == "deletedFile":
        if files.pop(path, None) is None:
            raise refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
    else:
        raise refused(400, f"The test Hub knows no change of the kind {key}")


def batch(hub: Hub, request: Request, parts: Parts) -> Reply:
    """Where to put objects of LFS; nowhere, for those that are there."""
    found, asked = writable(hub, request, parts), json.loads(request.body)
    objects = [_object(hub, found, item["oid"], item["size"]) for item in asked["objects"]]
    return of_json({"transfer": "basic", "objects": objects}, headers={"Content-Type": "application/vnd.git-lfs+json"})


def _object(hub: Hub, repository: Repository, oid: str, size: int) -> dict[str, Any]:
    if oid in repository.objects:
        return {"oid": oid, "size": size}
    href = f"{hub.storage}/storage/{repository.kind}/{repository.name}/{oid}"
    return {"oid": oid, "size": size, "actions": {"upload": {"href": href}}}


def upload(hub: Hub, request: Request, parts: Parts) -> Reply:
    """An object of LFS, from everyone who knows its address, where the body is what the address says."""
    found = hub.repositories.get((parts["kind"], parts["name"]))
    if found is None or sha256(request.body).hexdigest() != parts["oid"]:
        raise refused(400 if found else 404)
    found.objects[parts["oid"]] = request.body
    return Reply(200, b"", {"ETag": f'"{parts["oid"]}"'})
