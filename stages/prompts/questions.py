"""The prompts of questions: each with the DDL of its database."""

from pathlib import Path

import apsw
import polars as pl

from stages.errors import UserError
from stages.prompts.ddl import read_ddl
from stages.prompts.render import render_prompt


def prompts_of(questions: pl.DataFrame, databases: Path) -> pl.Series:
    """The prompt of each row of `questions` (columns db_id, question, evidence), in its order.

    `databases` is the folder that holds `<db_id>/<db_id>.sqlite`; each database is read once. Raises UserError with a
    sentence for every one that is missing, is not SQLite or has no tables.
    """
    ddl = _read_all(databases, questions["db_id"].unique().sort().to_list())
    rows = questions.select("db_id", "question", "evidence").iter_rows()
    texts = [render_prompt(ddl[db_id], question, evidence) for db_id, question, evidence in rows]
    return pl.Series("prompt", texts, dtype=pl.String)


def _read_all(databases: Path, db_ids: list[str]) -> dict[str, str]:
    ddl, problems = {}, []
    for db_id in db_ids:
        database = databases / db_id / f"{db_id}.sqlite"
        try:
            ddl[db_id] = read_ddl(database)
        except apsw.Error as error:
            what = f"cannot be read as SQLite ({error})" if database.exists() else "does not exist"
            problems.append(f"{database} {what}; run `dvc repro` to make the databases again")
            continue
        if not ddl[db_id]:
            problems.append(f"{database} holds no tables; run `dvc repro` to make the databases again")
    if problems:
        raise UserError(*problems)
    return ddl
