"""Maps the sources in data/raw, and the layouts of a user's own sources, to their readers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.corpora import bird, folder, spider, variants
from stages.corpora.question_files import QuestionFile

Layout = Literal["spider", "bird", "folder"]
"""The file layout of a user's own source: Spider's, BIRD's, or that of `stages.corpora.folder`."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How a source is read. `read`: reads the questions of a split from the source's folder. `databases`: returns the
    folders of a split's databases; the first that has a database counts. `origin`: the value of the column in
    `questions`."""

    splits: tuple[str, ...]
    read: Callable[[Path, str], QuestionFile]
    databases: Callable[[Path, str], list[Path]]
    origin: str = "human"


LAYOUTS: dict[Layout, Reader] = {
    "spider": Reader(("train", "dev", "test"), spider.read, spider.databases),
    "bird": Reader(("train", "dev"), bird.read, bird.databases),
    "folder": Reader(("train", "dev", "test"), folder.read, folder.databases),
}
KNOWN: dict[str, Reader] = {
    "spider": LAYOUTS["spider"],
    "bird": LAYOUTS["bird"],
    bird.MINI: Reader(("dev",), bird.read, bird.databases),
    **{
        name: Reader(tuple(files), variants.read, variants.databases, "rewrite")
        for name, files in variants.FILES.items()
    },
}
"""Source name to reader, for the sources with a known layout."""
