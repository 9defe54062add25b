"""A version by its git revision or DVC experiment: datasets from DVC's cache or remote, all other files from git."""

import subprocess
from collections import defaultdict
from difflib import get_close_matches
from pathlib import Path

from stages.core.errors import UserError
from stages.core.params import PARAMS_FILE
from stages.core.redaction import redact
from stages.diffing.dvc_files import LOCK, PIPELINE, contents_of
from stages.diffing.versions import Version, dvc_version


def commit_of(name: str) -> str | None:
    """The commit of a revision or an experiment; None where the name is neither. Raises UserError where the name stands
    for several commits."""
    refs = _refs_by_name().get(name, {})
    if len(set(refs.values())) > 1:
        raise UserError(f"`{name}` stands for several commits; give one of them: {', '.join(refs)}")
    done = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{next(iter(refs), name)}^{{commit}}")
    return done.stdout.decode().strip() if done.returncode == 0 else None


def in_git() -> bool:
    """Whether this folder is in a git repository."""
    return _git("rev-parse", "--git-dir").returncode == 0


def similar_names(name: str) -> list[str]:
    """Names of branches, tags and experiments that are spelled like `name`."""
    return get_close_matches(name, sorted(_refs_by_name()))


def revision_version(name: str, commit: str) -> Version:
    """The version at a commit. Raises UserError where the commit has no pipeline, or its data cannot be had."""
    pipeline, lock, params = texts_at(commit, [PIPELINE, LOCK, str(PARAMS_FILE)])
    if pipeline is None or lock is None:
        raise UserError(f"{name} has no {PIPELINE} and {LOCK} in this folder, so no data of it is known")
    contents = contents_of(pipeline, lock, params, name)
    files = cached_files(name, commit, {path: md5 for path, md5 in contents.datasets.values() if md5})
    if not files:
        raise UserError(f"{name} holds no data: by its {LOCK} no stage that makes a dataset had run")
    texts = zip(contents.metrics, texts_at(commit, contents.metrics), strict=True)
    return dvc_version(name, commit, contents, files, {path: text for path, text in texts if text is not None})


def cached_files(name: str, commit: str, hashes: dict[str, str]) -> dict[str, Path]:
    """Path to the file in DVC's cache with its content. `hashes`: path to md5. Missing content is fetched from the
    remote; raises UserError where that fails."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        repo = Repo()
    except DvcException as error:
        reason = redact(str(error))
        fix = "correct that, or give folders"
        raise UserError(f"{name}: DVC cannot tell where its data is ({reason}); {fix}") from None
    reason = ""
    with repo:
        cache = repo.cache.local
        files = {path: Path(cache.oid_to_path(md5)) for path, md5 in hashes.items()}
        missing = [path for path, file in files.items() if not file.is_file()]
        try:
            if missing:
                repo.fetch(targets=missing, revs=[commit], workspace=False)
        except (DvcException, OSError) as error:
            reason = f" ({redact(str(error))})"
    missing = [path for path in missing if not files[path].is_file()]  # without a remote, DVC says nothing
    if missing:
        raise UserError(
            f"{name}: {', '.join(missing)} neither in DVC's cache nor in a remote{reason}; run `dvc push` where it was "
            f"made, then `dvc fetch --all-commits {' '.join(missing)}` here"
        )
    return files


def _refs_by_name() -> dict[str, dict[str, str]]:
    """Short name of every branch, tag and experiment to its full names, each with its commit."""
    refs: dict[str, dict[str, str]] = defaultdict(dict)
    target_of = "%(if)%(*objectname)%(then)%(*objectname)%(else)%(objectname)%(end)"  # an annotated tag is an object
    form = f"--format={target_of} %(refname)"
    listed = _git("for-each-ref", form, "refs/heads", "refs/tags", "refs/exps")
    for line in listed.stdout.decode().splitlines():
        target, _, ref = line.partition(" ")
        kind, *parts = ref.removeprefix("refs/").split("/")
        if kind != "exps":
            refs["/".join(parts)][ref] = target
        elif len(parts) == 3:  # the first and the other digits of the commit it began at, its name
            refs[parts[-1]][ref] = target
    return refs


def texts_at(commit: str, paths: list[str]) -> list[str | None]:
    """The text of each file in this folder as it is in a commit; None where it is not there."""
    names = "".join(f"{commit}:./{path}\n" for path in paths)
    output = _git("cat-file", "--batch", stdin=names.encode()).stdout
    texts: list[str | None] = []
    for _ in paths:
        head, _, output = output.partition(b"\n")
        if head.endswith(b" missing"):
            texts.append(None)
        else:
            size = int(head.split()[-1])
            texts.append(output[:size].decode())
            output = output[size + 1 :]
    return texts


def _git(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=False)
