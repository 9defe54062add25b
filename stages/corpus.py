"""Stage `corpus`: the questions and their databases, of the demo corpus and of the sources in data/raw."""

import argparse
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import polars as pl
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from stages.core.errors import UserError, run_stage
from stages.core.files import move_folder, write_json
from stages.core.params import Params, read_params
from stages.core.tables import COLUMNS, write_table
from stages.corpora.demo.corpus import DemoParams, choose_domains, make_demo, question_rows
from stages.corpora.demo.corpus import report as demo_report
from stages.corpora.demo.kinds import read_kinds
from stages.corpora.placing import conflicts, fault, place
from stages.corpora.sources import Part, SourceParams, missing, read_parts, reader_of, rows_of
from stages.datasets.difficulties import by_difficulty

DEMO = "demo"
_NAME = r"[a-z0-9][a-z0-9_-]*"


class CorpusParams(Params):
    """Section `corpus` of params.yaml."""

    seed: int = Field(ge=-(2**63), lt=2**63)
    allow_missing: bool
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


def check(parts: Sequence[Part], params: CorpusParams, wrong: Sequence[str]) -> dict[str, Path]:
    """db_id to the file of every database that is asked. Raises UserError with the sentences of `wrong`, and one for
    each database that is missing (unless that is allowed), cannot be used, or is another one in another source."""
    found: dict[str, list[Path]] = {}
    for part in parts:
        for db_id, path in part.databases.items():
            if path and path not in found.setdefault(db_id, []):
                found[db_id].append(path)
    found = {db_id: paths for db_id, paths in sorted(found.items()) if paths}
    faults = [reason for paths in found.values() for path in paths if (reason := fault(path))]
    twice = sorted(set(found) & params.demo.db_ids) if params.demo else []
    wrong = [
        *wrong, *([] if params.allow_missing else missing(parts)), *faults, *([] if faults else conflicts(found)),
        *(f"the demo corpus has a database `{db_id}` of its own; set `corpus.demo` to null" for db_id in twice),
    ]  # fmt: skip
    if not (wrong or found or params.demo):
        wrong = ["no question asks a database that is there; put the databases where their source has them"]
    if wrong:
        raise UserError(*wrong)
    return {db_id: paths[0] for db_id, paths in found.items()}


def take(parts: Sequence[Part], files: dict[str, Path], seed: int, folder: Path) -> tuple[Rows, dict[str, object]]:
    """The rows of `questions` that the parts give, with their databases put into `folder`, and the counts of each."""
    rows: Rows = []
    counts: dict[str, object] = {}
    for part in parts:
        some, dropped = rows_of(part, seed)
        rows += some
        counts[part.name] = {"read": len(part.entries), **_counts(some), "dropped": dict(dropped)}
    for db_id in sorted({row["db_id"] for row in rows}):
        place(files[db_id], db_id, folder)
    return rows, counts


def take_demo(params: DemoParams, folder: Path) -> tuple[Rows, dict[str, object], dict[str, object]]:
    """As `take`, of the demo corpus; and what was drawn for it."""
    asked, drops = make_demo(choose_domains(params.domains), read_kinds(), params.seed, params.splits, folder)
    rows = question_rows(asked)
    parted = {f"{DEMO}-{split}": [row for row in rows if row["split"] == split] for split in asked}
    counts = {name: {"read": len(some), **_counts(some)} for name, some in parted.items()}
    return rows, dict(counts), demo_report(asked, drops)


def _counts(rows: Rows) -> dict[str, object]:
    counts = Counter(row["difficulty"] for row in rows)
    return {
        "questions": len(rows),
        "databases": len({row["db_id"] for row in rows}),
        "with_other_golds": sum(bool(row["other_golds"]) for row in rows),
        "difficulties": {name: counts[name] for name in sorted(counts, key=by_difficulty)},
    }


def main() -> None:
    """Arguments, params, one call, writes."""
    parser = argparse.ArgumentParser(prog="python -m stages.corpus", description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="the folder of sources, each as its authors ship it")
    parser.add_argument("--questions", type=Path, required=True, help="the Parquet file to write")
    parser.add_argument("--databases", type=Path, required=True, help="the folder of databases to write")
    parser.add_argument("--report", type=Path, required=True, help="the JSON file of counts to write")
    args = parser.parse_args()

    params = read_params("corpus", CorpusParams)
    wrong: list[str] = []
    parts = read_parts(params.sources, args.raw, wrong)
    files = check(parts, params, wrong)

    made = args.databases.with_name(args.databases.name + ".partial")
    shutil.rmtree(made, ignore_errors=True)
    demo_rows, demo_counts, drawn = take_demo(params.demo, made) if params.demo else ([], {}, {})
    rows, counts = take(parts, files, params.seed, made)
    rows, counts = demo_rows + rows, demo_counts | counts
    move_folder(made, args.databases)
    write_table(pl.DataFrame(rows, schema=COLUMNS["questions"]), args.questions, "questions")
    write_json(args.report, {"questions": len(rows), "sets": counts, DEMO: drawn})


if __name__ == "__main__":
    run_stage(main)
