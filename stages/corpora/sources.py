"""Reads the sources that lie in data/raw: their params, their questions, and which database each question asks."""

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
from stages.corpora.placing import doubles, find_database
from stages.corpora.question_files import Entry
from stages.corpora.readers import KNOWN, LAYOUTS, Layout, Reader
from stages.sql.hardness import hardness


class SplitParams(Params):
    """How much of a split is taken: a share, and a number of questions at most."""

    share: float = Field(gt=0, le=1)
    limit: int | None = Field(gt=0)


class SourceParams(Params):
    """One of `corpus.sources` in params.yaml. `layout`: of a user's own source; a split that is null is left out."""

    layout: Layout | None = None
    train: SplitParams | None = None
    dev: SplitParams | None = None
    test: SplitParams | None = None

    @property
    def splits(self) -> dict[str, SplitParams]:
        """The splits that are taken."""
        found = {"train": self.train, "dev": self.dev, "test": self.test}
        return {split: params for split, params in found.items() if params}

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.splits:
            raise PydanticCustomError("splits", "give at least one of train, dev and test, with `share` and `limit`")
        return self


def reader_of(name: str, params: SourceParams) -> Reader:
    """The reader of a source. Raises PydanticCustomError where its name and its params do not fit together."""
    if name in KNOWN and params.layout:
        raise PydanticCustomError("layout", f"`{name}` has a layout of its own; leave `layout` out")
    if name not in KNOWN and not params.layout:
        known = ", ".join(KNOWN)
        raise PydanticCustomError("layout", f"`{name}` is none of {known}; a source of your own needs a `layout`")
    reader = KNOWN[name] if params.layout is None else LAYOUTS[params.layout]
    absent = [split for split in params.splits if split not in reader.splits]
    if absent:
        there = ", ".join(reader.splits)
        raise PydanticCustomError("split", f"`{name}` has no {' and no '.join(absent)}; it has {there}")
    return reader


@dataclass(frozen=True, slots=True)
class Part:
    """A split of a source: its questions, and the file of each database they ask (None: there is none)."""

    source: str
    split: str
    params: SplitParams
    origin: str
    entries: list[Entry]
    databases: dict[str, Path | None]

    @property
    def name(self) -> str:
        """What a test set is called."""
        return f"{self.source}-{self.split}"


def read_parts(sources: Mapping[str, SourceParams], raw: Path, wrong: list[str]) -> list[Part]:
    """Every split of every source, in their order. Mistakes in files go to `wrong`, as sentences."""
    parts = []
    for source, params in sources.items():
        folder, reader = raw / source, reader_of(source, params)
        if linked := _linked(folder):
            wrong.append(f"{linked} is a symbolic link, into which DVC does not look; link its files with `cp -rl`")
        elif not folder.is_dir():
            wrong.append(f"{folder} is no folder; get it with `python -m stages.fetch`, or put the files there")
        else:
            parts += [_part(source, split, some, folder, reader, wrong) for split, some in params.splits.items()]
    return parts


def _linked(folder: Path) -> Path | None:
    """The folder, or the first one in it, that is a symbolic link."""
    inside = (Path(place) / name for place, names, _ in os.walk(folder) for name in sorted(names))
    return next((path for path in chain([folder], inside) if path.is_symlink()), None)


def _part(source: str, split: str, params: SplitParams, folder: Path, reader: Reader, wrong: list[str]) -> Part:
    entries = reader.read(folder, split, wrong)
    folders = reader.databases(folder, split)
    db_ids = sorted({entry.db_id for entry in entries})
    wrong += doubles(folders, db_ids)
    databases = {db_id: find_database(folders, db_id) for db_id in db_ids}
    return Part(source, split, params, reader.origin, entries, databases)


def missing(parts: Iterable[Part]) -> list[str]:
    """A sentence for each split that asks databases which are not there."""
    sentences = []
    for part in parts:
        counts = Counter(entry.db_id for entry in part.entries if part.databases[entry.db_id] is None)
        if counts:
            told = ", ".join(f"{db_id} {count}" for db_id, count in sorted(counts.items()))
            sentences.append(
                f"{part.name}: {counts.total()} questions ask databases that are not there ({told}); put them beside "
                "the others, or set `corpus.allow_missing` to true to leave these questions out"
            )
    return sentences


def rows_of(part: Part, seed: int) -> tuple[list[dict[str, str]], Counter[str]]:
    """The rows of `questions` that a split gives, in the order of the source, and how many were left out, by reason.
    A higher share or limit only adds some."""
    asked = {_id(part, entry): entry for entry in part.entries if part.databases[entry.db_id]}
    share = math.ceil(round(part.params.share * len(asked), 6))  # 0.07 of 100 is 7.000000000000001
    count = min(share, part.params.limit or len(asked))
    first = stable_draw(asked, count, seed)
    rows = [_row(part, question_id, entry) for question_id, entry in asked.items() if question_id in first]
    return rows, Counter(no_database=len(part.entries) - len(asked), not_drawn=len(asked) - count)


def _id(part: Part, entry: Entry) -> str:
    return f"{part.source}/{part.split}/{entry.position:04d}"


def _row(part: Part, question_id: str, entry: Entry) -> dict[str, str]:
    others = json.dumps(dict(sorted(entry.other_golds.items())), ensure_ascii=False) if entry.other_golds else ""
    return {
        "question_id": question_id, "source": part.source, "split": part.split, "db_id": entry.db_id,
        "question": entry.question, "evidence": entry.evidence, "gold_sql": entry.gold_sql, "other_golds": others,
        "difficulty": entry.difficulty or hardness(entry.gold_sql), "origin": part.origin,
    }  # fmt: skip
