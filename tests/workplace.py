"""What the tests of stages share: datasets in the working directory, params.yaml, and the command line."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.core.receipts import write_receipt
from stages.core.tables import write_dataset
from stages.datasets.catalog import DATASETS
from tests import ROOT

EXECUTION = {"wall_seconds": 60, "memory_mb": 1024, "max_rows": 500_000, "result_mb": 200}
"""Section `execution` of params.yaml."""


def put(dataset: str, frame: pl.DataFrame, valid: bool = True) -> None:
    """Writes a dataset and its receipt, never over those of the repository."""
    assert Path.cwd() != ROOT
    write_dataset(frame, DATASETS[dataset])
    write_receipt(DATASETS[dataset], frame.height, valid)


def accept(dataset: str) -> None:
    """Writes a receipt for a dataset as it is."""
    write_receipt(DATASETS[dataset], pl.read_parquet(DATASETS[dataset].file).height, True)


def put_rows(dataset: str, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Writes a dataset of these rows, NULL where a row has no value, and its receipt. Returns the rows."""
    columns = DATASETS[dataset].columns
    frame = pl.DataFrame([{name: row.get(name) for name in columns} for row in rows], schema=columns)
    put(dataset, frame)
    return frame


def write_params(**sections: Any) -> None:
    """Writes these sections as params.yaml, never over that of the repository."""
    assert Path.cwd() != ROOT
    with Path("params.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(sections, file)


def set_arguments(monkeypatch: pytest.MonkeyPatch, stage: str, *flags: str) -> None:
    """Makes `flags` those of the command `python -m stages.<stage>`."""
    monkeypatch.setattr(sys, "argv", [stage, *flags])


def write_questions(golds: Sequence[str], db_ids: Sequence[str] = ("music",)) -> pl.DataFrame:
    """Writes `questions`: one question for each gold, the databases in turn."""
    rows: list[dict[str, object]] = [
        {
            "question_id": f"demo/train/{number:04}", "source": "demo", "split": "train",
            "db_id": db_ids[number % len(db_ids)], "question": f"Which {number}?", "evidence": "", "gold_sql": gold,
            "difficulty": ("easy", "hard")[number % 2], "origin": "human",
        }
        for number, gold in enumerate(golds)
    ]  # fmt: skip
    return put_rows("questions", rows)


def write_prompts() -> pl.DataFrame:
    """Writes `prompts`: a prompt for each of `questions`."""
    rows: list[dict[str, object]] = [
        {
            "question_id": question_id, "db_id": db_id, "prompt": f"singer(name)\nquestion: {question}\nsql:\n",
            "tokens": 9, "dropped_tables": "[]", "lost_tables": "[]",
        }
        for question_id, db_id, question in pl.read_parquet("data/questions.parquet")
        .select("question_id", "db_id", "question").iter_rows()
    ]  # fmt: skip
    return put_rows("prompts", rows)


def write_candidates(samples: Sequence[tuple[int, str]]) -> pl.DataFrame:
    """Writes `candidates`: (number of the question, SQL) each."""
    rows: list[dict[str, object]] = [
        {
            "candidate_id": f"{index:016x}", "question_id": f"demo/train/{number:04}", "sample": index,
            "completion": sql, "sql": sql, "model": "weak", "model_version": "0", "prompt_sha256": "0" * 64,
            "temperature": 1.0, "top_p": 1.0, "max_tokens": 64, "seed": 0, "finish_reason": "stop", "tokens": 1,
            "logprob": -1.0,
        }
        for index, (number, sql) in enumerate(samples)
    ]  # fmt: skip
    return put_rows("candidates", rows)
