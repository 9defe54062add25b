"""From the outcomes of predictions to the figures of `score`, and to the table that it prints."""

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import polars as pl

from stages.core.display import visible_line
from stages.datasets.difficulties import by_difficulty
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.summary import summary
from stages.scoring.metrics import majority_at_k, pass_at_k, r_ves, ves


def metrics_of(predictions: pl.DataFrame) -> dict[str, Any]:
    """The figures over predictions, one a row, sorted by question: columns index (of the question), sample, db_id, sql,
    source, difficulty, those of `stages.execution.summary.outcome_columns`, and where measured soft_f1, time_ratio
    (0 where it is wrong) and ts (whether it matches on every database of the suite).

    Shares from 0 to 1, of four decimals. Every question weighs the same: of several predictions of a question the mean
    counts, so that EX is pass@1. k of pass@k and maj@k: the fewest predictions of a question, and the powers of two
    below.
    """
    optional: dict[str, Callable[[Sequence[float]], float]] = {
        "soft_f1": fmean, "ves": ves, "r_ves": r_ves, "ts": fmean,
    }  # fmt: skip
    columns = {"soft_f1": "soft_f1", "ves": "time_ratio", "r_ves": "time_ratio", "ts": "ts"}
    measured = {
        name: _over_questions(predictions, columns[name], figure)
        for name, figure in optional.items()
        if columns[name] in predictions.columns
    }
    few = predictions.select("index", "difficulty", *CONTRACT_NAMES)  # a copy of all columns takes much memory
    levels = {str(level): group for (level,), group in few.partition_by("difficulty", as_dict=True).items()}
    return {
        "questions": predictions["index"].n_unique(),
        "predictions": predictions.height,
        "ex": _ex(predictions),
        "ex_difficulty": {
            level: {"questions": levels[level]["index"].n_unique(), **_ex(levels[level])}
            for level in sorted(levels, key=by_difficulty)
        },
        **measured,
        **_of_several(predictions),
        **summary(predictions, "index"),
    }


def _ex(predictions: pl.DataFrame) -> dict[str, float]:
    means = predictions.group_by("index").agg(pl.col(CONTRACT_NAMES).eq("match").mean())
    return {name: round(float(means[name].sum()) / means.height, 4) for name in CONTRACT_NAMES}


def _over_questions(predictions: pl.DataFrame, column: str, figure: Callable[[Sequence[float]], float]) -> float:
    values = predictions.group_by("index", maintain_order=True).agg(pl.col(column).cast(pl.Float64))[column]
    return round(fmean(figure(some) for some in values.to_list()), 4)


def _of_several(predictions: pl.DataFrame) -> dict[str, dict[str, float]]:
    """pass@k and maj@k, where every question has two predictions or more."""
    samples = predictions.group_by("index", maintain_order=True).agg("verdict", "digest")
    votes = [list(zip(*columns, strict=True)) for columns in samples.select("verdict", "digest").iter_rows()]
    fewest = min(map(len, votes))
    if fewest < 2:
        return {}
    right = [(len(row), sum(verdict == "match" for verdict, _ in row)) for row in votes]
    ks = [*(2**power for power in range((fewest - 1).bit_length())), fewest]
    return {
        "pass_at": {str(k): round(fmean(pass_at_k(n, c, k) for n, c in right), 4) for k in ks},
        "maj_at": {str(k): round(fmean(majority_at_k(row, k) for row in votes), 4) for k in ks},
    }


def table_of(metrics: dict[str, Any], contract: str) -> str:
    """What `score` prints: EX per difficulty and contract in per cent, the verdicts, and what else was measured."""
    levels = list(metrics["ex_difficulty"])
    whole = {**metrics["ex"], "questions": metrics["questions"]}
    groups = [*(metrics["ex_difficulty"][level] for level in levels), whole]
    rows = [["", *levels, "all"], ["questions", *(str(group["questions"]) for group in groups)]]
    rows += [[f"EX {name}", *(_percent(group[name]) for group in groups)] for name in CONTRACT_NAMES]
    width = max(len(cell) for row in rows for cell in row[1:]) + 2
    lines = ["".join([row[0].ljust(11), *(cell.rjust(width) for cell in row[1:])]).rstrip() for row in rows]
    counts = ", ".join(f"{count} {verdict}" for verdict, count in metrics["verdicts"].items() if count)
    lines.append(f"verdicts of {metrics['predictions']} predictions ({contract}): {counts}")
    if "soft_f1" in metrics:
        lines.append(f"Soft F1: {_percent(metrics['soft_f1'])}")
    titles = {"ves": "VES", "r_ves": "R-VES", "ts": "TS"}
    lines += [f"{title} ({contract}): {_percent(metrics[name])}" for name, title in titles.items() if name in metrics]
    for name, title in (("pass_at", "pass@k"), ("maj_at", "maj@k")):
        if name in metrics:
            shares = ", ".join(f"{k}: {_percent(share)}" for k, share in metrics[name].items())
            lines.append(f"{title} ({contract}): {shares}")
    return "\n".join(map(visible_line, lines))


def _percent(share: float) -> str:
    """The four decimals of a share, none rounded again."""
    return f"{100 * share:.2f}"
