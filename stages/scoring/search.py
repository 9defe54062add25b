"""The figures of a search: EX of each setting of preference learning, and its paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from stages.scoring.intervals import paired_difference

CONTROL = "rft"


@dataclass(frozen=True)
class Measured:
    """A model after preference learning. `pairs`: those of its last round, of GRPO its questions; `chosen`, `rejected`:
    how their log-probability changed (nats); `right`: columns question_id, db_id, right, of its answers to a test set.
    """

    pairs: int
    chosen: float | None
    rejected: float | None
    right: pl.DataFrame


def ex_figures(
    models: Sequence[pl.DataFrame], baseline: Sequence[pl.DataFrame], seed: int, resamples: int
) -> dict[str, Any]:
    """EX of models of several seeds, in per cent, and the difference from the models of `baseline` of the same seeds.

    The difference is paired, with its 95 % interval over questions, each of which counts with its mean over the seeds.
    """
    shares, base_shares = _shares(models), _shares(baseline)
    estimate = paired_difference(shares, base_shares, seed, resamples)
    return {
        "ex": _percent(sum(shares) / len(shares)),
        "seeds": [_percent(int(frame["right"].sum()) / frame.height) for frame in models],
        "difference": [round(100 * value, 2) for value in estimate],
    }


def _shares(models: Sequence[pl.DataFrame]) -> list[float]:
    """The mean over the seeds, of each question."""
    columns = {f"seed{number}": frame["right"].cast(pl.Float64) for number, frame in enumerate(models)}
    return pl.DataFrame(columns).select(pl.mean_horizontal(pl.all())).to_series().to_list()


def _percent(share: float) -> float:
    return round(100 * share, 2)


def search_figures(
    settings: Sequence[Mapping[str, Any]], dev: tuple[str, pl.DataFrame, Sequence[Measured]],
    test: tuple[str, Sequence[pl.DataFrame], Mapping[int, Sequence[Measured]]], seed: int, resamples: int,
) -> dict[str, Any]:  # fmt: skip
    """The figures of a search. `settings`: of each its `pair_set`, `objective`, `rounds` and `params`.

    `dev`: the test set, the answers of the SFT model, and each setting measured. `test`: the test set, the answers of
    the SFT models of all seeds, and those settings that were measured there, by their place, for all seeds.
    """
    dev_name, dev_base, on_dev = dev
    test_name, test_base, on_test = test
    controls = {
        (settings[number]["pair_set"], settings[number]["rounds"]): measured
        for number, measured in on_test.items() if settings[number]["objective"] == CONTROL
    }  # fmt: skip
    rows = []
    for number, (setting, measured) in enumerate(zip(settings, on_dev, strict=True)):
        on_all_seeds = [model.right for model in on_test.get(number, ())]
        control = [model.right for model in controls.get((setting["pair_set"], 1), ())]
        rows.append({
            **setting, "pairs": measured.pairs, "chosen": measured.chosen, "rejected": measured.rejected,
            "dev": ex_figures([measured.right], [dev_base], seed, resamples),
            "test": ex_figures(on_all_seeds, test_base, seed, resamples) if on_all_seeds else None,
            "less_control": ex_figures(on_all_seeds, control, seed, resamples)["difference"]
            if on_all_seeds and control and setting["objective"] != CONTROL else None,
        })  # fmt: skip
    sft = {"dev": ex_figures([dev_base], [dev_base], seed, resamples)}
    sft["test"] = ex_figures(test_base, test_base, seed, resamples)
    return {"dev": dev_name, "test": test_name, "sft": sft, "settings": rows}


def search_table(figures: Mapping[str, Any]) -> str:
    """The figures as a Markdown table, a row for each setting."""
    dev, test = figures["sft"]["dev"], figures["sft"]["test"]
    seeds = len(test["seeds"])
    measured = f"{figures['dev']}, one seed | {figures['test']}, {seeds} seeds | less `{CONTROL}`"
    lines = [
        f"| pairs | objective | params | number | Δ log p chosen, rejected | {measured} |",
        "|---|---|---|---|---|---|---|---|",
        f"| | SFT alone | | | | {dev['ex']:.1f} | {test['ex']:.1f} | |",
    ]
    lines += [_row(row) for row in figures["settings"]]
    return "\n".join(lines)


def _row(row: Mapping[str, Any]) -> str:
    changes = ", ".join("" if row[side] is None else f"{row[side]:+.2f}" for side in ("chosen", "rejected"))
    objective = row["objective"] + (f", {row['rounds']} rounds" if row["rounds"] > 1 else "")
    test = with_difference(row["test"]) if row["test"] else ""
    control = _difference(row["less_control"]) if row["less_control"] else ""
    setting = [row["pair_set"], objective, row["params"], f"{row['pairs']:,}"]
    return f"| {' | '.join([*setting, changes, with_difference(row['dev']), test, control])} |"


def with_difference(figures: Mapping[str, Any]) -> str:
    """EX, and its difference with the interval."""
    return f"{figures['ex']:.1f} ({_difference(figures['difference'])})"


def _difference(difference: Sequence[float]) -> str:
    mean, low, high = difference
    return f"{mean:+.1f}; {low:+.1f} to {high:+.1f}"
