import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from stages import gold
from stages.core.errors import UserError
from stages.core.layout import DATABASES, receipt_file
from stages.core.params import read_params
from stages.exec_results import ExecResultsParams, main
from tests import ROOT
from tests.cached import records_in
from tests.execution.world import CROSS_JOIN, ENDLESS, counting, make_database
from tests.test_gold import PARAMS as GOLD_PARAMS
from tests.workplace import accept, set_arguments, write_candidates, write_questions

PARAMS = GOLD_PARAMS + """
exec_results:
  contract: strict
  budget_floor: 1000000
  budget_factor: 50
"""
GOLDS_IN_CACHE = 3
GOLDS = ["SELECT name FROM singer", "SELECT absent FROM singer", "SELECT country FROM singer"]
SAMPLES = [
    (0, "SELECT name FROM singer", "match"),
    (0, "SELECT s.name FROM singer s ORDER BY age", "match"),
    (0, "SELECT name, age FROM singer", "mismatch"),
    (0, "", "no_sql"),
    (0, "SELECT 1; SELECT 2", "exec_error"),
    (0, "DROP TABLE singer", "exec_error"),
    (0, ENDLESS, "over_budget"),
    (0, CROSS_JOIN, "mismatch"),
    (0, "SELECT hex(zeroblob(500000000))", "undecided"),
    (1, "SELECT absent FROM singer", "gold_error"),
    (1, "SELECT name FROM singer", "gold_error"),
    (2, "SELECT DISTINCT country FROM singer", "mismatch"),
]
@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "data/databases")
    (tmp_path / "params.yaml").write_text(PARAMS)
    prepare(tmp_path, monkeypatch, [(number, sql) for number, sql, _ in SAMPLES])
    return tmp_path


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch, samples: list[tuple[int, str]]) -> None:
    write_questions(GOLDS)
    write_candidates(samples)
    set_arguments(monkeypatch, "gold", "--workers=1")
    gold.main()
    accept("gold")


def run(monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
    set_arguments(monkeypatch, "exec_results", f"--workers={workers}")
    main()


def made(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("data/exec_results.parquet", "reports/exec_results.json")]


def test_every_candidate_gets_its_verdict(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    frame = pl.read_parquet(folder / "data/exec_results.parquet")
    assert frame["verdict"].to_list() == [verdict for _, _, verdict in SAMPLES]
    assert frame["contract"].unique().to_list() == ["strict"]
    assert frame["db_sha256"].str.len_chars().unique().to_list() == [64]
    ran = frame.filter(pl.col("verdict").is_in(["match", "mismatch"]))
    assert ran["error"].null_count() == len(ran) and ran["steps"].null_count() == 0
    failed = frame.filter(pl.col("verdict") == "exec_error")
    assert failed["error_class"].to_list() == ["several_statements", "forbidden"]
    assert failed["digest"].null_count() == 2


def test_the_report_counts_verdicts_and_flips_between_contracts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    report = json.loads((folder / "reports/exec_results.json").read_text())
    assert report["candidates_in"] == report["rows_out"] == len(SAMPLES)
    assert report["distinct_queries"] == len({sql for _, sql, _ in SAMPLES})
    assert report["verdicts"] == {
        "match": 2, "mismatch": 3, "exec_error": 2, "over_budget": 1, "undecided": 1, "no_sql": 1, "gold_error": 2,
    }  # fmt: skip
    assert report["matches"] == {"spider": 3, "bird": 3, "strict": 2}
    assert report["flips"] == {"spider_bird": 0, "spider_strict": 1, "bird_strict": 1}
    assert report["error_classes"] == {"forbidden": 1, "several_statements": 1, "size": 1}
    assert report["difficulties"]["hard"] == {"gold_error": 2}
    assert capsys.readouterr().out.startswith("exec_results: 12 rows, 0 dropped, mismatch 3, ")


def test_the_contract_of_the_params_decides(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "params.yaml").write_text(PARAMS.replace("strict", "spider"))
    run(monkeypatch)
    frame = pl.read_parquet(folder / "data/exec_results.parquet")
    assert frame.select("verdict", "contract").row(-1) == ("match", "spider")


def test_any_number_of_workers_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, workers=1)
    one = made(folder)
    run(monkeypatch, workers=4)
    assert made(folder) == one
    assert not list(folder.glob("*.partial"))


def test_a_run_killed_half_way_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    (folder / "params.yaml").write_text(PARAMS.replace("budget_floor: 1000000", "budget_floor: 1000000000"))
    prepare(folder, monkeypatch, [(0, counting(200_000 + number)) for number in range(80)])
    command = [sys.executable, "-m", "stages.exec_results", "--workers=1"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(records_in(cache_folder)) <= GOLDS_IN_CACHE:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert GOLDS_IN_CACHE < len(records_in(cache_folder)) < GOLDS_IN_CACHE + 80
    assert not (folder / "data/exec_results.parquet").exists()
    run(monkeypatch)
    resumed = made(folder)
    assert len(records_in(cache_folder)) == GOLDS_IN_CACHE + 80
    shutil.rmtree(cache_folder)
    run(monkeypatch)
    assert made(folder) == resumed


def test_candidates_of_unknown_questions_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_candidates([(77, "SELECT 1")])
    with pytest.raises(UserError, match=r"not in questions.*demo/train/0077"):
        run(monkeypatch)


def test_questions_without_gold_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions([*GOLDS, "SELECT 1"])
    with pytest.raises(UserError, match=r"gold has no row for 1 questions.*demo/train/0003"):
        run(monkeypatch)


@pytest.mark.parametrize("table", ["candidates", "gold", "questions"])
def test_each_input_needs_its_receipt(folder: Path, monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    receipt_file(table).unlink()
    with pytest.raises(UserError, match=f"{table}.json does not exist"):
        run(monkeypatch)


def test_a_missing_database_is_named_and_not_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (DATABASES / "music" / "music.sqlite").unlink()
    with pytest.raises(UserError, match=r"music\.sqlite does not exist"):
        run(monkeypatch)
    assert not (DATABASES / "music" / "music.sqlite").exists()


def test_a_number_of_workers_below_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, workers=0)
    assert "'0' is not a number of processes" in capsys.readouterr().err


def test_all_nonsense_params_are_named_at_once(folder: Path) -> None:
    wrong = PARAMS.replace("contract: strict", "contract: loose").replace("budget_factor: 50", "budget_factor: 0")
    (folder / "params.yaml").write_text(wrong + "  wall: 3\n")
    with pytest.raises(UserError) as caught:
        read_params("exec_results", ExecResultsParams)
    named = ("contract", "budget_factor", "wall")
    assert len(caught.value.sentences) == 3
    assert all(f"exec_results.{name}`" in " ".join(caught.value.sentences) for name in named)
