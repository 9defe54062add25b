"""What executing a candidate or a gold can show: the closed sets of verdicts, of audit flags and of error classes.

Rules, in this order:
1. the gold failed or went over its budget -> `gold_error`; the gold was undecided -> `undecided`;
2. there is no statement to run -> `no_sql`;
3. it was read to its end within its budget -> the contract compares the two results: `match` or `mismatch`;
4. what was read of it before it ended cannot begin a result that is equal to the gold's (other columns, more rows, or a
   row that the gold has not) -> `mismatch`, whatever ended it: an error, the budget, a net, or we, for that reason;
5. it failed, went over its step budget or met a safety net -> `exec_error`, `over_budget`, `undecided`.

An error is never a value: without a result there is nothing to compare, so two errors or two time-outs never match.
"""

from typing import Literal, get_args

Verdict = Literal["match", "mismatch", "exec_error", "over_budget", "undecided", "no_sql", "gold_error"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Status = Literal["ok", "exec_error", "over_budget", "undecided", "no_sql"]
"""How one execution ended; the gold dataset's verdict is one of these (a gold without SQL is an `exec_error`)."""

GoldVerdict = Literal["ok", "exec_error", "over_budget", "undecided"]
GOLD_VERDICTS: tuple[GoldVerdict, ...] = get_args(GoldVerdict)

GoldFlag = Literal[
    "empty", "limit_tie", "order_unstable", "text_number_sort", "null_first",  # of the query
    "duplicate_question", "versions_disagree",  # of the question
    "question_in_train", "database_in_train",  # of a test set: leakage
]  # fmt: skip
GOLD_FLAGS: tuple[GoldFlag, ...] = get_args(GoldFlag)
"""What the audit says against a gold query or its question; `stages.gold` tells what each means."""

ErrorClass = Literal[
    "syntax", "several_statements", "forbidden", "no_such_table", "no_such_column", "ambiguous_column",
    "no_such_function", "aggregate_misuse", "wrong_count", "too_complex", "other",  # of an exec_error
    "time", "memory", "size", "text", "file", "lost",  # of an undecided: which safety net it met
]  # fmt: skip
ERROR_CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)
NONDETERMINISTIC_ERRORS: tuple[ErrorClass, ...] = ("time", "memory", "file", "lost")
"""Errors that another machine, or a less loaded one, may not meet: the query is retried alone, and the result is never
cached. `file`: the disk gave an error, or a damaged page."""
