"""The half of the test Hub that changes what it has."""

import json
import re
from base64 import b64decode
from fnmatch import fnmatch
from hashlib import sha256
from typing import Any

from tests.hub.replies import Parts, Reply, commit_of, of_json, refused, user_of, writable
from tests.hub.state import ATTRIBUTES, WRITE, Commit, File, Hub, Repository, Request

NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.(git|ipynb)$)[A-Za-z0-9_]([\w.-]{0,94}[A-Za-z0-9_])?", re.ASCII)


def validate_card(hub: Hub, request: Request, _: Parts) -> Reply:
    """Whether a README.md may be committed. Its YAML is not looked at: what is wrong with it is `hub.card_errors`."""
    content = json.loads(request.body)["content"]
    fronted = re.match(r"---\s*\n.*?\n---\s*(\n|$)", content, re.DOTALL)
    warnings = [] if fronted else [{"message": "empty or missing yaml metadata in repo card"}]
    errors = [{"message": message} for message in hub.card_errors]
    return of_json({"errors": errors, "warnings": warnings}, 400 if errors else 200)


def create(hub: Hub, request: Request, _: Parts) -> Reply:
    """A new repository, whose first commit is its .gitattributes."""
    asked = json.loads(request.body)
    key = _key_of(hub, request, asked, "create")
    kind, name = key
    url = f"{hub.address}/{'datasets/' if kind == 'datasets' else ''}{name}"
    if not NAME.fullmatch(asked["name"]):
        raise refused(400, f"Invalid {kind.removesuffix('s')} name: {asked['name']}")
    if key in hub.repositories:
        message = f"You already created this {kind.removesuffix('s')} repo"
        return of_json({"error": message, "url": url}, 409, {"X-Error-Message": message})
    made = hub.repositories[key] = Repository(kind, name, private=asked.get("visibility") == "private")
    made.add({".gitattributes": File(ATTRIBUTES.encode())}, "main", "initial commit")
    return of_json({"url": url, "name": name, "private": made.private})


def _key_of(hub: Hub, request: Request, asked: dict[str, Any], doing: str) -> tuple[str, str]:
    """The kind and the name of a repository to make or delete, where the one who asks may do that."""
    user = user_of(hub, request)
    if user is None:
        raise refused(401, "Invalid username or password.")
    kind = asked.get("type") or "model"
    if kind not in ("model", "dataset"):
        raise refused(400, f"The test Hub has no repositories of type {kind}")
    owner = asked.get("organization") or user.name
    if not user.may(WRITE, f"{owner}/{asked['name']}"):
        raise refused(403, f'You don\'t have the rights to {doing} a {kind} under the namespace "{owner}"')
    return f"{kind}s", f"{owner}/{asked['name']}"


def delete(hub: Hub, request: Request, _: Parts) -> Reply:
    """A repository, with all that was in it."""
    key = _key_of(hub, request, json.loads(request.body), "delete")
    if hub.repositories.pop(key, None) is None:
        raise refused(404, "Repository not found", "RepoNotFound")
    return Reply(200, b"OK")


def settings(hub: Hub, request: Request, parts: Parts) -> Reply:
    """Who sees a repository."""
    found, asked = writable(hub, request, parts), json.loads(request.body)
    if set(asked) != {"visibility"}:
        raise refused(400, "The test Hub knows no setting but visibility")
    found.private = asked["visibility"] == "private"
    return of_json({"private": found.private})


def tag(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A tag at a revision."""
    found, name = writable(hub, request, parts), json.loads(request.body)["tag"]
    commit = commit_of(found, parts["revision"])
    if name in found.tags:
        raise refused(409, f"Tag reference exists already: refs/tags/{name}")
    found.tags[name] = commit.sha
    return Reply()


def untag(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A tag is deleted."""
    found = writable(hub, request, parts)
    if found.tags.pop(parts["revision"], None) is None:
        raise refused(404, f"Invalid rev id: {parts['revision']}", "RevisionNotFound")
    return Reply()


def branch(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A branch from a revision."""
    found, name = writable(hub, request, parts), parts["revision"]
    commit = commit_of(found, json.loads(request.body or b"{}").get("startingPoint", "main"))
    if name in found.branches:
        raise refused(409, f"Reference already exists: refs/heads/{name}")
    found.branches[name] = commit.sha
    return Reply()


def unbranch(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A branch is deleted; its commits stay."""
    found, name = writable(hub, request, parts), parts["revision"]
    if name == "main":
        raise refused(403, "Cannot delete refs/heads/main")
    if found.branches.pop(name, None) is None:
        raise refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return Reply()


def preupload(hub: Hub, request: Request, parts: Parts) -> Reply:
    """How each file is to be sent, whether .gitignore leaves it out, and what is there in its place."""
    found, asked = writable(hub, request, parts), json.loads(request.body)
    files = _head(found, parts["revision"]).files
    ignore = asked.get("gitIgnore") or files.get(".gitignore", File(b"")).data.decode()
    return of_json({"files": [_mode(found, files, file, ignore.split()) for file in asked["files"]]})


def _mode(repository: Repository, files: dict[str, File], asked: dict[str, Any], ignore: list[str]) -> dict[str, Any]:
    path = asked["path"]
    lfs = repository.to_lfs(path, asked["size"], b64decode(asked["sample"]))
    old = files.get(path)
    return {
        "path": path, "uploadMode": "lfs" if lfs else "regular",
        "shouldIgnore": any(fnmatch(path, pattern) or fnmatch(path.split("/")[-1], pattern) for pattern in ignore),
        **({"oid": old.sha256 if old.lfs else old.blob_id} if old else {}),
    }  # fmt: skip


def _head(repository: Repository, name: str) -> Commit:
    """The head of a branch; an empty one for `main` before the first commit."""
    if name == "main" and not repository.commits:
        return Commit("", "", "", "", {})
    if name not in repository.branches:
        raise refused(404, f"Invalid rev id: {name}", "RevisionNotFound")
    return repository.commits[repository.branches[name]]


def commit(hub: Hub, request: Request, parts: Parts) -> Reply:
    """A commit on a branch: a header, then the changes, one JSON object a line."""
    found, name = writable(hub, request, parts), parts["revision"]
    if "create_pr" in request.query:
        raise refused(400, "The test Hub has no pull requests")
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
    elif key in ("deletedFile", "deletedFolder"):
        start = path.rstrip("/") + "/"
        gone = [old for old in files if (old == path if key == "deletedFile" else old.startswith(start))]
        if not gone:
            raise refused(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        for old in gone:
            del files[old]
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
    place = f"{repository.kind}/{repository.name}"
    upload = f"{hub.storage}/storage/{place}/{oid}"
    verify = f"{hub.address}/{place.removeprefix('models/')}.git/info/lfs/objects/verify"
    return {"oid": oid, "size": size, "actions": {"upload": {"href": upload}, "verify": {"href": verify}}}


def upload(hub: Hub, request: Request, parts: Parts) -> Reply:
    """An object of LFS, from everyone who knows its address, where the body is what the address says."""
    found = hub.repositories.get((parts["kind"], parts["name"]))
    if found is None or sha256(request.body).hexdigest() != parts["oid"]:
        raise refused(400 if found else 404)
    found.objects[parts["oid"]] = request.body
    return Reply(200, b"", {"ETag": f'"{parts["oid"]}"'})


def verify(hub: Hub, request: Request, parts: Parts) -> Reply:
    """Whether an object of LFS is there, as long as it should be."""
    found, asked = writable(hub, request, parts), json.loads(request.body)
    if len(found.objects.get(asked["oid"], b"")) != asked["size"]:
        raise refused(404, f"The object {asked['oid']} is not there")
    return Reply()
