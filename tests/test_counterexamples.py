import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from stages.cache.result_cache import Cache
from stages.core.errors import UserError
from stages.core.layout import DATABASES, receipt_file
from stages.core.params import read_params
from stages.core.tables import read_any
from stages.counterexamples import CounterexamplesParams, main
from stages.datasets.counterexamples import COUNTEREXAMPLES, WITNESS_CLASSES
from stages.execution.comparison import Contract
from stages.execution.worker_pool import local
from stages.mutation.findings import Question
from stages.mutation.witnesses import find_witnesses
from stages.predictions.gold_files import read_gold
from stages.validate import orphans
from stages.validation.suites import failed_expectations, read_suite
from tests import FIXTURES, ROOT
from tests.cached import records_in
from tests.mutation.world import again, settings_of, write_database
from tests.real import REAL
from tests.workplace import EXECUTION, put_rows, set_arguments, write_params, write_questions

GOLDS = [
    "SELECT name FROM customer WHERE age > 40", "SELECT count(*) FROM customer", "SELECT city FROM customer",
    "SELECT id FROM product ORDER BY price DESC, id", "SELECT absent FROM customer",
]  # fmt: skip
RESULTS = [
    (0, GOLDS[0], "match", "survived"),
    (0, "SELECT name FROM customer WHERE age >= 41", "match", "survived"),
    (0, "SELECT name FROM customer WHERE age >= 40", "match", "rows"),
    (0, "SELECT name FROM customer WHERE age >= 40", "match", "rows"),
    (0, "SELECT name FROM customer", "mismatch", None),
    (1, "SELECT 60", "match", "rows"),
    (1, "SELECT count(id) FROM customer", "match", "survived"),
    (1, "SELECT count(id FROM customer", "exec_error", None),
    (2, "SELECT DISTINCT city FROM customer", "match", "duplicates"),
    (3, "SELECT id FROM product ORDER BY price, id", "match", "order"),
    (3, "SELECT gone FROM product", "match", "untested"),
    (4, "SELECT name FROM customer", "gold_error", None),
]
"""Number of the question, SQL, verdict, and the class of its row."""
PARAMS = {"seed": 1, "mutants": 5, "step_budget": 1_000_000}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a shop, and what its candidates came to."""
    monkeypatch.chdir(tmp_path)
    script = (FIXTURES / "mutation" / "shop.sql").read_text(encoding="utf-8")
    database = tmp_path / DATABASES / "shop" / "shop.sqlite"
    database.parent.mkdir(parents=True)
    write_database(tmp_path, script).rename(database)
    write_params(execution=EXECUTION, counterexamples=PARAMS)
    write_questions(GOLDS, ["shop"])
    write_results([(number, sql, verdict) for number, sql, verdict, _ in RESULTS])
    return tmp_path


def write_results(results: list[tuple[int, str, str]], contract: Contract = "strict") -> None:
    """Writes `exec_results`: (number of the question, SQL, verdict) each."""
    put_rows("exec_results", [
        {"candidate_id": f"{index:016x}", "question_id": f"demo/train/{number:04}", "sql": sql, "verdict": verdict,
         "db_sha256": "0" * 64, "contract": contract, "sqlite_version": "3"}
        for index, (number, sql, verdict) in enumerate(results)
    ])  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> pl.DataFrame:
    set_arguments(monkeypatch, "counterexamples", f"--workers={workers}")
    main()
    return read_any(COUNTEREXAMPLES.file)


def outputs() -> list[bytes]:
    return [Path(name).read_bytes() for name in ("data/counterexamples.parquet", "reports/counterexamples.json")]


def test_every_match_has_a_row_and_no_other_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = run(monkeypatch)
    expected = [(f"{index:016x}", kind) for index, (_, _, _, kind) in enumerate(RESULTS) if kind]
    assert frame.select("candidate_id", "class").rows() == expected
    parted = frame.filter(~pl.col("class").is_in(["survived", "untested"]))
    assert parted["witness"].null_count() == parted["witness_number"].null_count() == 0
    assert frame["witness"].count() == frame["witness_number"].count() == parted.height
    witnesses = [json.loads(witness) for witness in parted["witness"]]
    assert all(witness["seed"] == 1 and witness["changes"] for witness in witnesses)
    assert frame.filter(pl.col("class") == "untested")["mutants_tried"].to_list() == [0]


def test_the_rows_meet_their_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    frame, suite = run(monkeypatch), read_suite(ROOT / "schemas" / "counterexamples.json")
    assert failed_expectations(frame, suite, orphans(frame, suite)) == []


def test_the_report_adds_up(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    frame = run(monkeypatch)
    report = json.loads(Path("reports/counterexamples.json").read_text())
    assert report["in"] == report["out"] == frame.height == sum(report["class"].values()) == 9
    assert report["class"] == {"survived": 3, "rows": 3, "duplicates": 1, "order": 1, "untested": 1}
    assert tuple(report["class"]) == WITNESS_CLASSES
    assert report["right_by_accident"] == frame["witness"].count() == 5
    assert report["questions"] == {"in": 4, "with_witness": 4} and report["no_mutants"] == {}
    assert 0 < report["neighbours"]["parted"] <= report["neighbours"]["executed"]
    assert 0 < report["mutants"]["kept"] <= 4 * PARAMS["mutants"] and report["mutants"]["void"] == 0
    assert capsys.readouterr().out.startswith("counterexamples: 9 rows, 0 dropped, 5 right by accident, ")


@pytest.mark.parametrize(("contract", "kind"), [("spider", "survived"), ("bird", "survived"), ("strict", "duplicates")])
def test_the_contract_of_exec_results_decides(
    monkeypatch: pytest.MonkeyPatch, contract: Contract, kind: str
) -> None:
    write_results([(2, "SELECT DISTINCT city FROM customer", "match")], contract)
    assert run(monkeypatch)["class"].to_list() == [kind]


def test_why_a_database_has_no_mutant_is_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = folder / DATABASES / "shop" / "shop.sqlite"
    database.unlink()
    write_database(folder, "CREATE TABLE customer (id INTEGER PRIMARY KEY, name TEXT)").rename(database)
    write_results([(1, "SELECT count(id) FROM customer", "match"), (2, "SELECT name FROM customer", "match")])
    assert run(monkeypatch)["class"].to_list() == ["untested", "untested"]
    report = json.loads(Path("reports/counterexamples.json").read_text())
    assert report["no_mutants"] == {"no change of its database keeps the rules of its data": 2}


def test_without_a_match_there_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    write_results([(0, "SELECT name FROM customer", "mismatch")])
    frame, suite = run(monkeypatch), read_suite(ROOT / "schemas" / "counterexamples.json")
    assert frame.height == 0 and dict(frame.schema) == COUNTEREXAMPLES.columns
    assert failed_expectations(frame, suite, orphans(frame, suite)) == []
    report = json.loads(Path("reports/counterexamples.json").read_text())
    assert report["in"] == report["out"] == report["right_by_accident"] == 0


def test_any_number_of_workers_gives_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    run(monkeypatch, workers=1)
    by_one_worker = outputs()
    run(monkeypatch, workers=1)
    assert outputs() == by_one_worker
    shutil.rmtree(cache_folder)
    run(monkeypatch, workers=2)
    assert outputs() == by_one_worker
    assert not list(folder.rglob("*.partial"))


def test_the_databases_are_not_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = folder / DATABASES / "shop" / "shop.sqlite"
    before = database.read_bytes()
    run(monkeypatch)
    assert database.read_bytes() == before and list((folder / DATABASES).rglob("*.*")) == [database]


@pytest.mark.slow
def test_a_run_killed_half_way_goes_on_to_the_same_bytes(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    joined = "customer JOIN orders ON customer.id = customer_id"
    golds = [f"SELECT name FROM {joined} WHERE age > {age}" for age in range(40)]
    write_questions(golds, ["shop"])
    write_results([(number, gold.replace(">", ">="), "match") for number, gold in enumerate(golds)])
    command = [sys.executable, "-m", "stages.counterexamples", "--workers=1"]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not records_in(cache_folder):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert 0 < len(records_in(cache_folder)) < len(golds)
    assert not COUNTEREXAMPLES.file.exists()
    run(monkeypatch)
    resumed = outputs()
    assert len(records_in(cache_folder)) == len(golds)
    shutil.rmtree(cache_folder)
    run(monkeypatch)
    assert outputs() == resumed


def test_a_missing_database_is_named_and_not_made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = folder / DATABASES / "shop" / "shop.sqlite"
    database.unlink()
    with pytest.raises(UserError, match=r"shop\.sqlite does not exist"):
        run(monkeypatch)
    assert not database.exists()


@pytest.mark.parametrize("table", ["exec_results", "questions"])
def test_each_input_needs_its_receipt(monkeypatch: pytest.MonkeyPatch, table: str) -> None:
    receipt_file(table).unlink()
    with pytest.raises(UserError, match=rf"{table}\.json does not exist"):
        run(monkeypatch)


def test_all_nonsense_params_are_named_at_once() -> None:
    write_params(counterexamples={"seed": -1, "mutants": 0, "step_budget": 0, "wall": 3})
    with pytest.raises(UserError) as caught:
        read_params("counterexamples", CounterexamplesParams)
    named = ("seed", "mutants", "step_budget", "wall")
    assert len(caught.value.sentences) == 4
    assert all(f"counterexamples.{name}" in " ".join(caught.value.sentences) for name in named)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize("contract", ["spider", "strict"])
def test_no_gold_of_spider_has_a_witness_against_itself(tmp_path: Path, contract: Contract) -> None:
    golds = read_gold(REAL / "spider" / "dev.json")
    paths = {gold.db_id: REAL / "spider" / "database" / gold.db_id / f"{gold.db_id}.sqlite" for gold in golds}
    questions = [
        Question(str(paths[gold.db_id]), gold.sql, (again(gold.sql),)) for gold in golds if paths[gold.db_id].exists()
    ]
    findings = find_witnesses(questions, settings_of(contract, mutants=8), local(2), Cache(tmp_path / "cache"))
    kinds = [finding.kind for each in findings for finding in each.candidates]
    assert len(kinds) > 900 and set(kinds) <= {"survived", "untested"} and kinds.count("untested") < 30
