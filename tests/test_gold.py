import json
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from stages import gold
from stages.errors import UserError
from stages.gold import GoldParams, main
from stages.params import read_params
from stages.sql.sandbox import database_sha256
from tests.sql.world import CROSS_JOIN, ENDLESS, make_database, write_questions

PARAMS = """
gold:
  step_budget: 1000000
  wall_seconds: 20
  memory_mb: 512
  max_rows: 10000
  result_mb: 20
"""
GOLDS = {
    "SELECT name FROM singer ORDER BY name": ("ok", ""),
    "SELECT name FROM singer": ("ok", ""),
    "SELECT name FROM singer WHERE age > 99": ("ok", "empty"),
    "SELECT name FROM singer ORDER BY age": ("ok", "order_unstable"),
    "SELECT name FROM singer ORDER BY age LIMIT 2": ("ok", "limit_tie"),
    "SELECT title FROM album WHERE singer_id = (SELECT singer_id FROM singer WHERE age = 40 ORDER BY age LIMIT 1)": (
        "ok", "limit_tie",
    ),
    "SELECT name FROM singer LIMIT 1": ("ok", "limit_tie"),
    "SELECT max(age) FROM singer": ("ok", ""),
    "SELECT absent FROM singer": ("exec_error", ""),
    "DELETE FROM singer": ("exec_error", ""),
    "-- none": ("exec_error", ""),
    ENDLESS: ("over_budget", ""),
    CROSS_JOIN: ("undecided", ""),
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make_database(tmp_path / "databases")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
    flags = "--questions questions.parquet --questions-receipt questions.json --databases databases "
    flags += f"--gold gold.parquet --report gold-report.json --workers {workers}"
    monkeypatch.setattr(sys, "argv", ["gold", *flags.split()])
    main()


def gold_of(folder: Path, golds: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    write_questions(folder, golds)
    run(monkeypatch)
    return pl.read_parquet(folder / "gold.parquet").to_dicts()


def test_every_gold_gets_its_verdict_and_flags_and_they_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = gold_of(folder, list(GOLDS), monkeypatch)
    assert {gold: (row["verdict"], row["flags"]) for gold, row in zip(GOLDS, rows, strict=True)} == GOLDS
    assert json.loads((folder / "gold-report.json").read_text()) == {
        "questions_in": 13, "rows_out": 13,
        "verdicts": {"ok": 8, "exec_error": 3, "over_budget": 1, "undecided": 1},
        "flags": {"empty": 1, "limit_tie": 3, "order_unstable": 1}, "not_audited": 0,
    }  # fmt: skip


def test_only_a_gold_that_ran_has_a_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in gold_of(folder, list(GOLDS), monkeypatch):
        ran = row["verdict"] == "ok"
        assert {(row[name] is not None) for name in ("rows", "columns", "digest")} == {ran}
        assert (row["error"] is None) == ran
        assert isinstance(row["steps"], int)


def test_any_number_of_workers_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(folder, list(GOLDS) * 3)
    made = []
    for workers in (1, 4):
        run(monkeypatch, workers)
        made.append([(folder / name).read_bytes() for name in ("gold.parquet", "gold-report.json")])
    assert made[0] == made[1]
    assert not list(folder.glob("*.partial"))


def test_a_missing_and_a_broken_database_are_named_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(folder, ["SELECT 1"] * 3, ["music", "gone", "broken"])
    (folder / "databases" / "broken").mkdir()
    (folder / "databases" / "broken" / "broken.sqlite").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"broken\.sqlite is not an SQLite database.*\n.*gone\.sqlite does not exist"):
        run(monkeypatch)
    assert not (folder / "databases" / "gone").exists() and not (folder / "gold.parquet").exists()


def test_questions_changed_after_validation_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(folder, ["SELECT 1"])
    receipt = (folder / "questions.json").read_bytes()
    write_questions(folder, ["SELECT 2"])
    (folder / "questions.json").write_bytes(receipt)
    with pytest.raises(UserError, match="has changed since"):
        run(monkeypatch)


def test_a_query_is_executed_anew_only_where_its_database_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    (first,) = gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(gold, "engine_of", lambda args, database: None)  # nothing can be executed
        assert gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch) == [first]
    connection = sqlite3.connect(folder / "databases" / "music" / "music.sqlite")
    connection.execute("DELETE FROM singer")
    connection.commit()
    connection.close()
    database_sha256.cache_clear()
    (other,) = gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch)
    assert other["digest"] != first["digest"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("step_budget: 0", "greater than 0"), ("wall_seconds: -1", "greater than 0"), ("memory_mb: 1", "greater than or"),
     ("max_rows: many", "integer"), ("result_mb: 0", "greater than 0")],
)  # fmt: skip
def test_nonsense_params_are_refused(folder: Path, line: str, sentence: str) -> None:
    name = line.split(":")[0]
    lines = [f"  {line}" if name in old else old for old in PARAMS.splitlines()]
    (folder / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"gold.{name}.*{sentence}"):
        read_params("gold", GoldParams)
