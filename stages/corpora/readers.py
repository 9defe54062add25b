"""Which module reads which source, and what a source in data/raw is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.corpora import bird, folder, spider, variants
from stages.corpora.question_files import Entry

Layout = Literal["spider", "bird", "folder"]
"""How a user's own source lies in its folder: as Spider or BIRD do, or as `stages.corpora.folder` tells."""


@dataclass(frozen=True, slots=True)
class Reader:
    """How a source is read. `read`: its folder, a split and a list for mistakes to the questions; `databases`: its
    folder and a split to the folders of its databases, the one that counts first; `origin`: as in `questions`."""

    splits: tuple[str, ...]
    read: Callable[[Path, str, list[str]], list[Entry]]
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
"""The sources whose layout is known by their name."""
