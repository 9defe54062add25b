"""The views of the datasets that are published, each a config of one dataset repository on the Hub."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from stages.core.errors import UserError
from stages.core.tables import features
from stages.datasets.answers import ANSWERS
from stages.datasets.catalog import DATASETS
from stages.publishing.licences import STRONG

if TYPE_CHECKING:
    from datasets import Features

Tables = Mapping[str, pl.DataFrame]
"""Dataset to its rows. `answers` has a table for each model and test set, such as `answers/dpo-demo-dev`."""

_DATASETS = {**DATASETS, ANSWERS.name: ANSWERS}


def _but(dataset: str, *left_out: str) -> list[tuple[str, str]]:
    return [(dataset, column) for column in _DATASETS[dataset].columns if column not in left_out]


VIEWS: dict[str, list[tuple[str, str]]] = {
    "pairs": _but("pairs"),
    "candidates": [
        *_but("candidates"), ("questions", "db_id"), *_but("exec_results", "candidate_id", "question_id", "sql"),
        *_but("counterexamples", "candidate_id", "question_id"),
    ],
    "sft": _but("sft"),
    "synthetic": _but("synthetic"),
    "gold": [*_but("questions"), *_but("gold", "question_id"), ("prompts", "prompt")],
    "answers": [*_but("answers"), ("questions", "db_id")],
}
"""Config to its columns, each with the dataset that it is from. The first config is the default one."""


def views(tables: Tables) -> dict[str, pl.DataFrame]:
    """The rows of each config, with the `source` and `split` of their question as columns `_source` and `_split`: those
    of strong data are `strong` and `train`.

    Raises UserError where the datasets have not the same keys.
    """
    _require_same_keys(tables, "candidates", "exec_results")
    for dataset in ("gold", "prompts"):
        _require_same_keys(tables, "questions", dataset)
    witnesses = tables["counterexamples"].drop("question_id")
    answers = [rows for name, rows in tables.items() if name.startswith(f"{ANSWERS.name}/")]
    joined = {
        "pairs": tables["pairs"],
        "candidates": tables["candidates"].join(
            tables["exec_results"].drop("question_id", "sql"), on="candidate_id", validate="1:1"
        ).join(witnesses, on="candidate_id", how="left", validate="1:1"),
        "sft": tables["sft"],
        "synthetic": tables["synthetic"].with_columns(question_id="item_id"),
        "gold": tables["gold"].join(tables["prompts"].drop("db_id"), on="question_id", validate="1:1"),
        "answers": pl.concat([pl.DataFrame(schema=ANSWERS.columns), *answers]),
    }  # fmt: skip
    questions = tables["questions"].with_columns(_source="source", _split="split")
    strong = tables["synthetic"].select(question_id="item_id", _source=pl.lit(STRONG), _split=pl.lit("train"))
    places = pl.concat([questions.select(strong.columns), strong])
    shared = dict.fromkeys(VIEWS, places)
    with_database = questions.select("question_id", "_source", "_split", "db_id")
    shared |= {"candidates": with_database, "gold": questions, "answers": with_database}
    return {
        config: rows.join(shared[config], on="question_id", validate="m:1")
        .select(*columns_of(config), "_source", "_split").sort(_DATASETS[config].key)
        for config, rows in joined.items()
    }  # fmt: skip


def _require_same_keys(tables: Tables, one: str, other: str) -> None:
    """Rows without their counterpart would be lost in a join."""
    apart = set(tables[one][DATASETS[one].key]) ^ set(tables[other][DATASETS[other].key])
    if apart:
        problem = f"`{one}` and `{other}` do not belong together: {len(apart)} rows are in one of them only"
        raise UserError(f"{problem}; run `dvc repro` to make both again")


def hide_sources(findings: pl.Series, left_out: Sequence[str]) -> pl.Series:
    """The findings of the gold audit, where those that name a question of a source in `left_out` have another text."""
    if not left_out:
        return findings
    named = re.compile(rf"\b(?:{'|'.join(map(re.escape, left_out))})/(?:train|dev|test)/")
    hidden = "It names a question of a source that is left out here."

    def without_names(text: str) -> str:
        evidence = {flag: hidden if named.search(shown) else shown for flag, shown in json.loads(text).items()}
        return json.dumps(evidence, ensure_ascii=False)

    return pl.Series(findings.name, [without_names(text) if text and named.search(text) else text for text in findings])


def columns_of(config: str) -> list[str]:
    """The columns of a config."""
    return [column for _, column in VIEWS[config]]


def features_of(config: str) -> "Features":
    """The columns of a config as `datasets.Features`."""
    from datasets import Features

    return Features({column: features(_DATASETS[dataset])[column] for dataset, column in VIEWS[config]})


def naming_configs(meaning: str) -> str:
    """A meaning from data/README.md as it stands on the card: where it refers to a dataset ("as in `questions`"), it
    names the config that holds most columns of that."""

    def reference(match: re.Match[str]) -> str:
        counts = {config: sum(match[1] == dataset for dataset, _ in columns) for config, columns in VIEWS.items()}
        config = max(counts, key=counts.__getitem__)
        return f"as in `{config}`" if counts[config] else match[0]

    return re.sub(r"as in `(\w+)`", reference, meaning)


def column_meanings(dictionary: Path) -> dict[tuple[str, str], str]:
    """Dataset and column to what the column means, from the tables of data/README.md."""
    try:
        text = dictionary.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{dictionary} cannot be read ({error}); restore it from the last commit") from None
    meanings = {}
    dataset = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## (\w+)", line):
            dataset = heading[1]
        elif row := re.fullmatch(r"\| `(\w+)` \| \w+ \| (.+) \|", line):
            meanings[dataset, row[1]] = row[2]
    return meanings
