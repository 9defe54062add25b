"""Scores a predictions file against a gold file by executing both.

EX under each contract and difficulty, the verdicts, and, where asked for, EX that survives counterexample databases,
Soft F1, VES, R-VES and TS; pass@k and maj@k where every question has several predictions. Reads the files as Spider's
and BIRD's authors ship them. What was executed once is in the result cache and is not executed again; a run that was
stopped continues from there.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import polars as pl

from stages.audit.gold_worker import unstable_orders
from stages.cache.result_cache import Cache
from stages.core.display import show, visible_line
from stages.core.errors import run_stage
from stages.core.files import replacing, write_json
from stages.databases.paths import suite_paths
from stages.execution.cli_flags import add_execution_flags, check_paths, engine_of
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.judge import judge
from stages.execution.records import DIGEST_ROWS, Budget, Outcome, Rules
from stages.execution.sandbox import Limits
from stages.execution.summary import outcome_columns
from stages.execution.worker_pool import Executor
from stages.mutation.findings import Question, Settings
from stages.mutation.witnesses import find_witnesses
from stages.predictions.gold_files import read_gold
from stages.predictions.prediction_files import read_predictions
from stages.predictions.read_as import read_as_counts, read_as_lines
from stages.scoring.figure_tables import score_table
from stages.scoring.figures import score_figures
from stages.scoring.predictions import (
    TASK,
    PredictedQuestion,
    find_databases,
    items_of,
    table_of_predictions,
    with_databases,
)
from stages.scoring.timed_metrics import soft_f1_scores, time_ratios

LIMITS = Limits(wall_seconds=60, memory_mb=1024, max_rows=500_000, result_mb=200)
BUDGET_FACTOR = 50
GOLD_BUDGET = 200_000_000  # also of each query that is read whole or timed
SEED = 1  # of counterexample databases


def judged(frame: pl.DataFrame, rules: Rules, executor: Executor[Any, Any], cache: Cache) -> list[Outcome]:
    """The outcome of each row's prediction. Before, the golds are audited: an unstable order does not count."""
    golds = frame.select("database", "gold_sql").unique(maintain_order=True).rows()
    unstable = unstable_orders(golds, rules.budget.gold, rules.limits, executor, cache)
    return judge(items_of(frame, unstable), rules, executor, cache, "predictions")


def on_suite(frame: pl.DataFrame, suite: Path, judge_frame: Callable[[pl.DataFrame], list[Outcome]]) -> pl.Series:
    """Whether each prediction matches on its own database and on all those of the suite: test-suite accuracy (Zhong et
    al. 2020). Only what matches on its own is executed on the others."""
    right = frame.with_row_index("row").filter(pl.col("verdict") == "match")
    further = pl.Series([suite_paths(suite.absolute(), db_id) for db_id in right["db_id"]], dtype=pl.List(pl.String))
    tasks = right.with_columns(database=further).explode("database")
    outcomes = zip(tasks["row"], judge_frame(tasks), strict=True)
    failed = {row for row, outcome in outcomes if outcome.verdict != "match"}
    matched = set(right["row"]) - failed
    return pl.Series("ts", [row in matched for row in range(frame.height)])


def with_survivors(
    frame: pl.DataFrame, settings: Settings, executor: Executor[Any, Any], cache: Cache
) -> pl.DataFrame:
    """The frame with `survived`, whether a prediction matches also on every counterexample database, and `witness`, as
    JSON the one on which it does not."""
    matches = frame.filter(pl.col("verdict") == "match")
    texts = matches.group_by("database", "gold_sql", maintain_order=True).agg(pl.col("sql").unique().sort())
    questions = [Question(database, gold_sql, tuple(sqls)) for database, gold_sql, sqls in texts.iter_rows()]
    findings = find_witnesses(questions, settings, executor, cache)
    columns = dict.fromkeys((*TASK, "witness"), pl.String)
    rows = [
        (question.database, question.gold_sql, sql, json.dumps(finding.witness) if finding.witness else None)
        for question, each in zip(questions, findings, strict=True)
        for sql, finding in zip(question.candidates, each.candidates, strict=True)
    ]
    frame = frame.join(pl.DataFrame(rows, columns, orient="row"), on=TASK, how="left", maintain_order="left")
    return frame.with_columns(survived=(pl.col("verdict") == "match") & pl.col("witness").is_null())


def times(frame: pl.DataFrame, repeats: int) -> pl.Series:
    """How many times as long as the prediction its gold took; 0 for what does not match."""
    right = frame["verdict"] == "match"
    measured = iter(time_ratios(frame.filter(right).select(*TASK).rows(), LIMITS, GOLD_BUDGET, repeats))
    return pl.Series("time_ratio", [next(measured) if matches else 0.0 for matches in right])


def heading(
    questions: Sequence[PredictedQuestion], scored: Sequence[PredictedQuestion], read_as: Mapping[str, int],
    args: argparse.Namespace,
) -> str:
    """What was scored, how many questions were left out, and how many predictions were read in a special way."""
    left_out = Counter(gold.db_id for _, gold, _ in questions) - Counter(gold.db_id for _, gold, _ in scored)
    missing = ", ".join(f"{db_id} {count}" for db_id, count in sorted(left_out.items()))
    lines = [f"{args.predictions} against {args.gold}"]
    if missing:
        lines.append(f"left out, as there is no database: {left_out.total()} questions ({missing})")
    count = sum(len(texts) for _, _, texts in scored)
    lines += read_as_lines(read_as, count)
    return "\n".join(map(visible_line, lines))


def main() -> None:
    args = arguments()
    check_paths(
        {"--gold": args.gold, "--predictions": args.predictions},
        {"--databases": args.databases, "--suite": [args.suite] if args.suite else []},
        {"--per-item": args.per_item, "--json": args.json},
    )
    show(score(args))


def score(args: argparse.Namespace) -> str:
    """Scores, writes the files of the flags, and returns what is printed."""
    executor, cache = engine_of(args), Cache(args.cache)
    golds = read_gold(args.gold)
    counts = Counter[str]()
    predictions = read_predictions(args.predictions, golds, counts)
    questions = [(index, gold, sqls) for index, (gold, sqls) in enumerate(zip(golds, predictions, strict=True))]
    databases = find_databases((gold.db_id for gold in golds), args.databases)
    scored = with_databases(questions, databases, args.suite, args.allow_missing)
    read_as = read_as_counts(counts, [sqls for _, _, sqls in scored])
    several = max(len(sqls) for _, _, sqls in scored) > 1
    budget = Budget(args.budget, BUDGET_FACTOR, max(args.budget, GOLD_BUDGET))
    rules = Rules(args.contract, budget, LIMITS, DIGEST_ROWS if several else 0)
    judge_frame = partial(judged, rules=rules, executor=executor, cache=cache)

    frame = table_of_predictions(scored, databases)
    frame = frame.with_columns(outcome_columns(judge_frame(frame)))
    if args.soft_f1:
        scores = soft_f1_scores(frame.select(*TASK).rows(), LIMITS, GOLD_BUDGET, args.workers)
        frame = frame.with_columns(soft_f1=pl.Series(scores))
    if args.ves:
        frame = frame.with_columns(times(frame, args.ves))
    if args.suite:
        frame = frame.with_columns(on_suite(frame, args.suite, judge_frame))
    if args.counterexamples:
        settings = Settings(args.contract, SEED, args.counterexamples, args.budget, LIMITS)
        frame = with_survivors(frame, settings, executor, cache)
    cache.require_unchanged()
    metrics = score_figures(frame)
    if args.per_item:
        optional = (["sample"] if several else [], ["witness"] if args.counterexamples else [])
        names = ["index", *optional[0], "db_id", "verdict", "error", "steps", "rows", *optional[1]]
        with replacing(args.per_item) as temporary:
            frame.select(names).write_ndjson(temporary)  # a text of all would take much memory
    if args.json:
        about = {"contract": args.contract, "budget": args.budget, "sqlite_version": apsw.sqlite_lib_version()}
        write_json(args.json, {**about, "left_out": len(questions) - len(scored), **read_as, **metrics})
    return f"{heading(questions, scored, read_as, args)}\n{score_table(metrics, args.contract)}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.score", description=__doc__)
    parser.add_argument("--gold", type=Path, required=True, help="text of SQL<TAB>db_id lines, JSON, JSONL or Parquet")
    predictions = "text of lines, JSON, JSONL, CSV, TSV or Parquet"
    parser.add_argument("--predictions", type=Path, required=True, help=predictions)
    databases = "folders of <db_id>/<db_id>.sqlite; several where the questions' databases lie in several"
    parser.add_argument("--databases", type=Path, required=True, nargs="+", action="extend", help=databases)
    contract = "decides the verdicts, and all figures but EX, given under each, and Soft F1 (strict)"
    parser.add_argument("--contract", choices=CONTRACT_NAMES, default="strict", help=contract)
    budget = f"VM steps a prediction may take, or {BUDGET_FACTOR} times its gold's where that is more (20000000)"
    parser.add_argument("--budget", type=above_zero, default=20_000_000, help=budget)
    parser.add_argument("--allow-missing", action="store_true", help="leave questions without a database out")
    parser.add_argument("--suite", type=Path, help="folder of further databases, <db_id>/*.sqlite: gives TS")
    counterexamples = "tries what matches on up to N counterexample databases a question: gives EX that survives"
    parser.add_argument("--counterexamples", type=above_zero, metavar="N", help=counterexamples)
    parser.add_argument("--soft-f1", action="store_true", help="gives Soft F1; reads whole results, on this machine")
    ves = "gives VES and R-VES, timed on this machine, up to 200 million steps a query; BIRD repeats 100 times"
    parser.add_argument("--ves", type=above_zero, metavar="REPEATS", help=ves)
    parser.add_argument("--per-item", type=Path, metavar="FILE.jsonl", help="writes one object a prediction")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes the metrics")
    add_execution_flags(parser)
    return parser.parse_args()


def above_zero(text: str) -> int:
    """A whole number above 0. Raises argparse's error for another text."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


if __name__ == "__main__":
    run_stage(main)
