"""The figures of two models on the same questions."""

import pytest

from stages.scoring.paired import paired_figures


def test_the_figures_are_those_computed_by_hand() -> None:
    a = [True] * 6 + [True] * 1 + [False] * 9 + [False] * 4
    b = [True] * 6 + [False] * 1 + [True] * 9 + [False] * 4
    figures = paired_figures(a, b, seed=1, resamples=500)
    assert (figures["questions"], figures["ex_a"], figures["ex_b"], figures["difference"]) == (20, 0.35, 0.75, 0.4)
    assert (figures["won"], figures["lost"], figures["both_right"], figures["both_wrong"]) == (9, 1, 6, 4)
    assert figures["p_value"] == 0.02148  # 2 * (1 + 10) / 2**10
    assert 0 < figures["difference_low"] < 0.4 < figures["difference_high"] <= 0.65
    assert figures["ex_a_low"] < 0.35 < figures["ex_a_high"] < 0.6


def test_the_other_way_round_what_was_won_is_lost() -> None:
    a, b = [True, False, False, True], [False, True, True, True]
    one, other = paired_figures(a, b, 1, 500), paired_figures(b, a, 1, 500)
    assert (one["won"], one["lost"], one["p_value"]) == (other["lost"], other["won"], other["p_value"]) == (2, 1, 1.0)
    assert (one["difference"], one["difference_low"]) == (-other["difference"], -other["difference_high"])


def test_no_questions_and_other_numbers_of_them_are_refused() -> None:
    for a, b in (([], []), ([True], [True, False])):
        with pytest.raises(ValueError):
            paired_figures(a, b, seed=1, resamples=500)
