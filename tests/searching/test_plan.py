"""Search plans: what they may say, and how their mistakes are told."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.searching.plan import Plan, Setting, read_plan, with_changes
from stages.train_dpo import TrainDpoParams
from tests import ROOT
from tests.training.test_objectives import PARAMS as TRAIN_DPO

PLAN: dict[str, Any] = {
    "seeds": 2, "dev": "demo-dev", "test": "demo-test", "questions": 10,
    "pair_sets": {"weak": {"model": "sft/weak", "questions": "unseen"}},
    "settings": [{"pairs": "weak", "objective": "cdpo", "objective_params": {"beta": 2.0}}],
}  # fmt: skip


def plan_of(folder: Path, **changed: Any) -> Plan:
    with (folder / "plan.yaml").open("w") as file:
        YAML().dump(PLAN | changed, file)
    return read_plan(folder / "plan.yaml")


def setting(**changed: Any) -> Setting:
    return Setting.model_validate(PLAN["settings"][0] | changed)


def test_the_plans_of_the_repository_can_be_read() -> None:
    plans = [read_plan(path) for path in (ROOT / "models/searches").glob("*.yaml")]
    assert plans and all(plan.settings for plan in plans)


def test_every_mistake_of_a_plan_is_told_at_once(tmp_path: Path) -> None:
    settings = [
        {"pairs": "strong", "objective": "cdpo"},
        {"pairs": "weak", "objective": "cdpo", "rounds": 2},
    ]
    with pytest.raises(UserError) as error:
        plan_of(tmp_path, settings=settings)
    assert error.value.sentences == (
        f"{tmp_path}/plan.yaml: setting 1 names the pair set strong; there are: weak",
        f"{tmp_path}/plan.yaml: setting 2 has 2 rounds; they need unseen questions and sft/strong as `model`",
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seeds": 0}, r"`search.seeds` is 0"),
        ({"settings": []}, r"`search.settings` is \[\]"),
        ({"settings": [{"pairs": "weak"}]}, r"`search.settings.0.objective` is missing"),
        ({"pair_sets": {"weak": {"model": "dpo", "questions": "seen"}}}, r"`search.pair_sets.weak.model` is 'dpo'"),
        ({"tries": 1}, r"`search.tries`"),
    ],
)
def test_a_value_that_a_plan_cannot_have_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(tmp_path, **changed)


def test_settings_that_differ_in_numbers_only_are_of_one_group() -> None:
    assert setting().group == setting(objective_params={"beta": 5.0}, training={"learning_rate": 1e-3}).group
    assert len({setting().group, setting(rounds=2).group, setting(objective="rft", objective_params={}).group}) == 3


def test_a_label_names_the_numbers() -> None:
    assert setting(training={"learning_rate": 3e-4}).label == "beta 2.0, learning_rate 0.0003"


def test_a_change_that_its_section_cannot_have_is_refused_with_the_plans_name() -> None:
    params = TrainDpoParams.model_validate(TRAIN_DPO)
    assert with_changes("train_dpo", params, {"epochs": 3.0}, Path("plan.yaml")).epochs == 3.0
    with pytest.raises(UserError, match=r"plan.yaml: `train_dpo.epochs` is -1.0"):
        with_changes("train_dpo", params, {"epochs": -1.0}, Path("plan.yaml"))
