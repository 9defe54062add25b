import json
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.synthesis.items import Item, SyntheticDatabase
from stages.synthesis.mending import Mending
from stages.synthesis.requests import Request
from stages.synthesis.strong_model import BudgetedModel, BudgetParams
from tests.synthesis.world import NO_LIMIT, ScriptedModel, budget, item, music, verifier

QUESTION, RIGHT, WRONG = "How old is each singer?", "SELECT age FROM singer", "SELECT singer_id FROM singer"
FAILING = "SELECT years FROM singer"

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def database(tmp_path: Path) -> SyntheticDatabase:
    return music(tmp_path)


def answers(*, vote: str = RIGHT, repair: str = RIGHT) -> Callable[[Request], str]:
    return lambda request: json.dumps({"sql": vote if request.kind == "vote" else repair})


def mend(
    folder: Path, items: list[Item], answer_of: Callable[[Request], str], votes: int = 3, rounds: int = 2,
    limits: BudgetParams = NO_LIMIT,
) -> ScriptedModel:  # fmt: skip
    """Checks and repairs the items. Returns the model with what it was asked."""
    model = ScriptedModel(answer_of)
    Mending(verifier(folder), BudgetedModel(model, limits), votes, rounds).check(items)
    return model


def test_a_right_item_is_asked_again_as_often_as_wanted_and_accepted(
    tmp_path: Path, database: SyntheticDatabase
) -> None:
    right = item(database, QUESTION, RIGHT)
    model = mend(tmp_path, [right], answers())
    assert (right.refusal, right.agreeing, right.repairs, right.first_sql) == ("", 3, 0, None)
    assert [request.name for request in model.asked] == [f"vote/{right.item_id}/{number}" for number in (1, 2, 3)]


def test_a_vote_sees_question_and_database_but_not_the_query(tmp_path: Path, database: SyntheticDatabase) -> None:
    right = Item("strong/music_0001/00", database, QUESTION, f"{RIGHT} ", evidence="an age is in years")
    (request, *_) = mend(tmp_path, [right], answers()).asked
    assert QUESTION in request.text and "an age is in years" in request.text and database.ddl in request.text
    assert RIGHT not in request.text


def test_without_votes_and_rounds_nothing_is_asked(tmp_path: Path, database: SyntheticDatabase) -> None:
    items = [item(database, QUESTION, sql, number) for number, sql in enumerate((RIGHT, FAILING))]
    assert mend(tmp_path, items, answers(), votes=0, rounds=0).asked == []
    assert [each.refusal for each in items] == ["", "exec_error"]


def test_without_a_model_items_are_only_checked(tmp_path: Path, database: SyntheticDatabase) -> None:
    items = [item(database, QUESTION, sql, number) for number, sql in enumerate((RIGHT, FAILING))]
    Mending(verifier(tmp_path), None, 3, 2).check(items)
    assert [(each.refusal, len(each.votes)) for each in items] == [("", 0), ("exec_error", 0)]


def test_what_fails_goes_back_with_its_problem_and_is_accepted_once_it_passes(
    tmp_path: Path, database: SyntheticDatabase
) -> None:
    failing = item(database, QUESTION, FAILING)
    model = mend(tmp_path, [failing], answers())
    assert (failing.refusal, failing.sql, failing.first_sql, failing.repairs) == ("", RIGHT, FAILING, 1)
    assert model.kinds == ["repair_query", "vote", "vote", "vote"]
    assert "no such column: years" in model.asked[0].text and FAILING in model.asked[0].text


def test_a_repair_shows_the_rows_that_were_returned(tmp_path: Path, database: SyntheticDatabase) -> None:
    tied = item(database, QUESTION, "SELECT stage_name FROM singer ORDER BY age DESC LIMIT 2")
    (request, *_) = mend(tmp_path, [tied], answers()).asked
    assert "The first rows that it returns:\n'Dan'\n'Bea'" in request.text


def test_repaired_sql_is_held_against_the_votes_of_the_sql_before(tmp_path: Path, database: SyntheticDatabase) -> None:
    outvoted = item(database, QUESTION, WRONG)
    model = mend(tmp_path, [outvoted], answers())
    assert (outvoted.refusal, outvoted.sql, outvoted.agreeing) == ("", RIGHT, 3)
    assert model.kinds == ["vote"] * 3 + ["repair_query"]
    assert "0 other answers" not in outvoted.problem and "3 agree on another result" in model.asked[-1].text


def test_an_item_goes_back_as_often_as_there_are_rounds(tmp_path: Path, database: SyntheticDatabase) -> None:
    hopeless = item(database, QUESTION, FAILING)
    model = mend(
        tmp_path, [hopeless], lambda request: json.dumps({"sql": f"SELECT bad{request.attempt} FROM singer"}), rounds=3
    )
    assert (hopeless.refusal, hopeless.repairs) == ("exec_error", 3)
    assert [request.attempt for request in model.asked] == [1, 2, 3]
    assert (hopeless.sql, hopeless.first_sql) == ("SELECT bad3 FROM singer", FAILING)


@pytest.mark.parametrize("text", ["", "SELECT age", '{"sql": "', json.dumps({"sql": FAILING})])
def test_a_repair_that_gives_no_other_sql_changes_nothing(
    tmp_path: Path, database: SyntheticDatabase, text: str
) -> None:
    failing = item(database, QUESTION, FAILING)
    mend(tmp_path, [failing], lambda request: text)
    assert (failing.refusal, failing.sql, failing.first_sql, failing.repairs) == ("exec_error", FAILING, None, 2)


def test_unreadable_votes_count_for_nothing(tmp_path: Path, database: SyntheticDatabase) -> None:
    right = item(database, QUESTION, RIGHT)
    mend(tmp_path, [right], lambda request: "no idea", rounds=0)
    assert (right.refusal, right.votes) == ("outvoted", ["", "", ""])


def test_an_item_whose_votes_the_budget_does_not_allow_is_refused(
    tmp_path: Path, database: SyntheticDatabase
) -> None:
    items = [item(database, QUESTION, RIGHT, number) for number in range(2)]
    model = mend(tmp_path, items, answers(), limits=budget(requests=5))
    assert [each.refusal for each in items] == ["", "no_budget"]
    assert len(model.asked) == 5


def test_without_a_budget_what_fails_stays_refused(tmp_path: Path, database: SyntheticDatabase) -> None:
    failing = item(database, QUESTION, FAILING)
    model = mend(tmp_path, [failing], answers(), limits=budget(cost=0))
    assert (failing.refusal, failing.repairs, model.asked) == ("exec_error", 0, [])
