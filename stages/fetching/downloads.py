"""Downloads the files of a source, or takes those put there by hand, and verifies their hashes."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import ENDPOINT

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.core.redaction import redact
from stages.fetching.download import NotFetched, download
from stages.fetching.dvc_record import DownloadedFile, Origin, known_hashes
from stages.fetching.hub_files import download_snapshot, matching
from stages.fetching.sources import HubFiles, Source, WebFile

RUN_AGAIN = "run the same command again"


@dataclass(frozen=True, slots=True)
class SourceFetch:
    """A source that is fetched into the raw folder under its name."""

    name: str
    source: Source
    raw: Path

    @property
    def folder(self) -> Path:
        """The source's folder."""
        return self.raw / self.name

    @property
    def downloads(self) -> Path:
        """The folder of this command's own downloads, kept until the source's folder and record are written."""
        return self.raw / ".downloads" / self.name

    @property
    def unrecorded_mark(self) -> Path:
        """A file that exists from before the source's folder is moved into place until its record is written."""
        return self.downloads / ".placing"

    def discard(self, path: Path) -> str:
        """Deletes a bad download, but not a file that was put there by hand. Returns what the user should do, as part
        of a sentence."""
        if not path.is_relative_to(self.downloads):
            return f"put the right file in its place, or take it away, and {RUN_AGAIN}"
        path.unlink()
        return f"it was deleted; {RUN_AGAIN}"

    def delete_downloads(self) -> None:
        """Deletes the downloads of this command."""
        shutil.rmtree(self.downloads, ignore_errors=True)


def download_files(fetch: SourceFetch) -> dict[str, Path]:
    """Downloads what is missing. Returns the name of each download to its file, or to its folder for Hub files. Raises
    UserError if a download fails; the sentence says what to download by hand."""
    try:
        return {file.name: _local_path(file, fetch) for file in fetch.source.downloads}
    except NotFetched as error:
        missing = (file for file in fetch.source.downloads if not _existing(file, fetch))
        wanted = ", and ".join(_by_hand(file, fetch.raw) for file in missing)
        raise UserError(
            f"{fetch.name}: {error}; download by hand {wanted}, then {RUN_AGAIN} ({fetch.source.homepage} describes "
            "the data)"
        ) from None


def verify_files(
    fetch: SourceFetch, paths: dict[str, Path], recorded: list[DownloadedFile]
) -> list[DownloadedFile]:
    """Returns the downloads to record. Raises UserError for each whose hash differs from the known one."""
    expected, errors, files = known_hashes(fetch.source, recorded), [], []
    for origin, path in _origins(fetch.source, paths).items():
        file = DownloadedFile(origin, sha256_file(path), path.stat().st_size)
        if expected.get(origin, file.sha256) != file.sha256:
            errors.append(f"{path} has sha256 {file.sha256}, not {expected[origin]}; {fetch.discard(path)}")
        elif origin not in expected:
            hashed = f"{path.name} has sha256 {file.sha256}"
            show(f"{fetch.name}: {hashed}; there is none to compare it with; it goes into the record")
        files.append(file)
    if errors:
        raise UserError(*(f"{fetch.name}: {error}" for error in errors))
    return files


def _existing(file: WebFile | HubFiles, fetch: SourceFetch) -> Path | None:
    """The file or folder put there by hand, else the own download of a web file; None where there is neither."""
    by_hand, own = fetch.raw / file.name, fetch.downloads / file.name
    if isinstance(file, HubFiles):
        return by_hand if matching(file, by_hand) else None
    return next((path for path in (by_hand, own) if path.is_file()), None)


def _local_path(file: WebFile | HubFiles, fetch: SourceFetch) -> Path:
    if path := _existing(file, fetch):
        return path
    own = fetch.downloads / file.name
    if isinstance(file, HubFiles):
        show(f"{fetch.name}: downloading {file.name} from the Hub dataset {file.repo} at {file.revision}")
        download_snapshot(file, own)
    else:
        show(f"{fetch.name}: downloading {file.name} from {file.url}")
        download(file.url, own)
    return own


def _by_hand(file: WebFile | HubFiles, raw: Path) -> str:
    if isinstance(file, WebFile):
        return f"{redact(file.url)} as {raw / file.name}"
    page = f"{ENDPOINT}/datasets/{file.repo}/tree/{file.revision}"
    return f"{', '.join(file.patterns)} of {page} into the folder {raw / file.name}, under the same path"


def _origins(source: Source, paths: dict[str, Path]) -> dict[Origin, Path]:
    origins: dict[Origin, Path] = {(file.url,): paths[file.name] for file in source.files}
    for files in source.hub:
        folder = paths[files.name]
        for path in matching(files, folder):
            origins[files.repo, files.revision, path.relative_to(folder).as_posix()] = path
    return origins
