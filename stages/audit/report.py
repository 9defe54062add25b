"""The report of the gold audit: its counts, and a page with every finding for people to read.

The page shows at most 1,000 findings of a kind and says how many more there are; all are in `gold`.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import polars as pl

from stages.core.html import render_page
from stages.datasets.questions import TEST_SET
from stages.datasets.verdicts import GOLD_FLAGS, GOLD_VERDICTS

MEANINGS = {
    "exec_error": "The query fails.",
    "over_budget": "The query needs more steps than a gold may take.",
    "undecided": "A safety net (time, memory, size of the result) ended the query.",
    "empty": "The query returns no row, so any query without rows matches it.",
    "limit_tie": "What comes back is left open: a LIMIT cuts a tie or has no ORDER BY, or an inner order is open.",
    "order_unstable": "The query orders its rows, and leaves the order of some open.",
    "text_number_sort": "Numbers are kept as text, and sorted as text: 9 comes after 10.",
    "null_first": "A row comes back because NULL is sorted before all values.",
    "duplicate_question": "The same question on the same database has another gold, with another result.",
    "versions_disagree": "Another version of the gold has another result, or fails.",
    "question_in_train": "A question of a test set stands in train too.",
    "database_in_train": "A database of a test set is asked in train too.",
}
"""Every kind of finding, in the order of the page, and what it means."""

MOST_SHOWN = 1000
_TEMPLATE = Path(__file__).with_name("report.html")


def summary_of(questions: pl.DataFrame, gold: pl.DataFrame, not_audited: int) -> dict[str, object]:
    """Counts in and out, per verdict and per flag, in all and for each <source>-<split>. `not_audited`: golds with a
    form that met a limit or failed when the audit ran it."""
    sets = _with_sets(questions, gold).partition_by("test_set", as_dict=True, include_key=False)
    return {
        "questions_in": questions.height,
        "rows_out": gold.height,
        **_counts(gold),
        "not_audited": not_audited,
        "sets": {name: {"questions": rows.height, **_counts(rows)} for (name,), rows in sorted(sets.items())},
    }


def page_of(questions: pl.DataFrame, gold: pl.DataFrame, counts: Mapping[str, object]) -> str:
    """The page as HTML. `counts`: those of `stages.audit.question_checks.question_findings`."""
    rows = _with_sets(questions, gold)
    sets = sorted(rows["test_set"].unique())
    kinds = []
    for kind, meaning in MEANINGS.items():
        flagged = rows.filter((pl.col("verdict") == kind) | pl.col("flags").str.split(",").list.contains(kind))
        per_set = Counter(flagged["test_set"])
        kinds.append({
            "name": kind, "meaning": meaning, "count": flagged.height, "per_set": [per_set[name] for name in sets],
            "hidden": max(0, flagged.height - MOST_SHOWN),
            "findings": [_finding(kind, row) for row in flagged.head(MOST_SHOWN).iter_rows(named=True)],
        })  # fmt: skip
    totals = Counter(rows["test_set"])
    values = {
        "sets": sets, "totals": [totals[name] for name in sets], "questions": rows.height, "kinds": kinds, **counts
    }  # fmt: skip
    return render_page(_TEMPLATE, values)


def _finding(kind: str, row: Mapping[str, str]) -> dict[str, str]:
    evidence = json.loads(row["findings"])[kind] if kind in GOLD_FLAGS else row["error"]
    return {name: row[name] for name in ("question_id", "db_id", "question", "gold_sql")} | {"evidence": evidence}


def _with_sets(questions: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    named = questions.with_columns(TEST_SET.alias("test_set"))
    return named.join(gold, on="question_id", how="inner", validate="1:1").sort("question_id")


def _counts(rows: pl.DataFrame) -> dict[str, dict[str, int]]:
    verdicts = Counter(rows["verdict"])
    flags = Counter(flag for text in rows["flags"] for flag in text.split(",") if flag)
    return {
        "verdicts": {verdict: verdicts[verdict] for verdict in GOLD_VERDICTS},
        "flags": {flag: flags[flag] for flag in GOLD_FLAGS},
    }
