import json
from pathlib import Path

import pytest

from stages.core.errors import UserError
from stages.core.receipts import require_receipts, write_receipt


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "pairs.parquet").write_bytes(b"rows")
    return tmp_path / "pairs.parquet"


@pytest.fixture
def receipt(table: Path) -> Path:
    path = table.parent / "validation" / "pairs.json"
    write_receipt(path, "pairs", 3, True, table)
    return path


def test_a_true_receipt_lets_its_table_through(receipt: Path, table: Path) -> None:
    require_receipts({receipt: table})


def test_a_receipt_holds_nothing_but_what_the_data_decides(receipt: Path) -> None:
    assert json.loads(receipt.read_text()) == {
        "dataset": "pairs", "rows": 3, "valid": True, "suite": "pairs",
        "sha256": "bc51e9e65d79e1c90ba544ab2eae1044ccdf8c1af7a559ba375cba4276f7d99e",
    }  # fmt: skip


def test_a_table_changed_by_hand_is_refused(receipt: Path, table: Path) -> None:
    table.write_bytes(b"rows, changed")
    with pytest.raises(UserError, match=r"pairs.parquet has changed since .* run `dvc repro`"):
        require_receipts({receipt: table})


@pytest.mark.parametrize("valid", [False, None, "true", 1])
def test_only_a_receipt_that_says_true_will_do(valid: object, receipt: Path, table: Path) -> None:
    receipt.write_text(json.dumps(json.loads(receipt.read_text()) | {"valid": valid}))
    with pytest.raises(UserError, match="broke its contract"):
        require_receipts({receipt: table})


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_receipt_that_is_no_json_object_is_told(content: str, receipt: Path, table: Path) -> None:
    receipt.write_text(content)
    with pytest.raises(UserError, match=r"pairs.json (is not JSON|holds no JSON object)"):
        require_receipts({receipt: table})


def test_every_receipt_that_does_not_hold_is_told_at_once(receipt: Path, table: Path, tmp_path: Path) -> None:
    table.write_bytes(b"changed")
    with pytest.raises(UserError) as caught:
        require_receipts({receipt: table, tmp_path / "gone": table, tmp_path / "gold": tmp_path / "gold.parquet"})
    assert ["has changed" in one or "does not exist" in one for one in caught.value.sentences] == [True, True, True]


def test_a_missing_table_is_told(receipt: Path, table: Path) -> None:
    table.unlink()
    with pytest.raises(UserError, match=r"pairs.parquet does not exist"):
        require_receipts({receipt: table})
