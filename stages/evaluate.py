"""Evaluates a model on one test set: greedy EX with its interval, pass@k and maj@k of samples.

The model is a folder or a Hub id, the data that of the pipeline. Without --metrics the figures are only printed.
"""

import argparse
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from stages.cache.result_cache import Cache
from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import write_json
from stages.core.params import Params, read_params
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.comparison import Contract
from stages.execution.params import ExecutionParams
from stages.execution.records import DIGEST_ROWS, Budget, Rules
from stages.lm.completions import Decoding, PromptedQuestion
from stages.lm.loading import model_folder
from stages.sampling.engines import open_engine
from stages.scoring.figure_tables import evaluation_table
from stages.scoring.figures import greedy_figures, sample_figures
from stages.scoring.model_answers import answers_of, judge_answers, read_test_set


class EvaluateParams(Params):
    """Section `evaluate` of params.yaml."""

    engine: Literal["transformers", "vllm"]
    contract: Contract
    n: int = Field(gt=0, le=10_000)
    temperature: float = Field(gt=0)
    top_p: float = Field(gt=0, le=1)
    max_tokens: int = Field(gt=0, le=10**7)
    batch_size: int = Field(gt=0, le=10**6)
    seed: int = Field(ge=0, lt=2**63)
    resamples: int = Field(ge=100, le=10**6)
    budget_floor: int = Field(gt=0, le=10**12)
    budget_factor: int = Field(gt=0, le=10**6)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of the model: greedy, of samples, or both. Raises UserError with all mistakes, before any work."""
    errors: list[str] = []
    local = Path(args.model).is_dir()
    if local and args.revision:
        errors.append(f"--revision is {args.revision}, but --model {args.model} is a folder; leave it out")
    with collect_errors(errors):
        params, limits = read_params("evaluate", EvaluateParams), read_params("execution", ExecutionParams).limits()
        executor = engine_of(args)
    with collect_errors(errors):
        check_paths({}, {}, {"--metrics": args.metrics})
    with collect_errors(errors):
        cache = Cache(args.cache)
    with collect_errors(errors):
        questions, golds, dropped = read_test_set(args.test_set)
    with collect_errors(errors):  # nothing is downloaded in vain: owner/name may be a Hub id
        in_vain = errors and not local and args.model.count("/") == 1
        folder = None if in_vain else model_folder(args.model, args.revision)
    if errors or folder is None:
        raise UserError(*errors)
    prompted = [PromptedQuestion(*row) for row in questions.select("question_id", "db_id", "prompt").iter_rows()]
    engine = open_engine(params.engine, folder, params.batch_size)
    rules = Rules(params.contract, Budget(params.budget_floor, params.budget_factor), limits, DIGEST_ROWS)
    commit = {} if local else {"commit": folder.name}
    show(f"{args.model} ({folder.name}) on {args.test_set}")
    figures: dict[str, Any] = {**commit, "questions": len(prompted)}
    if not args.samples:
        decoding = Decoding(1, 0.0, 1.0, params.max_tokens, params.seed)
        answers, too_long = answers_of(engine, prompted, decoding, cache)
        greedy = [outcomes[0] for outcomes in judge_answers(golds, answers, rules, executor, cache)]
        figures |= greedy_figures(questions["difficulty"].to_list(), greedy, params.seed, params.resamples)
    if not args.greedy:
        n = args.samples or params.n
        decoding = Decoding(n, params.temperature, params.top_p, params.max_tokens, params.seed)
        answers, too_long = answers_of(engine, prompted, decoding, cache)
        figures |= sample_figures(judge_answers(golds, answers, rules, executor, cache))
    return figures | {"dropped": {"gold_not_ok": dropped}, "longer_than_context": too_long}


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
    add_execution_flags(parser)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    metrics = evaluate(args)
    if args.metrics:
        write_json(args.metrics, metrics)
    else:
        show(evaluation_table(metrics))


if __name__ == "__main__":
    run_stage(main)
