"""The record of where raw data came from: a `.dvc` file beside its folder, made by DVC.

DVC's own part tells the hash, size and number of the files; `desc` and `meta` tell what they are, under which licence,
and of each downloaded file its address, sha256 and size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dvc.dvcfile import load_file
from dvc.exceptions import DvcException, NotDvcRepoError
from dvc.repo import Repo
from ruamel.yaml.scalarstring import LiteralScalarString

from stages.core.errors import UserError
from stages.core.yaml_files import read_yaml
from stages.fetching.sources import Source

Origin = tuple[str, ...]
"""What names a download for good: its address; of a Hub file its dataset, commit and path."""

_NAMES = {1: ("url",), 3: ("hub", "revision", "path")}


@dataclass(frozen=True, slots=True)
class Part:
    """A downloaded file; `size` in bytes."""

    origin: Origin
    sha256: str
    size: int


def need_repository(raw: Path) -> None:
    """Raises UserError where the raw folder does not lie in a DVC repository."""
    raw.mkdir(parents=True, exist_ok=True)
    try:
        Repo.find_root(str(raw))
    except NotDvcRepoError:
        raise UserError(
            f"{raw} lies in no DVC repository, which is to keep the record of where data came from; run the command "
            "from the root of the repository"
        ) from None


def record_of(folder: Path) -> Path:
    """Where the record of a source's folder lies."""
    return folder.with_name(folder.name + ".dvc")


def write_record(folder: Path, source: Source, parts: list[Part]) -> None:
    """Makes the record of a source's folder, whole for git, too. Raises UserError where DVC cannot.

    The data is not put into DVC's cache here; the first `dvc repro` that uses it does that.
    """
    try:
        with Repo(Repo.find_root(str(folder.parent))) as repo, repo.scm_context():
            (stage,) = repo.add(str(folder.resolve()), no_commit=True)
            stage.desc = f"{source.title}, as its authors ship it."
            stage.meta = _meta(source, parts)
            stage.dump()
    except DvcException as error:
        raise UserError(f"DVC cannot record {folder} ({error}); see to that and run the same command again") from None


def read_parts(folder: Path) -> list[Part]:
    """The downloads that a folder's record tells of; none where there is no record. Raises UserError where it is none
    of ours."""
    path = record_of(folder)
    if not path.is_file():
        return []
    try:
        rows = read_yaml(path, "restore it from the last commit")["meta"]["files"]
        return [Part(_origin(row), row["sha256"], row["size"]) for row in rows]
    except (KeyError, TypeError):
        raise UserError(f"{path} tells of no downloads; restore it from the last commit, or remove it") from None


def is_of(parts: list[Part], source: Source) -> bool:
    """Whether recorded downloads are those that the source tells of, with the hashes that it knows."""
    wanted = {(file.url,) for file in source.files} | {(files.repo, files.revision) for files in source.hub}
    pinned = known_hashes(source, [])
    return {part.origin[:2] for part in parts} == wanted and all(
        pinned.get(part.origin, part.sha256) == part.sha256 for part in parts
    )


def known_hashes(source: Source, recorded: list[Part]) -> dict[Origin, str]:
    """The sha256 that a download must have: of the source, else of an earlier record."""
    known = {part.origin: part.sha256 for part in recorded}
    known |= {(file.url,): file.sha256 for file in source.files if file.sha256}
    for files in source.hub:
        known |= {(files.repo, files.revision, path): sha256 for path, sha256 in files.sha256.items()}
    return known


def unchanged(folder: Path) -> bool:
    """Whether the files in a folder are those of its record. Raises UserError where DVC cannot tell."""
    record = record_of(folder)
    try:
        with Repo(Repo.find_root(str(folder.parent))) as repo:
            (out,) = load_file(repo, str(record.resolve())).stage.outs
            return not out.changed_checksum()
    except DvcException as error:
        raise UserError(f"DVC cannot read {record} ({error}); restore it from the last commit") from None


def _origin(row: Mapping[str, str]) -> Origin:
    return tuple(row[name] for name in _NAMES[1 if "url" in row else 3])


def _meta(source: Source, parts: list[Part]) -> dict[str, Any]:
    told = source.model_dump(include={"title", "homepage", "licence", "licence_url", "redistribution"})
    files = [
        {**dict(zip(_NAMES[len(part.origin)], part.origin, strict=True)), "sha256": part.sha256, "size": part.size}
        for part in parts
    ]
    return {**told, "citation": LiteralScalarString(source.citation), "files": files}
