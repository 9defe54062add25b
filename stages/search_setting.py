"""Measures one setting of a search plan: its pairs, its training, and its answers to a test set.

`stages.search` does so for every setting. What was trained is kept in models/search under a hash of all that it depends
on; samples and verdicts are kept by the cache.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from stages.ablate import right_answers
from stages.cache.result_cache import Cache
from stages.candidates import CandidatesParams, draw_questions, sample_candidates
from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import fingerprint, read_json, sha256_code, sha256_folder, work_folder, write_json
from stages.core.layout import model_path
from stages.core.params import read_params
from stages.core.receipts import open_datasets
from stages.counterexamples import CounterexamplesParams, try_matches
from stages.counterexamples import settings_of as search_settings
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.evaluate import EvaluateParams
from stages.exec_results import ExecResultsParams, judge_candidates, rules_of
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.params import ExecutionParams
from stages.execution.records import Budget, Rules
from stages.grpo.params import GrpoParams
from stages.pairing.exclusions import exclude_questions
from stages.pairing.rows import RESULT_COLUMNS, SAMPLE_COLUMNS, candidate_rows, with_witnesses
from stages.pairing.view import make_pairs
from stages.pairs import PairsParams, settings_of, with_gold_and_prompts
from stages.sampling.engines import open_engine
from stages.scoring.search import Measured, ex_figures, with_difference
from stages.searching.plan import GRPO, PairSet, Plan, Setting, read_plan, with_changes
from stages.sft import SftParams
from stages.train_dpo import BASE, OBJECTIVES, TrainDpoParams, train_dpo
from stages.train_grpo import TrainGrpoParams, questions_of, train_grpo
from stages.train_sft import TrainSftParams, train_sft
from stages.training.objectives import Objective


@dataclass(frozen=True)
class Sections:
    """The sections of params.yaml that a search works by, and the flags of the command."""

    preference_share: float
    train_sft: TrainSftParams
    candidates: CandidatesParams
    exec_results: ExecResultsParams
    counterexamples: CounterexamplesParams
    execution: ExecutionParams
    evaluate: EvaluateParams
    pairs: PairsParams
    train_dpo: TrainDpoParams
    train_grpo: GrpoParams
    objectives: Mapping[str, Objective]
    args: argparse.Namespace

    def pairs_of(self, pair_set: PairSet) -> PairsParams:
        """The params of a pair set. Raises UserError for each that section `pairs` cannot have."""
        return with_changes("pairs", self.pairs, pair_set.pairs, self.args.plan)

    def of_setting(self, setting: Setting) -> tuple[TrainDpoParams | GrpoParams, Objective | None]:
        """The params of a setting, and of its objective; GRPO has none. Raises UserError for each that their section
        cannot have."""
        if setting.objective == GRPO:
            return with_changes("train_grpo", self.train_grpo, setting.training, self.args.plan), None
        changes = setting.training | {"objective": setting.objective}
        params = with_changes("train_dpo", self.train_dpo, changes, self.args.plan)
        section, objective = f"objectives.{setting.objective}", self.objectives[setting.objective]
        return params, with_changes(section, objective, setting.objective_params, self.args.plan)


def train_sft_model(sections: Sections, sft: pl.DataFrame, seed: int) -> Path:
    """The folder of the strong model, trained with this seed on these rows of `sft`."""
    params = sections.train_sft.model_copy(update={"seed": seed})
    key = fingerprint(sft.rows(), params.model_dump(), sha256_code("lm", "training"))[:12]
    out = model_path(f"search/sft-{seed}-{key}")
    if not out.is_dir():
        train_sft(sft, params, out, _curves(out))
    return out


def make_pair_set(sections: Sections, pair_set: PairSet, model: Path, limit: int) -> pl.DataFrame:
    """The rows of `pairs` of what a model samples for at most `limit` questions: executed, tried on counterexamples,
    and drawn as the stages of the pipeline do it."""
    params = sections.pairs_of(pair_set)
    questions, gold, prompts = open_datasets(QUESTIONS, GOLD, PROMPTS)
    executor, cache = engine_of(sections.args), Cache(sections.args.cache)
    drawn = draw_pair_questions(questions, sections, pair_set, limit)
    engine = open_engine("transformers", model, sections.candidates.batch_size)
    asked_with = with_columns_of(drawn, PROMPTS, prompts, "prompt")
    candidates, _ = sample_candidates(asked_with, engine, sections.candidates.decoding(), cache)
    candidates = candidates.sort("candidate_id")
    rules = rules_of(sections.exec_results, sections.execution)
    results = judge_candidates(questions, gold, candidates, rules, executor, cache)
    matches = results.filter(pl.col("verdict") == "match")
    settings = search_settings(sections.counterexamples, rules.contract, sections.execution.limits())
    counterexamples, _ = try_matches(matches, questions, settings, executor, cache)
    columns = with_gold_and_prompts(questions, gold, prompts)
    rows = candidate_rows(columns, candidates.select(SAMPLE_COLUMNS), results.select(RESULT_COLUMNS))
    rows, _ = exclude_questions(with_witnesses(rows, counterexamples), columns, params.drop_flags)
    return make_pairs(rows, columns, settings_of(params))[0]


def draw_pair_questions(questions: pl.DataFrame, sections: Sections, pair_set: PairSet, limit: int) -> pl.DataFrame:
    """The train questions of a pair set: those that SFT has seen, or has not, at most `limit`."""
    train = questions.filter(pl.col("split") == "train")
    params = sections.candidates.model_copy(update={"split": "train", "questions": "unseen", "max_questions": None})
    fresh, _ = draw_questions(questions, params, sections.preference_share)
    available = fresh if pair_set.questions == "unseen" else train.join(fresh, on="question_id", how="anti")
    params = params.model_copy(update={"questions": "all", "max_questions": limit})
    return draw_questions(available, params, sections.preference_share)[0]


def train_setting(
    sections: Sections, pairs: pl.DataFrame, setting: Setting, base: Path
) -> tuple[Path, dict[str, Any]]:
    """The folder of a model after preference learning from `base`, or after GRPO on the questions of the pairs; and the
    report of its training."""
    params, objective = sections.of_setting(setting)
    settings = (setting.objective, params.model_dump(), objective and objective.model_dump())
    key = fingerprint(pairs.rows(), *settings, sha256_folder(base), sha256_code("lm", "training"))[:12]
    out = model_path(f"search/{setting.objective}-{key}")
    report_file = out.with_name(f"{out.name}.json")
    if not (out.is_dir() and report_file.is_file()):
        if isinstance(params, GrpoParams):
            rows, work = questions_of(pairs, *open_datasets(QUESTIONS, GOLD, PROMPTS)), work_folder(out, key)
            report = train_grpo(rows, params, base, out, _curves(out), work, limits=sections.execution.limits())
        elif objective:
            report = train_dpo(pairs, params, objective, base, out, _curves(out))
        write_json(report_file, report)
    return out, read_json(report_file)


def measure(
    sections: Sections, plan: Plan, setting: Setting, base: Path, pairs: pl.DataFrame, test_set: str
) -> Measured:
    """Trains a setting from the SFT model `base` on `pairs`, for as many rounds as it has, and answers a test set. Each
    further round samples anew, from the model of the last one, and learns from that."""
    pair_set = plan.pair_sets[setting.pairs]
    model, report = train_setting(sections, pairs, setting, base)
    for _ in range(1, setting.rounds):
        pairs = make_pair_set(sections, pair_set, model, plan.questions)
        model, report = train_setting(sections, pairs, setting, model)
    right = right_on(sections, model, test_set)
    chosen, rejected = (report.get(f"{side}_logprob_change") for side in ("chosen", "rejected"))
    return Measured(report["trained_on"], chosen, rejected, right)


def right_on(sections: Sections, model: Path, test_set: str) -> pl.DataFrame:
    """Whether the greedy answer to each question of a test set matches: columns question_id, db_id, right."""
    params = sections.evaluate
    rules = Rules(params.contract, Budget(params.budget_floor, params.budget_factor), sections.execution.limits())
    return right_answers(model, test_set, params, rules, sections.args)


def _curves(out: Path) -> Path:
    return out.with_name(f"{out.name}-curves")


def read_sections(args: argparse.Namespace) -> tuple[Plan, Sections]:
    """The plan and the params. Raises UserError with every mistake in them."""
    errors: list[str] = []
    with collect_errors(errors):
        plan = read_plan(args.plan)
    with collect_errors(errors):
        sections = Sections(
            preference_share=read_params("sft", SftParams).preference_share,
            train_sft=read_params("train_sft.strong", TrainSftParams),
            candidates=read_params("candidates", CandidatesParams),
            exec_results=read_params("exec_results", ExecResultsParams),
            counterexamples=read_params("counterexamples", CounterexamplesParams),
            execution=read_params("execution", ExecutionParams),
            evaluate=read_params("evaluate", EvaluateParams),
            pairs=read_params("pairs", PairsParams),
            train_dpo=read_params("train_dpo", TrainDpoParams),
            train_grpo=read_params("train_grpo", TrainGrpoParams),
            objectives={name: read_params(f"objectives.{name}", model) for name, model in OBJECTIVES.items()},
            args=args,
        )
    if errors:
        raise UserError(*errors)
    for pair_set in plan.pair_sets.values():
        with collect_errors(errors):
            sections.pairs_of(pair_set)
    for setting in plan.settings:
        with collect_errors(errors):
            sections.of_setting(setting)
    for model in {BASE, *(pair_set.model for pair_set in plan.pair_sets.values())}:
        if not model_path(model).is_dir():
            errors.append(f"{model_path(model)} is not there; run `dvc repro train_sft`")
    if errors:
        raise UserError(*dict.fromkeys(errors))
    return plan, sections


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds the plan, and the flags of commands that execute SQL."""
    parser.add_argument("plan", type=Path, help="a YAML file, as in models/searches")
    add_execution_flags(parser)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.search_setting", description=__doc__)
    parser.add_argument("--setting", type=int, required=True, metavar="N", help="its place among the plan's, from 1 on")
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as demo-dev")
    add_flags(parser)
    args = parser.parse_args()
    plan, sections = read_sections(args)
    if not 1 <= args.setting <= len(plan.settings):
        raise UserError(f"--setting is {args.setting}; {args.plan} has the settings 1 to {len(plan.settings)}")
    setting = plan.settings[args.setting - 1]
    pair_set = plan.pair_sets[setting.pairs]
    pairs = make_pair_set(sections, pair_set, model_path(pair_set.model), plan.questions)
    sft = right_on(sections, model_path(BASE), args.test_set)
    measured = measure(sections, plan, setting, model_path(BASE), pairs, args.test_set)
    figures = ex_figures([measured.right], [sft], sections.evaluate.seed, sections.evaluate.resamples)
    name = f"{setting.pairs}, {setting.objective} {setting.label}"
    show(f"{name}: {measured.pairs:,} pairs, EX {with_difference(figures)} from that of SFT")


if __name__ == "__main__":
    run_stage(main)
