import json
from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.layout import receipt_file
from stages.core.receipts import open_dataset, open_datasets, write_receipt
from stages.core.tables import write_dataset
from stages.datasets.gold import GOLD
from stages.datasets.questions import QUESTIONS
from stages.datasets.sft import SFT

FRAME = pl.DataFrame({"question_id": ["a"], "prompt": ["p"], "completion": ["c"], "origin": ["human"]})
RECEIPT = receipt_file("sft")


@pytest.fixture(autouse=True)
def receipt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_dataset(FRAME, SFT)
    write_receipt(SFT, 1, True)


def test_a_true_receipt_lets_its_dataset_through() -> None:
    assert open_dataset(SFT).equals(FRAME)


def test_a_receipt_holds_nothing_but_what_the_data_decides() -> None:
    receipt = json.loads(RECEIPT.read_text())
    assert len(receipt.pop("sha256")) == 64
    assert receipt == {"dataset": "sft", "rows": 1, "valid": True, "suite": "sft"}


def test_a_dataset_changed_by_hand_is_refused() -> None:
    write_dataset(FRAME.with_columns(completion=pl.lit("d")), SFT)
    with pytest.raises(UserError, match=r"sft.parquet has changed since .*/sft.json .* run `dvc repro`"):
        open_dataset(SFT)


@pytest.mark.parametrize("valid", [False, None, "true", 1])
def test_only_a_receipt_that_says_true_will_do(valid: object) -> None:
    RECEIPT.write_text(json.dumps(json.loads(RECEIPT.read_text()) | {"valid": valid}))
    with pytest.raises(UserError, match=r"sft.parquet broke its suite"):
        open_dataset(SFT)


def test_the_receipt_of_another_dataset_is_refused() -> None:
    RECEIPT.write_text(json.dumps(json.loads(RECEIPT.read_text()) | {"dataset": "pairs"}))
    with pytest.raises(UserError, match=r"is a receipt of `pairs`, not of data/sft.parquet"):
        open_dataset(SFT)


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_receipt_that_is_no_json_object_is_named(content: str) -> None:
    RECEIPT.write_text(content)
    with pytest.raises(UserError, match=r"sft.json (is not JSON|holds no JSON object)"):
        open_dataset(SFT)


def test_every_dataset_that_may_not_be_used_is_named_at_once() -> None:
    SFT.file.write_bytes(b"changed")
    with pytest.raises(UserError) as caught:
        open_datasets(QUESTIONS, GOLD, SFT)
    assert [sentence.split(" ")[0] for sentence in caught.value.sentences] == [
        "reports/validation/questions.json", "reports/validation/gold.json", "data/sft.parquet",
    ]  # fmt: skip


def test_a_missing_dataset_is_named() -> None:
    SFT.file.unlink()
    with pytest.raises(UserError, match=r"data/sft.parquet does not exist"):
        open_dataset(SFT)
