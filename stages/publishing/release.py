"""The commit of a version: finds its git tag, and checks that all files here are those of the tag."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from stages.core.errors import UserError
from stages.publishing.release_info import Release

LOCK = Path("dvc.lock")
_TRACKED = ["params.yaml", "dvc.yaml", str(LOCK), "stages", "schemas"]


def release_of(version: str) -> Release:
    """The release at the git tag `version`.

    Raises UserError where there is no such tag, HEAD is another commit, a file differs from the tag's, or, by DVC,
    stage `publish` or one before it is not up to date.
    """
    tagged, head = _git("rev-parse", "--verify", f"refs/tags/{version}^{{commit}}"), _git("rev-parse", "HEAD")
    if tagged is None or head is None:
        fix = f"commit, then `git tag {version}`"
        raise UserError(f"git has no tag `{version}`, the `publish.version`; {fix}")
    commit = tagged.strip()
    if commit != head.strip():
        problem = f"the git tag `{version}` is commit {commit[:12]}, but HEAD is {head[:12]}"
        raise UserError(f"{problem}; check the tag out, or set `publish.version` to a new version and tag that")
    if changed := [*_changed_files(commit), *_changed_data()]:
        fix = "call `make back`, or run `dvc repro`, commit all and tag that commit"
        raise UserError(*(f"{name} at the git tag `{version}`; {fix}" for name in changed))
    return Release(commit, sha256((_git("show", f"{commit}:./{LOCK}") or "").encode()).hexdigest())


def _changed_files(commit: str) -> Iterator[str]:
    """The files that differ from the commit's, and code and params that it lacks. Git compares contents with a new
    index: with the user's it may take a changed file for unchanged, as after a failed `dvc exp run`."""
    with TemporaryDirectory() as folder:
        index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
        read = _git("read-tree", commit, **index)
        changed = _git("diff", "--name-only", "--relative", "--", ".", **index)
        unknown = _git("ls-files", "--others", "--exclude-standard", "--", *_TRACKED, **index)
    if read is None or changed is None or unknown is None:
        raise UserError(f"git cannot compare the files here with commit {commit[:12]}; see what `git status` says")
    yield from (f"{name} is not as it was" for name in changed.splitlines())
    yield from (f"{name} is not in git" for name in unknown.splitlines())


def _changed_data() -> Iterator[str]:
    """The stages that DVC would run for `publish`, each with what changed. Raw sources are no stages: the stages that
    read them have `data/raw` as a dep."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            status: dict[str, list[Any]] = repo.status(targets=["publish"], with_deps=True)
    except DvcException as error:
        raise UserError(f"DVC cannot tell whether the data is that of the version ({error}); correct that") from None
    for stage, changes in sorted(status.items()):  # DVC's own order is that of a set
        if not stage.endswith(".dvc"):
            texts = ", ".join(text for change in changes for text in _change_texts(change))
            yield f"stage `{stage}` is not what {LOCK} says of it ({texts})"


def _change_texts(change: str | Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The texts of an entry of DVC's status: a sentence, or the state of each file and each param."""
    if isinstance(change, str):
        yield change
        return
    for paths in change.values():
        for path, state in paths.items():
            states = state.items() if isinstance(state, dict) else [(path, state)]
            yield from (f"{name} {state}" for name, state in states)


def _git(*arguments: str, **environment: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, encoding="utf-8", check=False,
            env={**os.environ, **environment},
        )  # fmt: skip
    except FileNotFoundError:
        raise UserError("there is no `git` here, and a push needs it; install it") from None
    return done.stdout if done.returncode == 0 else None
