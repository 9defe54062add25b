"""Preference learning on the pairs, from the strong SFT model, by the chosen objective, with TRL's trainers."""

import argparse
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import polars as pl
from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.display import show
from stages.core.end_line import percent, write_report
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, sha256_folder, work_folder
from stages.core.layout import model_path, training_log
from stages.core.params import read_params
from stages.core.progress import progress
from stages.core.receipts import open_dataset
from stages.datasets.pairs import PAIRS
from stages.lm.chat_template import render_prompts
from stages.training import objectives
from stages.training.checkpoints import work_key
from stages.training.launch import exit_worker, is_main_process, launch, main_process_first
from stages.training.params import TrainingParams
from stages.training.preference_trainers import preference_config, preference_trainer, row_lengths
from stages.training.run_estimate import show_rows_left_out
from stages.training.trainer import fits_max_length, load_for_training, save_model, train

Name = Literal["dpo", "cdpo", "robust", "ipo", "kto", "simpo", "orpo", "cpo", "apo_zero", "apo_down", "dpo_sft", "rft"]

OBJECTIVES: dict[Name, type[objectives.Objective]] = {
    "dpo": objectives.Dpo, "cdpo": objectives.Cdpo, "robust": objectives.Robust, "ipo": objectives.Ipo,
    "kto": objectives.Kto, "simpo": objectives.Simpo, "orpo": objectives.Orpo, "cpo": objectives.Cpo,
    "apo_zero": objectives.ApoZero, "apo_down": objectives.ApoDown, "dpo_sft": objectives.DpoSft,
    "rft": objectives.Rft,
}  # fmt: skip
"""Objective to its params, section `objectives.<name>` of params.yaml."""

BASE = "sft/strong"
"""The model that preference learning goes on from."""


class TrainDpoParams(TrainingParams):
    """Section `train_dpo` of params.yaml."""

    objective: Name

    @field_validator("objective")
    @classmethod
    def _comparing(cls, objective: Name, info: ValidationInfo) -> Name:
        if objective == "kto" and 1 in (info.data.get("batch_size"), info.data.get("micro_batch")):
            raise PydanticCustomError("objective", "it wants `batch_size` and `micro_batch` of 2 or more; raise them")
        return objective


def train_dpo(
    pairs: pl.DataFrame, params: TrainDpoParams, objective: objectives.Objective, base: Path, out: Path, log: Path
) -> dict[str, Any]:
    """Trains the model in the folder `base` on the pairs, with checkpoints beside the folder `out`. Writes that folder
    and, to the folder `log`, DVCLive's curves. Returns the report."""
    with main_process_first():
        data = fingerprint(pairs.rows()), sha256_folder(base)
        work = work_folder(out, work_key(Path(__file__), params.model_dump(), objective.model_dump(), *data))
    config = preference_config(objective, params, work)  # first: it may say that each process loads a shard
    with progress(f"loading the model, tokenizing {pairs.height:,} pairs", None, shown=is_main_process()):
        model, tokenizer = load_for_training(base, None, params)
        read = pairs.with_columns(prompt=pl.Series(render_prompts(tokenizer, pairs["prompt"]), dtype=pl.String))
        rows = read.filter(
            fits_max_length(read["prompt"] + read["chosen"], tokenizer, params.max_length)
            & fits_max_length(read["prompt"] + read["rejected"], tokenizer, params.max_length)
        )
        if rows.is_empty():
            fix = "raise `train_dpo.max_length`"
            raise UserError(f"no pair has at most {params.max_length} tokens on both sides; {fix}")
        if is_main_process():
            show_rows_left_out(pairs.height, rows.height, params.max_length, "train_dpo")
        trainer = preference_trainer(model, tokenizer, rows, objective, config)
    lengths = row_lengths(trainer)
    history = train(trainer, lengths, work, log)
    save_model(trainer, tokenizer, params, work, out)
    report: dict[str, Any] = {
        "objective": params.objective, "in": pairs.height, "trained_on": rows.height,
        "dropped": {"longer_than_max_length": pairs.height - rows.height},
    }  # fmt: skip
    if params.objective == "kto":
        report["completions"] = len(lengths)
    report["steps"] = trainer.state.global_step
    return report | changes(history, objective.reward_scale)


def changes(history: list[dict[str, float]], reward_scale: float) -> dict[str, object]:
    """What training did to the pairs it saw last: the mean over the last hundred steps, in the ten windows that are
    logged, without the first step, before which nothing has changed.

    A `change` is that of the log-probability of the whole completion (nats) since the start; None if `kto` saw no such
    completion. `reward_accuracy` is the share of pairs whose chosen gained more than their rejected; left out for
    `kto`, which sees no pairs.
    """
    windows = [(entry, entry["step"] - before["step"]) for before, entry in pairwise(history)][-10:]

    def late(name: str, scale: float = 1.0) -> float | None:
        found = [(entry[name], steps) for entry, steps in windows or [(history[0], 1)] if name in entry]
        return round(fmean(*zip(*found, strict=True)) / scale, 4) if found else None

    found: dict[str, object] = {
        "first_loss": round(history[0]["loss"], 4), "last_loss": late("loss"),
        "chosen_logprob_change": late("rewards/chosen", reward_scale),
        "rejected_logprob_change": late("rewards/rejected", reward_scale),
    }  # fmt: skip
    if "rewards/accuracies" in history[0]:
        found["reward_accuracy"] = late("rewards/accuracies")
    return found


def figures_of(report: Mapping[str, Any]) -> list[str]:
    """What the end line says of a report."""
    figures = [f"{report['steps']:,} steps", f"loss {report['first_loss']} to {report['last_loss']}"]
    if "reward_accuracy" in report:
        figures.append(f"reward accuracy {percent(report['reward_accuracy'])}")
    if report["chosen_logprob_change"] is not None:
        figures.append(f"log-probability of chosen {report['chosen_logprob_change']:+}")
    return figures


def chosen_warning(report: Mapping[str, Any]) -> str | None:
    """What to do where the log-probability of chosen fell: the model unlearns what is right along with what is wrong.
    None where it did not fall."""
    change, objective = report["chosen_logprob_change"], report["objective"]
    if change is None or change >= 0:
        return None
    fixes = ["lower `train_dpo.learning_rate`"]
    if objective != "rft":
        beta = f"raise `objectives.{objective}.beta`, which must fit the length of a completion (docs/training.md)"
        fixes = [beta, *fixes, "set `train_dpo.objective` to dpo_sft, whose SFT term holds chosen"]
    warning = f"warning: the log-probability of chosen fell by {-change}; compare EX with the SFT model's"
    return f"{warning}; {', or '.join(fixes)}"


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.train_dpo", description=__doc__).parse_args()
    params = read_params("train_dpo", TrainDpoParams)
    objective = read_params(f"objectives.{params.objective}", OBJECTIVES[params.objective])
    pairs = open_dataset(PAIRS)
    if pairs.is_empty():
        raise UserError(f"{PAIRS.file} holds no pairs; loosen `pairs.neg_filter` or sample more (`candidates.n`)")
    launch("train_dpo")
    report = train_dpo(pairs, params, objective, model_path(BASE), model_path("dpo"), training_log("train_dpo"))
    if is_main_process():
        write_report("train_dpo", report, report["trained_on"], report["dropped"], *figures_of(report))
        if warning := chosen_warning(report):
            show(warning, sys.stderr)
    exit_worker()


if __name__ == "__main__":
    run_stage(main)
