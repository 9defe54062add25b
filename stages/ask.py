"""Asks a model about an SQLite file: prints the prompt as the pipeline makes it, the model's SQL, and its rows.

The model decodes greedily, as in `evaluate`; its SQL is executed in the pipeline's sandbox, which can neither write nor
create a file. Without a question it reads questions one at a time: on a terminal until an empty line, else each line of
standard input is a question. Params: `prompts`, `evaluate`, `execution`; a query may take `gold.step_budget` steps.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

from stages.asking.answers import Asker, json_of, text_of
from stages.asking.query_rows import QueryLimits
from stages.core.display import show, visible_line
from stages.core.errors import UserError, collect_errors, reader_is_gone, run_stage
from stages.core.params import read_params
from stages.databases.held_files import HeldFiles
from stages.databases.paths import database_problem
from stages.evaluate import EvaluateParams, check_revision, folder_of_model
from stages.execution.cli_flags import check_paths
from stages.execution.params import ExecutionParams
from stages.gold import GoldParams
from stages.lm.completions import Decoding
from stages.prompting.rendering import PromptsParams, prompt_schema
from stages.prompting.token_budget import token_counter
from stages.sampling.engines import open_engine
from stages.score import above_zero

ANOTHER_FILE = "give the path of another file"


def asker_of(args: argparse.Namespace) -> Asker:
    """Opens the model and the database of the flags. Raises UserError with all mistakes, before any work."""
    errors: list[str] = []
    if args.question is not None and not args.question.strip():
        errors.append("the question is blank; give one, or leave it out to be asked for it")
    if args.question is None and not isinstance(sys.stdin, TextIOWrapper):
        errors.append("standard input is closed; give a question")
    with collect_errors(errors):
        check_revision(args)
    with collect_errors(errors):
        evaluation, budget = read_params("evaluate", EvaluateParams), read_params("gold", GoldParams).step_budget
        limits = read_params("execution", ExecutionParams).limits()
    with collect_errors(errors):
        check_database(args.database)
        files = HeldFiles([str(args.database)])
    with collect_errors(errors):
        prompts = read_params("prompts", PromptsParams)
        if args.evidence and not prompts.evidence:
            errors.append(f"--evidence is {args.evidence}, but `prompts.evidence` is false; leave it out")
        counter = token_counter(prompts.tokenizer, prompts.revision)
        if not errors:
            schema = prompt_schema(args.database, prompts, ANOTHER_FILE)
    folder = folder_of_model(args, errors)  # ends with all errors, if there are any
    engine = open_engine(evaluation.engine, folder, batch_size=1)
    decoding = Decoding(1, 0.0, 1.0, evaluation.max_tokens, evaluation.seed)
    query_limits = QueryLimits(budget, limits, args.rows)
    return Asker(engine, decoding, args.database, files, schema, prompts, counter, query_limits)


def check_database(database: Path) -> None:
    """Raises UserError where a file is missing, or is not an SQLite database that can be used."""
    check_paths({"--database": database}, {}, {})
    if problem := database_problem(database, ANOTHER_FILE):
        raise UserError(problem)


def answer_text(asker: Asker, question: str, args: argparse.Namespace) -> str:
    """The answer to a question as the flags want it. Raises UserError where it cannot be asked."""
    answer = asker.answer(question.strip(), args.evidence.strip())
    typed = args.question is None and sys.stdin.isatty() and sys.stdout.isatty()  # and stands on the terminal already
    above: Literal["prompt", "question"] | None = "prompt" if args.prompt else None if typed else "question"
    return json_of(answer) if args.json else text_of(answer, above)


def ask_all(asker: Asker, args: argparse.Namespace) -> bool:
    """Asks the questions of standard input, as long as the answers have a reader. One that cannot be asked gives a
    sentence; False if there was one."""
    assert isinstance(sys.stdin, TextIOWrapper)  # `asker_of` refuses another
    sys.stdin.reconfigure(encoding="utf-8-sig", errors="surrogateescape")  # what is no UTF-8 costs its question only
    all_asked = True
    for question in questions_typed() if sys.stdin.isatty() else filter(str.strip, sys.stdin):
        try:
            text = answer_text(asker, question, args)
        except UserError as error:
            all_asked = False
            for sentence in error.sentences:
                show(f"error: {visible_line(sentence)}", sys.stderr)
            continue
        show(text, secrets=False)
        if reader_is_gone():
            break
    return all_asked


def questions_typed() -> Iterator[str]:
    """The lines typed on a terminal, up to an empty one or the end of input."""
    import readline as readline  # input() then takes arrow keys

    show("one question a line; an empty line ends", sys.stderr)
    try:
        while (question := typed_line()).strip():
            yield question
    except EOFError:
        show("", sys.stderr)  # the shell's prompt begins on its own line


def typed_line() -> str:
    """A line of the terminal, after a prompt. That is not for the file into which answers may be redirected."""
    with redirect_stdout(sys.stdout if sys.stdout.isatty() else sys.stderr):
        return input("question> ")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.ask", description=__doc__)
    parser.add_argument("question", nargs="?", help='the question, such as "How many planes are there?"')
    parser.add_argument("--model", required=True, help="a folder, or a Hub id")
    parser.add_argument("--revision", help="commit, branch or tag of a Hub id")
    parser.add_argument("--database", type=Path, required=True, metavar="FILE", help="an SQLite file; it is only read")
    parser.add_argument("--evidence", default="", metavar="TEXT", help="a hint placed above the question in the prompt")
    parser.add_argument("--rows", type=above_zero, default=20, metavar="N", help="rows that are shown at most (20)")
    parser.add_argument("--prompt", action=argparse.BooleanOptionalAction, default=True, help="show the prompt, or not")
    parser.add_argument("--json", action="store_true", help="prints one JSON object a question")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    asker = asker_of(args)
    if args.question is not None:
        show(answer_text(asker, args.question, args), secrets=False)
    elif not ask_all(asker, args):
        sys.exit(2)


if __name__ == "__main__":
    run_stage(main)
