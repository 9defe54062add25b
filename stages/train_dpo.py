"""Preference learning on the pairs, from the strong SFT model, by the chosen objective, with TRL's trainers."""

import argparse
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Literal, get_args

import polars as pl
from pydantic import ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from stages.core.errors import UserError, run_stage
from stages.core.files import sha256_file, sha256_folder, work_folder, write_json
from stages.core.params import read_params
from stages.core.receipts import require_receipts
from stages.core.tables import read_table
from stages.lm.chat_template import model_texts
from stages.training import objectives
from stages.training.checkpoints import work_key
from stages.training.launch import launch, leave, main_process, main_process_first
from stages.training.params import TrainingParams
from stages.training.preference_trainers import preference_config, preference_trainer, row_lengths
from stages.training.trainer import fits, load_for_training, save_model, train

Name = Literal["dpo", "cdpo", "robust", "ipo", "kto", "simpo", "orpo", "cpo", "apo_zero", "apo_down", "dpo_sft"]


class TrainDpoParams(TrainingParams):
    """Section `train_dpo` of params.yaml. Every objective's block is checked; only that of the chosen one is read."""

    objective: Name
    dpo: objectives.Dpo
    cdpo: objectives.Cdpo
    robust: objectives.Robust
    ipo: objectives.Ipo
    kto: objectives.Kto
    simpo: objectives.Simpo
    orpo: objectives.Orpo
    cpo: objectives.Cpo
    apo_zero: objectives.ApoZero
    apo_down: objectives.ApoDown
    dpo_sft: objectives.DpoSft

    @field_validator("objective")
    @classmethod
    def _comparing(cls, objective: Name, info: ValidationInfo) -> Name:
        if objective == "kto" and 1 in (info.data.get("batch_size"), info.data.get("micro_batch")):
            raise PydanticCustomError("objective", "it wants `batch_size` and `micro_batch` of 2 or more; raise them")
        return objective

    def block(self) -> objectives.Objective:
        """The params of the chosen objective."""
        chosen: objectives.Objective = getattr(self, self.objective)
        return chosen

    def read(self) -> dict[str, object]:
        """What training depends on: all but the blocks of the other objectives."""
        return self.model_dump(exclude=set(get_args(Name)) - {self.objective})


def train_dpo(
    pairs: pl.DataFrame, base: Path, params: TrainDpoParams, work: Path, live: Path, out: Path
) -> dict[str, object]:
    """Trains `base` on the pairs, writes the model folder `out` and DVCLive's folder `live`, and returns the report."""
    config = preference_config(params.block(), params, work)  # first: it may say that each process loads a shard
    model, tokenizer = load_for_training(base, None, params)
    read = pairs.with_columns(prompt=pl.Series(model_texts(tokenizer, pairs["prompt"]), dtype=pl.String))
    rows = read.filter(
        fits(read["prompt"] + read["chosen"], tokenizer, params.max_length)
        & fits(read["prompt"] + read["rejected"], tokenizer, params.max_length)
    )
    if rows.is_empty():
        raise UserError(f"no pair has at most {params.max_length} tokens on both sides; raise `train_dpo.max_length`")
    trainer = preference_trainer(model, tokenizer, rows, params.block(), config)
    lengths = row_lengths(trainer)
    history = train(trainer, lengths, work, live)
    save_model(trainer, tokenizer, params, work, out)
    report: dict[str, object] = {
        "objective": params.objective, "in": pairs.height, "trained_on": rows.height,
        "dropped": {"longer_than_max_length": pairs.height - rows.height},
    }  # fmt: skip
    if params.objective == "kto":
        report["completions"] = len(lengths)
    report["steps"] = trainer.state.global_step
    return report | changes(history, params.block().beta)


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
    parser = argparse.ArgumentParser(prog="python -m stages.train_dpo", description=__doc__)
    for name in ("pairs", "pairs-receipt", "base", "model", "report", "live"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = read_params("train_dpo", TrainDpoParams)
    require_receipts({args.pairs_receipt: args.pairs})
    pairs = read_table(args.pairs, "pairs")
    if pairs.is_empty():
        raise UserError(f"{args.pairs} holds no pairs; loosen `pairs.neg_filter` or sample more (`candidates.n`)")
    launch("train_dpo")
    with main_process_first():
        key = work_key(Path(__file__), params.read(), sha256_file(args.pairs), sha256_folder(args.base))
        work = work_folder(args.model, key)
    report = train_dpo(pairs, args.base, params, work, args.live, args.model)
    if main_process():
        write_json(args.report, report)
    leave()


if __name__ == "__main__":
    run_stage(main)
