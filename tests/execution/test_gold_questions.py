from pathlib import Path

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.execution.gold_questions import read_questions
from tests.workplace import write_questions


def gold_of(questions: pl.DataFrame, flags: list[str]) -> pl.DataFrame:
    return pl.DataFrame({"question_id": questions["question_id"], "verdict": "ok", "steps": 9, "flags": flags})


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_of_a_golds_flags_only_an_unstable_order_counts_so_that_no_other_makes_a_candidate_look_new() -> None:
    questions = write_questions(["SELECT 1"] * 3)
    gold = gold_of(questions, ["database_in_train,order_unstable", "limit_tie,question_in_train", ""])
    judged = read_questions(questions, gold).values()
    assert [question.gold_flags for question in judged] == ["order_unstable", "", ""]


def test_a_question_that_gold_lacks_is_named() -> None:
    questions = write_questions(["SELECT 1"] * 2)
    with pytest.raises(UserError, match=f"gold has no row for 1 questions .the first: {questions['question_id'][1]}"):
        read_questions(questions, gold_of(questions, ["", ""]).head(1))
