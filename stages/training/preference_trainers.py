"""TRL's trainers for each objective of preference learning. The reference's log-probabilities are computed once."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError
from stages.training.labels_only_head import score_labels_only
from stages.training.lora import without_own_dropout
from stages.training.objectives import Kto, Objective, paper_loss, trl_loss
from stages.training.params import TrainingParams
from stages.training.reference_logps import compare_with_start
from stages.training.trainer import trainer_settings

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer


def preference_config(objective: Objective, params: TrainingParams, work: Path) -> "DPOConfig | KTOConfig":
    """TRL's config of a training by `objective`; files lie in `work`. Raises UserError where `kto` would have micro
    batches of one completion."""
    from trl import DPOConfig, KTOConfig

    settings = trainer_settings(params, work) | {
        "precompute_ref_log_probs": True,
        "disable_dropout": False,  # it would disable the adapters' too: `without_own_dropout` does not
    }
    if not isinstance(objective, Kto):
        return DPOConfig(**settings, **trl_loss(objective), beta=objective.beta)
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
    """The trainer of `model`, a peft model too, on the pairs. The reference is `model` as it is now, and is not kept.

    Objectives without a reference have its log-probabilities too: for what is logged. Raises UserError where `kto` has
    a single question.
    """
    from trl import DPOConfig

    without_own_dropout(model)
    if isinstance(config, DPOConfig):
        trainer: DPOTrainer | KTOTrainer = _pair_trainer(model, tokenizer, pairs, objective, config)
        compare_with_start(trainer, ("ref_chosen_logps", "ref_rejected_logps"))
    else:
        trainer = _kto_trainer(model, tokenizer, completions(pairs), config)
        compare_with_start(trainer, ("ref_logps", "ref_KL_logps"))
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")  # TRL's copy of the adapters: without them the model is the reference
    score_labels_only(model)
    return trainer


def completions(pairs: pl.DataFrame) -> pl.DataFrame:
    """The distinct completions of each question in the pairs with their `label`, true where chosen. Those of a like
    length stand together."""
    sides = [
        pairs.select("question_id", "prompt", completion=side, label=pl.lit(side == "chosen"))
        for side in ("chosen", "rejected")
    ]
    length = pl.col("prompt").str.len_chars() + pl.col("completion").str.len_chars()
    return pl.concat(sides).unique().sort(length, "question_id", "label", "completion")


def of_other_questions(questions: list[str]) -> list[int]:
    """For each row the next one, after the last the first, that is of another question. There must be two questions."""
    count = len(questions)
    return [
        next(at % count for at in range(row + 1, row + count) if questions[at % count] != questions[row])
        for row in range(count)
    ]


def row_lengths(trainer: "DPOTrainer | KTOTrainer") -> list[int]:
    """The tokens of each row of the trainer's data; of a pair, those of its longer side."""
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
            return dataset  # `compare_with_start` does

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> "torch.Tensor":
            seen = []

            def watched(**given: Any) -> Any:
                seen.append(model(**given))
                return seen[0]

            trls = super()._compute_loss(watched, inputs, return_outputs)  # type: ignore[no-untyped-call]  # it logs too
            logps = torch.stack(seen[0].log_probs.sum(dim=1).chunk(2))
            starts = torch.stack((inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]))
            tokens = torch.stack(inputs["completion_mask"].sum(dim=1).chunk(2))
            return paper_loss(objective, trls, logps, starts, tokens)

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
    others = of_other_questions(rows["question_id"].to_list())

    class UnpairedTrainer(KTOTrainer):
        def _precompute_ref_logps(self, dataset: "Dataset", *_: object) -> "Dataset":
            return dataset  # `compare_with_start` does

        def _prepare_dataset(self, *given: Any) -> "Dataset":
            # TRL takes the completion of the row before in the micro batch, which may be of the same question, and ties
            # the rows to one order of batches.
            data = super()._prepare_dataset(*given)
            ids = data["completion_ids"]
            data = data.remove_columns("KL_completion_ids")
            return data.add_column("KL_completion_ids", [ids[other] for other in others])

        # z is the mean of a whole step. TRL's is that of a micro batch, so another `micro_batch` were another loss.
        def get_batch_samples(self, *given: Any) -> Any:
            batches, count = super().get_batch_samples(*given)
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
