import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.receipts import write_receipt
from stages.core.tables import COLUMNS, read_table, write_table
from stages.sft import drop_reasons, main, sft_rows


def question(question_id: str, split: str = "train") -> dict[str, str]:
    return {
        "question_id": question_id, "source": "demo", "split": split, "db_id": "music",
        "question": f"Question {question_id}?", "evidence": "a hint",
        "gold_sql": f"SELECT '{question_id}'", "other_golds": "", "difficulty": "easy", "origin": "human",
    }  # fmt: skip


def gold(question_id: str, verdict: str = "ok", flags: str = "") -> dict[str, Any]:
    known = {"question_id": question_id, "verdict": verdict, "flags": flags}
    return {column: known.get(column) for column in COLUMNS["gold"]}


def prompt(question_id: str, lost: str = "[]") -> dict[str, Any]:
    return {
        "question_id": question_id, "db_id": "music", "prompt": f"Prompt {question_id}", "tokens": 3,
        "dropped_tables": '["album", "song"]', "lost_tables": lost,
    }  # fmt: skip


TRAIN = ("good", "failed", "slow", "tied", "both", "empty", "lost")
QUESTIONS = pl.DataFrame(
    [question("dev", split="dev"), *(question(one) for one in TRAIN)], schema=COLUMNS["questions"]
)
PROMPTS = pl.DataFrame(
    [prompt("dev"), *(prompt(one, '["song"]' if one in ("lost", "both") else "[]") for one in TRAIN)],
    schema=COLUMNS["prompts"],
)
GOLD = pl.DataFrame(
    [
        gold("dev"), gold("good"), gold("failed", "exec_error"), gold("slow", "over_budget"),
        gold("tied", flags="limit_tie"), gold("both", flags="empty,limit_tie"), gold("empty", flags="empty"),
        gold("lost"),
    ],
    schema=COLUMNS["gold"],
)  # fmt: skip


def test_each_question_is_left_out_for_its_first_reason() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD, PROMPTS, ["limit_tie"]).select("question_id", "reason").rows()
    assert dict(reasons) == {
        "dev": "not_train", "good": None, "failed": "gold_exec_error", "slow": "gold_over_budget",
        "tied": "flag_limit_tie", "both": "flag_limit_tie", "empty": None,
        "lost": "gold_table_dropped",
    }  # fmt: skip


def test_without_flags_to_drop_every_usable_gold_stays_whose_tables_are_shown() -> None:
    kept = drop_reasons(QUESTIONS, GOLD, PROMPTS, []).filter(pl.col("reason").is_null())
    assert set(kept["question_id"]) == {"good", "tied", "empty"}


def test_a_flag_is_not_taken_for_a_part_of_another() -> None:
    odd = GOLD.with_columns(flags=pl.lit("not_limit_tie"))
    assert "flag_limit_tie" not in drop_reasons(QUESTIONS, odd, PROMPTS, ["limit_tie"])["reason"].to_list()


def test_a_question_without_a_gold_verdict_is_left_out() -> None:
    reasons = drop_reasons(QUESTIONS, GOLD.filter(pl.col("question_id") != "good"), PROMPTS, [])
    assert reasons.filter(pl.col("question_id") == "good")["reason"].to_list() == ["gold_missing"]


def test_the_prompt_is_that_of_the_dataset_and_the_completion_the_gold() -> None:
    asked = drop_reasons(QUESTIONS, GOLD, PROMPTS.reverse(), [])
    (row,) = sft_rows(asked.filter(pl.col("question_id") == "good")).to_dicts()
    assert row == {
        "question_id": "good", "prompt": "Prompt good", "completion": "SELECT 'good'", "origin": "human",
    }  # fmt: skip


def stage_in(folder: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, true receipts and params.yaml in `folder`, which becomes the working directory, and the stage's flags."""
    monkeypatch.chdir(folder)
    with Path("params.yaml").open("w") as file:
        YAML().dump({"sft": section}, file)
    flags = ["--sft", "sft.parquet", "--report", "sft.json"]
    for name, frame in {"questions": QUESTIONS, "gold": GOLD, "prompts": PROMPTS}.items():
        write_table(frame, Path(f"{name}.parquet"), name)
        write_receipt(Path(f"{name}.receipt.json"), name, frame.height, True, Path(f"{name}.parquet"))
        flags += [f"--{name}", f"{name}.parquet", f"--{name}-receipt", f"{name}.receipt.json"]
    monkeypatch.setattr(sys, "argv", ["sft", *flags])


def test_the_stage_writes_the_same_bytes_twice_and_counts_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, {"drop_flags": ["limit_tie"]}, monkeypatch)
    main()
    first = Path("sft.parquet").read_bytes()
    main()
    assert first == Path("sft.parquet").read_bytes()
    assert read_table(Path("sft.parquet"), "sft")["question_id"].to_list() == ["empty", "good"]
    assert read_json(Path("sft.json")) == {
        "in": 8, "out": 2,
        "dropped": {
            "flag_limit_tie": 2, "gold_exec_error": 1, "gold_over_budget": 1, "gold_table_dropped": 1, "not_train": 1,
        },
    }  # fmt: skip


def test_an_invalid_dataset_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": []}, monkeypatch)
    write_receipt(Path("gold.receipt.json"), "gold", GOLD.height, False, Path("gold.parquet"))
    with pytest.raises(UserError, match=r"gold.parquet broke its contract"):
        main()
    assert not Path("sft.parquet").exists()


def test_an_unknown_flag_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": ["limit_ties"]}, monkeypatch)
    with pytest.raises(UserError, match=r"`sft.drop_flags.0` is 'limit_ties'; input should be 'empty', 'limit_tie'"):
        main()
