import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.layout import DATABASES, answers_file, receipt_file, suite_file
from stages.datasets.catalog import DATASETS
from stages.datasets.gold import GOLD
from stages.datasets.sft import SFT
from stages.validate import main
from tests import ROOT
from tests.test_schemas import SUITES, table_of, write_parent
from tests.workplace import set_arguments


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with the suites."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SUITES, "schemas")


def run(dataset: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Runs the stage in this process; the exit status it ends with."""
    set_arguments(monkeypatch, "validate", f"--dataset={dataset}")
    try:
        main()
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        return ended.code
    return 0


def write(frame: pl.DataFrame, dataset: str) -> None:
    """Writes a table, right or wrong, and the parent of its dataset."""
    write_parent(dataset)
    DATASETS[dataset].file.parent.mkdir(exist_ok=True)
    frame.write_parquet(DATASETS[dataset].file)


def test_a_valid_table_gets_a_true_receipt_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(table_of("pairs"), "pairs")
    assert run("pairs", monkeypatch) == 0
    receipt = json.loads(receipt_file("pairs").read_text())
    assert {name: receipt[name] for name in ("dataset", "rows", "valid", "suite")} == {
        "dataset": "pairs", "rows": 3, "valid": True, "suite": "pairs",
    }  # fmt: skip
    out, err = capfd.readouterr()
    assert out.startswith("validate pairs: 3 rows meet all ") and out.count("\n") == 1
    assert " expectations in schemas/pairs.json; see reports/validation/pairs.json (" in out
    assert err == ""


def test_each_file_of_answers_has_a_receipt_of_its_own_and_the_suite_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    write_parent("answers")
    answers_file("sft/weak", "demo-dev").parent.mkdir(parents=True)
    table_of("answers").write_parquet(answers_file("sft/weak", "demo-dev"))
    assert run("answers/sft/weak-demo-dev", monkeypatch) == 0
    receipt = json.loads(receipt_file("answers/sft/weak-demo-dev").read_text())
    assert len(receipt.pop("sha256")) == 64
    assert receipt == {"dataset": "answers/sft/weak-demo-dev", "rows": 4, "valid": True, "suite": "answers"}


@pytest.mark.parametrize("name", ["pear", "answers"])
def test_a_name_of_no_dataset_ends_with_status_2(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(name, monkeypatch) == 2
    assert f"'{name}' is no dataset; give questions, synthetic," in capsys.readouterr().err


def test_a_broken_table_gets_a_false_receipt_and_status_1_and_tells_the_rows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = table_of("pairs").with_columns(similarity=pl.Series([1.5, 0.5, -1.0]))
    write(frame, "pairs")
    assert run("pairs", monkeypatch) == 1
    assert json.loads(receipt_file("pairs").read_text())["valid"] is False
    said = capsys.readouterr().err
    assert "pairs: `similarity-range` (expect_column_values_to_be_between on similarity) fails on 2 of 3 rows" in said
    assert "row 0 (pair_id = '000000000000000a', similarity = 1.5); row 2 (pair_id = '000000000000000c'" in said


def test_the_first_five_rows_are_shown_and_all_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = table_of("sft").row(0, named=True)
    ids = [f"demo/train/{number}" for number in range(9)]
    frame = pl.DataFrame([row | {"question_id": one, "origin": "robot"} for one in ids])
    write(frame, "sft")
    pl.DataFrame({"question_id": ids}).write_parquet(GOLD.file)
    assert run("sft", monkeypatch) == 1
    said = capsys.readouterr().err
    assert "fails on 9 of 9 rows" in said and "row 4 (" in said and "row 5 (" not in said and "; and 4 more." in said


def test_a_missing_and_an_unknown_column_are_told_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(table_of("pairs").rename({"witness": "witnesses"}), "pairs")
    assert run("pairs", monkeypatch) == 1
    said = capsys.readouterr().err
    assert "unexpected: witnesses" in said and "missing: witness." in said


@pytest.mark.parametrize("dtype", [pl.Int32, pl.Float64, pl.String, pl.Null, pl.List(pl.Int64)])
def test_a_column_of_another_type_is_told(
    dtype: pl.DataType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(table_of("gold").with_columns(steps=pl.lit(None, dtype=dtype)), "gold")
    assert run("gold", monkeypatch) == 1
    assert "`steps-type`" in capsys.readouterr().err


def test_integers_with_nulls_are_still_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert table_of("gold")["steps"].null_count() == 1
    write(table_of("gold"), "gold")
    assert run("gold", monkeypatch) == 0


def test_nan_is_not_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("candidates").with_columns(temperature=pl.lit(float("nan"))), "candidates")
    assert run("candidates", monkeypatch) == 1


def test_a_folder_without_its_database_is_no_known_database(monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("questions"), "questions")
    (DATABASES / "zoo" / "zoo.sqlite").unlink()
    assert run("questions", monkeypatch) == 1


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
    suite: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(table_of("sft"), "sft")
    suite_file("sft").write_text(suite)
    with pytest.raises(UserError, match=told):
        run("sft", monkeypatch)


@pytest.mark.parametrize("missing", ["data/sft.parquet", "schemas/sft.json", "data/gold.parquet"])
def test_a_missing_file_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(table_of("sft"), "sft")
    Path(missing).unlink()
    with pytest.raises(UserError, match=rf"{missing} does not exist"):
        run("sft", monkeypatch)


def test_a_file_that_is_no_parquet_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    SFT.file.parent.mkdir()
    SFT.file.write_text("question_id,prompt\n")
    with pytest.raises(UserError, match=r"sft\.parquet is not a Parquet file"):
        run("sft", monkeypatch)


def test_the_module_ends_with_status_2_and_no_traceback_on_a_mistake() -> None:
    command = [sys.executable, "-m", "stages.validate", "--dataset", "sft"]
    suite_file("sft").unlink()
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.returncode == 2
    assert ended.stderr == "error: schemas/sft.json does not exist; restore it from the last commit\n"
