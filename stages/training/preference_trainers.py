"""TRL's trainers for the objectives of preference learning. The reference model scores each completion once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError
from stages.training.labels_only_head import score_labels_only
from stages.training.lora import disable_base_dropout
from stages.training.objectives import Kto, Objective, paper_loss, trl_loss_arguments
from stages.training.params import TrainingParams
from stages.training.reference_logps import add_reference_logps
from stages.training.trainer import trainer_settings

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer


def preference_config(objective: Objective, params: TrainingParams, work: Path) -> "DPOConfig | KTOConfig":
    """TRL's config for an `objective`, with checkpoints in `work`.

    Raises UserError if `kto` would have micro batches of one completion.
    """
    from trl import DPOConfig, KTOConfig

    settings = trainer_settings(params, work) | {
        "precompute_ref_log_probs": True,
        "disable_dropout": False,  # `disable_base_dropout` does, and keeps that of the adapters
    }
    if not isinstance(objective, Kto):
        return DPOConfig(**settings, **trl_loss_arguments(objective), beta=objective.reward_scale)
    if settings["per_device_train_batch_size"] < 2:
        raise UserError(
            "`kto` wants two completions or more that a process works on at once, and that is 1; raise "
            "`train_dpo.batch_size` or `train_dpo.micro_batch`"
        )
    return KTOConfig(**settings, **objective.model_dump())


def preference_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pairs: pl.DataFrame, objective: Objective,
    config: "DPOConfig | KTOConfig",
) -> "DPOTrainer | KTOTrainer":
    """The trainer of `model`, with adapters or without, on the pairs. The reference model is `model` as it is now.

    The reference model is not kept; its log-probabilities are computed for every objective, as they are logged. Raises
    UserError if `kto` has a single question.
    """
    from trl import DPOConfig

    disable_base_dropout(model)
    if isinstance(config, DPOConfig):
        trainer: DPOTrainer | KTOTrainer = _pair_trainer(model, tokenizer, pairs, objective, config)
        add_reference_logps(trainer, ("ref_chosen_logps", "ref_rejected_logps"))
    else:
        trainer = _kto_trainer(model, tokenizer, unpaired_completions(pairs), config)
        add_reference_logps(trainer, ("ref_logps", "ref_KL_logps"))
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")  # TRL's copy of the adapters: the model without adapters is the reference
    score_labels_only(model)
    return trainer


def unpaired_completions(pairs: pl.DataFrame) -> pl.DataFrame:
    """The distinct completions of each question, sorted by length.

    Columns: question_id, prompt, completion, and label, which is true for chosen.
    """
    sides = [
        pairs.select("question_id", "prompt", completion=side, label=pl.lit(side == "chosen"))
        for side in ("chosen", "rejected")
    ]
    length = pl.col("prompt").str.len_chars() + pl.col("completion").str.len_chars()
    return pl.concat(sides).unique().sort(length, "question_id", "label", "completion")


def next_other_questions(questions: list[str]) -> list[int]:
    """For each row, the next row with another question, going on at the start. Needs two questions or more."""
    count = len(questions)
    return [
        next(later % count for later in range(row + 1, row + count) if questions[later % count] != questions[row])
        for row in range(count)
    ]


def row_lengths(trainer: "DPOTrainer | KTOTrainer") -> list[int]:
    """The tokens of each row of the trainer's dataset; of the longer side, if it has pairs."""
    data: Any = trainer.train_dataset
    sides = ("completion_ids",) if "completion_ids" in data[0] else ("chosen_ids", "rejected_ids")
    return [len(row["prompt_ids"]) + max(len(row[side]) for side in sides) for row in data]


def _pair_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", pairs: pl.DataFrame, objective: Objective,
    config: "DPOConfig",
) -> "DPOTrainer":
    import torch
    from datasets import Dataset
    from trl import DPOTrainer

    class PairTrainer(DPOTrainer):
        def _precompute_ref_logps(self, dataset: "Dataset", *_: object) -> "Dataset":
            return dataset  # `add_reference_logps` computes them

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> "torch.Tensor":
            outputs = []

            def record_output(**arguments: Any) -> Any:
                outputs.append(model(**arguments))
                return outputs[0]

            loss = super()._compute_loss(record_output, inputs, return_outputs)  # type: ignore[no-untyped-call]  # it also logs
            logps = torch.stack(outputs[0].log_probs.sum(dim=1).chunk(2))
            reference_logps = torch.stack((inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]))
            tokens = torch.stack(inputs["completion_mask"].sum(dim=1).chunk(2))
            return paper_loss(objective, loss, logps, reference_logps, tokens)

    length = pl.col("prompt").str.len_chars() + pl.max_horizontal(pl.col("chosen", "rejected").str.len_chars())
    rows = pairs.sort(length, maintain_order=True).select("prompt", "chosen", "rejected")
    data = Dataset.from_dict(rows.to_dict(as_series=False))
    return PairTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)


def _kto_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", rows: pl.DataFrame, config: "KTOConfig"
) -> "KTOTrainer":
    import torch
    from datasets import Dataset
    from trl import KTOTrainer

    if rows["question_id"].n_unique() < 2:
        raise UserError("the pairs are all of one question; `kto` compares with completions of others: add questions")
    others = next_other_questions(rows["question_id"].to_list())

    class UnpairedTrainer(KTOTrainer):
        def _precompute_ref_logps(self, dataset: "Dataset", *_: object) -> "Dataset":
            return dataset  # `add_reference_logps` computes them

        def _prepare_dataset(self, *args: Any) -> "Dataset":
            # TRL takes the completion of the row before in the micro batch: it may belong to the same question, and
            # depends on the order of batches.
            data = super()._prepare_dataset(*args)
            ids = data["completion_ids"]
            data = data.remove_columns("KL_completion_ids")
            return data.add_column("KL_completion_ids", [ids[other] for other in others])

        # z is the mean over a whole step. TRL's is that of a micro batch, so the loss would depend on `micro_batch`.
        def get_batch_samples(self, *args: Any) -> Any:
            batches, count = super().get_batch_samples(*args)
            self.model_wrapped.train()
            score: Any = super()._compute_kl_logps
            with self.compute_loss_context_manager():
                ratios = [score(self.model_wrapped, batch) - batch["ref_KL_logps"] for batch in batches]
            self.z = torch.cat(ratios).mean()
            return batches, count

        def _compute_kl_logps(self, *_: object) -> "torch.Tensor":
            return self.z

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            inputs = inputs | {"ref_KL_logps": torch.zeros(())}
            return super()._compute_loss(model, inputs, return_outputs)  # type: ignore[no-untyped-call]  # TRL's

    data = Dataset.from_dict(rows.select("prompt", "completion", "label").to_dict(as_series=False))
    return UnpairedTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
