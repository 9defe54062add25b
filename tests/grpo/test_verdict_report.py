from typing import Any

from stages.datasets.verdicts import VERDICTS
from stages.grpo.verdict_report import verdict_report


def entry(step: int, match: float, undecided: float = 0.0, equal: float = 0.0, **more: Any) -> dict[str, Any]:
    shares = dict.fromkeys((f"verdicts/{verdict}" for verdict in VERDICTS), 0.0)
    shares |= {"verdicts/match": match, "verdicts/undecided": undecided, "verdicts/mismatch": 1 - match - undecided}
    return {"step": step, "loss": 0.0, "reward": match, "frac_reward_zero_std": equal, **shares, **more}


def test_each_step_counts_alike_in_the_first_and_the_last_windows() -> None:
    report = verdict_report([entry(1, 0.0), entry(10, 0.5), entry(20, 0.75), entry(30, 1.0)], 16, 4)
    assert report["reward"] == {"first": 0.45, "last": 0.875}
    assert report["verdicts"]["first"]["match"] == 0.45 and report["verdicts"]["last"]["mismatch"] == 0.125
    assert (report["completions"], report["groups"]) == (480, 120)


def test_what_taught_nothing_is_counted_over_the_whole_training() -> None:
    history = [entry(1, 0.5, undecided=0.25, equal=0.5), entry(10, 0.5), entry(12, 0.0, undecided=0.125, equal=1.0)]
    report = verdict_report(history, 16, 4)
    assert (report["undecided"], report["equal_rewards"]) == (4 + 4, 2 + 8)


def test_steps_without_any_reward_have_no_mean() -> None:
    report = verdict_report([entry(1, 0.0, undecided=1.0, reward=None)], 16, 4)
    assert report["reward"] == {"first": None, "last": None} and report["undecided"] == 16


def test_accidents_are_counted_where_they_were_looked_for() -> None:
    assert "right_by_accident" not in verdict_report([entry(1, 0.5)], 16, 4)
    assert verdict_report([entry(1, 0.5, right_by_accident=0.25)], 16, 4)["right_by_accident"] == 4
