"""The figures of `evaluate` and `score`: EX, pass@k, maj@k, counts. Shares are from 0 to 1, of four decimals.

EX is the share of questions whose prediction matches the gold. Every question weighs the same: of several predictions
of a question the mean counts, so that EX is pass@1.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

import polars as pl

from stages.datasets.difficulties import by_difficulty
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.records import Outcome
from stages.execution.summary import outcome_columns, summary, verdict_counts
from stages.scoring.intervals import mean_interval
from stages.scoring.metrics import Vote, majority_at_k, pass_at_k, r_ves, ves

_SEED = 1  # of the intervals of `score`, which has no params


def greedy_figures(
    difficulties: Sequence[str], greedy: Sequence[Outcome], seed: int, resamples: int
) -> dict[str, Any]:
    """Of one answer a question: EX with its 95 % bootstrap interval, by contract and by difficulty; verdict counts."""
    frame = pl.DataFrame({"index": range(len(greedy)), "difficulty": difficulties})
    frame = frame.with_columns(outcome_columns(greedy))
    _, low, high = mean_interval([float(outcome.verdict == "match") for outcome in greedy], seed, resamples)
    return {
        "ex": _ex(frame, ["verdict"])["verdict"],
        "ex_low": round(low, 4),
        "ex_high": round(high, 4),
        "ex_contract": _ex(frame, CONTRACT_NAMES),
        "ex_difficulty": {level: _ex(rows, ["verdict"])["verdict"] for level, rows in _by_difficulty(frame).items()},
        "verdicts": verdict_counts(frame),
    }


def sample_figures(sampled: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    """pass@k and maj@k of n samples a question, for the powers of two up to n."""
    votes = [[(outcome.verdict, outcome.digest) for outcome in outcomes] for outcomes in sampled]
    return _of_samples(votes, _powers_of_two(len(sampled[0])), lambda shares: sum(shares) / len(shares))


def score_figures(predictions: pl.DataFrame) -> dict[str, Any]:
    """The figures over predictions, one a row, sorted by question: columns index (of the question), sample, db_id, sql,
    source, difficulty, those of `stages.execution.summary.outcome_columns`, and where measured soft_f1, time_ratio
    (0 where it is wrong), ts (whether it matches on every database of the suite) and survived (whether it also matches
    on every counterexample database).

    `ex_low`, `ex_high`: the 95 % bootstrap interval of EX over questions, under each contract. k of pass@k and maj@k:
    the fewest predictions of a question, and the powers of two below.
    """
    optional: dict[str, tuple[str, Callable[[Sequence[float]], float]]] = {
        "soft_f1": ("soft_f1", fmean), "ves": ("time_ratio", ves), "r_ves": ("time_ratio", r_ves), "ts": ("ts", fmean),
        "ex_survived": ("survived", fmean),
    }  # fmt: skip
    few = predictions.select("index", "difficulty", *CONTRACT_NAMES)  # a copy of all columns takes much memory
    shares = _shares(few, CONTRACT_NAMES)
    intervals = {name: mean_interval(shares[name].to_list(), _SEED) for name in CONTRACT_NAMES}
    return {
        "questions": predictions["index"].n_unique(),
        "predictions": predictions.height,
        "ex": _ex(predictions, CONTRACT_NAMES),
        "ex_low": {name: round(interval.low, 4) for name, interval in intervals.items()},
        "ex_high": {name: round(interval.high, 4) for name, interval in intervals.items()},
        "ex_difficulty": {
            level: {"questions": rows["index"].n_unique(), **_ex(rows, CONTRACT_NAMES)}
            for level, rows in _by_difficulty(few).items()
        },
        **{
            name: _over_questions(predictions, column, figure)
            for name, (column, figure) in optional.items()
            if column in predictions.columns
        },
        **_of_several(predictions),
        **summary(predictions, "index"),
    }


def _ex(predictions: pl.DataFrame, columns: Sequence[str]) -> dict[str, float]:
    """EX by each column of verdicts."""
    shares = _shares(predictions, columns)
    return {name: round(float(shares[name].sum()) / shares.height, 4) for name in columns}


def _shares(predictions: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """One row a question: the share of its predictions that match, by each column of verdicts."""
    return predictions.group_by("index", maintain_order=True).agg(pl.col(columns).eq("match").mean())


def _by_difficulty(predictions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    levels = predictions.partition_by("difficulty", as_dict=True)
    return {str(level): levels[level,] for level in sorted((level for (level,) in levels), key=by_difficulty)}


def _over_questions(predictions: pl.DataFrame, column: str, figure: Callable[[Sequence[float]], float]) -> float:
    values = predictions.group_by("index", maintain_order=True).agg(pl.col(column).cast(pl.Float64))[column]
    return round(fmean(map(figure, values.to_list())), 4)


def _of_several(predictions: pl.DataFrame) -> dict[str, dict[str, float]]:
    """pass@k and maj@k, where every question has two predictions or more."""
    samples = predictions.group_by("index", maintain_order=True).agg("verdict", "digest")
    votes = [list(zip(*columns, strict=True)) for columns in samples.select("verdict", "digest").iter_rows()]
    fewest = min(map(len, votes))
    return _of_samples(votes, [*_powers_of_two(fewest - 1), fewest], fmean) if fewest > 1 else {}


def _powers_of_two(most: int) -> list[int]:
    return [2**power for power in range(most.bit_length())]


def _of_samples(
    votes: Sequence[Sequence[Vote]], ks: Iterable[int], mean: Callable[[Sequence[float]], float]
) -> dict[str, dict[str, float]]:
    """pass@k and maj@k of the samples of each question. `mean`: two ways of summing can part in the fourth decimal, and
    both commands keep theirs, so that reports stay comparable."""
    counts = [(len(samples), sum(verdict == "match" for verdict, _ in samples)) for samples in votes]
    figures: Mapping[str, Callable[[int], list[float]]] = {
        "pass_at": lambda k: [pass_at_k(n, c, k) for n, c in counts],
        "maj_at": lambda k: [majority_at_k(samples, k) for samples in votes],
    }
    return {name: {str(k): round(mean(figure(k)), 4) for k in ks} for name, figure in figures.items()}
