"""The figures of the report's sections, from what the stages wrote under `reports/` and from the datasets."""

import csv
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import polars as pl

from stages.core.files import read_json
from stages.core.layout import receipt_file, report_file, training_log
from stages.datasets.catalog import DATASETS
from stages.datasets.difficulties import by_difficulty
from stages.datasets.verdicts import VERDICTS
from stages.scoring.paired import paired_figures

Section = dict[str, Any]
TRAININGS = {"sft/weak": "train_sft/weak", "sft/strong": "train_sft/strong", "dpo": "train_dpo"}
"""Model to the report of its training."""
STAGES = {
    "check_params": "every mistake in params.yaml, at once",
    "corpus": "questions, databases",
    "synthesize": "strong data, verified and repaired",
    "gold": "what executing and auditing the gold SQL showed",
    "prompts": "DDL, evidence and question",
    "sft": "prompt, completion",
    "train_sft": "the models strong and weak",
    "candidates": "samples of the weak model, or imported predictions",
    "exec_results": "one verdict a candidate",
    "counterexamples": "matches tried on changed databases",
    "pairs": "prompt, chosen, rejected",
    "train_dpo": "the preference model",
    "evaluate": "EX and the answers of each model on each test set",
    "validate": "a receipt for each dataset",
    "validate_answers": "a receipt for the answers of each model on each test set",
    "report": "this page",
    "publish": "the datasets and cards for the Hub",
}
"""Every stage, and what it makes."""
_CURVE_POINTS = 200
_BINS = 10


def pipeline(times: Mapping[str, float], answers: int) -> list[Section]:
    """Each stage in its order: what it makes, the rows it wrote, and its seconds, None where unknown."""
    rows: dict[str, int] = {name: read_json(receipt_file(name))["rows"] for name in DATASETS}
    rows |= {"corpus": rows.pop("questions"), "synthesize": rows.pop("synthetic"), "evaluate": answers}
    seconds: dict[str, float] = {}
    for name, value in times.items():
        stage = name.partition("@")[0]
        seconds[stage] = seconds.get(stage, 0.0) + value
    return [
        {"name": name, "makes": makes, "rows": rows.get(name), "seconds": seconds.get(name)}
        for name, makes in STAGES.items()
    ]


def funnel() -> list[Section]:
    """The way from questions to pairs: how many are left after each step, and why the others were left out."""
    candidates, results = read_json(report_file("candidates")), read_json(report_file("exec_results"))
    survived, pairs = read_json(report_file("counterexamples")), read_json(report_file("pairs"))
    verdicts = results["verdicts"]
    steps = [
        ("questions", candidates["in"], {}),
        ("questions that candidates were sampled for", candidates["asked"], candidates["dropped"]),
        ("candidates", candidates["out"], {}),
        ("candidates that match the gold", verdicts["match"], {
            name: count for name, count in verdicts.items() if name != "match"
        }),
        ("matches that no counterexample database refutes", survived["in"] - survived["right_by_accident"], {
            "right_by_accident": survived["right_by_accident"]
        }),
        ("candidates that may stand in a pair", pairs["in"] - sum(pairs["dropped"].values()), pairs["dropped"]),
        ("questions with a right and a wrong candidate", pairs["questions"]["with_both"], {
            name: pairs["questions"][name] for name in ("never_right", "never_wrong")
        } | pairs["questions"]["dropped"]),
        ("pairs", pairs["out"], pairs["not_drawn"]),
    ]  # fmt: skip
    return [
        {"name": name, "count": count, "dropped": {reason: number for reason, number in dropped.items() if number}}
        for name, count, dropped in steps
    ]


def verdicts(results: Section) -> dict[str, dict[str, list[tuple[str, int]]]]:
    """Candidates by verdict, in all, for each source and for each difficulty; those that failed, by error class."""
    groups = {"all": {"all": results["verdicts"]}, "source": results["sources"], "difficulty": results["difficulties"]}
    return {
        title: {
            name: [(verdict, counts[verdict]) for verdict in VERDICTS if counts.get(verdict)]
            for name, counts in group.items()
        }
        for title, group in groups.items()
    }


def evaluations(reports: Mapping[tuple[str, str], Section]) -> dict[str, list[Section]]:
    """The figures of each model on each test set, with the name of the model."""
    sets: dict[str, list[Section]] = {}
    for (test_set, model), report in reports.items():
        sets.setdefault(test_set, []).append({"model": model, **report})
    return sets


def paired_differences(
    answers: pl.DataFrame, models: Sequence[str], contract: str, seed: int, resamples: int
) -> list[Section]:
    """`paired_figures` of each model (b) and the one before it (a), on the same questions of each test set."""
    greedy = answers.filter(pl.col("sample").is_null())
    right = greedy.select("test_set", "model", "question_id", right=pl.col(f"verdict_{contract}").eq("match"))
    differences = []
    for test_set in right["test_set"].unique(maintain_order=True):
        for baseline, model in pairwise(models):
            sides = [
                right.filter((pl.col("test_set") == test_set) & (pl.col("model") == name)) for name in (baseline, model)
            ]
            joined = sides[0].join(sides[1], on="question_id", suffix="_model").sort("question_id")
            figures = paired_figures(joined["right"].to_list(), joined["right_model"].to_list(), seed, resamples)
            differences.append({"test_set": test_set, "baseline": baseline, "model": model, **figures})
    return differences


def trainings() -> dict[str, Section]:
    """The report of each training, with its curves: the loss of every model, and for `dpo` the log-probabilities of
    both sides and the accuracy of the reward."""
    names = {
        "loss": ["loss"], "log-probability": ["logps/chosen", "logps/rejected"], "accuracy": ["rewards/accuracies"]
    }  # fmt: skip
    return {
        model: {
            "report": read_json(report_file(name)),
            "curves": {
                title: curves
                for title, metrics in names.items()
                if (curves := {metric: points for metric in metrics if (points := _curve(name, metric))})
            },
        }
        for model, name in TRAININGS.items()
    }  # fmt: skip


def _curve(stage: str, metric: str) -> list[tuple[int, float]]:
    """Steps and values, thinned out evenly to at most 200; none where the training has no such metric."""
    file = training_log(stage) / "plots" / "metrics" / f"{metric}.tsv"
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(int(step), float(value)) for step, value in [*csv.reader(lines, delimiter="\t")][1:]]
    return rows[:: -(-len(rows) // _CURVE_POINTS)]


def pair_figures(pairs: pl.DataFrame, questions: pl.DataFrame) -> Section:
    """Of the pairs: a histogram of their similarity (ten bins), the pairs per question, and their difficulties."""
    bins = (pairs["similarity"].drop_nulls() * _BINS).floor().clip(0, _BINS - 1).cast(pl.Int64).value_counts()
    counts = dict(bins.iter_rows())
    per_question = pairs.group_by("question_id").len().group_by("len").len("questions").sort("len")
    levels = pairs.join(questions, on="question_id", how="left")["difficulty"].value_counts().iter_rows()
    return {
        "similarity": [(f"{n / _BINS:.1f}–{(n + 1) / _BINS:.1f}", counts.get(n, 0)) for n in range(_BINS)],
        "per_question": [(str(pairs_each), number) for pairs_each, number in per_question.iter_rows()],
        "difficulty": sorted(levels, key=lambda level: by_difficulty(level[0])),
    }


def versions(exec_results: pl.DataFrame, candidates: pl.DataFrame) -> dict[str, str]:
    """What the report was made from: the content hash of each dataset, the model that was sampled, and SQLite."""
    hashes = {name: read_json(receipt_file(name))["sha256"] for name in DATASETS}
    sampled = candidates.select("model", "model_version").unique().sort("model", "model_version")
    models = {f"model {model}": version or "" for model, version in sampled.head(20).iter_rows()}
    return {**hashes, **models, "SQLite": ", ".join(exec_results["sqlite_version"].unique().sort())}


def flat_params(values: object, prefix: str = "") -> dict[str, str]:
    """Every param by its dotted name, as it stands in params.yaml."""
    if not isinstance(values, dict):
        return {prefix: "" if values is None else str(values)}
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= flat_params(value, f"{prefix}.{name}" if prefix else str(name))
    return flat
