"""Small tables that pairs are made of."""

from collections import Counter
from typing import Any

import polars as pl

from stages.datasets.catalog import DATASETS
from stages.datasets.counterexamples import COUNTEREXAMPLES
from stages.pairing.rows import candidate_rows, with_witnesses
from stages.pairing.view import make_pairs
from stages.pairs import PairsParams, settings_of

PUBLISHED: dict[str, Any] = {
    "preset": None, "seed": 7, "dedup": True, "keep_gold": False, "neg_filter": "all", "neg_limit": 1,
    "neg_order": "random", "pos_limit": None, "counterexamples": 0, "drop_flags": [],
}  # fmt: skip
"""`grouped-any-limit1`."""
VERDICTS = ("match", "mismatch", "exec_error", "over_budget", "undecided", "no_sql", "gold_error")
GOLD_SQL = "SELECT count(*) FROM singer"
MIXED: list["Candidate"] = [
    ("SELECT count(*) FROM singer", "match"),
    ("SELECT name FROM singer", "mismatch"),
    ("select COUNT( * ) from singer;", "match"),
    ("SELECT count(1) FROM singer", "match"),
    ("SELECT nam FROM singer", "exec_error"),
    ("SELECT NAME FROM singer ;", "mismatch"),
    ("SELECT * FROM singer, singer, singer", "over_budget"),
    ("SELECT random()", "undecided"),
]

Candidate = tuple[str, str]
"""SQL and its verdict."""
Tables = tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]
"""questions with the verdict of their gold and their prompt, candidates, exec_results."""


def params(**changed: Any) -> PairsParams:
    return PairsParams.model_validate(PUBLISHED | changed)


def questions_of(ids: list[str]) -> pl.DataFrame:
    row = {"source": "demo", "split": "train", "db_id": "music", "question": "How many?", "evidence": ""}
    rows = [{"question_id": q, **row, "gold_sql": GOLD_SQL, "difficulty": "easy", "origin": "human"} for q in ids]
    return pl.DataFrame(rows, schema=DATASETS["questions"].columns)


def prompts_of(ids: list[str], lost: str = "[]") -> pl.DataFrame:
    rows = [{"question_id": q, "db_id": "music", "prompt": f"Prompt {q}", "lost_tables": lost} for q in ids]
    return frame_of(rows, "prompts")


def tables_of(questions: dict[str, list[Candidate]], gold: str = "ok") -> Tables:
    """question_id to its candidates, as tables; the id of a candidate is `<question_id>:<sample>`."""
    samples = [
        {"candidate_id": f"{q}:{at}", "question_id": q, "sample": at, "sql": sql, "completion": sql, "verdict": verdict}
        for q, candidates in questions.items()
        for at, (sql, verdict) in enumerate(candidates)
    ]
    known = questions_of(list(questions)).with_columns(verdict=pl.lit(gold), prompt="Prompt " + pl.col("question_id"))
    return known, frame_of(samples, "candidates"), frame_of(samples, "exec_results")


def frame_of(rows: list[dict[str, Any]], dataset: str) -> pl.DataFrame:
    """The columns of a dataset; NULL where the rows say nothing."""
    full = [{column: row.get(column) for column in DATASETS[dataset].columns} for row in rows]
    return pl.DataFrame(full, schema=DATASETS[dataset].columns)


def witnesses_of(results: pl.DataFrame, numbers: dict[str, int]) -> pl.DataFrame:
    """`counterexamples` of the candidates that matched; `numbers`: candidate_id to the number of its witness."""
    rows = [
        {
            "candidate_id": candidate_id, "question_id": question_id, "class": "none", "mutants_tried": 8,
            "mutants_void": 0, "witness_number": numbers.get(candidate_id),
            "witness": f'{{"mutant": {numbers[candidate_id]}}}' if candidate_id in numbers else None,
        }
        for candidate_id, question_id in results.filter(pl.col("verdict") == "match")
        .select("candidate_id", "question_id").iter_rows()
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=COUNTEREXAMPLES.columns)


def view_of(
    tables: Tables, numbers: dict[str, int] | None = None, **changed: Any
) -> tuple[pl.DataFrame, Counter[str]]:
    """The rows of `pairs`, sorted by their key, and the counts."""
    questions, candidates, results = tables
    rows = with_witnesses(candidate_rows(questions, candidates, results), witnesses_of(results, numbers or {}))
    table, counts = make_pairs(rows, questions, settings_of(params(**changed)))
    return table.sort("pair_id"), counts


def pairs_of(questions: dict[str, list[Candidate]], gold: str = "ok", **changed: Any) -> pl.DataFrame:
    return view_of(tables_of(questions, gold), **changed)[0]


def ids_of(pairs: pl.DataFrame) -> list[tuple[str | None, str]]:
    return pairs.select("chosen_id", "rejected_id").rows()
