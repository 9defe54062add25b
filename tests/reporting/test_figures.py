"""The figures of the report's sections, on the repository's own reports."""

import pytest

from stages.core.files import read_json
from stages.core.layout import report_file, training_log
from stages.reporting.figures import STAGES, flat_params, funnel, pipeline, trainings, verdicts
from tests import ROOT
from tests.test_pipeline import load


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def test_every_stage_of_the_pipeline_is_named() -> None:
    assert set(STAGES) == set(load("dvc.yaml")["stages"]) - {"train_grpo"}  # off unless asked for, so not on the page


def test_the_seconds_of_a_matrix_are_those_of_all_its_items() -> None:
    rows = {stage["name"]: stage for stage in pipeline({"evaluate@a": 2.0, "evaluate@b": 3.5, "gold": 1.0}, 7)}
    assert (rows["evaluate"]["seconds"], rows["evaluate"]["rows"]) == (5.5, 7)
    assert rows["gold"]["seconds"] == 1.0 and rows["publish"]["seconds"] is None
    assert rows["corpus"]["rows"] == read_json(report_file("corpus"))["questions"]


def test_what_is_left_and_what_was_left_out_is_what_came_in() -> None:
    steps = {step["name"]: step for step in funnel()}
    asked = steps["questions that candidates were sampled for"]
    assert asked["count"] + sum(asked["dropped"].values()) == steps["questions"]["count"]
    matches = steps["candidates that match the gold"]
    assert matches["count"] + sum(matches["dropped"].values()) == steps["candidates"]["count"]
    survivors = steps["matches that no counterexample database refutes"]
    assert survivors["count"] + sum(survivors["dropped"].values()) == matches["count"]
    both = steps["questions with a right and a wrong candidate"]
    assert both["count"] + sum(both["dropped"].values()) == asked["count"]


def test_verdicts_of_each_group_add_up_to_all_candidates() -> None:
    results = read_json(report_file("exec_results"))
    for group in verdicts(results).values():
        assert sum(count for counts in group.values() for _, count in counts) == results["rows_out"]


def test_a_curve_begins_and_ends_as_the_log_of_its_training() -> None:
    loss = trainings()["sft/strong"]["curves"]["loss"]["loss"]
    logged = (training_log("train_sft/strong") / "plots/metrics/loss.tsv").read_text().splitlines()
    assert 2 < len(loss) <= 200 and "\t".join(map(str, loss[0])) == logged[1]


def test_params_are_named_as_dvc_names_them() -> None:
    assert flat_params({"a": {"b": 1, "c": None}, "d": [1, 2]}) == {"a.b": "1", "a.c": "", "d": "[1, 2]"}
