"""Reinforcement learning with GRPO (Shao et al. 2024) from the strong SFT model: its samples are rewarded by verdicts.

The questions are those of the pairs. Off unless `train_grpo.models` is [grpo].
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from stages.core.end_line import percent, write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, sha256_code, sha256_file, sha256_folder, work_folder
from stages.core.layout import DATABASES, model_path, training_log
from stages.core.params import read_params
from stages.core.progress import progress
from stages.core.receipts import open_datasets
from stages.databases.paths import check_databases
from stages.datasets.gold import GOLD
from stages.datasets.pairs import PAIRS
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS, with_columns_of
from stages.execution.params import ExecutionParams
from stages.execution.records import Budget
from stages.execution.sandbox import Limits
from stages.grpo.params import GrpoParams
from stages.grpo.trainer import grpo_config, grpo_trainer
from stages.grpo.verdict_report import verdict_report
from stages.lm.chat_template import render_prompts
from stages.rewards.execution import LIMITS, ExecutionReward
from stages.training.checkpoints import work_key
from stages.training.launch import exit_worker, is_main_process, launch, main_process_first
from stages.training.trainer import load_for_training, save_model, train

BASE, MODEL = "sft/strong", "grpo"
ROOMS = ("audit", "databases", "execution", "extraction", "grpo", "mutation", "rewards", "sampling", "sql")
"""All code of ours that the weights depend on, beside that of every training."""


class TrainGrpoParams(GrpoParams):
    """Section `train_grpo` of params.yaml."""

    models: list[Literal["grpo"]] = Field(max_length=1)


def questions_of(
    pairs: pl.DataFrame, questions: pl.DataFrame, gold: pl.DataFrame, prompts: pl.DataFrame
) -> pl.DataFrame:
    """The questions that have pairs: question_id, db_id, gold_sql, prompt, gold_flags. Raises UserError where a dataset
    lacks one."""
    rows = pairs.select("question_id").unique().sort("question_id")
    rows = with_columns_of(rows, QUESTIONS, questions, "db_id", "gold_sql")
    rows = with_columns_of(rows, PROMPTS, prompts, "prompt")
    return with_columns_of(rows, GOLD, gold, "verdict", "flags").rename({"flags": "gold_flags"}).drop("verdict")


def train_grpo(
    questions: pl.DataFrame, params: GrpoParams, base: Path, out: Path, log: Path, work: Path, *,
    databases: Path = DATABASES, limits: Limits = LIMITS,
) -> dict[str, Any]:  # fmt: skip
    """Trains the model in `base` on the questions, with checkpoints in `work`. Writes the model folder `out` and
    DVCLive's curves to `log`, and returns the report.

    `questions`: as of `questions_of`. `limits`: the safety nets. Raises UserError where no question fits, or the model
    cannot be loaded or sampled.
    """
    config = grpo_config(params, work)
    with progress(f"loading the model, tokenizing {questions.height:,} questions", None, shown=is_main_process()):
        model, tokenizer = load_for_training(base, None, params)
        read = questions.with_columns(prompt=pl.Series(render_prompts(tokenizer, questions["prompt"]), dtype=pl.String))
        counts = [len(ids) for ids in tokenizer(read["prompt"].to_list())["input_ids"]]
        fitting = pl.Series(counts, dtype=pl.Int64) + params.max_tokens <= params.max_length
        rows, lengths = read.filter(fitting), pl.Series(counts, dtype=pl.Int64).filter(fitting).to_list()
        if rows.is_empty():
            fix = "raise `train_grpo.max_length`, or lower `train_grpo.max_tokens`"
            raise UserError(f"no prompt leaves room for {params.max_tokens} of {params.max_length} tokens; {fix}")
        budget = Budget(params.budget_floor, params.budget_factor)
        reward = ExecutionReward(
            databases, params.contract, params.runs, params.counterexamples, seed=params.seed, budget=budget,
            limits=limits,
        )  # fmt: skip
        trainer = grpo_trainer(model, tokenizer, rows, reward, params, base, config)
    try:
        history = train(trainer, lengths, work, log, params.num_generations)
    finally:
        reward.close()
    save_model(trainer, tokenizer, params, work, out)
    return {
        "in": questions.height, "trained_on": rows.height,
        "dropped": {"no_room_for_max_tokens": questions.height - rows.height}, "steps": trainer.state.global_step,
    } | verdict_report(history, params.batch_size, params.batch_size // params.num_generations)  # fmt: skip


def figures_of(report: Mapping[str, Any]) -> list[str]:
    """What the end line says of a report."""
    first, last = (report["verdicts"][part]["match"] or 0.0 for part in ("first", "last"))
    silent = f"{report['equal_rewards']:,} of {report['groups']:,} groups taught nothing"
    return [f"{report['steps']:,} steps", f"matches {percent(first)} to {percent(last)}", silent]


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.train_grpo", description=__doc__).parse_args()
    params = read_params("train_grpo", TrainGrpoParams)
    limits = read_params("execution", ExecutionParams).limits()
    pairs, questions, gold, prompts = open_datasets(PAIRS, QUESTIONS, GOLD, PROMPTS)
    if pairs.is_empty():
        raise UserError(f"{PAIRS.file} holds no pairs; loosen `pairs.neg_filter` or sample more (`candidates.n`)")
    rows = questions_of(pairs, questions, gold, prompts)
    paths = check_databases(rows["db_id"])
    launch("train_grpo")
    with main_process_first():
        settings = (params.model_dump(), limits, sha256_code(*ROOMS))
        data = (rows.write_json(), fingerprint([sha256_file(path) for path in paths.values()]))
        key = work_key(Path(__file__), *settings, *data, sha256_folder(model_path(BASE)))
        work = work_folder(model_path(MODEL), key)
    log = training_log("train_grpo")
    report = train_grpo(rows, params, model_path(BASE), model_path(MODEL), log, work, limits=limits)
    if is_main_process():
        write_report("train_grpo", report, report["trained_on"], report["dropped"], *figures_of(report))
    exit_worker()


if __name__ == "__main__":
    run_stage(main)
