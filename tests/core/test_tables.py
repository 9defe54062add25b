from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.tables import COLUMNS, KEYS, read_table, write_table

FRAME = pl.DataFrame(
    {"question_id": ["b", "a"], "prompt": ["p", "q"], "completion": ["c", "d"], "origin": ["human", "human"]}
)


def test_a_table_is_written_sorted_by_its_key_with_its_columns_in_order(tmp_path: Path) -> None:
    write_table(FRAME.select("origin", "completion", "prompt", "question_id"), tmp_path / "made" / "sft.parquet", "sft")
    assert read_table(tmp_path / "made" / "sft.parquet", "sft").equals(FRAME.sort("question_id"))


def test_the_same_rows_in_another_order_give_the_same_bytes_and_leave_nothing_beside(tmp_path: Path) -> None:
    write_table(FRAME, tmp_path / "one.parquet", "sft")
    write_table(FRAME.reverse(), tmp_path / "other.parquet", "sft")
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.parquet", "other.parquet"]


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (FRAME.drop("prompt"), "column `prompt` is missing"),
        (FRAME.with_columns(more=1), "column `more` is unknown"),
        (FRAME.with_columns(prompt=1), "column `prompt` is Int32, not String"),
    ],
)
def test_other_columns_are_told_when_writing_and_when_reading(frame: pl.DataFrame, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        write_table(frame, tmp_path / "sft.parquet", "sft")
    frame.write_parquet(tmp_path / "sft.parquet")
    with pytest.raises(UserError, match=told):
        read_table(tmp_path / "sft.parquet", "sft")


def test_a_refused_table_leaves_the_old_one_in_place(tmp_path: Path) -> None:
    write_table(FRAME, tmp_path / "sft.parquet", "sft")
    with pytest.raises(ValueError, match="is missing"):
        write_table(FRAME.drop("prompt"), tmp_path / "sft.parquet", "sft")
    assert read_table(tmp_path / "sft.parquet", "sft").height == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"sft.parquet does not exist; run `dvc repro`"):
        read_table(tmp_path / "sft.parquet", "sft")


@pytest.mark.parametrize("content", [b"", b"question_id,prompt\n", b"PAR1 cut"])
def test_a_file_that_is_no_parquet_is_told(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sft.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"sft.parquet is not a Parquet file"):
        read_table(tmp_path / "sft.parquet", "sft")


def test_the_key_of_every_dataset_is_its_first_column() -> None:
    assert {dataset: next(iter(columns)) for dataset, columns in COLUMNS.items()} == KEYS
