"""The commit that a version is: its git tag, and that the data here is what the tag's dvc.lock says."""

import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.errors import UserError

LOCK = Path("dvc.lock")
_LEFT_OUT = {"publish", "check_params"}  # which read `publish.push`


@dataclass(frozen=True, slots=True)
class Release:
    """`commit`: hex id of the tag's commit; `lock`: hex sha256 of its dvc.lock."""

    commit: str
    lock: str


def release_of(version: str) -> Release:
    """The release that the git tag `version` is.

    Raises UserError where there is no such tag, HEAD is another commit, or a stage here has other deps, params or outs
    than the tag's dvc.lock says; not those that read `publish.push`, which is false there.
    """
    commit, head = _git("rev-parse", "--verify", f"refs/tags/{version}^{{commit}}"), _git("rev-parse", "HEAD")
    if commit is None or head is None:
        raise UserError(f"git has no tag `{version}`, the `publish.version`; commit, then `git tag {version}`")
    if commit != head:
        told = f"the git tag `{version}` is commit {commit[:12]}, but HEAD is {head[:12]}"
        raise UserError(f"{told}; check the tag out, or set `publish.version` to a new version and tag that")
    lock = _git("show", f"{version}:./{LOCK}")
    parted = [] if lock is None else _parted(_stages(lock), _stages(LOCK.read_text(encoding="utf-8")))
    if lock is None or parted:
        what = f"stages that part: {', '.join(parted)}" if parted else "the tag has none"
        fix = f"run `dvc repro`, commit {LOCK} and tag that commit"
        raise UserError(f"{LOCK} at the git tag `{version}` is not that of the data here ({what}); {fix}")
    return Release(commit.strip(), sha256(lock.encode()).hexdigest())


def _git(*words: str) -> str | None:
    done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8", check=False)
    return done.stdout if done.returncode == 0 else None


def _stages(lock: str) -> dict[str, Any]:
    stages: dict[str, Any] = YAML(typ="safe", pure=True).load(lock)["stages"]
    return {name: stage for name, stage in stages.items() if name not in _LEFT_OUT}


def _parted(tagged: dict[str, Any], here: dict[str, Any]) -> list[str]:
    return sorted(name for name in tagged.keys() | here.keys() if tagged.get(name) != here.get(name))
