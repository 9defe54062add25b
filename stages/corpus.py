"""Stage `corpus`: the questions and their databases, of the demo corpus and of the sources in data/raw."""

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.end_line import counts_text, write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import move_folder
from stages.core.layout import DATABASES, RAW
from stages.core.params import Params, read_params
from stages.core.tables import write_dataset
from stages.corpora.demo.corpus import DemoParams, choose_domains, make_demo, question_rows
from stages.corpora.demo.corpus import report as demo_report
from stages.corpora.demo.kinds import read_kinds
from stages.corpora.rewrites import apply_rewrites
from stages.corpora.source_databases import RENAME, place_database, source_database_problem
from stages.corpora.sources import SourceParams, SourceSplit, missing_databases, read_splits, reader_of
from stages.corpora.sources import question_rows as source_question_rows
from stages.databases.paths import conflict_problems
from stages.datasets.difficulties import by_difficulty
from stages.datasets.questions import QUESTIONS

DEMO = "demo"
_NAME = r"[a-z0-9][a-z0-9_-]*"


class CorpusParams(Params):
    """Section `corpus` of params.yaml."""

    seed: int = Field(ge=-(2**63), lt=2**63)
    allow_missing: bool
    rewrites: str | None = Field(pattern=r"^[\w-][\w.-]*\.jsonl$")
    demo: DemoParams | None
    sources: dict[str, SourceParams]

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if not (self.demo or self.sources):
            raise PydanticCustomError("sources", "there is no source; give `demo`, or one of `sources`")
        for name, source in self.sources.items():
            if name == DEMO or not re.fullmatch(_NAME, name):
                raise PydanticCustomError("name", f"`{name}` is no name for a source; use a-z, 0-9, -, _, not `demo`")
            reader_of(name, source)
        return self


Rows = list[dict[str, str]]


def usable_databases(splits: Sequence[SourceSplit], params: CorpusParams, errors: Sequence[str]) -> dict[str, Path]:
    """db_id to the file of every database that questions ask. Raises UserError with the sentences of `errors`, and one
    for each database that is missing (unless that is allowed), cannot be used, or differs between two sources."""
    files: dict[str, list[Path]] = {}
    for split in splits:
        for db_id, path in split.databases.items():
            if path and path not in files.setdefault(db_id, []):
                files[db_id].append(path)
    files = {db_id: paths for db_id, paths in sorted(files.items()) if paths}
    unusable = [problem for paths in files.values() for path in paths if (problem := source_database_problem(path))]
    of_demo = sorted(set(files) & params.demo.db_ids) if params.demo else []
    errors = [
        *errors, *([] if params.allow_missing else missing_databases(splits)), *unusable,
        *([] if unusable else conflict_problems(files, RENAME)),
        *(f"the demo corpus has a database `{db_id}` of its own; set `corpus.demo` to null" for db_id in of_demo),
    ]  # fmt: skip
    if not (errors or files or params.demo):
        errors = ["no question asks a database that is there; put the databases where their source has them"]
    if errors:
        raise UserError(*errors)
    return {db_id: paths[0] for db_id, paths in files.items()}


def take_sources(
    splits: Sequence[SourceSplit], files: dict[str, Path], seed: int, folder: Path
) -> tuple[Rows, dict[str, object]]:
    """The rows of `questions` of these splits and the counts of each. Puts their databases into `folder`."""
    rows: Rows = []
    counts: dict[str, object] = {}
    for split in splits:
        drawn, dropped = source_question_rows(split, seed)
        rows += drawn
        counts[split.name] = {"read": len(split.entries), **_counts(drawn), "dropped": dict(dropped)}
    for db_id in sorted({row["db_id"] for row in rows}):
        place_database(files[db_id], db_id, folder)
    return rows, counts


def take_demo(params: DemoParams, folder: Path) -> tuple[Rows, dict[str, object], dict[str, object]]:
    """As `take_sources`, of the demo corpus; and the report of its draw."""
    domains, without_train = choose_domains(params.domains), params.strong_domain_names
    questions, drops = make_demo(domains, read_kinds(), params.seed, params.splits, folder, without_train)
    rows = question_rows(questions)
    by_split = {f"{DEMO}-{split}": [row for row in rows if row["split"] == split] for split in questions}
    counts = {name: {"read": len(split), **_counts(split)} for name, split in by_split.items()}
    return rows, dict(counts), demo_report(questions, drops)


def _counts(rows: Rows) -> dict[str, object]:
    counts = Counter(row["difficulty"] for row in rows)
    return {
        "questions": len(rows),
        "databases": len({row["db_id"] for row in rows}),
        "with_other_golds": sum(bool(row["other_golds"]) for row in rows),
        "difficulties": {name: counts[name] for name in sorted(counts, key=by_difficulty)},
    }


def dropped_in(report: Mapping[str, Any]) -> Counter[str]:
    """Why questions were dropped, of all sources together."""
    parts = [report[DEMO], *report["sets"].values()]
    return sum((Counter(part.get("dropped", {})) for part in parts), Counter[str]())


def _size(rows: Rows) -> str:
    splits = Counter(row["split"] for row in rows)
    return f"{counts_text(splits)}, {len({row['db_id'] for row in rows}):,} databases"


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.corpus", description=__doc__).parse_args()
    params = read_params("corpus", CorpusParams)
    errors: list[str] = []
    splits = read_splits(params.sources, RAW, errors)
    files = usable_databases(splits, params, errors)

    folder = DATABASES.with_name(f"{DATABASES.name}.partial")
    shutil.rmtree(folder, ignore_errors=True)
    demo_rows, demo_counts, demo_drawn = take_demo(params.demo, folder) if params.demo else ([], {}, {})
    rows, counts = take_sources(splits, files, params.seed, folder)
    rows, counts = demo_rows + rows, demo_counts | counts
    rewrites = apply_rewrites(rows, RAW / params.rewrites) if params.rewrites else {}
    move_folder(folder, DATABASES)
    write_dataset(pl.DataFrame(rows, schema=QUESTIONS.columns), QUESTIONS)
    report = {"questions": len(rows), "sets": counts, "rewrites": rewrites, DEMO: demo_drawn}
    write_report("corpus", report, len(rows), dropped_in(report), _size(rows))


if __name__ == "__main__":
    run_stage(main)
