"""What the explorer shows, as tables: questions, and what was sampled, answered and paired for each of them.

Every distinct query of a question is one outcome, however many samples gave it. The tables are for all questions, or
for one of them. `docs/report.md` describes their columns.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from stages.cache.result_cache import Cache
from stages.core.layout import DATABASES, SYNTHETIC_DATABASES
from stages.databases.paths import database_path
from stages.execution.comparison import CONTRACT_NAMES
from stages.execution.sandbox import Limits
from stages.execution.worker_pool import Executor
from stages.reporting.previews import DatabasePreviews, Preview, PreviewTask, previews_of

LONGEST = 4000
"""The characters of a text that are shown."""
STRONG = "strong"
"""The source of the questions that a strong model wrote."""
Tables = dict[str, pl.DataFrame]
_OUTCOME_KEY = "question_id", "sql", "question_number", "outcome"


@dataclass(frozen=True)
class Datasets:
    """The rows of the datasets, of all questions or of one. `answers`: of every model and test set."""

    questions: pl.DataFrame
    gold: pl.DataFrame
    synthetic: pl.DataFrame
    candidates: pl.DataFrame
    exec_results: pl.DataFrame
    counterexamples: pl.DataFrame
    pairs: pl.DataFrame
    answers: pl.DataFrame


def question_rows(datasets: Datasets) -> pl.DataFrame:
    """Every question, those of the strong model too, sorted by question_id, with what is known of its gold.

    `flags`: those of the gold's audit, a gold verdict other than `ok`, why an item of the strong model was refused, and
    `pair` and `witness` where the question has some. `folder`: where its database lies.
    """
    gold = datasets.gold.rename({name: f"gold_{name}" for name in ("verdict", "error", "steps", "rows", "findings")})
    questions = datasets.questions.join(gold, on="question_id", how="left").with_columns(
        pl.concat_str(
            pl.col("flags"), pl.when(pl.col("gold_verdict") != "ok").then("gold_verdict"), separator=",",
            ignore_nulls=True,
        ).alias("flags"),
        folder=pl.lit(str(DATABASES)),
    )  # fmt: skip
    strong = datasets.synthetic.select(
        pl.col("item_id").alias("question_id"), "db_id", "question", "evidence", "gold_sql", "difficulty",
        source=pl.lit(STRONG), split=pl.lit("train"), origin=pl.lit("strong"), folder=pl.lit(str(SYNTHETIC_DATABASES)),
        flags=pl.when(pl.col("refusal") != "").then(pl.concat_str(pl.lit("refused_"), "refusal")),
    )  # fmt: skip
    rows = pl.concat([questions, strong], how="diagonal").sort("question_id")
    derived_flags = {
        "pair": datasets.pairs,
        "witness": datasets.counterexamples.filter(pl.col("witness").is_not_null()),
    }
    flags = [pl.col("flags").fill_null("").str.strip_chars(",")]
    flags += [
        pl.when(pl.col("question_id").is_in(frame["question_id"].unique().implode())).then(pl.lit(name))
        for name, frame in derived_flags.items()
    ]
    joined = pl.concat_str(flags, separator=",", ignore_nulls=True).str.strip_chars(",")
    return rows.with_columns(flags=joined).select(
        "question_id", "split", "source", "folder", "db_id", "question", "evidence", "difficulty", "gold_sql", "flags",
        "gold_verdict", "gold_error", "gold_steps", "gold_rows", "gold_findings",
    )  # fmt: skip


def outcome_rows(datasets: Datasets, contract: str) -> pl.DataFrame:
    """One row for each question and distinct query, sorted by both: verdicts, error, steps, rows, witness."""
    shared = "question_id", "sql", "error_class", "error", "steps", "rows"
    witnesses = datasets.counterexamples.select("candidate_id", "witness", witness_class="class")
    of_candidates = datasets.exec_results.join(witnesses, on="candidate_id", how="left").select(
        *shared, "verdict", "witness", "witness_class", pl.col("verdict").alias(contract)
    )
    names = {f"verdict_{name}": name for name in CONTRACT_NAMES}
    of_answers = datasets.answers.rename(names).select(*shared, *CONTRACT_NAMES, pl.col(contract).alias("verdict"))
    rows = pl.concat([of_candidates, of_answers], how="diagonal")
    columns = [pl.col(name).drop_nulls().first() for name in rows.columns if name not in ("question_id", "sql")]
    return rows.group_by("question_id", "sql", maintain_order=True).agg(columns).sort("question_id", "sql")


def explorer_tables(
    datasets: Datasets,
    contract: str,
    limits: Limits,
    executor: Executor[PreviewTask, DatabasePreviews],
    cache: Cache | None,
) -> Tables:
    """The tables of the explorer. References between them are row numbers."""
    questions = _numbered(question_rows(datasets), "question_number")
    numbers = questions.select("question_id", "question_number")
    outcomes = outcome_rows(datasets, contract).join(numbers, on="question_id", how="inner", maintain_order="left")
    outcomes = _numbered(outcomes, "outcome")
    previews = _previews(questions, outcomes, limits, executor, cache)
    numbered = _numbered(previews.databases, "database").select("folder", "db_id", "database")
    questions = questions.join(numbered, on=["folder", "db_id"], how="left", maintain_order="left")
    return {
        "databases": previews.databases.select("db_id", "ddl"),
        "questions": questions.drop("question_number", "folder", "db_id").with_columns(gold_preview=previews.golds),
        "outcomes": outcomes.select(
            pl.col("question_number").alias("question"), "sql", "verdict", *CONTRACT_NAMES, "error_class", "error",
            "steps", "rows", "witness_class", "witness", preview=previews.outcomes,
        ),
        "candidates": _samples(datasets.candidates, outcomes, "sample", "finish_reason"),
        "answers": _samples(datasets.answers, outcomes, "model", "sample"),
        "pairs": _pairs(datasets, outcomes),
        "previews": previews.previews,
    }  # fmt: skip


def _numbered(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    return frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(name))


@dataclass(frozen=True)
class _PreviewTables:
    """`databases`: with their DDL; `golds` and `outcomes`: the row in `previews` of each question's gold and of each
    outcome."""

    databases: pl.DataFrame
    golds: pl.Series
    outcomes: pl.Series
    previews: pl.DataFrame


def _previews(
    questions: pl.DataFrame, outcomes: pl.DataFrame, limits: Limits,
    executor: Executor[PreviewTask, DatabasePreviews], cache: Cache | None,
) -> _PreviewTables:  # fmt: skip
    """Runs each gold and each query that differs from it. One that matches has no preview: its rows are the gold's."""
    differing = outcomes.filter(pl.col("verdict") == "mismatch").group_by("question_number", maintain_order=True)
    with_queries = questions.join(differing.agg("sql", "outcome"), on="question_number", how="left")
    columns = "question_number", "outcome", "gold_sql", "sql"
    databases = with_queries.sort("question_number").group_by("folder", "db_id").agg(columns).sort("folder", "db_id")
    tasks = [
        PreviewTask(
            str(database_path(Path(folder), db_id).absolute()),
            tuple((gold, tuple(texts or ())) for gold, texts in zip(golds, queries, strict=True)),
        )
        for folder, db_id, golds, queries in databases.select("folder", "db_id", "gold_sql", "sql").iter_rows()
    ]
    results = previews_of(tasks, limits, executor, cache)
    distinct: dict[Preview, int] = {}
    gold_previews: list[int | None] = [None] * questions.height
    outcome_previews: list[int | None] = [None] * outcomes.height
    for result, numbers_of in zip(results, databases.select("question_number", "outcome").iter_rows(), strict=True):
        for previews, question, of_queries in zip(result.questions, *numbers_of, strict=True):
            numbers = [preview and distinct.setdefault(preview, len(distinct)) for preview in previews]
            gold_previews[question] = numbers[0]
            for outcome, number in zip(of_queries or (), numbers[1:], strict=True):
                outcome_previews[outcome] = number
    types = {name: pl.Int64 if name in ("columns", "total") else pl.String for name in Preview._fields}
    return _PreviewTables(
        databases.with_columns(pl.Series("ddl", [result.ddl for result in results], dtype=pl.String)),
        pl.Series(gold_previews, dtype=pl.Int64), pl.Series(outcome_previews, dtype=pl.Int64),
        pl.DataFrame([*distinct], schema=types, orient="row"),
    )  # fmt: skip


def _samples(samples: pl.DataFrame, outcomes: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """Candidates or answers with their outcome, sorted by question. A completion that is just the SQL is left out."""
    joined = samples.join(outcomes.select(*_OUTCOME_KEY), on=["question_id", "sql"])
    completion = pl.when(pl.col("completion").str.strip_chars() != pl.col("sql")).then(pl.col("completion"))
    return joined.sort("question_number", *columns).select(
        pl.col("question_number").alias("question"),
        *columns,
        "outcome",
        "tokens",
        pl.col("logprob").round(2),
        completion=completion.str.head(LONGEST),
    )


def _pairs(datasets: Datasets, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Pairs with the outcomes of both sides; a chosen that is the gold itself may have none."""
    candidates = datasets.exec_results.join(outcomes.select(*_OUTCOME_KEY), on=["question_id", "sql"])
    chosen = candidates.select(chosen_id="candidate_id", chosen_outcome="outcome")
    rejected = candidates.select(
        pl.col("question_number").alias("question"), rejected_id="candidate_id", rejected_outcome="outcome"
    )
    return (
        datasets.pairs.join(chosen, on="chosen_id", how="left").join(rejected, on="rejected_id")
        .sort("question", "pair_id").select(
            "question", "pair_id", "chosen", "rejected", "chosen_outcome", "rejected_outcome", "rejected_verdict",
            "similarity", "witness",
        )
    )  # fmt: skip
