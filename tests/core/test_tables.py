from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.tables import read_dataset, write_dataset
from stages.datasets.catalog import DATASETS
from stages.datasets.sft import SFT

FRAME = pl.DataFrame(
    {"question_id": ["b", "a"], "prompt": ["p", "q"], "completion": ["c", "d"], "origin": ["human", "human"]}
)


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_dataset_is_written_sorted_by_its_key_with_its_columns_in_order() -> None:
    write_dataset(FRAME.select("origin", "completion", "prompt", "question_id"), SFT)
    assert read_dataset(SFT).equals(FRAME.sort("question_id"))


def test_the_same_rows_in_another_order_give_the_same_bytes_and_leave_nothing_beside() -> None:
    write_dataset(FRAME, SFT)
    first = SFT.file.read_bytes()
    write_dataset(FRAME.reverse(), SFT)
    assert SFT.file.read_bytes() == first
    assert list(SFT.file.parent.iterdir()) == [SFT.file]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.drop("prompt"), "column `prompt` is missing"),
        (FRAME.with_columns(more=1), "column `more` is unknown"),
        (FRAME.with_columns(prompt=1), "column `prompt` is Int32, not String"),
    ],
)
def test_other_columns_are_refused_when_writing_and_when_reading(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_dataset(frame, SFT)
    SFT.file.parent.mkdir(exist_ok=True)
    frame.write_parquet(SFT.file)
    with pytest.raises(UserError, match=message):
        read_dataset(SFT)


def test_a_refused_table_leaves_the_old_one_in_place() -> None:
    write_dataset(FRAME, SFT)
    with pytest.raises(ValueError, match="is missing"):
        write_dataset(FRAME.drop("prompt"), SFT)
    assert read_dataset(SFT).height == 2


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"sft.parquet does not exist; run `dvc repro`"):
        read_dataset(SFT)


@pytest.mark.parametrize("content", [b"", b"question_id,prompt\n", b"PAR1 cut"])
def test_a_file_that_is_no_parquet_is_named(content: bytes) -> None:
    SFT.file.parent.mkdir()
    SFT.file.write_bytes(content)
    with pytest.raises(UserError, match=r"sft.parquet is not a Parquet file"):
        read_dataset(SFT)


def test_the_key_of_every_dataset_is_its_first_column() -> None:
    assert all(next(iter(dataset.columns)) == dataset.key for dataset in DATASETS.values())
