"""Preference learning on the pairs, from the strong SFT model, by the chosen objective, with TRL's trainers."""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal

import polars as pl
from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.errors import UserError, run_stage
from stages.core.files import sha256_file, sha256_folder, work_folder, write_json
from stages.core.layout import model_path, report_file, training_log
from stages.core.params import read_params
from stages.core.receipts import open_dataset
from stages.datasets.pairs import PAIRS
from stages.lm.chat_template import render_prompts
from stages.training import objectives
from stages.training.checkpoints import work_key
from stages.training.launch import exit_worker, is_main_process, launch, main_process_first
from stages.training.params import TrainingParams
from stages.training.preference_trainers import preference_config, preference_trainer, row_lengths
from stages.training.trainer import fits_max_length, load_for_training, save_model, train

Name = Literal["dpo", "cdpo", "robust", "ipo", "kto", "simpo", "orpo", "cpo", "apo_zero", "apo_down", "dpo_sft"]

OBJECTIVES: dict[Name, type[objectives.Objective]] = {
    "dpo": objectives.Dpo, "cdpo": objectives.Cdpo, "robust": objectives.Robust, "ipo": objectives.Ipo,
    "kto": objectives.Kto, "simpo": objectives.Simpo, "orpo": objectives.Orpo, "cpo": objectives.Cpo,
    "apo_zero": objectives.ApoZero, "apo_down": objectives.ApoDown, "dpo_sft": objectives.DpoSft,
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
    pairs: pl.DataFrame, params: TrainDpoParams, objective: objectives.Objective, work: Path
) -> dict[str, object]:
    """Trains the strong SFT model on the pairs, with checkpoints in `work`. Writes the model folder and DVCLive's
    curves, and returns the report."""
    config = preference_config(objective, params, work)  # first: it may say that each process loads a shard
    model, tokenizer = load_for_training(model_path(BASE), None, params)
    read = pairs.with_columns(prompt=pl.Series(render_prompts(tokenizer, pairs["prompt"]), dtype=pl.String))
    rows = read.filter(
        fits_max_length(read["prompt"] + read["chosen"], tokenizer, params.max_length)
        & fits_max_length(read["prompt"] + read["rejected"], tokenizer, params.max_length)
    )
    if rows.is_empty():
        raise UserError(f"no pair has at most {params.max_length} tokens on both sides; raise `train_dpo.max_length`")
    trainer = preference_trainer(model, tokenizer, rows, objective, config)
    lengths = row_lengths(trainer)
    history = train(trainer, lengths, work, training_log("train_dpo"))
    save_model(trainer, tokenizer, params, work, model_path("dpo"))
    report: dict[str, object] = {
        "objective": params.objective, "in": pairs.height, "trained_on": rows.height,
        "dropped": {"longer_than_max_length": pairs.height - rows.height},
    }  # fmt: skip
    if params.objective == "kto":
        report["completions"] = len(lengths)
    report["steps"] = trainer.state.global_step
    return report | changes(history, objective.beta)


def changes(history: list[dict[str, float]], beta: float) -> dict[str, object]:
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
        "chosen_logprob_change": late("rewards/chosen", beta),
        "rejected_logprob_change": late("rewards/rejected", beta),
    }  # fmt: skip
    if "rewards/accuracies" in history[0]:
        found["reward_accuracy"] = late("rewards/accuracies")
    return found


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.train_dpo", description=__doc__).parse_args()
    params = read_params("train_dpo", TrainDpoParams)
    objective = read_params(f"objectives.{params.objective}", OBJECTIVES[params.objective])
    pairs = open_dataset(PAIRS)
    if pairs.is_empty():
        raise UserError(f"{PAIRS.file} holds no pairs; loosen `pairs.neg_filter` or sample more (`candidates.n`)")
    launch("train_dpo")
    with main_process_first():
        settings = (params.model_dump(), objective.model_dump())
        data = (sha256_file(PAIRS.file), sha256_folder(model_path(BASE)))
        work = work_folder(model_path("dpo"), work_key(Path(__file__), *settings, *data))
    report = train_dpo(pairs, params, objective, work)
    if is_main_process():
        write_json(report_file("train_dpo"), report)
    exit_worker()


if __name__ == "__main__":
    run_stage(main)
