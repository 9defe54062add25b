"""The figures of an ablation: EX of each setting over several seeds, and its paired difference from the first one."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from stages.scoring.intervals import paired_difference

PARTS = ("all", "seen", "unseen")
"""Of a test set: all questions, those whose domain the human part of train has, and the others."""


def ablation_figures(
    rows: Mapping[str, int], answers: Mapping[tuple[str, str], Sequence[pl.DataFrame]], seed: int, resamples: int
) -> dict[str, Any]:
    """Test set, part and setting to the figures, in per cent. `rows`: of the SFT set of each setting.

    `answers`: test set and setting to one frame a seed, with columns question_id, right and seen. `ex`: the mean over
    questions and seeds; `seeds`: EX of each. `difference`: from the first setting, of the same questions, with its 95 %
    bootstrap interval over questions, each of which counts with its mean over the seeds.
    """
    settings = list(rows)
    figures: dict[str, Any] = {"rows": dict(rows)}
    for test_set in dict.fromkeys(test_set for test_set, _ in answers):
        shares = {setting: _shares(answers[test_set, setting]) for setting in settings}
        for part in PARTS:
            parts = {setting: _part(frame, part) for setting, frame in shares.items()}
            questions = parts[settings[0]].height
            if not questions or (part != "all" and questions == shares[settings[0]].height):
                continue  # no part of its own
            figures.setdefault(test_set, {})[part] = {"questions": questions} | {
                setting: _figures(frame, parts[settings[0]], seed, resamples) for setting, frame in parts.items()
            }
    return figures


def _shares(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """One column a seed, and their mean `share`, of each question."""
    joined = frames[0].select("question_id", "seen")
    for number, frame in enumerate(frames):
        joined = joined.with_columns(frame["right"].cast(pl.Float64).alias(f"seed{number}"))
    return joined.with_columns(share=pl.mean_horizontal(pl.col("^seed.*$")))


def _part(frame: pl.DataFrame, part: str) -> pl.DataFrame:
    return frame if part == "all" else frame.filter(pl.col("seen") == (part == "seen"))


def _figures(frame: pl.DataFrame, baseline: pl.DataFrame, seed: int, resamples: int) -> dict[str, Any]:
    seeds = [_percent(float(frame[name].sum()) / frame.height) for name in frame.columns if name.startswith("seed")]
    estimate = paired_difference(frame["share"].to_list(), baseline["share"].to_list(), seed, resamples)
    difference = [_percent(value) for value in estimate]
    return {"ex": _percent(float(frame["share"].sum()) / frame.height), "seeds": seeds, "difference": difference}


def _percent(share: float) -> float:
    return round(100 * share, 1)


def ablation_table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table, a row for each setting: the README's."""
    columns = [(test_set, part) for test_set, parts in figures.items() if test_set != "rows" for part in parts]
    heads = [f"{test_set}, {part} ({figures[test_set][part]['questions']})" for test_set, part in columns]
    lines = [f"| SFT on | rows | {' | '.join(heads)} |", f"|---|---|{'---|' * len(columns)}"]
    baseline = next(iter(figures["rows"]))
    for setting, count in figures["rows"].items():
        cells = [_cell(figures[test_set][part][setting], setting == baseline) for test_set, part in columns]
        lines.append(f"| {setting} | {count:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(figures: Mapping[str, Any], is_baseline: bool) -> str:
    difference, low, high = figures["difference"]
    shown = "" if is_baseline else f" ({difference:+.1f}; {low:+.1f} to {high:+.1f})"
    return f"{figures['ex']:.1f}{shown}"
