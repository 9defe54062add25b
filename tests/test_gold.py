import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest

from stages import gold
from stages.audit import gold_worker as gold_queries
from stages.audit.query_checks import Auditor, Findings
from stages.core.errors import UserError
from stages.databases.paths import database_path
from stages.datasets.verdicts import GOLD_FLAGS
from stages.execution.comparison import Result
from stages.execution.sandbox import OpenDatabases
from stages.execution.worker_pool import local
from stages.gold import main
from tests.execution.world import CROSS_JOIN, ENDLESS, LIMITS, make_database
from tests.real import REAL
from tests.workplace import put_rows, set_arguments, write_questions

PARAMS = """
gold:
  step_budget: 1000000
execution:
  wall_seconds: 20
  memory_mb: 512
  max_rows: 10000
  result_mb: 20
sft:
  strong_share:
  drop_flags: [limit_tie]
pairs:
  drop_flags: []
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
    make_database(tmp_path / "data/databases")
    (tmp_path / "params.yaml").write_text(PARAMS)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
    set_arguments(monkeypatch, "gold", f"--workers={workers}")
    main()


def gold_of(folder: Path, golds: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, object]]:
    write_questions(golds)
    run(monkeypatch)
    return pl.read_parquet(folder / "data/gold.parquet").to_dicts()


def test_every_gold_gets_its_verdict_and_flags_and_they_are_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = gold_of(folder, list(GOLDS), monkeypatch)
    assert {gold: (row["verdict"], row["flags"]) for gold, row in zip(GOLDS, rows, strict=True)} == GOLDS
    report = json.loads((folder / "reports/gold.json").read_text())
    assert (report["questions_in"], report["rows_out"], report["not_audited"]) == (13, 13, 0)
    assert report["verdicts"] == {"ok": 8, "exec_error": 3, "over_budget": 1, "undecided": 1}
    assert report["flags"] == dict.fromkeys(GOLD_FLAGS, 0) | {"empty": 1, "limit_tie": 3, "order_unstable": 1}
    assert report["sets"]["demo-train"] == {"questions": 13, "verdicts": report["verdicts"], "flags": report["flags"]}
    assert capsys.readouterr().out.startswith("gold: 13 rows, 0 dropped, ok 8, exec_error 3, ")


def test_every_flag_comes_with_its_evidence_and_no_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in gold_of(folder, list(GOLDS), monkeypatch):
        findings = json.loads(str(row["findings"])) if row["findings"] else {}
        assert ",".join(findings) == row["flags"]
        assert str(folder) not in str(row)
    page = (folder / "reports/gold.html").read_text()
    assert "left out of sft</span>" in page and "left out of pairs" not in page
    assert page.count("<article ") == 10 and str(folder) not in page


def test_findings_against_questions_follow_those_of_their_queries(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    questions = write_questions(["SELECT name FROM singer ORDER BY age", "SELECT 1 WHERE 0", "SELECT 1"])
    others = ['{"2023": "SELECT name FROM singer"}', "", '{"2023": "SELECT 2"}']
    asked = questions.with_columns(
        question=pl.lit("Which?"), split=pl.Series(["train", "train", "dev"]), other_golds=pl.Series(others)
    )
    put_rows("questions", asked.to_dicts())
    run(monkeypatch)
    assert pl.read_parquet(folder / "data/gold.parquet")["flags"].to_list() == [
        "order_unstable,duplicate_question", "empty,duplicate_question",
        "duplicate_question,versions_disagree,question_in_train,database_in_train",
    ]  # fmt: skip


def test_only_a_gold_that_ran_has_a_result(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for row in gold_of(folder, list(GOLDS), monkeypatch):
        ran = row["verdict"] == "ok"
        assert {(row[name] is not None) for name in ("rows", "columns", "digest")} == {ran}
        assert (row["error"] is None) == ran
        assert isinstance(row["steps"], int)


def test_any_number_of_workers_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(list(GOLDS) * 3)
    made = []
    for workers in (1, 4):
        run(monkeypatch, workers)
        names = ("data/gold.parquet", "reports/gold.json", "reports/gold.html")
        made.append([(folder / name).read_bytes() for name in names])
    assert made[0] == made[1]
    assert not list(folder.glob("*.partial"))


def test_a_missing_and_a_broken_database_are_named_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_questions(["SELECT 1"] * 3, ["music", "gone", "broken"])
    (folder / "data/databases" / "broken").mkdir()
    (folder / "data/databases" / "broken" / "broken.sqlite").write_text("no database" * 100)
    with pytest.raises(UserError, match=r"broken\.sqlite is not an SQLite database.*\n.*gone\.sqlite does not exist"):
        run(monkeypatch)
    assert not (folder / "data/databases" / "gone").exists() and not (folder / "data/gold.parquet").exists()


def test_questions_changed_after_validation_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(["SELECT 1"])
    receipt = (folder / "reports/validation/questions.json").read_bytes()
    write_questions(["SELECT 2"])
    (folder / "reports/validation/questions.json").write_bytes(receipt)
    with pytest.raises(UserError, match="has changed since"):
        run(monkeypatch)


def test_a_query_is_executed_anew_only_where_its_database_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, cache_folder: Path
) -> None:
    (first,) = gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch)
    with monkeypatch.context() as patched:
        patched.setattr(gold, "engine_of", lambda args: None)  # nothing can be executed
        assert gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch) == [first]
    connection = sqlite3.connect(folder / "data/databases" / "music" / "music.sqlite")
    connection.execute("DELETE FROM singer")
    connection.commit()
    connection.close()
    (other,) = gold_of(folder, ["SELECT count(*) FROM singer"], monkeypatch)
    assert other["digest"] != first["digest"]


def test_a_gold_whose_audit_runs_out_of_memory_keeps_its_verdict_and_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(auditor: Auditor, sql: str, forward: Result) -> Findings:
        raise MemoryError

    monkeypatch.setattr(Auditor, "findings", fail)
    query = (str(folder / "data/databases" / "music" / "music.sqlite"), "SELECT 1")
    record = gold_queries._audited(OpenDatabases(), gold_queries._Settings(1000, LIMITS), query)
    assert (record.verdict, record.rows, record.audited, record.nondeterministic) == ("ok", 1, False, True)


@pytest.mark.realdata
def test_the_golds_of_spider_that_are_known_to_be_bad_are_found() -> None:
    entries = json.loads((REAL / "spider" / "train_spider.json").read_text(encoding="utf-8"))
    some = entries[3150:3155] + entries[4511:4516]
    queries = [(str(database_path(REAL / "spider" / "database", entry["db_id"])), entry["query"]) for entry in some]
    records = gold_queries.audit(queries, 50_000_000, LIMITS, local(2))
    assert [3150 + place for place, record in enumerate(records[:5]) if record.verdict != "ok"] == [3153]
    assert [4511 + place for place, record in enumerate(records[5:]) if record.verdict != "ok"] == [4513, 4514]


@pytest.mark.realdata
def test_the_golds_of_bird_that_differ_from_those_of_2023_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (REAL / "bird" / "dev_gold_2023.sql").read_text(encoding="utf-8").splitlines()
    entries = json.loads((REAL / "bird" / "dev.json").read_text(encoding="utf-8"))
    rows: list[dict[str, object]] = [
        {
            "question_id": f"bird/dev/{number:04}", "source": "bird", "split": "dev", "db_id": entry["db_id"],
            "question": entry["question"], "evidence": entry["evidence"], "gold_sql": entry["SQL"],
            "other_golds": json.dumps({"2023": line.rpartition("\t")[0]}),
        }
        for number, (entry, line) in enumerate(zip(entries, lines, strict=True)) if entry["db_id"] == "superhero"
    ]  # fmt: skip
    changed = [row for row in rows if row["other_golds"] != json.dumps({"2023": row["gold_sql"]})]
    put_rows("questions", changed)
    (folder / "params.yaml").write_text(PARAMS.replace("1000000", "50000000"))
    (folder / "data/databases" / "superhero").symlink_to(REAL / "bird" / "dev_databases" / "superhero")
    run(monkeypatch, workers=2)
    gold_rows = pl.read_parquet(folder / "data/gold.parquet")
    disagree = gold_rows.filter(pl.col("flags").str.contains("versions_disagree"))["question_id"]
    assert [int(name[-4:]) for name in disagree] == [726, 728, 730, 738, 761, 811, 828]
    assert json.loads((folder / "reports/gold.json").read_text())["versions"] == {
        "2023": {"compared": 8, "match": 1, "mismatch": 7}
    }


@pytest.mark.parametrize(
    ("line", "sentence"),
    [("step_budget: 0", "greater than 0"), ("wall_seconds: -1", "greater than 0"), ("memory_mb: 1", "greater than or"),
     ("max_rows: many", "integer"), ("result_mb: 0", "greater than 0")],
)  # fmt: skip
def test_nonsense_params_are_refused(folder: Path, line: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = line.split(":")[0]
    lines = [f"  {line}" if name in old else old for old in PARAMS.splitlines()]
    (folder / "params.yaml").write_text("\n".join(lines))
    with pytest.raises(UserError, match=f"(gold|execution).{name}.*{sentence}"):
        run(monkeypatch)
