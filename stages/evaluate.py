"""Evaluates a model on one test set: greedy EX with its interval, pass@k and maj@k of samples.

The model is a folder or a Hub id, the data that of the pipeline. Without --metrics the figures are only printed; with
--answers what the model said is kept, each answer with its verdicts.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.end_line import percent, write_report
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.layout import MODELS
from stages.core.params import Params, read_params
from stages.core.stable_draw import stable_draw
from stages.core.tables import write_dataset
from stages.datasets.answers import ANSWERS
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.comparison import Contract
from stages.execution.params import ExecutionParams
from stages.execution.records import DIGEST_ROWS, Budget, Outcome, Rules
from stages.lm.completions import Decoding, PromptedQuestion
from stages.lm.loading import model_folder
from stages.sampling.engines import open_engine
from stages.scoring.figure_tables import evaluation_table
from stages.scoring.figures import greedy_figures, sample_figures
from stages.scoring.model_answers import answer_rows, answers_of, judge_answers, read_test_set


class EvaluateParams(Params):
    """Section `evaluate` of params.yaml."""

    engine: Literal["transformers", "vllm"]
    contract: Contract
    n: int = Field(gt=0, le=10_000)
    sampled_questions: int | None = Field(gt=0, le=10**9)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0, le=10**7)
    batch_size: int = Field(gt=0, le=10**6)
    seed: int = Field(ge=0, lt=2**63)
    resamples: int = Field(ge=100, le=10**6)
    budget_floor: int = Field(gt=0, le=10**12)
    budget_factor: int = Field(gt=0, le=10**6)


def evaluate(args: argparse.Namespace) -> tuple[dict[str, Any], pl.DataFrame]:
    """The figures of the model, and its answers: greedy, samples, or both. Raises UserError with all mistakes, before
    any work."""
    errors: list[str] = []
    local = Path(args.model).is_dir()
    with collect_errors(errors):
        check_revision(args)
    with collect_errors(errors):
        params, limits = read_params("evaluate", EvaluateParams), read_params("execution", ExecutionParams).limits()
        executor = engine_of(args)
    with collect_errors(errors):
        check_paths({}, {}, {"--metrics": args.metrics, "--answers": args.answers})
    with collect_errors(errors):
        cache = Cache(args.cache)
    with collect_errors(errors):
        questions, golds, dropped = read_test_set(args.test_set)
    folder = folder_of_model(args, errors)
    prompted = [PromptedQuestion(*row) for row in questions.select("question_id", "db_id", "prompt").iter_rows()]
    engine = open_engine(params.engine, folder, params.batch_size)
    rules = Rules(params.contract, Budget(params.budget_floor, params.budget_factor), limits, DIGEST_ROWS)
    commit = {} if local else {"commit": folder.name}
    if not args.metrics:  # else the end line names both
        show(f"{args.model} ({folder.name}) on {args.test_set}")
    figures: dict[str, Any] = {**commit, "questions": len(prompted)}
    kept = []

    def ask(decoding: Decoding, numbers: Sequence[int]) -> tuple[list[list[Outcome]], int]:
        """The outcomes of the questions of these row numbers, and how many prompts are too long."""
        answers, too_long = answers_of(engine, [prompted[number] for number in numbers], decoding, cache)
        outcomes = judge_answers([golds[number] for number in numbers], answers, rules, executor, cache)
        origin = model_name(args.model), args.test_set, [prompted[number].question_id for number in numbers]
        kept.append(answer_rows(*origin, answers, outcomes, greedy=not decoding.temperature))
        return outcomes, too_long

    if not args.samples:
        outcomes, too_long = ask(Decoding(1, 0.0, 1.0, params.max_tokens, params.seed), range(len(prompted)))
        greedy = [row[0] for row in outcomes]
        figures |= greedy_figures(questions["difficulty"].to_list(), greedy, params.seed, params.resamples)
    if not args.greedy:
        n, sampled = args.samples or params.n, sampled_numbers(prompted, params)
        decoding = Decoding(n, params.temperature, params.top_p, params.max_tokens, params.seed)
        outcomes, too_long_sampled = ask(decoding, sampled)
        too_long = too_long_sampled if args.samples else too_long
        figures |= {"sampled_questions": len(sampled)} | sample_figures(outcomes)
    return figures | {"dropped": {"gold_not_ok": dropped}, "longer_than_context": too_long}, pl.concat(kept)


def sampled_numbers(questions: Sequence[PromptedQuestion], params: EvaluateParams) -> list[int]:
    """The row numbers of the questions that samples are drawn for."""
    question_ids = [question.question_id for question in questions]
    limit = params.sampled_questions or len(question_ids)
    drawn = stable_draw(question_ids, limit, params.seed)
    return [number for number, question_id in enumerate(question_ids) if question_id in drawn]


def check_revision(args: argparse.Namespace) -> None:
    """Raises UserError where the model of --model, a folder, is given a --revision."""
    if args.revision and Path(args.model).is_dir():
        raise UserError(f"--revision is {args.revision}, but --model {args.model} is a folder; leave it out")


def folder_of_model(args: argparse.Namespace, errors: list[str]) -> Path:
    """The folder of the model that --model and --revision name.

    Raises UserError with `errors`, those of the other flags and files, and its own. Where there are any, nothing is
    downloaded in vain: owner/name may be a Hub id.
    """
    if errors and not Path(args.model).is_dir() and args.model.count("/") == 1:
        raise UserError(*errors)
    if not args.model.strip():
        errors.append("--model is empty; give the folder of a model, or a Hub id")
    elif Path(args.model).is_file():
        errors.append(f"--model {args.model} is a file; give the folder of a model")
    else:
        with collect_errors(errors):
            folder = model_folder(args.model, args.revision)
    if errors:
        raise UserError(*errors)
    return folder


def model_name(model: str) -> str:
    """The name of a model in `answers`: `sft/strong` for models/sft/strong; any other folder or Hub id as it is."""
    path = Path(model)
    return path.relative_to(MODELS).as_posix() if path.is_relative_to(MODELS) else model


def figures_of(metrics: Mapping[str, Any]) -> list[str]:
    """What the end line says of the figures."""
    figures = []
    if "ex" in metrics:
        figures.append(f"EX {percent(metrics['ex'])} ({100 * metrics['ex_low']:.1f}–{100 * metrics['ex_high']:.1f})")
    for name, kind in (("pass@", "pass_at"), ("maj@", "maj_at")):
        if kind in metrics:
            k = max(metrics[kind], key=int)
            figures.append(f"{name}{k} {percent(metrics[kind][k])}")
    return figures


def at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text} is no number of samples; give 1 or more")
    return int(text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder, or a Hub id")
    parser.add_argument("--revision", help="commit, branch or tag of a Hub id")
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as spider-dev")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="EX of greedy decoding alone")
    how.add_argument("--samples", type=at_least_one, metavar="N", help="pass@k and maj@k of N samples alone")
    parser.add_argument("--metrics", type=Path, metavar="FILE", help="writes the figures as JSON")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="writes the answers as Parquet")
    add_execution_flags(parser)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    metrics, answers = evaluate(args)
    if args.answers:
        write_dataset(answers, ANSWERS, args.answers)
    if args.metrics:
        write_report(
            f"evaluate {model_name(args.model)} on {args.test_set}", metrics, answers.height, metrics["dropped"],
            *figures_of(metrics), what="questions dropped", file=args.metrics,
        )  # fmt: skip
    else:
        show(evaluation_table(metrics))


if __name__ == "__main__":
    run_stage(main)
