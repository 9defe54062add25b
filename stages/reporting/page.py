"""The report as one HTML file, from the datasets and from what the stages wrote under `reports/`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.core.files import read_json
from stages.core.layout import report_file
from stages.core.params import read_sections
from stages.pages.html import render_page
from stages.reporting import figures
from stages.reporting.charts import Points, axes
from stages.reporting.encoding import encode_tables, packed
from stages.reporting.previews import PREVIEW_ROWS
from stages.reporting.records import Datasets, Tables

MOST_ROWS = 300_000
"""Candidates and answers that a page can hold and a browser open."""
Evaluations = Mapping[tuple[str, str], dict[str, Any]]
_ENDS = "difference_low", "difference_high"
_TEMPLATE = Path(__file__).with_name("index.html")
_SECTIONS = {
    "pipeline": "Pipeline", "funnel": "From questions to pairs", "verdicts": "Verdicts of the candidates",
    "contracts": "Contracts", "models": "Models", "training": "Training", "pairs": "Pairs", "gold": "Gold audit",
    "counterexamples": "Counterexamples", "strong": "Strong data", "versions": "Params and versions",
}  # fmt: skip


def meta_of(datasets: Datasets, contract: str, models: Sequence[str], served: bool) -> dict[str, Any]:
    """Metadata for the explorer, small enough to be read before its tables."""
    rows = datasets.candidates.height + datasets.answers.height
    return {
        "served": served, "explorer": served or rows <= MOST_ROWS, "contract": contract, "models": [*models],
        "candidate_model": datasets.candidates["model"][0] if datasets.candidates.height else None,
        "questions": datasets.questions.height + datasets.synthetic.height, "rows": rows, "preview_rows": PREVIEW_ROWS,
    }  # fmt: skip


def report_page(
    datasets: Datasets, meta: Mapping[str, Any], tables: Tables | None, evaluations: Evaluations,
    comparison: Mapping[str, Any], times: Mapping[str, Any],
) -> str:  # fmt: skip
    """The page. `tables`: those of the explorer, None where a server has them; `comparison`: `contract`, `seed` and
    `resamples` of the differences between models; `times`: what `reports/times.json` holds."""
    models = list(dict.fromkeys(model for _, model in evaluations))
    differences = figures.paired_differences(datasets.answers, models, **comparison)
    results = read_json(report_file("exec_results"))
    values = {
        "meta": meta, "tables": packed(encode_tables(tables)) if tables else "", "results": results,
        "sections": [item for item in _SECTIONS.items() if evaluations or item[0] != "models"],
        "pipeline": figures.pipeline(times["seconds"], datasets.answers.height), "measured": times["measured"],
        "funnel": figures.funnel(), "verdicts": figures.verdicts(results),
        "contract": comparison["contract"], "evaluations": figures.evaluations(evaluations), "differences": differences,
        "scale": max((abs(difference[end]) for difference in differences for end in _ENDS), default=1) or 1,
        "trainings": figures.trainings(), "gold": read_json(report_file("gold")),
        "pairs": figures.pair_figures(datasets.pairs, datasets.questions.select("question_id", "difficulty")),
        "pairs_report": read_json(report_file("pairs")), "counterexamples": read_json(report_file("counterexamples")),
        "strong": read_json(report_file("synthesize")), "params": figures.flat_params(_params()),
        "versions": figures.versions(datasets.exec_results, datasets.candidates),
    }  # fmt: skip
    return render_page(_TEMPLATE, values, meta["served"], axes=axes, curves_of=_curves_of)


def _params() -> dict[str, object]:
    """The sections that the data was made with: all but that of its publication."""
    return {name: values for name, values in read_sections().items() if name != "publish"}


def _curves_of(models: Sequence[Mapping[str, Any]], key: str) -> dict[str, Points]:
    return {model["model"]: [(float(k), share) for k, share in model[key].items()] for model in models}
