"""TRL's GRPO trainer with our reward and our samples."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from stages.core.errors import UserError
from stages.grpo.params import GrpoParams
from stages.grpo.rollouts import Rollouts
from stages.lm.completions import Decoding
from stages.rewards.execution import ExecutionReward
from stages.training.lora import disable_base_dropout
from stages.training.trainer import trainer_settings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import GRPOConfig, GRPOTrainer


def grpo_config(params: GrpoParams, work: Path) -> "GRPOConfig":
    """TRL's config, with checkpoints in `work`; what is not set here is TRL's default. One step samples `batch_size`
    completions, and learns from them once.

    Raises UserError where our samples cannot be had: each process would hold a shard of the weights.
    """
    from accelerate.utils import parse_flag_from_env
    from trl import GRPOConfig

    sharded = [name for name in ("FSDP", "DEEPSPEED") if parse_flag_from_env(f"ACCELERATE_USE_{name}")]
    if params.engine == "transformers" and sharded:
        raise UserError(
            f"`train_grpo.engine` is transformers, which samples with whole weights, and {sharded[0]} shards them; set "
            "it to vllm, or train without SENSE_ACCELERATE"
        )
    settings: dict[str, Any] = trainer_settings(params, work)
    del settings["max_length"]
    if params.engine == "vllm":
        settings |= {"use_vllm": True, "vllm_mode": "colocate", "vllm_max_model_length": params.max_length}
    return GRPOConfig(
        **settings,
        num_generations=params.num_generations,
        max_completion_length=params.max_tokens,
        temperature=params.temperature,
        top_p=params.top_p,
        beta=params.beta,
        epsilon=params.epsilon,
        disable_dropout=False,  # `disable_base_dropout` does, and keeps that of the adapters
    )


def grpo_trainer(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", questions: pl.DataFrame, reward: ExecutionReward,
    params: GrpoParams, base: Path, config: "GRPOConfig",
) -> "GRPOTrainer":  # fmt: skip
    """The trainer of `model`, which was loaded from the folder `base`. With `beta` above 0 the reference model is
    loaded from there too, or, where `model` has adapters, is the model without them.

    `questions`: prompt, as the tokenizer reads it, db_id, gold_sql, gold_flags.
    """
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # `rollout_func` may change: TRL is pinned
    from datasets import Dataset
    from trl import GRPOTrainer

    disable_base_dropout(model)
    rollouts = None
    if params.engine == "transformers":
        decoding = Decoding(params.num_generations, params.temperature, params.top_p, params.max_tokens, params.seed)
        groups = dict(questions.select("prompt", "db_id").iter_rows())
        rollouts = Rollouts(model, tokenizer, base, decoding, groups)
    columns = questions.select("prompt", "db_id", "gold_sql", "gold_flags")
    trainer = GRPOTrainer(
        model=model, reward_funcs=reward, args=config, processing_class=tokenizer, rollout_func=rollouts,
        train_dataset=Dataset.from_dict(columns.to_dict(as_series=False)),
    )  # fmt: skip
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")  # TRL's copy of the adapters: the model without adapters is the reference
    return trainer
