"""What is known of each corpus that can be fetched: `sources.yaml` as strict models."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stages.core.errors import UserError
from stages.core.params import Params, parse_section, read_sections


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("must be a path inside a folder, without `..`")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Unpack(Params):
    """How a zip is unpacked. `root`: the folder in it that is taken; `nested`: zips under `root` to unpack too."""

    root: Inside
    nested: list[Inside]


class WebFile(Params):
    """A file at a web address. `name`: what it is called in the raw folder, where a user may put it by hand; `into`:
    where it goes in the source's folder; `sha256` and `size` (bytes) are None where they are not known."""

    name: Name
    url: str
    sha256: Sha256 | None
    size: int | None
    unpack: Unpack | None
    into: Inside


class HubFiles(Params):
    """Files of a Hub dataset at a commit: what lies under `root` goes `into` a folder of the source's. `sha256`: path
    to hash, where one is known."""

    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")]
    revision: Commit
    patterns: Annotated[list[str], Field(min_length=1)]
    sha256: dict[Inside, Sha256]
    root: Inside
    into: Inside

    @model_validator(mode="after")
    def _patterns_lie_under_root(self) -> Self:
        if self.root != "." and not all(pattern.startswith(f"{self.root}/") for pattern in self.patterns):
            raise ValueError(f"every pattern must begin with `{self.root}/`, the root")
        return self

    @property
    def name(self) -> str:
        """What the folder of these files is called in the raw folder, where a user may put them by hand."""
        return self.repo.rpartition("/")[2]


class Source(Params):
    """A corpus: its origin and licence, what is downloaded, and what must be there afterwards. `required`: patterns
    that must each be met by a file; `questions`: JSON file to the number of its entries."""

    title: str
    homepage: str
    licence: str
    licence_url: str
    redistribution: bool
    citation: str
    files: list[WebFile]
    hub: list[HubFiles]
    required: list[Inside]
    questions: dict[Inside, int]

    @property
    def downloads(self) -> list[WebFile | HubFiles]:
        """All that is to be downloaded."""
        return [*self.files, *self.hub]


def read_sources(path: Path, names: list[str]) -> dict[str, Source]:
    """The sources of these names, or all where none is given. Raises UserError with a sentence for each unknown name,
    else for each wrong field of a source."""
    known = read_sections(path)
    wrong = [
        f"source {name!r} is not known; the sources are: {', '.join(known)}"
        for name in names
        if name not in known
    ]
    if wrong:
        raise UserError(*wrong)
    return {name: parse_section(known, name, Source, path) for name in names or known}
