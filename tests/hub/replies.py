"""Answers of the test Hub, and what every one of them needs: who asks, for which repository, at which commit."""

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from tests.hub.state import Commit, Hub, Repository, Request, User

Parts = dict[str, str]


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refused(Exception):
    """A request is answered with an error."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def of_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})


def refused(status: int, message: str = "", code: str = "", headers: dict[str, str] | None = None) -> Refused:
    """An error as the Hub words it: in the body and in headers."""
    message = message or HTTPStatus(status).phrase
    error_headers = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {})}
    return Refused(of_json({"error": message}, status, {**error_headers, **(headers or {})}))


def user_of(hub: Hub, request: Request) -> User | None:
    """Whose token the request has; None without one."""
    if request.token is None:
        return None
    if request.token not in hub.users:
        raise refused(401, "Invalid credentials in Authorization header")
    return hub.users[request.token]


def repository_of(hub: Hub, request: Request, parts: Parts) -> Repository:
    """The repository of a path, where the one who asks may see it; else it is as if it was not there."""
    user = user_of(hub, request)
    found = hub.repositories.get((parts["kind"] or "models", parts["name"]))
    if found and (not found.private or (user and user.may_read(found.name))):
        return found
    # Over https the client takes any 401 for a repository that is not there; over http it needs the code.
    status, message = (404, "Repository not found") if user else (401, "Invalid username or password.")
    raise refused(status, message, "RepoNotFound")


def writable(hub: Hub, request: Request, parts: Parts) -> Repository:
    """The repository of a path, where the one who asks may write to it."""
    user = user_of(hub, request)
    if user is None:
        raise refused(401, "Invalid username or password.", "RepoNotFound")
    found = repository_of(hub, request, parts)
    if user.role == "read":
        raise refused(403, "Forbidden: you must use a write token to upload to a repository.")
    if not user.may_write(found.name):
        raise refused(403, "Forbidden: pass `create_pr=1` as a query parameter to create a Pull Request")
    return found


def commit_of(repository: Repository, revision: str) -> Commit:
    """The commit that a revision names."""
    sha = repository.sha(revision)
    if sha is None:
        raise refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    return repository.commits[sha]
