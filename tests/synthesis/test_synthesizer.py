import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.execution.worker_pool import Executor, local
from stages.synthesis.items import Item
from stages.synthesis.requests import Request
from stages.synthesis.rows import report_of, synthetic_rows
from stages.synthesis.strong_model import BudgetParams
from stages.synthesis.synthesizer import ModelSource
from tests.synthesis.world import NO_LIMIT, ScriptedModel, budget, inline, right_answer, sql_of, synthesizer

pytestmark = pytest.mark.usefixtures("in_this_process")


def mistaken(request: Request) -> str:
    """Every third question fails at first, every fifth is cut, every second database is broken at first."""
    number = int(request.subject.rpartition("/" if "/" in request.subject else "_")[2])
    if request.kind == "question" and number % 3 == 0:
        return json.dumps({"question": f"What is {number} in the end?", "sql": f"SELECT {number} FROM nothing"})
    if request.kind == "question" and number % 4 == 2:
        return right_answer(request)[:-5]
    if request.kind == "database" and number % 2:
        return right_answer(request).replace("[[", "[", 1)
    return json.dumps({"sql": sql_of(request)}) if request.kind in ("vote", "repair_query") else right_answer(request)


def accepted(items: list[Item]) -> list[Item]:
    return [item for item in items if not item.refusal]


def contents(
    folder: Path, answer_of: Callable[[Request], str], count: int, limits: BudgetParams = NO_LIMIT,
    executor: Executor[Any, Any] = inline,
) -> tuple[list[tuple[Any, ...]], dict[str, bytes], str]:  # fmt: skip
    """The rows, the databases and what ended the work."""
    model = ScriptedModel(answer_of)
    work, _ = synthesizer(folder, model, limits, votes=2, repair_rounds=1, executor=executor)
    items, ended_by = work.run(count)
    files = {path.name: path.read_bytes() for path in sorted((folder / "databases").rglob("*.sqlite"))}
    return synthetic_rows(items, model).rows(), files, ended_by


@pytest.mark.parametrize("count", [1, 2, 7, 20])
@pytest.mark.parametrize("answer_of", [right_answer, mistaken])
def test_exactly_so_many_items_are_accepted(
    tmp_path: Path, count: int, answer_of: Callable[[Request], str]
) -> None:
    items, ended_by = synthesizer(tmp_path, ScriptedModel(answer_of))[0].run(count)
    assert (len(accepted(items)), ended_by) == (count, "items")
    assert len({item.item_id for item in items}) == len(items)
    assert {item.refusal for item in items if item.refusal} <= {"beyond_count", "exec_error", "near_duplicate"}


def test_every_item_that_was_made_stays_with_the_reason_of_its_refusal(tmp_path: Path) -> None:
    model = ScriptedModel(mistaken)
    work, budgeted = synthesizer(tmp_path, model, repair_rounds=0)
    items, _ = work.run(10)
    assert len(items) + sum(work.source.refused.values()) == model.kinds.count("question")
    assert work.source.refused == Counter(not_json=model.kinds.count("question") - len(items))
    assert all(item.problem for item in items if item.refusal)
    assert budgeted.counts["requests"] == len(model.asked)


@pytest.mark.parametrize(
    ("limits", "name"), [({"requests": 9}, "requests"), ({"tokens": 4000}, "tokens"), ({"cost": 0.004}, "cost")]
)
def test_the_limit_that_is_met_ends_the_work_and_is_named(
    tmp_path: Path, limits: dict[str, float], name: str
) -> None:
    model = ScriptedModel()
    work, budgeted = synthesizer(tmp_path, model, budget(**limits))
    items, ended_by = work.run(1000)
    spent = budgeted.spent() | {"tokens": budgeted.counts["prompt_tokens"] + budgeted.counts["completion_tokens"]}
    assert ended_by == name and 0 < (spent[name] or 0) <= limits[name]
    assert len(model.asked) == spent["requests"]
    assert len(accepted(items)) == len(items) < 1000


@pytest.mark.parametrize("name", ["requests", "tokens", "cost"])
def test_a_budget_of_nothing_gives_no_items_and_asks_nothing(tmp_path: Path, name: str) -> None:
    model = ScriptedModel()
    work, _ = synthesizer(tmp_path, model, budget(**{name: 0}))
    assert work.run(5) == ([], name)
    assert model.asked == []


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 11, 17, 30])
def test_whatever_the_limit_of_requests_no_more_are_asked(tmp_path: Path, limit: int) -> None:
    model = ScriptedModel(mistaken)
    work, _ = synthesizer(tmp_path, model, budget(requests=limit), votes=2, repair_rounds=2)
    items, ended_by = work.run(50)
    assert (len(model.asked), ended_by) == (limit, "requests")
    assert all(len(item.votes) == 2 for item in accepted(items))


def test_a_larger_budget_begins_like_a_smaller_one(tmp_path: Path) -> None:
    small, large = ScriptedModel(mistaken), ScriptedModel(mistaken)
    for model, limit in ((small, 20), (large, 40)):
        synthesizer(tmp_path / str(limit), model, budget(requests=limit))[0].run(100)
    assert large.asked[:20] == small.asked


def test_waves_that_bring_nothing_end_the_work(tmp_path: Path) -> None:
    model = ScriptedModel(lambda request: right_answer(request) if "database" in request.kind else "no")
    items, ended_by = synthesizer(tmp_path, model)[0].run(4)
    assert (items, ended_by) == ([], "no_progress")


def test_a_model_that_repeats_itself_is_left_alone(tmp_path: Path) -> None:
    def same(request: Request) -> str:
        if "database" in request.kind:
            return right_answer(request)
        return json.dumps({"question": "What is one plus one, in the end?", "sql": "SELECT 1 + 1"})

    items, ended_by = synthesizer(tmp_path, ScriptedModel(same))[0].run(4)
    assert (len(accepted(items)), ended_by) == (1, "no_progress")
    assert {item.refusal for item in items} == {"", "near_duplicate"}


def test_a_database_like_an_earlier_one_gets_no_questions(tmp_path: Path) -> None:
    def same(request: Request) -> str:
        tables = [{"name": "t", "create": "CREATE TABLE t (a TEXT)", "rows": [["x"]]}]
        return json.dumps({"tables": tables, "question": "What is a?", "sql": "SELECT a FROM t"})

    work, _ = synthesizer(tmp_path, model := ScriptedModel(same))
    items, ended_by = work.run(12)
    assert ended_by == "no_progress" and {item.database.db_id for item in items} == {model.asked[0].db_id}
    assert isinstance(work.source, ModelSource)
    assert work.source.maker.counts["near_duplicate"] == model.kinds.count("database") - 1


def test_a_database_that_cannot_be_built_goes_back_with_the_problem(tmp_path: Path) -> None:
    def short_rows(request: Request) -> str:
        return right_answer(request).replace("[8, 80]", "[8]") if request.kind == "database" else right_answer(request)

    work, _ = synthesizer(tmp_path, model := ScriptedModel(short_rows), repair_rounds=1)
    items, _ = work.run(2)
    repair = next(request for request in model.asked if request.kind == "repair_database")
    assert "row 8 of" in repair.text and "[8]" in repair.text
    assert len(accepted(items)) == 2


def test_a_database_whose_repair_the_budget_does_not_allow_is_counted(tmp_path: Path) -> None:
    work, _ = synthesizer(tmp_path, ScriptedModel(lambda request: "no"), budget(requests=1), repair_rounds=1)
    assert work.run(1) == ([], "requests")
    assert isinstance(work.source, ModelSource)
    assert work.source.maker.counts == {"not_json": 1}


def test_domains_take_turns(tmp_path: Path) -> None:
    items, _ = synthesizer(tmp_path, ScriptedModel())[0].run(24)
    by_domain = Counter(item.database.domain for item in items)
    assert set(by_domain) == {"bank", "zoo"} and max(by_domain.values()) - min(by_domain.values()) <= 4


def test_a_run_gives_the_same_rows_and_bytes_twice(tmp_path: Path) -> None:
    first, second = (contents(tmp_path / name, mistaken, 8) for name in ("first", "second"))
    assert first == second and first[1]


def test_one_worker_and_two_give_the_same_rows_and_bytes(tmp_path: Path) -> None:
    one, two, here = (
        contents(tmp_path / name, mistaken, 6, budget(requests=60), executor)
        for name, executor in (("one", local(1)), ("two", local(2)), ("here", inline))
    )
    assert one == two == here


def test_the_report_counts_what_the_rows_show(tmp_path: Path) -> None:
    model = ScriptedModel(mistaken)
    work, budgeted = synthesizer(tmp_path, model, votes=1, repair_rounds=1)
    items, ended_by = work.run(6)
    rows = synthetic_rows(items, model)
    report = report_of("endpoint", ended_by, rows, {}, work.source.refused, budgeted)
    assert (report["in"], report["out"], report["ended_by"]) == (len(items), 6, "items")
    assert sum(report["dropped"].values()) == report["in"] - report["out"]
    assert [sum(report[part].values()) for part in ("domains", "difficulties", "concepts")] == [6, 6, 6]
    assert sum(report["requests"].values()) == report["spent"]["requests"] == len(model.asked)
    assert report["repaired"] == rows.filter(pl.col("refusal").is_null())["first_sql"].count()
    json.dumps(report)
