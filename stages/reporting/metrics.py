"""Headline metrics of all models: DVC metrics, plots and a table."""

from typing import Any

from stages.core.errors import UserError
from stages.core.files import read_json, write_text
from stages.core.layout import evaluation_file, plot_file

MODELS = ("sft/weak", "sft/strong", "dpo")

Evaluations = dict[tuple[str, str], dict[str, Any]]
"""What `evaluate` reported, by test set and model."""


def read_evaluations(test_sets: list[str]) -> Evaluations:
    """The reports of `evaluate` on each test set. Raises UserError with the name of each that is missing."""
    files = {(test_set, model): evaluation_file(model, test_set) for test_set in test_sets for model in MODELS}
    if missing := [file for file in files.values() if not file.is_file()]:
        raise UserError(*(f"{file} is missing; call `dvc repro evaluate`" for file in missing))
    return {key: read_json(file) for key, file in files.items()}


def metrics_of(pairs: int, evaluations: Evaluations) -> dict[str, Any]:
    """The numbers for `dvc metrics` and `dvc exp show`: what people compare first stands first."""
    metrics: dict[str, Any] = {}
    for (test_set, model), report in evaluations.items():
        n = max(report["pass_at"], key=int)
        figures = {"ex": report["ex"], f"pass_at_{n}": report["pass_at"][n], f"maj_at_{n}": report["maj_at"][n]}
        metrics.setdefault(test_set, {})[model.replace("/", "_")] = figures
    return {**metrics, "pairs": pairs}


def write_plots(evaluations: Evaluations) -> None:
    """Writes the two files for the plots, difficulties from the easiest to the hardest."""
    samples, difficulties = ["test_set,model,measure,k,share"], ["test_set,model,difficulty,ex"]
    for (test_set, model), report in evaluations.items():
        for measure, name in (("pass@k", "pass_at"), ("maj@k", "maj_at")):
            samples += [f"{test_set},{model},{measure},{k},{share}" for k, share in report[name].items()]
        difficulties += [f"{test_set},{model},{name},{share}" for name, share in report["ex_difficulty"].items()]
    for name, lines in (("samples", samples), ("difficulty", difficulties)):
        write_text(plot_file(name), "\n".join(lines) + "\n")


def table(pairs: int, evaluations: Evaluations) -> str:
    """The figures for people, in per cent, with the 95 % interval of EX."""
    if not evaluations:
        return f"{pairs:,} pairs; `test_sets` is empty, so no model was evaluated"
    lines = [f"{pairs:,} pairs; EX in per cent, with its 95 % interval:"]
    for (test_set, model), report in evaluations.items():
        ex, low, high = (100 * report[name] for name in ("ex", "ex_low", "ex_high"))
        n = max(report["pass_at"], key=int)
        samples = f"pass@{n} {100 * report['pass_at'][n]:.1f}, maj@{n} {100 * report['maj_at'][n]:.1f}"
        lines.append(f"{test_set:<12} {model:<12} {ex:5.1f} ({low:.1f}–{high:.1f})   {samples}")
    return "\n".join(lines)
