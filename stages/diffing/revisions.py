"""A version by its git revision or its DVC experiment: data from DVC's cache or remote, the rest from git."""

import subprocess
from collections import defaultdict
from difflib import get_close_matches
from pathlib import Path

from stages.core.commands import noted
from stages.core.errors import UserError
from stages.core.params import PARAMS_FILE
from stages.core.redaction import redact
from stages.diffing.dvc_files import LOCK, PIPELINE, contents_of, numbers_of
from stages.diffing.versions import Table, Version, open_table


def commit_of(name: str) -> str | None:
    """The commit that a revision or an experiment's name stands for; None where it is neither. Raises UserError where
    the name stands for several."""
    refs = _names().get(name, {})
    if len(set(refs.values())) > 1:
        raise UserError(f"`{name}` stands for several commits; give one of them: {', '.join(refs)}")
    asked = next(iter(refs), name)
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{asked}^{{commit}}")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def in_git() -> bool:
    """Whether this folder is in a git repository."""
    return _git("rev-parse", "--git-dir").returncode == 0


def similar(name: str) -> list[str]:
    """Names of branches, tags and experiments that are much like `name`."""
    return get_close_matches(name, sorted(_names()))


def revision_version(name: str, commit: str) -> Version:
    """The version at a commit. Raises UserError where there is no pipeline in it, or data of it can be had nowhere."""
    pipeline, lock, params = _texts(commit, [PIPELINE, LOCK, str(PARAMS_FILE)])
    if pipeline is None or lock is None:
        raise UserError(f"{name} has no {PIPELINE} and {LOCK} in this folder, so no data of it is known")
    contents = contents_of(pipeline, lock, params, name)
    wanted = {path: md5 for path, md5 in contents.datasets.values() if md5}
    files = _data(name, commit, wanted)
    wrong: list[str] = []
    tables: dict[str, Table] = {}
    for dataset, (path, md5) in contents.datasets.items():
        with noted(wrong):
            if md5:
                tables[dataset] = open_table(f"{name}: {path}", dataset, [files[path]])
    metrics = {}
    for path, text in zip(contents.metrics, _texts(commit, contents.metrics), strict=True):
        with noted(wrong):
            if text is not None:
                metrics[path] = numbers_of(text, f"{name}: {path}")
    if wrong:
        raise UserError(*wrong)
    if not tables:
        raise UserError(f"{name} holds no data: by its {LOCK} no stage that makes a dataset had run")
    return Version(name, commit, tables, contents.params, metrics, contents.stale)


def _data(name: str, commit: str, wanted: dict[str, str]) -> dict[str, Path]:
    """Path to the file in DVC's cache that has its content. What is not there is fetched from the remote."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo()
    except DvcException as error:
        reason = redact(str(error))
        fix = "correct that, or give folders"
        raise UserError(f"{name}: DVC cannot tell where its data is ({reason}); {fix}") from None
    told = ""
    with repo:
        cache = repo.cache.local
        files = {path: Path(cache.oid_to_path(md5)) for path, md5 in wanted.items()}
        missing = [path for path, file in files.items() if not file.is_file()]
        try:
            if missing:
                repo.fetch(targets=missing, revs=[commit], workspace=False)
        except (DvcException, OSError) as error:
            told = f" ({redact(str(error))})"
    left = [path for path in missing if not files[path].is_file()]  # without a remote, DVC says nothing
    if left:
        raise UserError(
            f"{name}: {', '.join(left)} neither in DVC's cache nor in a remote{told}; run `dvc push` where it was "
            f"made, then `dvc fetch --all-commits {' '.join(left)}` here"
        )
    return files


def _names() -> dict[str, dict[str, str]]:
    """Short name of every branch, tag and experiment to its full names, each with its commit."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    target_of = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"  # an annotated tag is an object
    form = f"--format={target_of} %(refname)"
    listed = _git("for-each-ref", form, "refs/heads", "refs/tags", "refs/exps")
    for line in listed.stdout.decode().splitlines():
        target, _, ref = line.partition(" ")
        kind, *parts = ref.removeprefix("refs/").split("/")
        if kind != "exps":
            found["/".join(parts)][ref] = target
        elif len(parts) == 3:  # the first and the other digits of the commit it began at, its name
            found[parts[-1]][ref] = target
    return found


def _texts(commit: str, paths: list[str]) -> list[str | None]:
    """The text of each file in this folder as it is in a commit; None where it is not there."""
    asked = "".join(f"{commit}:./{path}\n" for path in paths)
    told = _git("cat-file", "--batch", given=asked.encode()).stdout
    texts: list[str | None] = []
    for _ in paths:
        head, _, told = told.partition(b"\n")
        if head.endswith(b" missing"):
            texts.append(None)
        else:
            size = int(head.split()[-1])
            texts.append(told[:size].decode())
            told = told[size + 1 :]
    return texts


def _git(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], input=given, capture_output=True, check=False)
