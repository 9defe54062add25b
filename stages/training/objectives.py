"""The objectives of preference learning: the params of each, and the loss of its paper.

In the formulas w is chosen and l rejected, with their end tokens; π is the model in training, π₀ the one it started
from (the reference); r(y) = log π(y|x) - log π₀(y|x), and Δ = r(w) - r(l). TRL's DPOTrainer computes some of the losses
as their papers give them, and its KTOTrainer KTO's; `paper_loss` has the others.
"""

from typing import TYPE_CHECKING, Any

from pydantic import Field

from stages.core.params import Params

if TYPE_CHECKING:
    import torch


class Dpo(Params):
    """`-logσ(βΔ)`. Rafailov et al. 2023, "Direct preference optimization"."""

    beta: float = Field(gt=0)


class Cdpo(Params):
    """`-(1-ε)·logσ(βΔ) - ε·logσ(-βΔ)`. Mitchell 2023, "A note on DPO with noisy preferences"."""

    beta: float = Field(gt=0)
    epsilon: float = Field(gt=0, lt=0.5)


class Robust(Params):
    """`(-(1-ε)·logσ(βΔ) + ε·logσ(-βΔ)) / (1-2ε)`. Chowdhury et al. 2024, "Provably robust DPO"."""

    beta: float = Field(gt=0)
    epsilon: float = Field(gt=0, lt=0.5)


class Ipo(Params):
    """`(Δ - 1/(2β))²`. Azar et al. 2023, "A general theoretical paradigm", equation 17; β is its τ."""

    beta: float = Field(gt=0)


class Kto(Params):
    """`λ_w·(1 - σ(β(r - z)))` of a right completion, `λ_l·(1 - σ(β(z - r)))` of a wrong one; z is the mean r of the
    batch's prompts with completions of other questions, at least 0. Ethayarajh et al. 2024, "KTO", equations 7, 8."""

    beta: float = Field(gt=0)
    desirable_weight: float = Field(gt=0)
    undesirable_weight: float = Field(gt=0)


class Simpo(Params):
    """`-logσ(β·(log π(w)/|w| - log π(l)/|l|) - γ)`. Meng et al. 2024, "SimPO", equation 6."""

    beta: float = Field(gt=0)
    gamma: float = Field(ge=0)


class Orpo(Params):
    """`-log P(w) - β·logσ(log odds(w) - log odds(l))`, P the probability a token (geometric mean), odds P/(1-P).
    Hong et al. 2024, "ORPO", equations 3 to 7; β is its λ."""

    beta: float = Field(gt=0)


class Cpo(Params):
    """`-logσ(β·(log π(w) - log π(l))) - weight·log π(w)`. Xu et al. 2024, "Contrastive preference optimization"."""

    beta: float = Field(gt=0)
    sft_weight: float = Field(ge=0)


class ApoZero(Params):
    """`1 - σ(βr(w)) + σ(βr(l))`. D'Oosterlinck et al. 2024, "Anchored preference optimization", equation 7, plus 1."""

    beta: float = Field(gt=0)


class ApoDown(Params):
    """`σ(βr(w)) + 1 - σ(βΔ)`. D'Oosterlinck et al. 2024, "Anchored preference optimization", equation 8, plus 1."""

    beta: float = Field(gt=0)


class DpoSft(Params):
    """cDPO's loss less `weight·log π(w)/|w|`. Pang et al. 2024, "Iterative reasoning preference optimization"."""

    beta: float = Field(gt=0)
    epsilon: float = Field(ge=0, lt=0.5)
    sft_weight: float = Field(ge=0)


Objective = Dpo | Cdpo | Robust | Ipo | Kto | Simpo | Orpo | Cpo | ApoZero | ApoDown | DpoSft


def trl_loss(objective: Objective) -> dict[str, Any]:
    """The loss as arguments of `DPOConfig`.

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
    objective: Objective, trls: "torch.Tensor", logps: "torch.Tensor", starts: "torch.Tensor", tokens: "torch.Tensor"
) -> "torch.Tensor":
    """The mean loss of a batch of pairs; `trls` is the mean of TRL's.

    Each of the others has a row for chosen and one for rejected: `logps` and `starts` the log-probability of each
    completion in training and at its start, `tokens` how many each has.
    """
    from torch import Tensor
    from torch.nn.functional import logsigmoid

    loss: Tensor
    (chosen, rejected), (chosen_mean, rejected_mean) = logps, logps / tokens
    match objective:
        case Ipo(beta=beta):  # TRL's divides each r by its tokens
            changes = logps - starts
            loss = ((changes[0] - changes[1] - 1 / (2 * beta)) ** 2).mean()
        case Simpo(beta=beta, gamma=gamma):
            loss = -logsigmoid(beta * (chosen_mean - rejected_mean) - gamma).mean()
        case Orpo(beta=beta):  # TRL's SFT loss counts the prompt's tokens too
            ratio = _log_odds(chosen_mean) - _log_odds(rejected_mean)
            loss = (-chosen_mean - beta * logsigmoid(ratio)).mean()
        case Cpo(beta=beta, sft_weight=weight):  # TRL's SFT loss is a mean over the batch's tokens
            loss = (-logsigmoid(beta * (chosen - rejected)) - weight * chosen).mean()
        case DpoSft(sft_weight=weight):  # TRL's SFT loss is a mean over the batch's tokens: long completions count more
            loss = trls - weight * chosen_mean.mean()
        case _:
            loss = trls
    return loss


def _log_odds(log_probability: "torch.Tensor") -> "torch.Tensor":
    import torch

    below_one = log_probability.clamp(max=-1e-6)  # odds of 1/0 would make the gradient NaN
    return below_one - torch.log(-torch.expm1(below_one))
