"""The report of the gold audit: its counts, and a page with every finding for people to read.

The page shows at most 1,000 findings of a kind and says how many more there are; all are in `gold`.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from stages.datasets.questions import TEST_SET
from stages.datasets.verdicts import GOLD_FLAGS, GOLD_VERDICTS, GoldFlag
from stages.pages.html import render_page

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

LEAKAGE_FLAGS = ("question_in_train", "database_in_train")
MOST_SHOWN = 1000
_UNESCAPED = "!~*'()"  # what JavaScript's encodeURIComponent leaves as it is, beside letters, digits and -_.
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


def page_of(
    questions: pl.DataFrame,
    gold: pl.DataFrame,
    counts: Mapping[str, object],
    drop_flags: Mapping[str, Sequence[GoldFlag]],
) -> str:
    """The page as HTML. `counts`: those of `stages.audit.question_checks.question_findings`; `drop_flags`: the flags
    that keep a question out of `sft` and out of `pairs`, by these names."""
    rows = _with_sets(questions, gold)
    sets, totals = sorted(rows["test_set"].unique()), Counter(rows["test_set"])
    anchors: set[str] = set()
    kinds: list[dict[str, Any]] = []
    for kind, meaning in MEANINGS.items():
        flagged = rows.filter((pl.col("verdict") == kind) | pl.col("flags").str.split(",").list.contains(kind))
        per_set = Counter(flagged["test_set"])
        findings = [_finding(kind, row, drop_flags, anchors) for row in flagged.head(MOST_SHOWN).iter_rows(named=True)]
        kinds.append({
            "name": kind, "meaning": meaning, "count": flagged.height, "per_set": [per_set[name] for name in sets],
            "fate": "in test sets only" if kind in LEAKAGE_FLAGS else _fate({kind}, drop_flags),
            "hidden": flagged.height - len(findings), "findings": findings,
        })  # fmt: skip
    values = {
        "sets": sets, "totals": [totals[name] for name in sets], "questions": rows.height, "kinds": kinds,
        "databases": sorted({finding["db_id"] for kind in kinds for finding in kind["findings"]}),
        "drop_flags": drop_flags, **counts,
    }  # fmt: skip
    return render_page(_TEMPLATE, values)


def _finding(
    kind: str, row: Mapping[str, str], drop_flags: Mapping[str, Sequence[GoldFlag]], anchors: set[str]
) -> dict[str, str | bool]:
    """What the page shows of a question. Its first finding, which adds it to `anchors`, is where a link leads to."""
    question_id = row["question_id"]
    anchor = question_id not in anchors
    anchors.add(question_id)
    trains = row["split"] == "train"
    return {
        **{name: row[name] for name in ("question_id", "test_set", "db_id", "question", "gold_sql")},
        "evidence": json.loads(row["findings"])[kind] if kind in GOLD_FLAGS else row["error"],
        "fate": _fate({row["verdict"], *row["flags"].split(",")}, drop_flags) if trains else "test set",
        "link": f"index.html#/question/{quote(question_id, safe=_UNESCAPED)}", "anchor": anchor,
    }  # fmt: skip


def _fate(kinds: Set[str], drop_flags: Mapping[str, Sequence[GoldFlag]]) -> str:
    """Whether train questions with a gold of these verdicts and flags train a model."""
    unusable = kinds & {verdict for verdict in GOLD_VERDICTS if verdict != "ok"}
    datasets = [dataset for dataset, flags in drop_flags.items() if unusable or kinds & set(flags)]
    return f"left out of {' and '.join(datasets)}" if datasets else "trains"


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
