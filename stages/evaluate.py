"""Evaluates a model on one test set: greedy EX with its interval, pass@k and maj@k of samples.

The stage gives every path. A person gives the model (a folder or a Hub id) and the test set; data that is not named is
that of the stage in dvc.yaml, and without --metrics the figures are only printed.
"""

import argparse
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from stages.cache.result_cache import Cache
from stages.core.commands import fill_in, noted
from stages.core.display import show
from stages.core.errors import UserError, run_stage
from stages.core.files import write_json
from stages.core.params import Params, read_params
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.comparison import Contract
from stages.execution.sandbox import Limits
from stages.execution.worker import DIGEST_ROWS, Budget, Rules
from stages.lm.completions import Ask, Decoding
from stages.lm.loading import model_folder
from stages.sampling.engines import open_engine
from stages.scoring.model_answers import TABLES, answers_of, judge_answers, read_test_set
from stages.scoring.model_figures import greedy_figures, sample_figures, table


class EvaluateParams(Params):
    """Section `evaluate` of params.yaml. `test_sets`: `<source>-<split>` each; one run evaluates on one of them."""

    test_sets: list[str]
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
    wall_seconds: float = Field(gt=0, le=86_400)
    memory_mb: int = Field(ge=64, le=10**6)
    max_rows: int = Field(gt=0, le=10**8)
    result_mb: int = Field(gt=0, le=10**5)

    @field_validator("test_sets")
    @classmethod
    def _unlike(cls, test_sets: list[str]) -> list[str]:
        if len(set(test_sets)) < len(test_sets):
            raise PydanticCustomError("test_sets", "name each test set once")
        return test_sets

    def greedy(self) -> Decoding:
        """One answer a question, the most likely one at each token."""
        return Decoding(1, 0.0, 1.0, self.max_tokens, self.seed)

    def sampling(self, n: int) -> Decoding:
        """`n` samples a question."""
        return Decoding(n, self.temperature, self.top_p, self.max_tokens, self.seed)

    def rules(self) -> Rules:
        limits = Limits(self.wall_seconds, self.memory_mb, self.max_rows, self.result_mb)
        return Rules(self.contract, Budget(self.budget_floor, self.budget_factor), limits, DIGEST_ROWS)


def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """The figures of the model: greedy, of samples, or both. Raises UserError with all mistakes, before any work."""
    wrong: list[str] = []
    local = Path(args.model).is_dir()
    if local and args.revision:
        wrong.append(f"--revision is {args.revision}, but --model {args.model} is a folder; leave it out")
    with noted(wrong):
        params, executor = read_params("evaluate", EvaluateParams), engine_of(args)
    with noted(wrong):
        check_paths({}, {}, {"--metrics": args.metrics})
    with noted(wrong):
        cache = Cache(args.cache)
    with noted(wrong):
        usable, known, dropped = read_test_set(args)
    with noted(wrong):  # nothing is downloaded in vain: owner/name may be a Hub id
        vain = wrong and not local and args.model.count("/") == 1
        folder = None if vain else model_folder(args.model, args.revision)
    if wrong or folder is None:
        raise UserError(*wrong)
    asks = [Ask(*row) for row in usable.select("question_id", "db_id", "prompt").iter_rows()]
    engine, rules = open_engine(params.engine, folder, params.batch_size), params.rules()
    commit = {} if local else {"commit": folder.name}
    show(f"{args.model} ({folder.name}) on {args.test_set}")
    figures: dict[str, Any] = {**commit, "questions": len(asks)}
    if not args.samples:
        answers, too_long = answers_of(engine, asks, params.greedy(), cache)
        greedy = [row[0] for row in judge_answers(known, answers, rules, executor, cache)]
        figures |= greedy_figures(usable["difficulty"].to_list(), greedy, params.seed, params.resamples)
    if not args.greedy:
        answers, too_long = answers_of(engine, asks, params.sampling(args.samples or params.n), cache)
        figures |= sample_figures(judge_answers(known, answers, rules, executor, cache))
    return figures | {"dropped": {"gold_not_ok": dropped}, "longer_than_context": too_long}


def at_least_one(text: str) -> int:
    if not (text.isdecimal() and int(text) >= 1):
        raise argparse.ArgumentTypeError(f"{text} is no number of samples; give 1 or more")
    return int(text)


def arguments() -> argparse.Namespace:
    """The flags; data that is not named lies where the stage in dvc.yaml has it."""
    parser = argparse.ArgumentParser(prog="python -m stages.evaluate", description=__doc__)
    parser.add_argument("--model", required=True, help="a folder, or a Hub id")
    parser.add_argument("--revision", help="commit, branch or tag of a Hub id")
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as spider-dev")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="EX of greedy decoding alone")
    how.add_argument("--samples", type=at_least_one, metavar="N", help="pass@k and maj@k of N samples alone")
    data = [*TABLES, *(f"{name}-receipt" for name in TABLES), "databases"]
    for name in (*data, "metrics"):
        parser.add_argument(f"--{name}", type=Path)
    add_execution_flags(parser)
    args = parser.parse_args()
    fill_in(args, data, "evaluate")
    return args


def main() -> None:
    args = arguments()
    metrics = evaluate(args)
    if args.metrics:
        write_json(args.metrics, metrics)
    else:
        show(table(metrics))


if __name__ == "__main__":
    run_stage(main)
