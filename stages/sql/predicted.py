"""Predictions as a table, one row each, and as what is judged."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import polars as pl

from stages.errors import UserError
from stages.sql.golds import Gold
from stages.sql.referee import Item, Question
from stages.sql.sandbox import database_path, database_problem, suite_paths

TASK = ("database", "gold_sql", "sql")
"""Columns of a table of predictions: what is executed."""

Predicted = tuple[int, Gold, list[str]]
"""The position of a question in the gold file, the question, and its predictions."""


def with_databases(given: Sequence[Predicted], databases: Path, suite: Path | None, leave_out: bool) -> list[Predicted]:
    """The questions whose databases are there. Raises UserError naming every missing one, unless their questions are to
    be left out, and every file that is no database; also where no question is left."""
    counts = Counter(gold.db_id for _, gold, _ in given)
    missing: dict[str, list[str]] = {}
    wrong: list[str] = []
    for db_id in sorted(counts):
        needed = {str(database_path(databases, db_id)): [database_path(databases, db_id)]}
        if suite:
            needed[f"{suite / db_id}/*.sqlite"] = [Path(path) for path in suite_paths(suite, db_id)]
        absent = [name for name, paths in needed.items() if not any(path.is_file() for path in paths)]
        if absent:
            missing[db_id] = absent
        else:
            wrong += filter(None, (database_problem(path) for paths in needed.values() for path in paths))
    if not leave_out:
        fix = "put the database there, or leave its questions out with --allow-missing"
        for db_id, names in missing.items():
            wrong += [f"{name} does not exist (questions: {counts[db_id]}); {fix}" for name in names]
    elif len(missing) == len(counts):
        folders = " and ".join(map(str, filter(None, (databases, suite))))
        wrong.append(f"--allow-missing leaves no question: {folders} has none of the databases; give another folder")
    if wrong:
        raise UserError(*wrong)
    return [each for each in given if each[1].db_id not in missing]


def table_of_predictions(predicted: Sequence[Predicted], databases: Path) -> pl.DataFrame:
    """One row a prediction, in the order of the questions: index (of the question), sample, database (its file), db_id,
    source, difficulty, gold_sql, sql."""
    path = cache(lambda db_id: str(database_path(databases, db_id).absolute()))  # as a cluster needs it
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


def items_of(frame: pl.DataFrame) -> list[Item]:
    """Each row as what is judged; rows of one gold share their Question."""
    question = cache(Question)
    return [(question(database, gold_sql), sql) for database, gold_sql, sql in frame.select(*TASK).iter_rows()]
