"""Makes the prompts: what a model is asked with, for every question of every split.

A prompt is the DDL of the question's database, then the evidence, then the question: the prompts of one database begin
alike, unless they are shuffled or tables are dropped.

Where a prompt has more tokens than `max_tokens`, whole tables are dropped, never text cut: the table whose name and
column names hold fewest of the words of question and evidence goes first (words are cut at case changes and
underscores; case and a plural's s do not count), among equals the one with the longest text, then the last one. One
table always stays. The gold query has no part in this, for it would tell the answer; which of the dropped tables it
reads is recorded.
"""

import argparse
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence

import apsw
import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from tqdm import tqdm

from stages.core.errors import UserError, run_stage
from stages.core.files import read_json, write_json
from stages.core.layout import DATABASES, report_file
from stages.core.params import Params, read_params
from stages.core.receipts import open_dataset
from stages.core.tables import write_dataset
from stages.databases.descriptions import notes_of
from stages.databases.paths import database_path
from stages.databases.schema import LEFT_OUT, Schema, Table, read_schema
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.prompting.ddl import Style, render_table, shuffle_tables
from stages.prompting.token_budget import TableText, TokenCounter, fit_to_budget, tables_read, token_counter


class PromptsParams(Params):
    """Section `prompts` of params.yaml."""

    style: Style
    example_rows: int = Field(ge=0, le=1000)
    descriptions: bool
    evidence: bool
    shuffle: int | None = Field(ge=0, lt=2**63)
    max_tokens: int | None = Field(gt=0, le=10**7)
    tokenizer: str | None = Field(min_length=1)
    revision: str | None

    @field_validator("revision")
    @classmethod
    def _pinned(cls, revision: str | None, info: ValidationInfo) -> str | None:
        if (revision is None) != (info.data.get("tokenizer") is None):
            wanted = "give the commit or tag that the Hub id in `tokenizer` is pinned to, or null for no tokenizer"
            raise PydanticCustomError("revision", wanted)
        return revision


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.prompts", description=__doc__).parse_args()
    params = read_params("prompts", PromptsParams)
    questions = open_dataset(QUESTIONS)
    count = token_counter(params.tokenizer, params.revision)
    schemas = read_schemas(questions["db_id"].unique().sort().to_list(), params)
    prompts = prompt_rows(questions, schemas, params, count)
    write_dataset(prompts, PROMPTS)
    write_json(report_file("prompts"), report_of(questions.height, prompts, schemas, params))


def read_schemas(db_ids: Sequence[str], params: PromptsParams) -> dict[str, Schema]:
    """The schema of each database; each is read once.

    Raises UserError with a sentence for every one that is missing, is not SQLite or has no tables.
    """
    schemas, problems = {}, []
    for db_id in db_ids:
        database = database_path(DATABASES, db_id)
        descriptions = database.with_name("descriptions.json")
        notes = notes_of(read_json(descriptions)) if params.descriptions and descriptions.exists() else {}
        try:
            schemas[db_id] = read_schema(database, params.example_rows, notes)
        except (apsw.Error, UnicodeDecodeError) as error:
            what = f"cannot be read as SQLite ({error})" if database.exists() else "does not exist"
            problems.append(f"{database} {what}; run `dvc repro` to make the databases again")
            continue
        if not schemas[db_id].tables:
            problems.append(f"{database} holds no tables; run `dvc repro` to make the databases again")
    if problems:
        raise UserError(*problems)
    return schemas


def prompt_rows(
    questions: pl.DataFrame, schemas: Mapping[str, Schema], params: PromptsParams, count: TokenCounter
) -> pl.DataFrame:
    """The rows of `prompts`, one a question, in the order of `questions`."""
    in_order = {db_id: _table_texts(schema.tables, params.style) for db_id, schema in schemas.items()}
    rows = []
    for question in tqdm(questions.iter_rows(named=True), total=questions.height, desc="prompts", mininterval=5):
        question_id, db_id, tables = question["question_id"], question["db_id"], in_order[question["db_id"]]
        if params.shuffle is not None and question["split"] == "train":
            generator = random.Random(f"{params.shuffle}/{question_id}")
            tables = _table_texts(shuffle_tables(schemas[db_id].tables, generator), params.style)
        evidence = question["evidence"] if params.evidence else ""
        prompt = fit_to_budget(tables, question["question"], evidence, count, params.max_tokens)
        lost = tables_read(question["gold_sql"], prompt.dropped) if prompt.dropped else []
        rows.append({
            "question_id": question_id, "db_id": db_id, "prompt": prompt.text, "tokens": prompt.tokens,
            "dropped_tables": json.dumps(prompt.dropped, ensure_ascii=False),
            "lost_tables": json.dumps(lost, ensure_ascii=False),
        })  # fmt: skip
    return pl.DataFrame(rows, schema=PROMPTS.columns)


def _table_texts(tables: Sequence[Table], style: Style) -> list[TableText]:
    return [
        TableText(table.name, tuple(column.name for column in table.columns), render_table(table, style))
        for table in tables
    ]


def report_of(
    questions: int, prompts: pl.DataFrame, schemas: Mapping[str, Schema], params: PromptsParams
) -> dict[str, object]:
    """Counts: questions in, prompts out, their tokens, what the budget dropped, what of the databases is not shown."""
    tokens, dropped = prompts["tokens"], [len(json.loads(names)) for names in prompts["dropped_tables"]]
    left_out = sum((schema.left_out for schema in schemas.values()), Counter[str]())
    return {
        "in": questions,
        "out": prompts.height,
        "databases": len(schemas),
        "tokens": {"min": tokens.min(), "median": tokens.median(), "max": tokens.max()},
        "prompts_with_dropped_tables": sum(map(bool, dropped)),
        "tables_dropped": sum(dropped),
        "gold_reads_dropped_table": int((prompts["lost_tables"] != "[]").sum()),
        "over_max_tokens": int((tokens > params.max_tokens).sum()) if params.max_tokens else 0,
        "not_shown": {kind: left_out[kind] for kind in LEFT_OUT},
    }


if __name__ == "__main__":
    run_stage(main)
