"""Compares two models question by question: what one has right and the other wrong, and whether they differ at all.

Greedy answers to one test set are compared, on the questions that both answer with the same gold query. They come from
`evaluate` (in this folder, another one or a revision) or from a predictions file, which is executed. Prints EX of both,
the paired difference with its 95 % interval, McNemar's exact test, and the questions that one side alone has right.
"""

import argparse
from pathlib import Path

from stages.cache.result_cache import Cache
from stages.comparing.comparison import compare
from stages.comparing.predicted import execute_side
from stages.comparing.sides import FORMS, LAST_MODEL, named_model, read_side
from stages.comparing.text import text_of
from stages.core.display import show
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import write_json
from stages.core.params import read_params
from stages.evaluate import EvaluateParams
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.params import ExecutionParams
from stages.execution.records import DIGEST_ROWS, Budget, Rules


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.compare", description=__doc__)
    parser.add_argument("a", metavar="A", help=FORMS)
    parser.add_argument("b", metavar="B", help="the other side; a question that only B answers correctly counts as won")
    parser.add_argument("--test-set", required=True, help="<source>-<split>, such as demo-dev")
    parser.add_argument("--contract", choices=CONTRACT_NAMES, help="what is right; the default is evaluate.contract")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--show", type=at_least_zero, default=5, metavar="N", help="questions won and lost to show (5)")
    shown.add_argument("--all", action="store_true", help="shows all of them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes figures, and both answers to every question")
    add_execution_flags(parser)
    return parser.parse_args()


def at_least_zero(text: str) -> int:
    """A whole number from 0. Raises argparse's error for another text."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0; give how many questions to show")
    return int(text)


def main() -> None:
    args = arguments()
    errors: list[str] = []
    sides = []
    with collect_errors(errors):
        params, limits = read_params("evaluate", EvaluateParams), read_params("execution", ExecutionParams).limits()
    with collect_errors(errors):
        executor = engine_of(args)
    names = {"A": args.a, "B": args.b}
    with collect_errors(errors):
        files = {letter: Path(name) for letter, name in names.items() if Path(name).is_file()}
        check_paths(files, {}, {"--json": args.json})
    with collect_errors(errors):
        cache = Cache(args.cache)
    default_model = next(filter(None, (named_model(name, args.test_set) for name in names.values())), LAST_MODEL)
    for letter, name in names.items():
        with collect_errors(errors):
            if not name:
                raise UserError(f"{letter} is empty; give {FORMS}")
            sides.append(read_side(name, default_model, args.test_set))
    if errors:
        raise UserError(*dict.fromkeys(errors))
    rules = Rules(params.contract, Budget(params.budget_floor, params.budget_factor), limits, DIGEST_ROWS)
    a, b = (execute_side(side, rules, executor, cache) for side in sides)
    comparison = compare(a, b, args.test_set, args.contract or params.contract)
    figures = comparison.figures(params.seed, params.resamples)
    if args.json:
        write_json(args.json, comparison.as_json(figures))
    text = text_of(comparison, figures, None if args.all else args.show)
    show(text, secrets=False)  # SQL such as `access_token = 5` is shown as it is


if __name__ == "__main__":
    run_stage(main)
