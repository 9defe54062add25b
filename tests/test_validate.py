import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.validate import main
from tests.test_schemas import SUITES, parent_of, table_of


def run(dataset: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **changed: Path) -> int:
    """Runs the stage in this process on `<folder>/<dataset>.parquet`; the exit status it ends with."""
    paths = {"table": folder / f"{dataset}.parquet", "suite": SUITES / f"{dataset}.json", "receipt": receipt_in(folder)}
    paths["parent"] = changed.pop("parent") if "parent" in changed else parent_of(dataset, folder)
    flags = [text for name, path in (paths | changed).items() for text in (f"--{name}", str(path))]
    monkeypatch.setattr(sys, "argv", ["validate", "--dataset", dataset, *flags])
    try:
        main()
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


def receipt_in(folder: Path) -> Path:
    return folder / "receipts" / "receipt.json"


def write(frame: pl.DataFrame, dataset: str, folder: Path) -> Path:
    frame.write_parquet(folder / f"{dataset}.parquet")
    return folder / f"{dataset}.parquet"


def test_a_valid_table_gets_a_true_receipt_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(table_of("pairs"), "pairs", tmp_path)
    assert run("pairs", tmp_path, monkeypatch) == 0
    receipt = json.loads(receipt_in(tmp_path).read_text())
    assert {name: receipt[name] for name in ("dataset", "rows", "valid", "suite")} == {
        "dataset": "pairs", "rows": 3, "valid": True, "suite": "pairs",
    }  # fmt: skip
    out, err = capfd.readouterr()
    assert out.count("\n") == 1 and "3 rows meet" in out
    assert err == ""


def test_a_broken_table_gets_a_false_receipt_and_status_1_and_tells_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table_of("pairs").with_columns(similarity=pl.Series([1.5, 0.5, -1.0]))
    write(frame, "pairs", tmp_path)
    assert run("pairs", tmp_path, monkeypatch) == 1
    assert json.loads(receipt_in(tmp_path).read_text())["valid"] is False
    said = capsys.readouterr().err
    assert "pairs: `similarity-range` (expect_column_values_to_be_between on similarity) fails on 2 of 3 rows" in said
    assert "row 0 (pair_id = '000000000000000a', similarity = 1.5); row 2 (pair_id = '000000000000000c'" in said


def test_the_first_five_rows_are_shown_and_all_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = table_of("sft").row(0, named=True)
    ids = [f"demo/train/{number}" for number in range(9)]
    frame = pl.DataFrame([row | {"question_id": one, "origin": "robot"} for one in ids])
    pl.DataFrame({"question_id": ids}).write_parquet(tmp_path / "gold.parquet")
    write(frame, "sft", tmp_path)
    assert run("sft", tmp_path, monkeypatch, parent=tmp_path / "gold.parquet") == 1
    said = capsys.readouterr().err
    assert "fails on 9 of 9 rows" in said and "row 4 (" in said and "row 5 (" not in said and "; and 4 more." in said


def test_a_missing_and_an_unknown_column_are_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(table_of("pairs").rename({"witness": "witnesses"}), "pairs", tmp_path)
    assert run("pairs", tmp_path, monkeypatch) == 1
    said = capsys.readouterr().err
    assert "unexpected: witnesses" in said and "missing: witness." in said


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Float64, pl.String, pl.Null, pl.List(pl.Int64)])
def test_a_column_of_another_type_is_told(
    dtype: pl.DataType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(table_of("gold").with_columns(steps=pl.lit(None, dtype=dtype)), "gold", tmp_path)
    assert run("gold", tmp_path, monkeypatch) == 1
    assert "`steps-type`" in capsys.readouterr().err


def test_integers_with_nulls_are_still_integers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table_of("gold")["steps"].null_count() == 1
    write(table_of("gold"), "gold", tmp_path)
    assert run("gold", tmp_path, monkeypatch) == 0


def test_nan_is_not_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("pairs").with_columns(similarity=pl.lit(float("nan"))), "pairs", tmp_path)
    assert run("pairs", tmp_path, monkeypatch) == 1


def test_a_folder_without_its_database_is_no_known_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("questions"), "questions", tmp_path)
    databases = parent_of("questions", tmp_path)
    (databases / "zoo" / "zoo.sqlite").unlink()
    assert run("questions", tmp_path, monkeypatch, parent=databases) == 1


@pytest.mark.parametrize(
    ("suite", "told"),
    [
        ("{", "is not JSON"),
        ("[]", "holds no list of `expectations`"),
        ('{"name": "sft", "expectations": []}', "holds no list of `expectations`"),
        ('{"expectations": [{"type": "expect_x", "kwargs": {}}]}', "give it `type`, `kwargs` and `meta`"),
        ('{"expectations": [{"type": "expect_x", "kwargs": {}, "meta": {}}]}', "give it an `id` and `notes`"),
        (
            '{"expectations": [{"type": "expect_x", "kwargs": {}, "meta": {"id": "a", "notes": ""}}]}',
            "the type 'expect_x', which Great Expectations does not know",
        ),
        (
            '{"expectations": [{"type": "expect_column_values_to_be_unique", "kwargs": {"colum": "x"}, '
            '"meta": {"id": "a", "notes": ""}}]}',
            "`a` has wrong kwargs",
        ),
    ],
)
def test_a_wrong_suite_is_told_in_a_sentence(
    suite: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(table_of("sft"), "sft", tmp_path)
    (tmp_path / "suite.json").write_text(suite)
    with pytest.raises(UserError, match=told):
        run("sft", tmp_path, monkeypatch, suite=tmp_path / "suite.json")


def test_another_parent_than_the_suite_names_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("sft"), "sft", tmp_path)
    with pytest.raises(UserError, match=r"`question_id` refers to gold.question_id; give the file or folder of `gold`"):
        run("sft", tmp_path, monkeypatch, parent=write(table_of("pairs"), "pairs", tmp_path))


@pytest.mark.parametrize("missing", ["table", "suite", "parent"])
def test_a_missing_file_is_told(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("sft"), "sft", tmp_path)
    with pytest.raises(UserError, match=r"gone/gold\.\w+ does not exist"):
        run("sft", tmp_path, monkeypatch, **{missing: tmp_path / "gone" / "gold.parquet"})


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sft.parquet").write_text("question_id,prompt\n")
    with pytest.raises(UserError, match=r"sft\.parquet is not a Parquet file"):
        run("sft", tmp_path, monkeypatch)


def test_the_module_ends_with_status_2_and_no_traceback_on_a_mistake(tmp_path: Path) -> None:
    flags = ["--dataset", "sft", "--table", "none.parquet", "--suite", "none.json", "--parent", "gold.parquet"]
    command = [sys.executable, "-m", "stages.validate", *flags, "--receipt", str(tmp_path / "receipt.json")]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=SUITES.parent, env=os.environ)
    assert ended.returncode == 2
    assert ended.stderr == "error: none.json does not exist; restore it from the last commit\n"
