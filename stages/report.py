"""Stage `report`: the few figures that people compare, as DVC metrics, and plots of all models in one chart.

`reports/metrics.json` has, for each test set and model, EX, pass@k and maj@k (shares; k is the number of samples), and
the number of pairs. `reports/plots/samples.csv` has pass@k and maj@k for each k, `reports/plots/difficulty.csv` EX by
difficulty. All else that the stages count stands in their own reports. Without flags the figures are only printed.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from stages.core.commands import fill_in
from stages.core.display import show
from stages.core.errors import UserError, run_stage
from stages.core.files import read_json, write_json, write_text
from stages.core.params import Params, read_params

READ = ("evaluations", "pairs-report")
MODELS = ("sft/weak", "sft/strong", "dpo")

class ReportParams(Params):
    """What the stage reads of section `evaluate`; the rest is that stage's."""

    model_config = ConfigDict(extra="ignore")

    test_sets: list[str]


Evaluations = dict[tuple[str, str], dict[str, Any]]
"""What `evaluate` reported, by test set and model."""


def read_evaluations(folder: Path, test_sets: list[str]) -> Evaluations:
    """The reports of `evaluate` on each test set. Raises UserError with the name of each that is missing."""
    files = {(test_set, model): folder / f"{model}-{test_set}.json" for test_set in test_sets for model in MODELS}
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


def sample_rows(evaluations: Evaluations) -> Iterator[tuple[object, ...]]:
    """Rows of test set, model, measure, k and share."""
    for (test_set, model), report in evaluations.items():
        for measure, name in (("pass@k", "pass_at"), ("maj@k", "maj_at")):
            yield from ((test_set, model, measure, k, share) for k, share in report[name].items())


def difficulty_rows(evaluations: Evaluations) -> Iterator[tuple[object, ...]]:
    """Rows of test set, model, difficulty and EX, the easiest first."""
    for (test_set, model), report in evaluations.items():
        yield from ((test_set, model, difficulty, share) for difficulty, share in report["ex_difficulty"].items())


def _csv(header: str, rows: Iterator[tuple[object, ...]]) -> str:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"


def table(pairs: int, evaluations: Evaluations) -> str:
    """The figures for people, in per cent, with the 95 % interval of EX."""
    if not evaluations:
        return f"{pairs:,} pairs; `evaluate.test_sets` is empty, so no model was evaluated"
    lines = [f"{pairs:,} pairs; EX in per cent, with its 95 % interval:"]
    for (test_set, model), report in evaluations.items():
        ex, low, high = (100 * report[name] for name in ("ex", "ex_low", "ex_high"))
        n = max(report["pass_at"], key=int)
        samples = f"pass@{n} {100 * report['pass_at'][n]:.1f}, maj@{n} {100 * report['maj_at'][n]:.1f}"
        lines.append(f"{test_set:<12} {model:<12} {ex:5.1f} ({low:.1f}–{high:.1f})   {samples}")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The flags; reports that are not named lie where the stage in dvc.yaml has them."""
    parser = argparse.ArgumentParser(prog="python -m stages.report", description=__doc__)
    for name in (*READ, "metrics", "samples-plot", "difficulty-plot"):
        parser.add_argument(f"--{name}", type=Path)
    args = parser.parse_args()
    fill_in(args, READ, "report")
    return args


def main() -> None:
    args, params = arguments(), read_params("evaluate", ReportParams)
    evaluations = read_evaluations(args.evaluations, params.test_sets)
    pairs = read_json(args.pairs_report)["out"]
    if args.metrics:
        write_json(args.metrics, metrics_of(pairs, evaluations))
    if args.samples_plot:
        write_text(args.samples_plot, _csv("test_set,model,measure,k,share", sample_rows(evaluations)))
    if args.difficulty_plot:
        write_text(args.difficulty_plot, _csv("test_set,model,difficulty,ex", difficulty_rows(evaluations)))
    show(table(pairs, evaluations))


if __name__ == "__main__":
    run_stage(main)
