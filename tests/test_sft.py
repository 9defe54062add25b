from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.tables import read_any
from stages.datasets.catalog import DATASETS
from stages.sft import drop_reasons, main, sft_rows
from tests.workplace import put, set_arguments, write_params


def question(question_id: str, split: str = "train") -> dict[str, str]:
    return {
        "question_id": question_id, "source": "demo", "split": split, "db_id": "music",
        "question": f"Question {question_id}?", "evidence": "a hint",
        "gold_sql": f"SELECT '{question_id}'", "other_golds": "", "difficulty": "easy", "origin": "human",
    }  # fmt: skip


def gold(question_id: str, verdict: str = "ok", flags: str = "") -> dict[str, Any]:
    known = {"question_id": question_id, "verdict": verdict, "flags": flags}
    return {column: known.get(column) for column in DATASETS["gold"].columns}


def prompt(question_id: str, lost: str = "[]") -> dict[str, Any]:
    return {
        "question_id": question_id, "db_id": "music", "prompt": f"Prompt {question_id}", "tokens": 3,
        "dropped_tables": '["album", "song"]', "lost_tables": lost,
    }  # fmt: skip


TRAIN = ("good", "failed", "slow", "tied", "both", "empty", "lost")
QUESTIONS = pl.DataFrame(
    [question("dev", split="dev"), *map(question, TRAIN)], schema=DATASETS["questions"].columns
)
PROMPTS = pl.DataFrame(
    [prompt("dev"), *(prompt(one, '["song"]' if one in ("lost", "both") else "[]") for one in TRAIN)],
    schema=DATASETS["prompts"].columns,
)
GOLD = pl.DataFrame(
    [
        gold("dev"), gold("good"), gold("failed", "exec_error"), gold("slow", "over_budget"),
        gold("tied", flags="limit_tie"), gold("both", flags="empty,limit_tie"), gold("empty", flags="empty"),
        gold("lost"),
    ],
    schema=DATASETS["gold"].columns,
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


@pytest.mark.parametrize("dataset", ["gold", "prompts"])
def test_a_question_that_another_dataset_lacks_is_refused(dataset: str) -> None:
    frames = {"gold": GOLD, "prompts": PROMPTS}
    frames[dataset] = frames[dataset].filter(pl.col("question_id") != "good")
    with pytest.raises(UserError, match=rf"{dataset} has no row for 1 questions \(the first: good\)"):
        drop_reasons(QUESTIONS, frames["gold"], frames["prompts"], [])


def test_the_prompt_is_that_of_the_dataset_and_the_completion_the_gold() -> None:
    asked = drop_reasons(QUESTIONS, GOLD, PROMPTS.reverse(), [])
    (row,) = sft_rows(asked.filter(pl.col("question_id") == "good")).to_dicts()
    assert row == {
        "question_id": "good", "prompt": "Prompt good", "completion": "SELECT 'good'", "origin": "human",
    }  # fmt: skip


def stage_in(folder: Path, section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets, true receipts and params.yaml in `folder`, which becomes the working directory."""
    monkeypatch.chdir(folder)
    set_arguments(monkeypatch, "sft")
    write_params(sft=section)
    for name, frame in {"questions": QUESTIONS, "gold": GOLD, "prompts": PROMPTS}.items():
        put(name, frame)


def test_the_stage_writes_the_same_bytes_twice_and_counts_what_it_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(tmp_path, {"drop_flags": ["limit_tie"]}, monkeypatch)
    main()
    first = Path("data/sft.parquet").read_bytes()
    main()
    assert first == Path("data/sft.parquet").read_bytes()
    assert read_any(Path("data/sft.parquet"))["question_id"].to_list() == ["empty", "good"]
    assert read_json(Path("reports/sft.json")) == {
        "in": 8, "out": 2,
        "dropped": {
            "flag_limit_tie": 2, "gold_exec_error": 1, "gold_over_budget": 1, "gold_table_dropped": 1, "not_train": 1,
        },
    }  # fmt: skip


def test_an_invalid_dataset_stops_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": []}, monkeypatch)
    put("gold", GOLD, valid=False)
    with pytest.raises(UserError, match=r"data/gold.parquet broke its suite"):
        main()
    assert not Path("data/sft.parquet").exists()


def test_an_unknown_flag_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(tmp_path, {"drop_flags": ["limit_ties"]}, monkeypatch)
    with pytest.raises(UserError, match=r"`sft.drop_flags.0` is 'limit_ties'; input should be 'empty', 'limit_tie'"):
        main()
