"""Predictions as a table, one row each, and as what is judged."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import cache
from pathlib import Path

import polars as pl

from stages.core.errors import UserError
from stages.databases.paths import conflict_problems, database_path, database_problem, suite_paths
from stages.execution.records import GoldQuestion, Item
from stages.predictions.gold_files import Gold

TASK = ("database", "gold_sql", "sql")
"""Columns of a table of predictions: what is executed."""

PredictedQuestion = tuple[int, Gold, list[str]]
"""The position of a question in the gold file, the question, and its predictions."""

DatabaseFiles = Mapping[str, Sequence[Path]]
"""db_id to the files of the database, all of the same content; if there is none, to where one might be."""


def find_databases(db_ids: Iterable[str], folders: Sequence[Path]) -> DatabaseFiles:
    """The files of the databases. Raises UserError naming each database that differs between two folders."""
    paths = {db_id: [database_path(folder, db_id) for folder in folders] for db_id in sorted(set(db_ids))}
    files = {db_id: [path for path in paths[db_id] if path.is_file()] for db_id in paths}
    if errors := conflict_problems(files, "score the questions of each folder alone"):
        raise UserError(*errors)
    return {db_id: files[db_id] or paths[db_id] for db_id in paths}


def with_databases(
    questions: Sequence[PredictedQuestion], databases: DatabaseFiles, suite: Path | None, leave_out: bool
) -> list[PredictedQuestion]:
    """The questions whose databases exist. Raises UserError naming every missing database, unless `leave_out`, and
    every file that is no database; also if no question remains."""
    counts = Counter(gold.db_id for _, gold, _ in questions)
    missing: dict[str, list[str]] = {}
    errors: list[str] = []
    for db_id in sorted(counts):
        needed = {" or ".join(map(str, databases[db_id])): databases[db_id][:1]}
        if suite:
            needed[f"{suite / db_id}/*.sqlite"] = [Path(path) for path in suite_paths(suite, db_id)]
        absent = [name for name, paths in needed.items() if not any(path.is_file() for path in paths)]
        if absent:
            missing[db_id] = absent
        else:
            errors += filter(None, (database_problem(path) for paths in needed.values() for path in paths))
    if not leave_out:
        fix = "put the database there, or leave its questions out with --allow-missing"
        for db_id, names in missing.items():
            errors += [f"{name} does not exist (questions: {counts[db_id]}); {fix}" for name in names]
    elif len(missing) == len(counts):
        parents = [path.parent.parent for paths in databases.values() for path in paths]
        folders = " and ".join(dict.fromkeys(map(str, [*parents, *([suite] if suite else [])])))
        errors.append(f"--allow-missing leaves no question: {folders} has none of the databases; give another folder")
    if errors:
        raise UserError(*errors)
    return [question for question in questions if question[1].db_id not in missing]


def table_of_predictions(predicted: Sequence[PredictedQuestion], databases: DatabaseFiles) -> pl.DataFrame:
    """One row a prediction, in the order of the questions: index (of the question), sample, database (its file), db_id,
    source, difficulty, gold_sql, sql."""
    path = cache(lambda db_id: str(databases[db_id][0].absolute()))  # as a cluster needs it
    golds = [gold for _, gold, texts in predicted for _ in texts]
    columns = {  # column by column: polars takes ten times as long for rows
        "index": [index for index, _, texts in predicted for _ in texts],
        "database": [path(gold.db_id) for gold in golds],
        "db_id": [gold.db_id for gold in golds],
        "source": [gold.source for gold in golds],
        "difficulty": [gold.difficulty for gold in golds],
        "gold_sql": [gold.sql for gold in golds],
        "sql": [text for _, _, texts in predicted for text in texts],
        "sample": [sample for _, _, texts in predicted for sample in range(len(texts))],
    }
    return pl.DataFrame(columns, schema_overrides={"index": pl.Int64, "sample": pl.Int64})


def items_of(frame: pl.DataFrame, unstable_orders: Set[tuple[str, str]]) -> list[Item]:
    """Each row as what is judged; rows of one gold share their GoldQuestion. `unstable_orders`: the golds (database
    file and query) whose audit gave the flag `order_unstable`."""

    @cache
    def question(database: str, gold_sql: str) -> GoldQuestion:
        flags = "order_unstable" if (database, gold_sql) in unstable_orders else ""
        return GoldQuestion(database, gold_sql, gold_flags=flags)

    return [(question(database, gold_sql), sql) for database, gold_sql, sql in frame.select(*TASK).iter_rows()]
