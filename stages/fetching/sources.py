"""The corpora that can be fetched: `sources.yaml` as strict models."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from stages.core.errors import UserError
from stages.core.params import Params, parse_section, read_sections

SOURCES = Path(__file__).with_name("sources.yaml")


def _inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("must be a path inside a folder, without `..`")
    return path


Inside = Annotated[str, AfterValidator(_inside)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][\w.-]*$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Commit = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Unpack(Params):
    """How a zip is unpacked. `root`: the folder in it to unpack; `nested`: zips under `root` to unpack too."""

    root: Inside
    nested: list[Inside]


class WebFile(Params):
    """A file at a web address. `name`: its name in the raw folder, where a user may put it by hand. `into`: its path in
    the source's folder. `sha256` and `size` (bytes): None if unknown."""

    name: Name
    url: str
    sha256: Sha256 | None
    size: int | None
    unpack: Unpack | None
    into: Inside


class HubFiles(Params):
    """Files of a Hub dataset at a commit. Files under `root` go `into` a folder of the source's folder. `sha256`: path
    to hash, for those that are known."""

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
        """The name of the folder of these files in the raw folder, where a user may put them by hand."""
        return self.repo.rpartition("/")[2]


class Source(Params):
    """A corpus: its origin and licence, its downloads, and the files that it must have. `required`: patterns that must
    each match a file; `questions`: JSON file to the number of its entries."""

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
        """All downloads."""
        return [*self.files, *self.hub]


def read_sources(path: Path, names: list[str]) -> dict[str, Source]:
    """Reads the named sources (no names: all). Raises UserError with a sentence for each unknown name, else for each
    wrong field of a source."""
    sections = read_sections(path)
    if unknown := [name for name in names if name not in sections]:
        available = ", ".join(sections)
        raise UserError(*(f"source {name!r} is not known; the sources are: {available}" for name in unknown))
    return {name: parse_section(sections, name, Source, path) for name in names or sections}
