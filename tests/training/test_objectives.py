"""Each objective's trained loss against its paper's formula, from the plain model's log-probabilities in float64."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, expm1, log, log1p
from pathlib import Path
from statistics import mean
from typing import Any

import polars as pl
import pytest
import torch
from datasets import Dataset
from pydantic import ValidationError
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer

from stages.core.errors import UserError
from stages.datasets.catalog import DATASETS
from stages.train_dpo import OBJECTIVES, Name, TrainDpoParams
from stages.training.objectives import Cdpo, Kto, Objective
from stages.training.preference_trainers import (
    next_other_questions,
    preference_config,
    preference_trainer,
    row_lengths,
    unpaired_completions,
)
from stages.training.trainer import trainer_settings

BLOCKS: dict[str, dict[str, float]] = {
    "dpo": {"beta": 0.5}, "cdpo": {"beta": 0.5, "epsilon": 0.1}, "robust": {"beta": 0.5, "epsilon": 0.2},
    "ipo": {"beta": 0.4}, "kto": {"beta": 0.3, "desirable_weight": 1.5, "undesirable_weight": 0.7},
    "simpo": {"beta": 2.0, "gamma": 0.5}, "orpo": {"beta": 0.4}, "cpo": {"beta": 0.3, "sft_weight": 0.6},
    "apo_zero": {"beta": 0.3}, "apo_down": {"beta": 0.3}, "dpo_sft": {"beta": 0.5, "epsilon": 0.1, "sft_weight": 0.7},
    "rft": {},
}  # fmt: skip
"""Section `objectives` of params.yaml."""

PARAMS: dict[str, Any] = {
    "objective": "cdpo", "lora": None, "seed": 1, "epochs": 2.0, "batch_size": 8, "micro_batch": None,
    "learning_rate": 1e-3, "warmup": 0.1, "max_length": 128, "precision": "float32", "gradient_checkpointing": False,
    "save_steps": 10,
}  # fmt: skip
"""Section `train_dpo` of params.yaml."""


def params_of(name: Name, **changed: Any) -> tuple[Objective, TrainDpoParams]:
    """The params of an objective and of the training, with the `changed` ones of either."""
    block = {key: value for key, value in changed.items() if key in BLOCKS[name]}
    section = {key: value for key, value in changed.items() if key in PARAMS}
    return (
        OBJECTIVES[name].model_validate(BLOCKS[name] | block),
        TrainDpoParams.model_validate(PARAMS | {"objective": name} | section),
    )


@dataclass
class Pair:
    """Log-probabilities of chosen (w) and rejected (l), those of the reference, and how many tokens they have."""

    w: float
    l: float  # noqa: E741
    w0: float
    l0: float
    nw: int
    nl: int

    @property
    def delta(self) -> float:
        return (self.w - self.w0) - (self.l - self.l0)


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def nll(x: float) -> float:
    """-logσ(x)."""
    return log1p(exp(-x))


def log_odds(log_probability: float) -> float:
    return log_probability - log(-expm1(log_probability))


FORMULAS: dict[Name, Callable[[Pair], float]] = {  # with the params above
    "dpo": lambda p: nll(0.5 * p.delta),
    "cdpo": lambda p: 0.9 * nll(0.5 * p.delta) + 0.1 * nll(-0.5 * p.delta),
    "robust": lambda p: (0.8 * nll(0.5 * p.delta) - 0.2 * nll(-0.5 * p.delta)) / 0.6,
    "ipo": lambda p: (p.delta - 1 / 0.8) ** 2,
    "simpo": lambda p: nll(2.0 * p.w / p.nw - 2.0 * p.l / p.nl - 0.5),
    "orpo": lambda p: -p.w / p.nw + 0.4 * nll(log_odds(p.w / p.nw) - log_odds(p.l / p.nl)),
    "cpo": lambda p: nll(0.3 * (p.w - p.l)) - 0.6 * p.w,
    "apo_zero": lambda p: 1 - sigmoid(0.3 * (p.w - p.w0)) + sigmoid(0.3 * (p.l - p.l0)),
    "apo_down": lambda p: 1 + sigmoid(0.3 * (p.w - p.w0)) - sigmoid(0.3 * p.delta),
    "dpo_sft": lambda p: 0.9 * nll(0.5 * p.delta) + 0.1 * nll(-0.5 * p.delta) - 0.7 * p.w / p.nw,
    "rft": lambda p: -p.w / p.nw,
}


@pytest.fixture(scope="module")
def pairs(sft_rows: pl.DataFrame) -> pl.DataFrame:
    """12 pairs of 6 questions: two wrong completions each, the shorter ones a chosen cut short."""
    rows = [
        {
            "pair_id": f"{number:016x}", "question_id": row["question_id"], "db_id": "music", "prompt": row["prompt"],
            "chosen": row["completion"], "rejected": rejected, "chosen_id": None, "rejected_id": f"{number:016x}",
            "rejected_verdict": "mismatch", "similarity": 0.5, "witness": None,
        }
        for number, row in enumerate(sft_rows.head(6).to_dicts())
        for rejected in (row["completion"].replace("WHERE", "GROUP BY"), row["completion"][: 9 + 2 * number])
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=DATASETS["pairs"].columns)


@pytest.fixture(scope="module")
def policy(model: LlamaForCausalLM) -> LlamaForCausalLM:
    """The model moved away from the reference, so that no Δ is 0."""
    return moved(model, seed=0)


def moved(model: LlamaForCausalLM, seed: int) -> LlamaForCausalLM:
    policy = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for weights in policy.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.05)
    return policy


def logprob(model: LlamaForCausalLM, ids: list[int], start: int) -> float:
    """The log-probability of the tokens from `start` on, from a plain forward pass in float64."""
    with torch.no_grad():
        scores = copy.deepcopy(model).double()(torch.tensor([ids])).logits[0].log_softmax(-1)
    return sum(float(scores[at - 1, ids[at]]) for at in range(start, len(ids)))


def scored(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame
) -> list[Pair]:
    scored = []
    for prompt, *sides in pairs.select("prompt", "chosen", "rejected").rows():
        start = len(tokenizer(prompt)["input_ids"])
        ids = [[*tokenizer(prompt + side)["input_ids"], tokenizer.eos_token_id] for side in sides]
        w, l, w0, l0 = (logprob(model, side, start) for model in (policy, reference) for side in ids)  # noqa: E741
        scored.append(Pair(w, l, w0, l0, *(len(side) - start for side in ids)))
    return scored


def trained_loss(
    model: LlamaForCausalLM, policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame,
    params: tuple[Objective, TrainDpoParams], work: Path,
) -> tuple[float, dict[str, torch.Tensor]]:
    """The trainer's loss on all `pairs` at the policy's weights, and the batch; training started from `model`."""
    trained = copy.deepcopy(model)
    config = preference_config(*params, work)
    trainer = preference_trainer(trained, tokenizer, pairs, params[0], config)
    trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)
    trained.load_state_dict(policy.state_dict())
    [batch], _ = trainer.get_batch_samples(iter(trainer.get_train_dataloader()), 1, trainer.args.device)
    with torch.no_grad():
        loss: Any = trainer.compute_loss(trained, batch)  # type: ignore[no-untyped-call]
    return float(loss), batch


@pytest.mark.parametrize("objective", FORMULAS)
def test_the_trained_loss_is_that_of_the_papers_formula(
    objective: Name, model: LlamaForCausalLM, policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    pairs: pl.DataFrame, tmp_path: Path,
) -> None:
    params = params_of(objective, batch_size=pairs.height)
    trained, _ = trained_loss(model, policy, tokenizer, pairs, params, tmp_path)
    expected = mean(FORMULAS[objective](pair) for pair in scored(policy, model, tokenizer, pairs))
    assert trained == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(("epsilon", "share"), [(0.0, 1.0), (0.3, 0.7)])
def test_the_sft_term_stands_beside_cdpo_at_each_epsilon(
    epsilon: float, share: float, model: LlamaForCausalLM, policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, tmp_path: Path,
) -> None:
    params = params_of("dpo_sft", epsilon=epsilon, sft_weight=0.0, batch_size=pairs.height)
    trained, _ = trained_loss(model, policy, tokenizer, pairs, params, tmp_path)
    deltas = [0.5 * pair.delta for pair in scored(policy, model, tokenizer, pairs)]
    expected = mean(share * nll(delta) + (1 - share) * nll(-delta) for delta in deltas)
    assert trained == pytest.approx(expected, rel=1e-5, abs=1e-5)


def kto_formula(
    policy: LlamaForCausalLM, reference: LlamaForCausalLM, batch: dict[str, torch.Tensor]
) -> tuple[float, float]:
    """KTO's loss of a batch with the params above, and the mean log-ratio of its mismatched completions."""

    def ratios(prefix: str) -> list[float]:
        masks = batch[f"{prefix}attention_mask"], batch[f"{prefix}completion_mask"]
        rows = zip(batch[f"{prefix}input_ids"], *masks, strict=True)
        ratios = []
        for ids, attended, counted in rows:
            tokens, start = ids[attended == 1].tolist(), int(counted.argmax())
            ratios.append(logprob(policy, tokens, start) - logprob(reference, tokens, start))
        return ratios

    mismatched = mean(ratios("KL_"))
    z = max(0.0, mismatched)
    losses = [
        1.5 * (1 - sigmoid(0.3 * (r - z))) if right else 0.7 * (1 - sigmoid(0.3 * (z - r)))
        for r, right in zip(ratios(""), batch["label"].tolist(), strict=True)
    ]
    return mean(losses), mismatched


@pytest.mark.parametrize("swapped", [False, True], ids=["z is above 0", "z is 0"])
def test_the_trained_loss_of_kto_is_that_of_the_papers_formula(
    swapped: bool, model: LlamaForCausalLM, policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    pairs: pl.DataFrame, tmp_path: Path,
) -> None:
    reference, trained = (policy, model) if swapped else (model, policy)  # every log-ratio changes its sign
    rows = unpaired_completions(pairs)
    params = params_of("kto", batch_size=rows.height)
    loss, batch = trained_loss(reference, trained, tokenizer, pairs, params, tmp_path)
    expected, mismatched = kto_formula(trained, reference, batch)
    assert (mismatched > 0) != swapped
    assert loss == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_kto_sees_each_completion_of_a_question_once_with_its_label(pairs: pl.DataFrame) -> None:
    rows = unpaired_completions(pairs)
    chosen = {(question, text, True) for question, text in pairs.select("question_id", "chosen").rows()}
    rejected = {(question, text, False) for question, text in pairs.select("question_id", "rejected").rows()}
    assert pairs.height == 12 and len(chosen) == 6 and len(rejected) == 12
    assert sorted(rows.select("question_id", "completion", "label").rows()) == sorted(chosen | rejected)
    assert unpaired_completions(pairs.sample(fraction=1, shuffle=True, seed=3)).equals(rows)


def test_kto_compares_with_completions_of_other_questions(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, tmp_path: Path
) -> None:
    params = params_of("kto", micro_batch=2)
    config = preference_config(*params, tmp_path)
    trainer = preference_trainer(copy.deepcopy(model), tokenizer, pairs, params[0], config)
    data: Any = trainer.train_dataset
    for number, row in enumerate(unpaired_completions(pairs).to_dicts()):
        text = tokenizer.decode(data[number]["KL_completion_ids"], skip_special_tokens=True)
        assert tokenizer.decode(data[number]["completion_ids"], skip_special_tokens=True) == row["completion"]
        own = pairs.filter(pl.col("question_id") == row["question_id"])
        assert text not in {*own["chosen"], *own["rejected"]}


def test_the_other_question_is_the_next_one_round_the_end() -> None:
    assert next_other_questions(["a", "a", "b", "a", "a"]) == [2, 2, 3, 2, 2]


def test_kto_of_one_question_or_of_one_completion_at_once_is_refused(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = params_of("kto")
    config = preference_config(*params, tmp_path)
    with pytest.raises(UserError, match=r"the pairs are all of one question; `kto` compares"):
        preference_trainer(copy.deepcopy(model), tokenizer, pairs.head(2), params[0], config)
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(UserError, match=r"raise `train_dpo.batch_size` or `train_dpo.micro_batch`"):
        preference_config(*params, tmp_path)


def test_the_loss_with_the_start_scored_once_is_that_with_a_live_reference(
    model: LlamaForCausalLM, policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame,
    tmp_path: Path,
) -> None:
    params = params_of("dpo", batch_size=pairs.height)
    once, _ = trained_loss(model, policy, tokenizer, pairs, params, tmp_path)
    config = DPOConfig(**trainer_settings(params[1], tmp_path), beta=0.5)
    data = Dataset.from_dict(pairs.select("prompt", "chosen", "rejected").to_dict(as_series=False))
    live = DPOTrainer(copy.deepcopy(policy), copy.deepcopy(model), config, train_dataset=data,
                      processing_class=tokenizer)  # fmt: skip
    with torch.no_grad():
        loss = float(live.compute_loss(live.model, next(iter(live.get_train_dataloader()))))
    assert once == pytest.approx(loss, abs=1e-5)


def test_a_row_is_as_long_as_its_longer_side(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: pl.DataFrame, tmp_path: Path
) -> None:
    lengths = {}
    names: tuple[Name, ...] = ("simpo", "kto")
    for objective in names:
        params = params_of(objective)
        config = preference_config(*params, tmp_path)
        trainer = preference_trainer(copy.deepcopy(model), tokenizer, pairs, params[0], config)
        lengths[objective] = sorted(row_lengths(trainer))

    def tokens(rows: pl.DataFrame, side: str) -> list[int]:
        return [len(ids) + 1 for ids in tokenizer((rows["prompt"] + rows[side]).to_list())["input_ids"]]

    assert lengths["simpo"] == sorted(map(max, tokens(pairs, "chosen"), tokens(pairs, "rejected")))
    assert lengths["kto"] == sorted(tokens(unpaired_completions(pairs), "completion"))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, -0.1])
def test_epsilon_of_cdpo_is_above_0_and_below_a_half(epsilon: float) -> None:
    with pytest.raises(ValidationError):
        Cdpo(beta=0.1, epsilon=epsilon)


def test_a_param_that_an_objective_does_not_use_is_refused() -> None:
    with pytest.raises(ValidationError, match="epsilon"):
        Kto.model_validate({"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0, "epsilon": 0.1})
