"""Pushes a version to the Hub: one commit and one tag in each repository. A push that broke off can be run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.core.redaction import redact, user_info_problem
from stages.publishing.hub_errors import translate_hub_errors

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Kind = Literal["dataset", "model"]

_HUB_FILES = {".gitattributes"}  # that the Hub makes with a repository
_MOST_LISTED = 3


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of a version of a repository: path in it to the file here."""

    repository: str
    kind: Kind
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a push does to a repository. `head`: the parent commit of the version, None where there is no repository;
    `tagged`: whether `head` is the version already; `changed`, `removed`: paths to write and to delete."""

    upload: Upload
    head: str | None
    tagged: bool
    changed: Sequence[str]
    removed: Sequence[str]


def push_errors(repositories: Sequence[tuple[str, Kind]], private: bool) -> list[str]:
    """A sentence for each error that prevents a push; nothing is written. `private`: no repository may be public.

    Raises UserError where the Hub cannot be reached.
    """
    from huggingface_hub import HfApi, constants, get_token

    if problem := user_info_problem("HF_ENDPOINT", constants.ENDPOINT):
        return [problem]
    api = HfApi()
    if get_token() is None:
        return ["there is no token for the Hub; call `hf auth login`, or set HF_TOKEN"]
    with translate_hub_errors("the Hub"):
        user = api.whoami()
    role = user.get("auth", {}).get("accessToken", {}).get("role")
    if role == "read":
        return ["the token for the Hub may only read; make one that may write, and call `hf auth login` with it"]
    owners = [user["name"], *(organisation["name"] for organisation in user.get("orgs", []))]
    token = f"the token is that of {user['name']}, who may write to {', '.join(owners)}"
    errors = []
    for name, kind in repositories:
        if name.partition("/")[0] not in owners:
            errors.append(f"{name} is not yours ({token}); correct it in `publish`, or use another token")
        elif private:
            with translate_hub_errors(name):
                public = api.repo_exists(name, repo_type=kind) and not api.repo_info(name, repo_type=kind).private
            if public:
                errors.append(f"`publish.private` is true, but {name} is public; set it to false, or make that private")
    return errors


def push_all(uploads: Sequence[Upload], version: str, private: bool) -> None:
    """Plans all pushes before the first is made, and prints the commit of each. Raises UserError as `plan_push` and
    `push` do."""
    for plan in [plan_push(upload, version) for upload in uploads]:
        commit = push(plan, version, private)
        outcome = "pushed" if plan.changed or plan.removed else "was there already"
        show(f"{plan.upload.repository} {version}: {outcome}, commit {commit}")


def plan_push(upload: Upload, version: str) -> Plan:
    """Compares the files with those in the repository; nothing is written. The client would skip equal files too, but
    could not say whether a tag has other content.

    Raises UserError where there is nothing to upload, the tag has other content, the repository has files that no
    version put there, or the Hub refuses.
    """
    from huggingface_hub import HfApi

    api, name, kind = HfApi(), upload.repository, upload.kind
    if "README.md" not in upload.files or len(upload.files) < 2:
        raise UserError(f"there is nothing to upload to {name}; run the push again, one at a time")
    with translate_hub_errors(name):
        if not api.repo_exists(name, repo_type=kind):
            return Plan(upload, None, False, sorted(upload.files), [])
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(name, repo_type=kind).tags}
        head = tags.get(version) or str(api.repo_info(name, repo_type=kind).sha)
        existing = _tree(api, upload, head)
        changed = [path for path, file in upload.files.items() if not _is_same(file, existing.get(path))]
        removed = sorted(existing.keys() - upload.files.keys() - _HUB_FILES)
        if version in tags and (changed or removed):
            fix = "a version never changes: set `publish.version` to a new one"
            raise UserError(f"{name} has a tag `{version}` with other content ({_listed([*changed, *removed])}); {fix}")
        versions = [_tree(api, upload, commit) for commit in tags.values()] if removed else []
        if unknown := sorted(set(removed).difference(*versions)):
            fix = "remove them there, or name another repository in `publish`"
            raise UserError(f"{name} has files that no version of it has ({_listed(unknown)}); {fix}")
    return Plan(upload, head, version in tags, changed, removed)


def push(plan: Plan, version: str, private: bool) -> str:
    """Makes the repository hold exactly the files of the plan's upload, in one commit that is tagged `version`.

    A new repository is private unless `private` is false. Where nothing changed, there is no new commit.
    Returns the commit that the tag names. Raises UserError where the Hub refuses.
    """
    from huggingface_hub import HfApi

    api, name, kind, commit = HfApi(), plan.upload.repository, plan.upload.kind, plan.head
    with translate_hub_errors(name):
        if commit is None:
            api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
            commit = str(api.repo_info(name, repo_type=kind).sha)
        if plan.changed or plan.removed:
            commit = _commit(api, plan, version, commit)
        if not plan.tagged:
            api.create_tag(name, tag=version, revision=commit, repo_type=kind)
    return commit


def _commit(api: "HfApi", plan: Plan, version: str, parent: str) -> str:
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    name, kind, files = plan.upload.repository, plan.upload.kind, plan.upload.files
    try:
        added = [CommitOperationAdd(path, str(files[path])) for path in plan.changed]
        deleted = [CommitOperationDelete(path) for path in plan.removed]
        return api.create_commit(
            name, [*added, *deleted], commit_message=version, repo_type=kind, parent_commit=parent
        ).oid
    except HTTPError:
        raise
    except ValueError as error:  # the Hub finds an error in the card, or does not store such a file
        reason = " ".join(redact(str(error)).split())
        raise UserError(f"{name}: the Hub refuses the commit ({reason}); correct it") from None


def _tree(api: "HfApi", upload: Upload, revision: str) -> "dict[str, RepoFile]":
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(upload.repository, recursive=True, revision=revision, repo_type=upload.kind)
    return {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}


def _is_same(file: Path, entry: "RepoFile | None") -> bool:
    if entry is None:
        return False
    if entry.lfs:
        return bool(entry.lfs.sha256 == sha256_file(file))
    data = file.read_bytes()
    return entry.blob_id == sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_LISTED} more" if len(paths) > _MOST_LISTED else ""
    return f"{', '.join(paths[:_MOST_LISTED])}{more}"
