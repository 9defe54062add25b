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
from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from stages.core.end_line import write_report
from stages.core.errors import run_stage
from stages.core.layout import DATABASES
from stages.core.params import read_params
from stages.core.receipts import open_dataset
from stages.core.tables import write_dataset
from stages.databases.schema import LEFT_OUT, Schema
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.prompting.rendering import PromptsParams, prompt_rows, read_schemas
from stages.prompting.token_budget import token_counter


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.prompts", description=__doc__).parse_args()
    params = read_params("prompts", PromptsParams)
    questions = open_dataset(QUESTIONS)
    count = token_counter(params.tokenizer, params.revision)
    schemas = read_schemas(questions["db_id"].unique().sort().to_list(), params, DATABASES)
    prompts = prompt_rows(questions, schemas, params, count)
    write_dataset(prompts, PROMPTS)
    report = report_of(questions.height, prompts, schemas, params)
    figures = f"at most {report['tokens']['max']:,} tokens", f"{report['tables_dropped']:,} tables dropped from them"
    write_report("prompts", report, prompts.height, {}, *figures)


def report_of(
    questions: int, prompts: pl.DataFrame, schemas: Mapping[str, Schema], params: PromptsParams
) -> dict[str, Any]:
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
