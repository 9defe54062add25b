"""The record of the provenance of raw data: a `.dvc` file beside its folder, made by DVC.

DVC writes the hash, size and number of the files. `desc` and `meta` say what the data is, its licence, and the address,
sha256 and size of each downloaded file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dvc.dvcfile import load_file
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from ruamel.yaml.scalarstring import LiteralScalarString

from stages.core.errors import UserError
from stages.core.yaml_files import read_yaml
from stages.fetching.sources import Source

Origin = tuple[str, ...]
"""Identifies a download: its address, or the dataset, commit and path of a Hub file."""

_ORIGIN_KEYS = {1: ("url",), 3: ("hub", "revision", "path")}


@dataclass(frozen=True, slots=True)
class DownloadedFile:
    """A downloaded file; `size` in bytes."""

    origin: Origin
    sha256: str
    size: int


def require_repository(raw: Path) -> None:
    """Raises UserError if the raw folder is not in a DVC repository."""
    raw.mkdir(parents=True, exist_ok=True)
    try:
        Repo.find_root(str(raw))
    except NotDvcRepoError:
        raise UserError(
            f"{raw} lies in no DVC repository, which keeps the record of where data came from; run the command from "
            "the root of the repository"
        ) from None


def record_path(folder: Path) -> Path:
    """The path of the record of a source's folder."""
    return folder.with_name(folder.name + ".dvc")


def write_record(folder: Path, source: Source, files: list[DownloadedFile]) -> None:
    """Writes the record of a source's folder and stages it in git. Raises UserError if DVC fails. The data is not put
    into DVC's cache; the first `dvc repro` that uses it does that."""
    try:
        with Repo(Repo.find_root(str(folder.parent))) as repo, repo.scm_context():
            (stage,) = repo.add(str(folder.resolve()), no_commit=True)
            stage.desc = f"{source.title}, as its authors ship it."
            about = source.model_dump(include={"title", "homepage", "licence", "licence_url", "redistribution"})
            rows = [
                dict(zip(_ORIGIN_KEYS[len(file.origin)], file.origin, strict=True))
                | {"sha256": file.sha256, "size": file.size}
                for file in files
            ]
            stage.meta = {**about, "citation": LiteralScalarString(source.citation), "files": rows}
            stage.dump()
    except DvcException as error:
        raise UserError(f"DVC cannot record {folder} ({error}); see to that and run the same command again") from None


def read_record(folder: Path) -> list[DownloadedFile]:
    """Reads the downloads in a folder's record; none if there is no record. Raises UserError if this command did not
    write it."""
    path = record_path(folder)
    if not path.is_file():
        return []
    try:
        rows = read_yaml(path, "restore it from the last commit")["meta"]["files"]
        return [DownloadedFile(_origin(row), row["sha256"], row["size"]) for row in rows]
    except (KeyError, TypeError):
        raise UserError(f"{path} tells of no downloads; restore it from the last commit, or remove it") from None


def matches_source(recorded: list[DownloadedFile], source: Source) -> bool:
    """Whether the recorded downloads are those of the source, with the hashes that it pins."""
    origins = {(file.url,) for file in source.files} | {(files.repo, files.revision) for files in source.hub}
    pinned = known_hashes(source, [])
    return {file.origin[:2] for file in recorded} == origins and all(
        pinned.get(file.origin, file.sha256) == file.sha256 for file in recorded
    )


def known_hashes(source: Source, recorded: list[DownloadedFile]) -> dict[Origin, str]:
    """Returns the sha256 that each download must have: the source's, else that of an earlier record."""
    hashes = {file.origin: file.sha256 for file in recorded}
    hashes |= {(file.url,): file.sha256 for file in source.files if file.sha256}
    for files in source.hub:
        hashes |= {(files.repo, files.revision, path): sha256 for path, sha256 in files.sha256.items()}
    return hashes


def is_unchanged(folder: Path) -> bool:
    """Whether the files in a folder are those of its record. Raises UserError if DVC cannot read the record."""
    record = record_path(folder)
    try:
        with Repo(Repo.find_root(str(folder.parent))) as repo:
            (out,) = load_file(repo, str(record.resolve())).stage.outs
            return not out.changed_checksum()
    except DvcException as error:
        raise UserError(f"DVC cannot read {record} ({error}); restore it from the last commit") from None


def _origin(row: Mapping[str, str]) -> Origin:
    return tuple(row[name] for name in _ORIGIN_KEYS[1 if "url" in row else 3])
