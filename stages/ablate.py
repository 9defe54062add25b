"""Measures what strong data is worth: trains the strong model with and without it, and compares them on every test set.

The settings are `human`: no strong data; `unverified`: every item whose database builds, with its first SQL;
`verified`: the items that passed all checks at once; `repaired`: also those that passed them after a repair, which is
what `sft` takes. All use the same answers of the strong model. `human` is trained for as many steps as `repaired`, so
that a difference is not that of longer training; the others for as many epochs. Trained models stay in models/ablation,
so that a run that was killed goes on.
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.errors import UserError, run_stage
from stages.core.files import fingerprint, sha256_code, write_json
from stages.core.layout import model_path, report_file, training_log
from stages.core.params import read_params
from stages.core.receipts import open_datasets
from stages.datasets.gold import GOLD
from stages.datasets.prompts import PROMPTS
from stages.datasets.questions import QUESTIONS
from stages.datasets.synthetic import SYNTHETIC
from stages.evaluate import EvaluateParams
from stages.execution.cli_flags import add_execution_flags, engine_of
from stages.execution.params import ExecutionParams
from stages.execution.records import Budget, Rules
from stages.lm.completions import Decoding, PromptedQuestion
from stages.prompting.rendering import PromptsParams
from stages.report import TestSets
from stages.sampling.engines import open_engine
from stages.scoring.ablation import ablation_figures, ablation_table
from stages.scoring.model_answers import answers_of, judge_answers, read_test_set
from stages.sft import SftParams, drop_reasons, strong_reasons, usable_rows
from stages.train_sft import TrainSftParams, train_sft

SETTINGS = ("human", "unverified", "verified", "repaired")


def sft_sets(prompts: PromptsParams, params: SftParams) -> dict[str, pl.DataFrame]:
    """The SFT set of each setting. Raises UserError if there is no strong data."""
    questions, gold, prompt_rows, synthetic = open_datasets(QUESTIONS, GOLD, PROMPTS, SYNTHETIC)
    if synthetic.is_empty():
        raise UserError("data/synthetic.parquet is empty; set `synthesize.source`, and run `dvc repro sft`")
    human = usable_rows(drop_reasons(questions, gold, prompt_rows, params))
    accepted = pl.col("refusal").is_null()
    as_it_came = synthetic.with_columns(gold_sql=pl.coalesce("first_sql", "gold_sql"), refusal=pl.lit(None, pl.String))
    strong = {
        "unverified": as_it_came,
        "verified": synthetic.filter(accepted, pl.col("first_sql").is_null()),
        "repaired": synthetic.filter(accepted),
    }  # fmt: skip
    return {"human": human} | {
        name: pl.concat([human, usable_rows(strong_reasons(rows, prompts))]) for name, rows in strong.items()
    }


def train(setting: str, sft: pl.DataFrame, params: TrainSftParams) -> Path:
    """The folder of a setting's model. It is trained unless the same code has trained it on the same rows before."""
    key = fingerprint(sft.rows(), params.model_dump(), sha256_code("lm", "training"))[:8]
    name = f"{setting}-{params.seed}-{key}"
    out = model_path(f"ablation/{name}")
    if not out.is_dir():
        show(f"{name}: {sft.height} rows")
        train_sft(sft, params, out, training_log(f"ablation/{name}"))
    return out


def right_answers(
    model: Path, test_set: str, params: EvaluateParams, rules: Rules, args: argparse.Namespace
) -> pl.DataFrame:
    """Columns question_id, db_id, right: whether the greedy answer to each question of a test set matches."""
    questions, golds, _ = read_test_set(test_set)
    prompted = [PromptedQuestion(*row) for row in questions.select("question_id", "db_id", "prompt").iter_rows()]
    engine, cache = open_engine(params.engine, model, params.batch_size), Cache(args.cache)
    answers, _ = answers_of(engine, prompted, Decoding(1, 0.0, 1.0, params.max_tokens, params.seed), cache)
    outcomes = judge_answers(golds, answers, rules, engine_of(args), cache)
    return questions.select("question_id", "db_id", right=pl.Series([row[0].verdict == "match" for row in outcomes]))


def ablate(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of all settings, seeds and test sets."""
    training, evaluation = read_params("train_sft.strong", TrainSftParams), read_params("evaluate", EvaluateParams)
    if args.epochs is not None:
        training = TrainSftParams.model_validate(training.model_dump() | {"epochs": args.epochs})
    limits = read_params("execution", ExecutionParams).limits()
    test_sets = read_params("test_sets", TestSets).root
    sets = sft_sets(read_params("prompts", PromptsParams), read_params("sft", SftParams))
    rules = Rules(evaluation.contract, Budget(evaluation.budget_floor, evaluation.budget_factor), limits)
    seen = {_domain(db_id) for db_id in open_datasets(QUESTIONS)[0].filter(pl.col("split") == "train")["db_id"]}
    answers: dict[tuple[str, str], list[pl.DataFrame]] = {}
    for seed in range(training.seed, training.seed + args.seeds):
        for name, rows in sets.items():
            longer = sets["repaired"].height / rows.height if name == "human" else 1.0
            model = train(name, rows, training.model_copy(update={"seed": seed, "epochs": training.epochs * longer}))
            for test_set in test_sets:
                right = right_answers(model, test_set, evaluation, rules, args)
                answers.setdefault((test_set, name), []).append(right)
    heights = {name: frame.height for name, frame in sets.items()}
    return ablation_figures(heights, _with_domains(answers, seen), evaluation.seed, evaluation.resamples)


def _with_domains(
    answers: Mapping[tuple[str, str], Sequence[pl.DataFrame]], seen: set[str]
) -> dict[tuple[str, str], list[pl.DataFrame]]:
    """The answers with a column `seen`: whether the human part of train has the domain of the question's database."""
    is_seen = pl.col("db_id").map_elements(lambda db_id: _domain(db_id) in seen, return_dtype=pl.Boolean)
    return {key: [frame.with_columns(seen=is_seen) for frame in frames] for key, frames in answers.items()}


def _domain(db_id: str) -> str:
    """The domain of a demo database: `bakery` of bakery_12. Any other database is a domain of its own."""
    return re.sub(r"_\d+$", "", db_id)


def positive(text: str) -> float:
    """The value of `--epochs`. Raises argparse's error unless it is a number above 0."""
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not float(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of epochs; give one above 0")
    return float(text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.ablate", description=__doc__)
    parser.add_argument("--seeds", type=int, choices=range(1, 101), default=3, metavar="N", help="models a setting")
    parser.add_argument("--epochs", type=positive, metavar="E", help="in place of those of params.yaml")
    add_execution_flags(parser)
    figures = ablate(parser.parse_args())
    write_json(report_file("ablation"), figures)
    show(ablation_table(figures))


if __name__ == "__main__":
    run_stage(main)
