"""A search plan: the pair sets and the settings of preference learning that are compared, from a YAML file."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stages.core.errors import UserError
from stages.core.params import P, Params, parse_section, read_sections

GRPO = "grpo"


class PairSet(Params):
    """Where pairs come from. `model`: whose samples; `questions`: those that SFT has seen, or not; `pairs`: params of
    section `pairs` that differ from params.yaml."""

    model: Literal["sft/weak", "sft/strong"]
    questions: Literal["seen", "unseen"]
    pairs: dict[str, Any] = Field(default_factory=dict)


class Setting(Params):
    """A training on the pair set `pairs`; `grpo` takes only the questions that have pairs.

    `objective_params` and `training`: what differs from params.yaml in `objectives.<objective>`, and in `train_dpo` or
    `train_grpo`. `rounds`: trainings one after the other, each on pairs of the model that the last one gave; more than
    1 only for samples of the strong model itself.
    """

    pairs: str
    objective: str
    objective_params: dict[str, float] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    rounds: int = Field(default=1, ge=1, le=10)

    @property
    def group(self) -> tuple[str, str, int]:
        """Settings of one group differ in numbers only: the best of them on dev is measured on test."""
        return self.pairs, self.objective, self.rounds

    @property
    def label(self) -> str:
        """The numbers of the setting, as the table shows them."""
        numbers = self.objective_params | self.training
        return ", ".join(f"{name} {value}" for name, value in numbers.items())


class Plan(Params):
    """The YAML file. `seeds`: how many SFT models, of the seeds from `train_sft.strong.seed` on; `questions`: asked for
    each pair set, at most."""

    seeds: int = Field(ge=1, le=100)
    dev: str
    test: str
    questions: int = Field(ge=1, le=10**9)
    pair_sets: dict[str, PairSet] = Field(min_length=1)
    settings: list[Setting] = Field(min_length=1)


def read_plan(path: Path) -> Plan:
    """The plan in a file. Raises UserError with a sentence for each mistake in it."""
    plan = parse_section({"search": read_sections(path)}, "search", Plan, path)
    errors = []
    for number, setting in enumerate(plan.settings, 1):
        where, pair_set = f"{path}: setting {number}", plan.pair_sets.get(setting.pairs)
        if pair_set is None:
            errors.append(f"{where} names the pair set {setting.pairs}; there are: {', '.join(plan.pair_sets)}")
        elif setting.rounds > 1 and (pair_set.model != "sft/strong" or pair_set.questions != "unseen"):
            errors.append(f"{where} has {setting.rounds} rounds; they need unseen questions and sft/strong as `model`")
    if errors:
        raise UserError(*errors)
    return plan


def with_changes(section: str, params: P, changes: dict[str, Any], path: Path) -> P:
    """These params of a section of params.yaml, with what the plan in `path` changes. Raises UserError for each change
    that the section cannot have."""
    values: dict[str, object] = params.model_dump() | changes
    for name in reversed(section.split(".")):
        values = {name: values}
    return parse_section(values, section, type(params), path)
