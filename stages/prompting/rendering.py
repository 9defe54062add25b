"""Renders the prompts of questions, each from the schema of its database."""

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import apsw
import polars as pl
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.errors import UserError, collect_errors
from stages.core.files import read_json
from stages.core.params import Params
from stages.core.progress import progress
from stages.databases.descriptions import notes_of
from stages.databases.paths import database_path
from stages.databases.schema import Schema, Table, read_schema
from stages.datasets.prompts import PROMPTS
from stages.prompting.ddl import Style, render_table, shuffle_tables
from stages.prompting.token_budget import Prompt, TableText, TokenCounter, fit_to_budget, tables_read, token_counter


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


def render_prompts(questions: pl.DataFrame, params: PromptsParams, folder: Path) -> pl.DataFrame:
    """The rows of `prompts` of questions about the databases in `folder`, in their order. Raises UserError where a
    database or the tokenizer cannot be read."""
    count = token_counter(params.tokenizer, params.revision)
    schemas = read_schemas(questions["db_id"].unique().sort().to_list(), params, folder)
    return prompt_rows(questions, schemas, params, count)


def read_schemas(db_ids: Sequence[str], params: PromptsParams, folder: Path) -> dict[str, Schema]:
    """The schema of each database; each is read once.

    Raises UserError with a sentence for every one that is missing, is not SQLite or has no tables.
    """
    schemas: dict[str, Schema] = {}
    problems: list[str] = []
    with progress("schemas", len(db_ids), "databases") as bar:
        for db_id in db_ids:
            bar.update()
            with collect_errors(problems):
                schemas[db_id] = prompt_schema(database_path(folder, db_id), params)
    if problems:
        raise UserError(*problems)
    return schemas


def prompt_schema(
    database: Path, params: PromptsParams, fix: str = "run `dvc repro` to make the databases again"
) -> Schema:
    """What prompts show of a database file: its tables, with example rows and column descriptions as in `params`.

    Raises UserError with `fix`, what the user should do, if the file is missing, is not SQLite or has no tables.
    """
    descriptions = database.with_name("descriptions.json")
    notes = notes_of(read_json(descriptions)) if params.descriptions and descriptions.exists() else {}
    try:
        schema = read_schema(database, params.example_rows, notes)
    except (apsw.Error, UnicodeDecodeError) as error:
        what = f"cannot be read as SQLite ({error})" if database.exists() else "does not exist"
        raise UserError(f"{database} {what}; {fix}") from None
    if not schema.tables:
        raise UserError(f"{database} holds no tables; {fix}")
    return schema


def unseen_prompt(schema: Schema, question: str, evidence: str, params: PromptsParams, count: TokenCounter) -> Prompt:
    """The prompt of a question that is in no dataset, made as those of the test sets are."""
    tables = _table_texts(schema.tables, params.style)
    return fit_to_budget(tables, question, evidence if params.evidence else "", count, params.max_tokens)


def prompt_rows(
    questions: pl.DataFrame, schemas: Mapping[str, Schema], params: PromptsParams, count: TokenCounter
) -> pl.DataFrame:
    """The rows of `prompts`, one a question, in the order of `questions`."""
    in_order = {db_id: _table_texts(schema.tables, params.style) for db_id, schema in schemas.items()}
    rows = []
    with progress("prompts", questions.height, "questions") as bar:
        for question in questions.iter_rows(named=True):
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
            bar.update()
    return pl.DataFrame(rows, schema=PROMPTS.columns)


def _table_texts(tables: Sequence[Table], style: Style) -> list[TableText]:
    return [
        TableText(table.name, tuple(column.name for column in table.columns), render_table(table, style))
        for table in tables
    ]
