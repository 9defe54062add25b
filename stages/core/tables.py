"""The columns of every dataset, in one place, and reading and writing them as Parquet."""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from stages.core.errors import UserError
from stages.core.files import replacing
from stages.core.parquet import parquet_errors

if TYPE_CHECKING:
    from datasets import Features

S, I, F = pl.String(), pl.Int64(), pl.Float64()  # noqa: E741

COLUMNS: dict[str, dict[str, pl.DataType]] = {
    "questions": {
        "question_id": S, "source": S, "split": S, "db_id": S, "question": S, "evidence": S, "gold_sql": S,
        "other_golds": S, "difficulty": S, "origin": S,
    },
    "gold": {
        "question_id": S, "verdict": S, "error": S, "steps": I, "rows": I, "columns": I, "digest": S, "flags": S,
        "findings": S,
    },
    "prompts": {
        "question_id": S, "db_id": S, "prompt": S, "tokens": I, "dropped_tables": S, "lost_tables": S,
    },
    "sft": {"question_id": S, "prompt": S, "completion": S, "origin": S},
    "candidates": {
        "candidate_id": S, "question_id": S, "sample": I, "completion": S, "sql": S, "model": S, "model_version": S,
        "prompt_sha256": S, "temperature": F, "top_p": F, "max_tokens": I, "seed": I, "finish_reason": S, "tokens": I,
        "logprob": F,
    },
    "exec_results": {
        "candidate_id": S, "question_id": S, "db_sha256": S, "sql": S, "verdict": S, "error_class": S, "error": S,
        "steps": I, "rows": I, "digest": S, "contract": S, "sqlite_version": S,
    },
    "pairs": {
        "pair_id": S, "question_id": S, "db_id": S, "prompt": S, "chosen": S, "rejected": S, "chosen_id": S,
        "rejected_id": S, "rejected_verdict": S, "similarity": F, "witness": S,
    },
}
"""Dataset to column to polars type. `schemas/<dataset>.json` and `features` are tested to agree with it."""

KEYS: dict[str, str] = {
    "questions": "question_id", "gold": "question_id", "prompts": "question_id", "sft": "question_id",
    "candidates": "candidate_id", "exec_results": "candidate_id", "pairs": "pair_id",
}
"""Dataset to its key: unique in it, and what its rows are sorted by."""


def read_table(path: Path, dataset: str) -> pl.DataFrame:
    """The rows of a dataset's Parquet file. Raises UserError where it is missing, not Parquet, or has other columns."""
    frame = read_any(path)
    wrong = _differences(dict(frame.schema), COLUMNS[dataset])
    if wrong:
        raise UserError(*(f"{path}: {what}; run `dvc repro` to make `{dataset}` again" for what in wrong))
    return frame


def read_any(path: Path) -> pl.DataFrame:
    """The rows of a Parquet file, whatever its columns. Raises UserError where it is missing, or is not whole."""
    if not path.is_file():
        raise UserError(f"{path} does not exist; run `dvc repro` to make it")
    with parquet_errors(f"{path} is not a Parquet file", "run `dvc repro` to make it again"):
        return pl.read_parquet(path, use_pyarrow=False, glob=False)


def write_table(frame: pl.DataFrame, path: Path, dataset: str) -> None:
    """Writes the dataset's columns, sorted by its key, as zstd Parquet, whole or not at all.

    Raises OSError where it cannot be written, and ValueError where a column is missing or of another type: a defect of
    the stage, not of its user.
    """
    wrong = _differences(dict(frame.schema), COLUMNS[dataset])
    if wrong:
        raise ValueError(f"{dataset}: {'; '.join(wrong)}")
    with replacing(path) as temporary:
        frame.select(*COLUMNS[dataset]).sort(KEYS[dataset]).write_parquet(temporary, compression="zstd")


def features(dataset: str) -> "Features":
    """The dataset's columns as `datasets.Features`."""
    from datasets import Features, Value

    names = {pl.String(): "string", pl.Int64(): "int64", pl.Float64(): "float64"}
    return Features({column: Value(names[dtype]) for column, dtype in COLUMNS[dataset].items()})


def _differences(found: dict[str, pl.DataType], expected: dict[str, pl.DataType]) -> list[str]:
    missing = [f"column `{name}` is missing" for name in expected if name not in found]
    unknown = [f"column `{name}` is unknown" for name in found if name not in expected]
    retyped = [
        f"column `{name}` is {found[name]}, not {dtype}"
        for name, dtype in expected.items()
        if name in found and found[name] != dtype
    ]
    return missing + unknown + retyped
