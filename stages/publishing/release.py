"""The commit that a version is: its git tag, and that what is published from is what the tag says."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, md5, sha256
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from stages.errors import UserError
from stages.params import PARAMS_FILE

LOCK = Path("dvc.lock")
_PUSHING = {"publish", "check_params"}  # the stages that read `publish.push`, which is false at the tag
_AGAIN = "run `dvc repro`, commit all and tag that commit"


@dataclass(frozen=True, slots=True)
class Release:
    """`commit`: hex id of the tag's commit; `lock`: hex sha256 of its dvc.lock."""

    commit: str
    lock: str


def release_of(version: str, inputs: Sequence[Path], made: Sequence[Path]) -> Release:
    """The release that the git tag `version` is.

    `inputs`: the files and folders that are published from, `made`: those that publishing itself writes. Raises
    UserError where there is no such tag or HEAD is another commit; else where a file here is not what the tag has, or
    an input not what its dvc.lock has. Only `publish.push` may differ, and what comes of it.
    """
    tagged, head = _git("rev-parse", "--verify", f"refs/tags/{version}^{{commit}}"), _git("rev-parse", "HEAD")
    if tagged is None or head is None:
        fix = f"commit, then `git tag {version}` (`dvc exp run --temp` does not see tags)"
        raise UserError(f"git has no tag `{version}`, the `publish.version`; {fix}")
    commit = tagged.strip()
    if commit != head.strip():
        told = f"the git tag `{version}` is commit {commit[:12]}, but HEAD is {head[:12]}"
        raise UserError(f"{told}; check the tag out, or set `publish.version` to a new version and tag that")
    lock = _git("show", f"{version}:./{LOCK}") or ""
    wrong = [*_changed_files(version, made), *_changed_params(version), *_changed_stages(lock), *_changed(lock, inputs)]
    if wrong:
        raise UserError(*(f"{what} at the git tag `{version}`; {_AGAIN}" for what in wrong))
    return Release(commit, sha256(lock.encode()).hexdigest())


def _changed_files(version: str, made: Sequence[Path]) -> Iterator[str]:
    apart = [f":(exclude){path}" for path in (PARAMS_FILE, LOCK, *made)]
    for name in (_git("diff", "--name-only", "--relative", version, "--", ".", *apart) or "").splitlines():
        yield f"{name} is not what it is"


def _changed_params(version: str) -> Iterator[str]:
    tagged, here = (_loaded(text) for text in (_git("show", f"{version}:./{PARAMS_FILE}"), PARAMS_FILE.read_text()))
    for params in (tagged, here):
        params.get("publish", {}).pop("push", None)
    for section in sorted(name for name in tagged | here if tagged.get(name) != here.get(name)):
        yield f"section `{section}` of {PARAMS_FILE} is not what it is"


def _changed_stages(lock: str) -> Iterator[str]:
    tagged, here = (_loaded(text).get("stages", {}) for text in (lock, LOCK.read_text() if LOCK.is_file() else ""))
    for name in sorted((tagged.keys() | here.keys()) - _PUSHING):
        if tagged.get(name) != here.get(name):
            yield f"stage `{name}` of {LOCK} is not what it is"


def _changed(lock: str, inputs: Sequence[Path]) -> Iterator[str]:
    """What the stages made, as it lies here."""
    for stage in _loaded(lock).get("stages", {}).values():
        for out in stage.get("outs", []):
            path = Path(out["path"])
            if any(path == one or one in path.parents for one in inputs) and dvc_md5(path) != out.get("md5"):
                yield f"{path} is not what {LOCK} says of it"


def dvc_md5(path: Path) -> str | None:
    """As DVC has it; of a folder, that of the list of its files."""
    if path.is_file():
        with path.open("rb") as file:
            return file_digest(file, "md5").hexdigest()
    files = sorted(one for one in path.rglob("*") if one.is_file())
    listed = [{"md5": dvc_md5(one), "relpath": one.relative_to(path).as_posix()} for one in files]
    listed.sort(key=lambda one: str(one["relpath"]))
    return md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def _loaded(text: str | None) -> dict[str, Any]:
    try:
        values = YAML(typ="safe", pure=True).load(text or "")
    except YAMLError as error:
        raise UserError(f"{LOCK} or {PARAMS_FILE} is not YAML ({' '.join(str(error).split())}); restore it") from None
    return values if isinstance(values, dict) else {}


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, text=True, encoding="utf-8", check=False)
    except FileNotFoundError:
        raise UserError("there is no `git` here, which a push asks for its tag; install it") from None
    return done.stdout if done.returncode == 0 else None
