"""The push of a version to the Hub: one commit and one tag a repository, and again where it broke off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.errors import UserError
from stages.files import sha256_file
from stages.publishing.answers import told

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

Kind = Literal["dataset", "model"]

_THE_HUBS = {".gitattributes"}  # which the Hub makes with a repository


@dataclass(frozen=True, slots=True)
class Upload:
    """What a version of a repository is: path there to the file here."""

    repository: str
    kind: Kind
    files: Mapping[str, Path]


def refusals(repositories: Sequence[tuple[str, Kind]], private: bool) -> list[str]:
    """A sentence for each reason not to push, found without writing anything. `private`: that no repository here may be
    public.

    Raises UserError where the Hub cannot be asked.
    """
    from huggingface_hub import HfApi, get_token

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


def push(upload: Upload, version: str, private: bool) -> dict[str, str | bool]:
    """Makes the repository hold exactly the files of `upload`, in one commit that is tagged `version`.

    A repository that is made is private unless `private` is false. Where the tag is there with the same files, or only
    the tag is missing, nothing is committed again. Returns `repository, commit, new` (whether there was a commit).
    Raises UserError where the tag has other files, or the Hub refuses.
    """
    from huggingface_hub import HfApi

    api, name, kind = HfApi(), upload.repository, upload.kind
    with told(name):
        api.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        tags = api.list_repo_refs(name, repo_type=kind).tags
        tagged = next((tag.target_commit for tag in tags if tag.name == version), None)
        commit = tagged or str(api.repo_info(name, repo_type=kind).sha)
        changed, gone = _parted(api, upload, commit)
        if tagged and (changed or gone):
            raise UserError(_other_content(name, version, [*changed, *gone]))
        if changed or gone:
            commit = _commit(api, upload, version, changed, gone, parent=commit)
        if not tagged:
            api.create_tag(name, tag=version, revision=commit, repo_type=kind)
    return {"repository": name, "commit": commit, "new": bool(changed or gone)}


def _commit(
    api: "HfApi", upload: Upload, version: str, changed: Sequence[str], gone: Sequence[str], parent: str
) -> str:
    from httpx2 import HTTPError
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    added = [CommitOperationAdd(path, str(upload.files[path])) for path in changed]
    deleted = [CommitOperationDelete(path) for path in gone]
    try:
        return api.create_commit(
            upload.repository, [*added, *deleted], commit_message=version, repo_type=upload.kind, parent_commit=parent
        ).oid
    except HTTPError:
        raise
    except ValueError as error:  # of the card, which the Hub is asked about first, or of what it does not store
        why = " ".join(str(error).split())
        raise UserError(f"{upload.repository}: the Hub refuses the commit ({why}); correct what it names") from None


def _public(api: "HfApi", name: str, kind: Kind) -> bool:
    """Whether the repository is there, for all to see."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with told(name):
        try:
            return not api.repo_info(name, repo_type=kind).private
        except RepositoryNotFoundError:
            return False


def _parted(api: "HfApi", upload: Upload, revision: str) -> tuple[list[str], list[str]]:
    """The files that are not there, or others, at a revision; and those that are only there."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(upload.repository, recursive=True, revision=revision, repo_type=upload.kind)
    there = {entry.path: entry for entry in tree if isinstance(entry, RepoFile)}
    changed = [path for path, file in upload.files.items() if path not in there or not _same(file, there[path])]
    return changed, sorted(there.keys() - upload.files.keys() - _THE_HUBS)


def _same(file: Path, entry: "RepoFile") -> bool:
    if entry.lfs:
        return bool(entry.lfs.sha256 == sha256_file(file))
    data = file.read_bytes()
    return entry.blob_id == sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _other_content(name: str, version: str, paths: Sequence[str]) -> str:
    some = ", ".join(sorted(paths)[:3])
    told = f"{name} has a tag `{version}` with other content ({len(paths)} files differ: {some}"
    return f"{told}{' …' if len(paths) > 3 else ''}); a version never changes: set `publish.version` to a new one"
