import sys
from pathlib import Path
from typing import Any

import apsw
import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.errors import UserError
from stages.files import read_json
from stages.prompts.questions import prompts_of
from stages.prompts.render import render_prompt
from stages.receipts import write_receipt
from stages.sft import drop_reasons, main, sft_rows
from stages.tables import COLUMNS, read_table, write_table


def question(question_id: str, split: str = "train", db_id: str = "music") -> dict[str, str]:
    return {
        "question_id": question_id, "source": "demo", "split": split, "db_id": db_id,
        "question": f"Question {question_id}?", "evidence": "a hint",
        "gold_sql": f"SELECT '{question_id}'", "difficulty": "easy", "origin": "human",
    }  # fmt: skip


def gold(question_id: str, verdict: str = "ok", flags: str = "") -> dict[str, Any]:
    known = {"question_id": question_id, "verdict": verdict, "flags": flags}
    return {column: known.get(column) for column in COLUMNS["gold"]}


QUESTIONS = pl.DataFrame(
    [question("dev", split="dev"), *(question(one) for one in ("good", "failed", "slow", "tied", "both", "empty"))],
    schema=COLUMNS["questions"],
)
GOLD = pl.DataFrame(
    [
        gold("dev"), gold("good"), gold("failed", "exec_error"), gold("slow", "over_budget"),
        gold("tied", flags="limit_tie"), gold("both", flags="empty,limit_tie"), gold("empty", flags="empty"),
    ],
    schema=COLUMNS["gold"],
)  # fmt: skip


def make_database(folder: Path, db_id: str) -> None:
    (folder / db_id).mkdir(parents=True)
    connection = apsw.Connection(str(folder / db_id / f"{db_id}.sqlite"))
    connection.execute("CREATE TABLE singer(singer_id INTEGER PRIMARY KEY, name TEXT)")
    connection.close()


@pytest.fixture
def databases(tmp_path: Path) -> Path:
    make_database(tmp_path / "databases", "music")
    return tmp_path / "databases"


def test_each_question_is_left_out_for_its_first_reason() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD, ["limit_tie"]).select("question_id", "reason").rows()
    assert dict(reasons) == {
        "dev": "not_train", "good": None, "failed": "gold_exec_error", "slow": "gold_over_budget",
        "tied": "flag_limit_tie", "both": "flag_limit_tie", "empty": None,
    }  # fmt: skip


def test_without_flags_to_drop_every_usable_gold_stays() -> None:
    kept = drop_reasons(QUESTIONS, GOLD, []).filter(pl.col("reason").is_null())
    assert set(kept["question_id"]) == {"good", "tied", "both", "empty"}


def test_a_flag_is_not_taken_for_a_part_of_another() -> None:
    odd = GOLD.with_columns(flags=pl.lit("not_limit_tie"))
    assert "flag_limit_tie" not in drop_reasons(QUESTIONS, odd, ["limit_tie"])["reason"].to_list()


def test_a_question_without_a_gold_verdict_is_left_out() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD.filter(pl.col("question_id") != "good"), [])
    assert reasons.filter(pl.col("question_id") == "good")["reason"].to_list() == ["gold_missing"]


def test_prompt_and_completion_are_those_of_the_one_renderer(databases: Path) -> None:
    (row,) = sft_rows(QUESTIONS.filter(pl.col("question_id") == "good"), databases).to_dicts()
    assert row == {
        "question_id": "good", "prompt": render_prompt("singer(singer_id, name)", "Question good?", "a hint"),
        "completion": "SELECT 'good'", "origin": "human",
    }  # fmt: skip


def test_prompts_come_in_the_order_of_the_questions(databases: Path) -> None:
    make_database(databases, "zoo")
    asked = pl.DataFrame([question("1", db_id="zoo"), question("2"), question("3", db_id="zoo")])
    assert ["Question 1?" in one or "Question 2?" in one for one in prompts_of(asked, databases)] == [True, True, False]


def test_every_database_that_cannot_be_read_is_told_at_once_and_none_is_made(databases: Path) -> None:
    for db_id, content in {"text": b"this is no database" * 100, "hollow": b""}.items():
        (databases / db_id).mkdir()
        (databases / db_id / f"{db_id}.sqlite").write_bytes(content)
    asked = pl.DataFrame([question("1"), *(question(db_id, db_id=db_id) for db_id in ("text", "hollow", "gone"))])
    with pytest.raises(UserError) as caught:
        prompts_of(asked, databases)
    told = dict(zip(("gone", "hollow", "text"), caught.value.sentences, strict=True))
    assert "gone.sqlite does not exist" in told["gone"]
    assert "hollow.sqlite holds no tables" in told["hollow"]
    assert "text.sqlite cannot be read as SQLite (file is not a database)" in told["text"]
    assert not (databases / "gone").exists()


def stage_in(folder: Path, databases: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, true receipts and params.yaml in `folder`, which becomes the working directory, and the stage's flags."""
    monkeypatch.chdir(folder)
    with Path("params.yaml").open("w") as file:
        YAML().dump({"sft": section}, file)
    flags = ["--databases", str(databases), "--sft", "sft.parquet", "--report", "sft.json"]
    for name, frame in {"questions": QUESTIONS, "gold": GOLD}.items():
        write_table(frame, Path(f"{name}.parquet"), name)
        write_receipt(Path(f"{name}.receipt.json"), name, frame.height, True, Path(f"{name}.parquet"))
        flags += [f"--{name}", f"{name}.parquet", f"--{name}-receipt", f"{name}.receipt.json"]
    monkeypatch.setattr(sys, "argv", ["sft", *flags])


def test_the_stage_writes_the_same_bytes_twice_and_counts_what_it_dropped(
    tmp_path: Path, databases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, databases, {"drop_flags": ["limit_tie"]}, monkeypatch)
    main()
    first = Path("sft.parquet").read_bytes()
    main()
    assert first == Path("sft.parquet").read_bytes()
    assert read_table(Path("sft.parquet"), "sft")["question_id"].to_list() == ["empty", "good"]
    assert read_json(Path("sft.json")) == {
        "in": 7, "out": 2,
        "dropped": {"flag_limit_tie": 2, "gold_exec_error": 1, "gold_over_budget": 1, "not_train": 1},
    }  # fmt: skip


def test_an_invalid_dataset_stops_the_stage(tmp_path: Path, databases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, databases, {"drop_flags": []}, monkeypatch)
    write_receipt(Path("gold.receipt.json"), "gold", GOLD.height, False, Path("gold.parquet"))
    with pytest.raises(UserError, match=r"gold.parquet broke its contract"):
        main()
    assert not Path("sft.parquet").exists()


def test_an_unknown_flag_is_told(tmp_path: Path, databases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, databases, {"drop_flags": ["limit_ties"]}, monkeypatch)
    with pytest.raises(UserError, match=r"`sft.drop_flags.0` is 'limit_ties'; input should be 'empty', 'limit_tie'"):
        main()
