"""Downloads files of a Hub dataset at a commit."""

from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from stages.core.disk import disk_full_errors
from stages.core.errors import UserError
from stages.core.redaction import user_info_problem
from stages.fetching.download import NotFetched
from stages.fetching.sources import HubFiles


def download_snapshot(files: HubFiles, folder: Path) -> None:
    """Puts the files under their paths into `folder`, going on where an earlier try was cut.

    Raises NotFetched where the Hub cannot be reached or has no such dataset or commit, UserError where HF_ENDPOINT has
    user info, DiskFull where there is no room.
    """
    from httpx2 import HTTPError
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError, LocalEntryNotFoundError, OfflineModeIsEnabled

    if problem := user_info_problem("HF_ENDPOINT", constants.ENDPOINT):
        raise UserError(problem)
    try:
        with disk_full_errors(folder):
            snapshot_download(
                files.repo,
                repo_type="dataset",
                revision=files.revision,
                allow_patterns=files.patterns,
                local_dir=folder,
            )
    except (HTTPError, IncompleteSnapshotError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        reason = " ".join(str(error).split())
        raise NotFetched(f"{files.repo} could not be downloaded from the Hub ({reason})") from None


def matching(files: HubFiles, folder: Path) -> list[Path]:
    """The files in `folder` that the patterns name, sorted; empty where a pattern is met by none."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    met = [[name for name in names if fnmatchcase(name, pattern)] for pattern in files.patterns]
    return [folder / name for name in sorted(set(chain(*met)) - _kept_by_the_hub(names))] if all(met) else []


def _kept_by_the_hub(names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".cache/")}
