"""Sampled tokens against the distributions they have to follow."""

import numpy as np
import pytest
import torch

from stages.sampling.token_sampling import sample_tokens, uniform_numbers

DRAWS = 20_000
EVEN = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS
"""Equidistant uniform numbers: each token is drawn as often as its probability says, to within one."""


def shares(probabilities: np.ndarray, temperature: float = 1.0, top_p: float = 1.0) -> np.ndarray:
    """How many of DRAWS draws gave each token."""
    logits = torch.from_numpy(np.log(probabilities)).float().expand(DRAWS, -1)
    chosen, logprobs = sample_tokens(logits, EVEN, temperature, top_p)
    assert np.allclose(logprobs, np.log(probabilities)[chosen], atol=1e-5)  # that of temperature 1, always
    return np.bincount(chosen, minlength=len(probabilities))


def distribution(size: int) -> np.ndarray:
    weights = np.random.default_rng(5).random(size) ** 3 + 1e-4
    return np.asarray(weights / weights.sum())


@pytest.mark.parametrize("size", [2, 9, 10, 320, 1009])
@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0])
def test_tokens_are_sampled_as_often_as_their_probability_says(size: int, temperature: float) -> None:
    probabilities = distribution(size)
    wanted = probabilities ** (1 / temperature)
    wanted *= DRAWS / wanted.sum()
    assert np.abs(shares(probabilities, temperature) - wanted).max() < 1.05


def test_top_p_keeps_the_fewest_tokens_of_at_least_that_probability() -> None:
    probabilities = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
    wanted = np.array([0, 0.4, 0, 0.3, 0.15]) / 0.85 * DRAWS
    assert np.abs(shares(probabilities, top_p=0.75) - wanted).max() < 1.05


def test_top_p_is_that_of_the_cooled_distribution() -> None:
    assert np.array_equal(shares(np.array([0.3, 0.5, 0.2]), temperature=0.25, top_p=0.75), [0, DRAWS, 0])


def test_temperature_0_draws_the_most_likely_token() -> None:
    assert np.array_equal(shares(np.array([0.3, 0.4, 0.3]), temperature=0.0), [0, DRAWS, 0])


@pytest.mark.parametrize("top_p", [1.0, 0.9])
@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-53])
def test_a_token_without_probability_is_never_drawn(uniform: float, top_p: float) -> None:
    logits = torch.full((1, 50), -torch.inf)
    logits[0, 20:22] = 0.0
    chosen, logprob = sample_tokens(logits, torch.tensor([uniform], dtype=torch.float64), 1.0, top_p)
    assert int(chosen) in (20, 21) and float(logprob) == pytest.approx(np.log(0.5))


def test_uniform_numbers_depend_on_seed_question_and_sample_alone() -> None:
    assert np.array_equal(uniform_numbers(3, "demo/train/0001", 2, 9)[:5], uniform_numbers(3, "demo/train/0001", 2, 5))
    others = [(4, "demo/train/0001", 2), (3, "demo/train/0002", 2), (3, "demo/train/0001", 3)]
    first = {float(uniform_numbers(*other, 1)[0]) for other in [(3, "demo/train/0001", 2), *others]}
    assert len(first) == 4
