"""Gets the downloads of a source together, by hand or from the network, and holds them to the hashes that are known."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.constants import ENDPOINT

from stages.core.display import show
from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.core.redaction import redact
from stages.fetching.download import NotFetched, download
from stages.fetching.dvc_record import Origin, Part, known_hashes
from stages.fetching.hub_files import download_snapshot, matching
from stages.fetching.sources import HubFiles, Source, WebFile

AGAIN = "run the same command again"


@dataclass(frozen=True, slots=True)
class Job:
    """A source to be fetched into the raw folder under its name."""

    name: str
    source: Source
    raw: Path

    @property
    def folder(self) -> Path:
        """The source's folder."""
        return self.raw / self.name

    @property
    def own(self) -> Path:
        """Where this command keeps its downloads until the source's folder and record are there."""
        return self.raw / ".downloads" / self.name

    @property
    def mark(self) -> Path:
        """A file that is there from before the source's folder is put in place until its record is written."""
        return self.own / ".placing"

    def let_go(self, path: Path) -> str:
        """Deletes a bad download, so that it is not taken for a good one, but nothing that was put there by hand. Says
        what to do, as the part of a sentence."""
        if not path.is_relative_to(self.own):
            return f"put the right file in its place, or take it away, and {AGAIN}"
        path.unlink()
        return f"it was deleted; {AGAIN}"

    def clean(self) -> None:
        """Deletes the downloads of this command."""
        shutil.rmtree(self.own, ignore_errors=True)


def obtain(job: Job) -> dict[str, Path]:
    """Name of a download to where it lies; of Hub files, where their folder lies.

    Raises UserError: of what cannot be downloaded, one sentence says what to get by hand.
    """
    try:
        return {file.name: _place(file, job) for file in job.source.downloads}
    except NotFetched as error:
        wanted = ", and ".join(_wish(file, job.raw) for file in job.source.downloads if not _at_hand(file, job))
        raise UserError(
            f"{job.name}: {error}; download by hand {wanted}, then {AGAIN} ({job.source.homepage} tells of the data)"
        ) from None


def check(job: Job, places: dict[str, Path], recorded: list[Part]) -> list[Part]:
    """The downloads as they are to be recorded. Raises UserError for each whose hash is another than the known one."""
    known, wrong, parts = known_hashes(job.source, recorded), [], []
    for origin, path in _origins(job.source, places).items():
        part = Part(origin, sha256_file(path), path.stat().st_size)
        if known.get(origin, part.sha256) != part.sha256:
            wrong.append(f"{job.name}: {path} has sha256 {part.sha256}, not {known[origin]}; {job.let_go(path)}")
        elif origin not in known:
            found = f"{path.name} has sha256 {part.sha256}"
            show(f"{job.name}: {found}; there is none to compare it with; it goes into the record")
        parts.append(part)
    if wrong:
        raise UserError(*wrong)
    return parts


def _place(file: WebFile | HubFiles, job: Job) -> Path:
    by_hand, own = job.raw / file.name, job.own / file.name
    if isinstance(file, HubFiles):
        if matching(file, by_hand):
            return by_hand
        show(f"{job.name}: downloading {file.name} from the Hub dataset {file.repo} at {file.revision}")
        download_snapshot(file, own)
    elif by_hand.is_file():
        return by_hand
    elif not own.is_file():
        show(f"{job.name}: downloading {file.name} from {file.url}")
        download(file.url, own)
    return own


def _at_hand(file: WebFile | HubFiles, job: Job) -> bool:
    if isinstance(file, HubFiles):
        return bool(matching(file, job.raw / file.name))
    return (job.raw / file.name).is_file() or (job.own / file.name).is_file()


def _wish(file: WebFile | HubFiles, raw: Path) -> str:
    if isinstance(file, WebFile):
        return f"{redact(file.url)} as {raw / file.name}"
    page = f"{ENDPOINT}/datasets/{file.repo}/tree/{file.revision}"
    return f"{', '.join(file.patterns)} of {page} into the folder {raw / file.name}, under the same path"


def _origins(source: Source, places: dict[str, Path]) -> dict[Origin, Path]:
    found: dict[Origin, Path] = {(file.url,): places[file.name] for file in source.files}
    for files in source.hub:
        for path in matching(files, places[files.name]):
            found[files.repo, files.revision, path.relative_to(places[files.name]).as_posix()] = path
    return found
