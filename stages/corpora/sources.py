"""Reads the sources in data/raw: their params, their questions, and the databases that the questions ask."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.params import Params
from stages.core.stable_draw import stable_draw
from stages.corpora.question_files import Entry
from stages.corpora.readers import KNOWN, LAYOUTS, Layout, Reader
from stages.corpora.source_databases import duplicate_problems, find_database
from stages.sql.hardness import hardness


class SplitParams(Params):
    """How many questions of a split are used: a share, and an upper limit."""

    share: float = Field(gt=0, le=1)
    limit: int | None = Field(gt=0)


class SourceParams(Params):
    """One of `corpus.sources` in params.yaml. `layout`: of a user's own source; a split that is null is not used."""

    layout: Layout | None = None
    train: SplitParams | None = None
    dev: SplitParams | None = None
    test: SplitParams | None = None

    @property
    def splits(self) -> dict[str, SplitParams]:
        """The splits that are used."""
        splits = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: params for split, params in splits.items() if params}

    @model_validator(mode="after")
    def _needs_a_split(self) -> Self:
        if not self.splits:
            raise PydanticCustomError("splits", "give at least one of train, dev and test, with `share` and `limit`")
        return self


def reader_of(name: str, params: SourceParams) -> Reader:
    """Returns the reader of a source. Raises PydanticCustomError if its name and its params contradict each other."""
    if name in KNOWN and params.layout:
        raise PydanticCustomError("layout", f"`{name}` has a layout of its own; leave `layout` out")
    if name not in KNOWN and not params.layout:
        names = ", ".join(KNOWN)
        raise PydanticCustomError("layout", f"`{name}` is none of {names}; a source of your own needs a `layout`")
    reader = KNOWN[name] if params.layout is None else LAYOUTS[params.layout]
    absent = [split for split in params.splits if split not in reader.splits]
    if absent:
        existing = ", ".join(reader.splits)
        raise PydanticCustomError("split", f"`{name}` has no {' and no '.join(absent)}; it has {existing}")
    return reader


@dataclass(frozen=True, slots=True)
class SourceSplit:
    """A split of a source: its questions, and the file of each database that they ask (None: missing)."""

    source: str
    split: str
    params: SplitParams
    origin: str
    entries: list[Entry]
    databases: dict[str, Path | None]

    @property
    def name(self) -> str:
        """The name of the test set."""
        return f"{self.source}-{self.split}"


def read_splits(sources: Mapping[str, SourceParams], raw: Path, errors: list[str]) -> list[SourceSplit]:
    """Reads every split of every source, in their order. Appends a sentence to `errors` for each error in a file."""
    splits = []
    for source, params in sources.items():
        folder, reader = raw / source, reader_of(source, params)
        if link := _symbolic_link(folder):
            errors.append(f"{link} is a symbolic link, into which DVC does not look; link its files with `cp -rl`")
        elif not folder.is_dir():
            errors.append(f"{folder} is no folder; get it with `python -m stages.fetch`, or put the files there")
        else:
            for name, split_params in params.splits.items():
                entries, file_errors = reader.read(folder, name)
                folders = reader.databases(folder, name)
                db_ids = sorted({entry.db_id for entry in entries})
                errors += [*file_errors, *duplicate_problems(folders, db_ids)]
                databases = {db_id: find_database(folders, db_id) for db_id in db_ids}
                splits.append(SourceSplit(source, name, split_params, reader.origin, entries, databases))
    return splits


def _symbolic_link(folder: Path) -> Path | None:
    """Returns the folder, or the first folder in it, that is a symbolic link."""
    subfolders = (Path(parent) / name for parent, names, _ in os.walk(folder) for name in sorted(names))
    return next((path for path in chain([folder], subfolders) if path.is_symlink()), None)


def missing_databases(splits: Iterable[SourceSplit]) -> list[str]:
    """Returns a sentence for each split that asks databases which are missing."""
    sentences = []
    for split in splits:
        counts = Counter(entry.db_id for entry in split.entries if split.databases[entry.db_id] is None)
        if counts:
            by_database = ", ".join(f"{db_id} {count}" for db_id, count in sorted(counts.items()))
            sentences.append(
                f"{split.name}: {counts.total()} questions ask databases that are missing ({by_database}); put them "
                "beside the others, or set `corpus.allow_missing` to true to leave these questions out"
            )
    return sentences


def question_rows(split: SourceSplit, seed: int) -> tuple[list[dict[str, str]], Counter[str]]:
    """Draws the rows of `questions` from a split, in the source's order, and counts the questions left out, by reason.
    A higher share or limit only adds questions."""
    usable = {
        f"{split.source}/{split.split}/{entry.position:04d}": entry
        for entry in split.entries if split.databases[entry.db_id]
    }  # fmt: skip
    share = math.ceil(round(split.params.share * len(usable), 6))  # 0.07 of 100 is 7.000000000000001
    count = min(share, split.params.limit or len(usable))
    drawn = stable_draw(usable, count, seed)
    rows = [_row(split, question_id, entry) for question_id, entry in usable.items() if question_id in drawn]
    return rows, Counter(no_database=len(split.entries) - len(usable), not_drawn=len(usable) - count)


def _row(split: SourceSplit, question_id: str, entry: Entry) -> dict[str, str]:
    others = json.dumps(dict(sorted(entry.other_golds.items())), ensure_ascii=False) if entry.other_golds else ""
    return {
        "question_id": question_id, "source": split.source, "split": split.split, "db_id": entry.db_id,
        "question": entry.question, "evidence": entry.evidence, "gold_sql": entry.gold_sql, "other_golds": others,
        "difficulty": entry.difficulty or hardness(entry.gold_sql), "origin": split.origin,
    }  # fmt: skip
