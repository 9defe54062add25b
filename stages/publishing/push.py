"""The push of a version to the Hub: one commit and one tag a repository, and again where it broke off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.core.redaction import redact, user_info_problem
from stages.publishing.hub_errors import told

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Kind = Literal["dataset", "model"]

_THE_HUBS = {".gitattributes"}  # which the Hub makes with a repository
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Upload:
    """What a version of a repository is: path there to the file here."""

    repository: str
    kind: Kind
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to a repository. `head`: the commit that the version goes on, None where there is no
    repository yet; `tagged`: whether that is the version already; `changed`, `gone`: paths to write, to delete."""

    upload: Upload
    head: str | None
    tagged: bool
    changed: Sequence[str]
    gone: Sequence[str]


def refusals(repositories: Sequence[tuple[str, Kind]], private: bool) -> list[str]:
    """A sentence for each reason not to push, found without writing anything. `private`: that no repository here may be
    public.

    Raises UserError where the Hub cannot be asked.
    """
    from huggingface_hub import HfApi, constants, get_token

    if problem := user_info_problem("HF_ENDPOINT", constants.ENDPOINT):
        return [problem]
    api = HfApi()
    if get_token() is None:
        return ["there is no token for the Hub; call `hf auth login`, or set HF_TOKEN"]
    with told("the Hub"):
        user = api.whoami()
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        return ["the token for the Hub may only read; make one that may write, and call `hf auth login` with it"]
    owners = [user["name"], *(one["name"] for one in user.get("orgs", []))]
    told_of = f"the token is that of {user['name']}, who may write to {', '.join(owners)}"
    wrong = []
    for name, kind in repositories:
        if name.partition("/")[0] not in owners:
            wrong.append(f"{name} is not yours ({told_of}); correct it in `publish`, or use another token")
        elif private and _public(api, name, kind):
            wrong.append(f"`publish.private` is true, but {name} is public; set it to false, or make that private")
    return wrong


def push_all(uploads: Sequence[Upload], version: str, private: bool) -> None:
    """Pushes all, once each can be, and prints what became of each. Raises UserError as `plan` and `push` do."""
    for todo in [plan(upload, version) for upload in uploads]:
        commit = push(todo, version, private)
        what = "pushed" if todo.changed or todo.gone else "was there already"
        show(f"{todo.upload.repository} {version}: {what}, commit {commit}")


def plan(upload: Upload, version: str) -> Plan:
    """What a push of this version has to do; nothing is written.

    Raises UserError where there is nothing to upload, the tag is there with other content, the repository has files
    that no version put there, or the Hub refuses.
    """
    from huggingface_hub import HfApi

    api, name, kind = HfApi(), upload.repository, upload.kind
    if "README.md" not in upload.files or len(upload.files) < 2:
        raise UserError(f"there is nothing to upload to {name}; run it again, and once at a time")
    with told(name):
        if not api.repo_exists(name, repo_type=kind):
            return Plan(upload, None, False, sorted(upload.files), [])
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(name, repo_type=kind).tags}
        head = tags.get(version) or str(api.repo_info(name, repo_type=kind).sha)
        there = _tree(api, upload, head)
        changed = [path for path, file in upload.files.items() if path not in there or not _same(file, there[path])]
        gone = sorted(there.keys() - upload.files.keys() - _THE_HUBS)
        if version in tags and (changed or gone):
            fix = "a version never changes: set `publish.version` to a new one"
            raise UserError(f"{name} has a tag `{version}` with other content ({_some([*changed, *gone])}); {fix}")
        strange = set(gone).difference(*(_tree(api, upload, commit) for commit in tags.values())) if gone else set()
        if strange:
            fix = "remove them there, or name another repository in `publish`"
            raise UserError(f"{name} has files that no version of it has ({_some(sorted(strange))}); {fix}")
    return Plan(upload, head, version in tags, changed, gone)


def push(todo: Plan, version: str, private: bool) -> str:
    """Makes the repository hold exactly the files of the plan's upload, in one commit that is tagged `version`.

    A repository that is made is private unless `private` is false. What is there already is not committed again.
    Returns the commit that the tag names. Raises UserError where the Hub refuses.
    """
    from huggingface_hub import HfApi

    api, name, kind, commit = HfApi(), todo.upload.repository, todo.upload.kind, todo.head
    with told(name):
        if commit is None:
            api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
            commit = str(api.repo_info(name, repo_type=kind).sha)
        if todo.changed or todo.gone:
            commit = _commit(api, todo, version, commit)
        if not todo.tagged:
            api.create_tag(name, tag=version, revision=commit, repo_type=kind)
    return commit


def _commit(api: "HfApi", todo: Plan, version: str, parent: str) -> str:
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name, kind, files = todo.upload.repository, todo.upload.kind, todo.upload.files
    try:
        added = [CommitOperationAdd(path, str(files[path])) for path in todo.changed]
        deleted = [CommitOperationDelete(path) for path in todo.gone]
        return api.create_commit(
            name, [*added, *deleted], commit_message=version, repo_type=kind, parent_commit=parent
        ).oid
    except HTTPError:
        raise
    except ValueError as error:  # of the card, which the Hub is asked about first, or of what it does not store
        why = " ".join(redact(str(error)).split())
        raise UserError(f"{name}: the Hub refuses the commit ({why}); correct it") from None


def _public(api: "HfApi", name: str, kind: Kind) -> bool:
    """Whether the repository is there, for all to see."""
    with told(name):
        return api.repo_exists(name, repo_type=kind) and not api.repo_info(name, repo_type=kind).private


def _tree(api: "HfApi", upload: Upload, revision: str) -> "dict[str, RepoFile]":
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(upload.repository, recursive=True, revision=revision, repo_type=upload.kind)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _same(file: Path, entry: "RepoFile") -> bool:
    if entry.lfs:
        return bool(entry.lfs.sha256 == sha256_file(file))
    data = file.read_bytes()
    return entry.blob_id == sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _some(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return f"{', '.join(paths[:_SHOWN])}{more}"
