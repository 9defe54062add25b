"""Downloads files of a Hub dataset at a pinned commit."""

from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

from stages.core.disk import disk_full_errors
from stages.core.errors import UserError
from stages.core.redaction import user_info_problem
from stages.fetching.download import NotFetched
from stages.fetching.sources import HubFiles


def download_snapshot(files: HubFiles, folder: Path) -> None:
    """Downloads the files into `folder`, under their paths, and resumes an interrupted download. Raises NotFetched if
    the Hub cannot be reached or has no such dataset or commit, UserError if HF_ENDPOINT has user info, DiskFull if the
    disk has no room."""
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
    """Returns the files in `folder` that match the patterns, sorted; empty if a pattern matches none. The Hub client's
    own files in `.cache` are left out."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    matches = [[name for name in names if fnmatchcase(name, pattern)] for pattern in files.patterns]
    if not all(matches):
        return []
    return [folder / name for name in sorted(set(chain(*matches))) if not name.startswith(".cache/")]
