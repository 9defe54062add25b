"""Preference learning on the pairs, from the strong SFT model, with TRL's DPOTrainer and the cDPO loss."""

import argparse
from copy import deepcopy
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import polars as pl
from pydantic import Field

from stages.errors import UserError, run_stage
from stages.files import fingerprint, sha256_file, sha256_folder, work_folder, write_json, write_text
from stages.lm.chat import model_texts
from stages.lm.loading import load_model
from stages.lm.scoring import score_labels_only
from stages.lm.training import fits, loss_rows, save_model, train, trainer_settings
from stages.params import Params, read_params
from stages.receipts import require_receipts
from stages.tables import read_table

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer

CURVE = ["loss", "rewards/chosen", "rewards/rejected", "rewards/accuracies"]


class TrainDpoParams(Params):
    """Section `train_dpo` of params.yaml."""

    seed: int = Field(ge=0)
    beta: float = Field(gt=0)
    epsilon: float = Field(ge=0, lt=0.5)
    sft_weight: float = Field(ge=0)
    epochs: float = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0, lt=1)
    warmup: float = Field(ge=0, lt=1)
    max_length: int = Field(gt=0)
    save_steps: int = Field(gt=0, multiple_of=10)  # a logged window must not span a checkpoint


def cdpo_losses(epsilon: float, sft_weight: float) -> tuple[list[str], list[float]]:
    """TRL's loss types and their weights for `-(1-ε)·logσ(βΔ) - ε·logσ(-βΔ)`, plus `sft_weight` times the chosen's mean
    negative log-likelihood a token.

    TRL's `sigmoid` ignores `label_smoothing`. Its `robust` is `((1-ε)·S₊ - ε·S₋) / (1-2ε)`, with S± = -logσ(±βΔ), so
    cDPO, `(1-ε)·S₊ + ε·S₋`, is `2(1-ε)·sigmoid - (1-2ε)·robust`. (cDPO: Mitchell 2023, "A note on DPO with noisy
    preferences".)
    """
    types, weights = ["sigmoid", "robust"], [2 * (1 - epsilon), -(1 - 2 * epsilon)]
    return (types, weights) if sft_weight == 0 else ([*types, "sft"], [*weights, sft_weight])


def train_dpo(
    pairs: pl.DataFrame, base: Path, params: TrainDpoParams, work: Path, out: Path
) -> tuple[dict[str, object], str]:
    """Trains `base` on the pairs and writes the model folder `out`. Returns the report and the curves as CSV."""
    model, tokenizer = load_model(base)
    read = pairs.with_columns(prompt=pl.Series(model_texts(tokenizer, pairs["prompt"]), dtype=pl.String))
    rows = read.filter(
        fits(read["prompt"] + read["chosen"], tokenizer, params.max_length)
        & fits(read["prompt"] + read["rejected"], tokenizer, params.max_length)
    )
    if rows.is_empty():
        raise UserError(f"no pair has at most {params.max_length} tokens on both sides; raise `train_dpo.max_length`")
    trainer = dpo_trainer(model, tokenizer, rows, params, work)
    history = train(trainer, work)
    save_model(model, tokenizer, work, out)
    report = report_of(pairs.height, rows.height, trainer.state.global_step, history, params.beta)
    return report, loss_rows(history, CURVE)


def dpo_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pairs: pl.DataFrame, params: TrainDpoParams,
    work: Path,
) -> "DPOTrainer":
    """TRL's trainer of `model` with the cDPO loss; the reference is `model` as it is now."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    types, weights = cdpo_losses(params.epsilon, params.sft_weight)
    config = DPOConfig(
        **trainer_settings(
            work, seed=params.seed, epochs=params.epochs, batch_size=params.batch_size,
            learning_rate=params.learning_rate, warmup=params.warmup, save_steps=params.save_steps,
        ),
        beta=params.beta, label_smoothing=params.epsilon, loss_type=types, loss_weights=weights,
        max_length=params.max_length, train_sampling_strategy="group_by_length", remove_unused_columns=False,
    )
    texts = pairs.select("prompt", "chosen", "rejected")
    lengths = [len(ids) for ids in tokenizer((texts["prompt"] + texts["chosen"]).to_list())["input_ids"]]
    data = Dataset.from_dict(texts.to_dict(as_series=False))
    reference = deepcopy(model)
    trainer = DPOTrainer(model, reference, args=config, train_dataset=data, processing_class=tokenizer)
    assert isinstance(trainer.train_dataset, Dataset)
    trainer.train_dataset = trainer.train_dataset.add_column("length", lengths)  # what batches are grouped by
    for scored in (model, reference):
        score_labels_only(scored)
    return trainer


def report_of(
    pairs: int, trained_on: int, steps: int, history: list[dict[str, float]], beta: float
) -> dict[str, object]:
    """Counts, and what training did to the pairs it saw last: the mean over the last ten logged windows.

    A `change` is the policy's minus the reference's log-probability of the whole completion (nats).
    """

    def late(name: str) -> float:
        return mean(entry[name] for entry in history[-10:])

    return {
        "in": pairs, "trained_on": trained_on, "dropped": {"longer_than_max_length": pairs - trained_on},
        "steps": steps, "first_loss": round(history[0]["loss"], 4), "last_loss": round(late("loss"), 4),
        "chosen_logprob_change": round(late("rewards/chosen") / beta, 4),
        "rejected_logprob_change": round(late("rewards/rejected") / beta, 4),
        "reward_accuracy": round(late("rewards/accuracies"), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("pairs", "pairs-receipt", "base", "model", "report", "curve"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    params = read_params("train_dpo", TrainDpoParams)
    require_receipts({args.pairs_receipt: args.pairs})
    pairs = read_table(args.pairs, "pairs")
    if pairs.is_empty():
        raise UserError(f"{args.pairs} holds no pairs; loosen `pairs.neg_filter` or sample more (`candidates.n`)")
    work = work_folder(args.model, fingerprint(params.model_dump(), sha256_file(args.pairs), sha256_folder(args.base)))
    report, curve = train_dpo(pairs, args.base, params, work, args.model)
    write_json(args.report, report)
    write_text(args.curve, curve)


if __name__ == "__main__":
    run_stage(main)
