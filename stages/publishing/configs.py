"""What is published: four views of the datasets, each a config of one dataset repository on the Hub."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from stages.core.errors import UserError
from stages.core.tables import COLUMNS, KEYS, features

if TYPE_CHECKING:
    from datasets import Features

Tables = Mapping[str, pl.DataFrame]
"""Dataset to its rows."""

DATASETS = ["questions", "gold", "prompts", "sft", "candidates", "exec_results", "pairs"]


def _but(dataset: str, *left_out: str) -> list[tuple[str, str]]:
    return [(dataset, column) for column in COLUMNS[dataset] if column not in left_out]


VIEWS: dict[str, list[tuple[str, str]]] = {
    "pairs": _but("pairs"),
    "candidates": [
        *_but("candidates"), ("questions", "db_id"), *_but("exec_results", "candidate_id", "question_id", "sql"),
    ],
    "sft": _but("sft"),
    "gold": [*_but("questions"), *_but("gold", "question_id"), ("prompts", "prompt")],
}
"""Config to its columns, each with the dataset it is from; the first config is what one gets who names none."""


def views(tables: Tables) -> dict[str, pl.DataFrame]:
    """Each config's rows, with `source` and `split` of their question in two more columns, `_source` and `_split`.

    Raises UserError where the datasets do not belong together.
    """
    _need_same(tables, "candidates", "exec_results")
    for dataset in ("gold", "prompts"):
        _need_same(tables, "questions", dataset)
    joined = {
        "pairs": tables["pairs"],
        "candidates": tables["candidates"].join(
            tables["exec_results"].drop("question_id", "sql"), on="candidate_id", validate="1:1"
        ),
        "sft": tables["sft"],
        "gold": tables["gold"].join(tables["prompts"].drop("db_id"), on="question_id", validate="1:1"),
    }  # fmt: skip
    questions = tables["questions"].with_columns(_source="source", _split="split")
    shared = {config: ["question_id", "_source", "_split"] for config in VIEWS}
    shared["candidates"].append("db_id")
    shared["gold"] = questions.columns
    return {
        config: rows.join(questions.select(shared[config]), on="question_id", validate="m:1")
        .select(*columns_of(config), "_source", "_split").sort(KEYS[config])
        for config, rows in joined.items()
    }  # fmt: skip


def _need_same(tables: Tables, one: str, other: str) -> None:
    """Rows without their counterpart would be lost in a join."""
    apart = set(tables[one][KEYS[one]]) ^ set(tables[other][KEYS[other]])
    if apart:
        told = f"`{one}` and `{other}` do not belong together: {len(apart)} rows are in one of them only"
        raise UserError(f"{told}; run `dvc repro` to make both again")


def without(findings: pl.Series, left_out: Sequence[str]) -> pl.Series:
    """The findings of the gold audit without those words that name a question of a source that is left out."""
    if not left_out:
        return findings
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, left_out))})/(?:train|dev|test)/")
    hidden = "It names a question of a source that is left out here."

    def shown(text: str) -> str:
        kept = {flag: hidden if named.search(told) else told for flag, told in json.loads(text).items()}
        return json.dumps(kept, ensure_ascii=False)

    return pl.Series(findings.name, [shown(text) if text and named.search(text) else text for text in findings])


def columns_of(config: str) -> list[str]:
    """The columns of a config."""
    return [column for _, column in VIEWS[config]]


def features_of(config: str) -> "Features":
    """The columns of a config as `datasets.Features`."""
    from datasets import Features

    return Features({column: features(dataset)[column] for dataset, column in VIEWS[config]})


def meanings(dictionary: Path) -> dict[tuple[str, str], str]:
    """Dataset and column to what the column means, from the tables of data/README.md."""
    try:
        text = dictionary.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{dictionary} cannot be read ({error}); restore it from the last commit") from None
    found = {}
    dataset = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## (\w+)", line):
            dataset = heading[1]
        elif row := re.fullmatch(r"\| `(\w+)` \| \w+ \| (.+) \|", line):
            found[dataset, row[1]] = row[2]
    return found
