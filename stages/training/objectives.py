"""The objectives of preference learning: their params, and the losses of their papers.

In the formulas, w is the chosen and l the rejected completion, with their end tokens; π is the model in training and π₀
the reference model, from which it started; r(y) = log π(y|x) - log π₀(y|x); Δ = r(w) - r(l). TRL's DPOTrainer computes
some losses as in their papers, and its KTOTrainer that of KTO; `paper_loss` computes the others.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.core.params import Params

if TYPE_CHECKING:
    import torch


class Objective(Params):
    """The params of an objective."""

    @property
    def reward_scale(self) -> float:
        """What the reward of a completion y, as it is logged, is in terms of r(y)."""
        return 1.0


class WithBeta(Objective):
    """The params of an objective that has a β."""

    beta: float = Field(gt=0)

    @property
    def reward_scale(self) -> float:
        return self.beta


class Rft(Objective):
    """`-log π(w)/|w|`: SFT on chosen alone, the control of every other objective. Yuan et al. 2023, "Scaling
    relationship on learning mathematical reasoning with large language models": rejection sampling fine-tuning."""


class Dpo(WithBeta):
    """`-logσ(βΔ)`. Rafailov et al. 2023, "Direct preference optimization"."""


class Cdpo(WithBeta):
    """`-(1-ε)·logσ(βΔ) - ε·logσ(-βΔ)`. Mitchell 2023, "A note on DPO with noisy preferences"."""

    epsilon: float = Field(gt=0, lt=0.5)


class Robust(WithBeta):
    """`(-(1-ε)·logσ(βΔ) + ε·logσ(-βΔ)) / (1-2ε)`. Chowdhury et al. 2024, "Provably robust DPO"."""

    epsilon: float = Field(gt=0, lt=0.5)


class Ipo(WithBeta):
    """`(Δ - 1/(2β))²`. Azar et al. 2023, "A general theoretical paradigm", equation 17; β is its τ."""


class Kto(WithBeta):
    """`λ_w·(1 - σ(β(r - z)))` for a chosen completion, `λ_l·(1 - σ(β(z - r)))` for a rejected one.

    z is the mean r of the batch's prompts with completions of other questions, at least 0. Ethayarajh et al. 2024,
    "KTO", equations 7 and 8.
    """

    desirable_weight: float = Field(gt=0)
    undesirable_weight: float = Field(gt=0)


class Simpo(WithBeta):
    """`-logσ(β·(log π(w)/|w| - log π(l)/|l|) - γ)`. Meng et al. 2024, "SimPO", equation 6."""

    gamma: float = Field(ge=0)


class Orpo(WithBeta):
    """`-log P(w) - β·logσ(log odds(w) - log odds(l))`; P is the geometric mean of token probabilities, odds P/(1-P).

    Hong et al. 2024, "ORPO", equations 3 to 7; β is its λ.
    """


class Cpo(WithBeta):
    """`-logσ(β·(log π(w) - log π(l))) - weight·log π(w)`. Xu et al. 2024, "Contrastive preference optimization"."""

    sft_weight: float = Field(ge=0)


class ApoZero(WithBeta):
    """`1 - σ(βr(w)) + σ(βr(l))`. D'Oosterlinck et al. 2024, "Anchored preference optimization", equation 7, plus 1."""


class ApoDown(WithBeta):
    """`σ(βr(w)) + 1 - σ(βΔ)`. D'Oosterlinck et al. 2024, "Anchored preference optimization", equation 8, plus 1."""


class DpoSft(WithBeta):
    """The loss of cDPO minus `weight·log π(w)/|w|`. Pang et al. 2024, "Iterative reasoning preference optimization"."""

    epsilon: float = Field(ge=0, lt=0.5)
    sft_weight: float = Field(ge=0)


def trl_loss_arguments(objective: Objective) -> dict[str, Any]:
    """The arguments of `DPOConfig` for the loss, or for the part of it that TRL computes.

    TRL's `sigmoid` ignores `label_smoothing`. Its `robust` is `((1-ε)·S₊ - ε·S₋) / (1-2ε)`, with S± = -logσ(±βΔ), so
    cDPO, `(1-ε)·S₊ + ε·S₋`, is `2(1-ε)·sigmoid - (1-2ε)·robust`.
    """
    match objective:
        case Cdpo(epsilon=epsilon) | DpoSft(epsilon=epsilon):
            weights = [2 * (1 - epsilon), -(1 - 2 * epsilon)]
            return {"loss_type": ["sigmoid", "robust"], "loss_weights": weights, "label_smoothing": epsilon}
        case Robust(epsilon=epsilon):
            return {"loss_type": ["robust"], "label_smoothing": epsilon}
        case ApoZero():
            return {"loss_type": ["apo_zero"]}
        case ApoDown():
            return {"loss_type": ["apo_down"]}
        case _:
            return {"loss_type": ["sigmoid"]}


def paper_loss(
    objective: Objective, trl_loss: "torch.Tensor", logps: "torch.Tensor", reference_logps: "torch.Tensor",
    tokens: "torch.Tensor",
) -> "torch.Tensor":  # fmt: skip
    """The mean loss of a batch of pairs; `trl_loss` is TRL's.

    The other tensors are (2, pairs), first chosen, then rejected: the log-probability of each completion by the model
    in training and by the reference model, and its number of tokens.
    """
    from torch.nn.functional import logsigmoid

    loss = trl_loss
    (chosen, rejected), (chosen_mean, rejected_mean) = logps, logps / tokens
    match objective:
        case Ipo(beta=beta):  # TRL divides each r by the number of tokens
            changes = logps - reference_logps
            loss = ((changes[0] - changes[1] - 1 / (2 * beta)) ** 2).mean()
        case Simpo(beta=beta, gamma=gamma):
            loss = -logsigmoid(beta * (chosen_mean - rejected_mean) - gamma).mean()
        case Orpo(beta=beta):  # TRL's SFT loss includes the prompt's tokens
            ratio = _log_odds(chosen_mean) - _log_odds(rejected_mean)
            loss = (-chosen_mean - beta * logsigmoid(ratio)).mean()
        case Cpo(beta=beta, sft_weight=weight):  # TRL's SFT loss is a mean over the batch's tokens
            loss = (-logsigmoid(beta * (chosen - rejected)) - weight * chosen).mean()
        case Rft():
            loss = -chosen_mean.mean()
        case DpoSft(sft_weight=weight):  # TRL's SFT loss is a mean over the batch's tokens: long completions count more
            loss = trl_loss - weight * chosen_mean.mean()
    return loss


def _log_odds(log_probability: "torch.Tensor") -> "torch.Tensor":
    import torch

    below_one = log_probability.clamp(max=-1e-6)  # at probability 1 the odds are infinite and the gradient NaN
    return below_one - torch.log(-torch.expm1(below_one))
