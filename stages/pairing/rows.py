"""The candidates of all questions as one table, of which all else is computed."""

import polars as pl

from stages.core.errors import UserError
from stages.datasets.verdicts import VERDICTS

WHITE_SPACE = (
    "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""What `str.strip` strips; to polars other characters are white space."""

GOLD = "gold"
"""What stands for a verdict in the row of a gold query."""
VERDICT = pl.Enum([*VERDICTS, GOLD])
"""The type of the column verdict."""
LAST = pl.lit(2**32 - 1)
"""A place behind all samples of a question."""
RESULT_COLUMNS = ("candidate_id", "question_id", "verdict", "sql")
"""What is read of `exec_results`."""
SAMPLE_COLUMNS = ("candidate_id", "sample", "completion")
"""What is read of `candidates`."""


def candidate_rows(questions: pl.DataFrame, candidates: pl.DataFrame, results: pl.DataFrame) -> pl.DataFrame:
    """A row for each executed candidate: question (the row number in `questions`), order (`order_in`), candidate_id,
    verdict, text. Sorted by candidate_id.

    `text`: the completion that a model would give, which is the SQL alone. A candidate without SQL stands with its
    whole completion.
    """
    numbers = questions.select("question_id", question=pl.int_range(pl.len(), dtype=pl.UInt32))
    samples, rows = candidates.select(SAMPLE_COLUMNS), results.select(RESULT_COLUMNS)
    if rows["candidate_id"].equals(samples["candidate_id"]):  # as it should be: both are sorted by it
        rows = rows.hstack(samples.drop("candidate_id"))
    else:
        rows = rows.join(samples, on="candidate_id")
    rows = rows.join(numbers, on="question_id", how="left", maintain_order="left")
    rows = rows.with_columns(text=_texts(rows["sql"], rows["completion"]))
    order = order_in(pl.col("question"), pl.col("sample").rank("dense"))
    rows = rows.select("question", "candidate_id", pl.col("verdict").cast(VERDICT), "text", order=order)
    return rows if rows["candidate_id"].is_sorted() else rows.sort("candidate_id")


def _texts(sql: pl.Series, completions: pl.Series) -> pl.Series:
    """The SQL, and where that is blank the completion. Of the completions, which take as much memory as the SQL, those
    alone are kept."""
    blank = ~sql.str.contains(f"[^{WHITE_SPACE}]")
    if not blank.any():
        return sql
    place = pl.int_range(len(sql), eager=True)
    places = pl.concat([place.filter(~blank), place.filter(blank)])
    copies = pl.Series(completions.filter(blank).to_list(), dtype=pl.String)
    return pl.concat([sql.filter(~blank), copies]).gather(places.arg_sort())


def order_in(question: pl.Expr, place: pl.Expr) -> pl.Expr:
    """One number to sort by that puts questions first and places in a question second: fast, as it is one."""
    return question.cast(pl.UInt64) * 2**32 + place.cast(pl.UInt64)


def with_witnesses(rows: pl.DataFrame, counterexamples: pl.DataFrame) -> pl.DataFrame:
    """The rows with `witness_number` and `witness`, NULL where no counterexample database tells the candidate from the
    gold. Raises UserError where a candidate that matched was not tried."""
    matches = rows.filter(pl.col("verdict") == "match").select("candidate_id")
    untried = matches.join(counterexamples, on="candidate_id", how="anti")["candidate_id"].to_list()
    if untried:
        raise UserError(
            f"counterexamples has no row for {len(untried)} candidates that matched (the first: {min(untried)}); "
            "run `dvc repro counterexamples`"
        )
    witnesses = counterexamples.filter(pl.col("witness_number").is_not_null())
    witnesses = witnesses.select("candidate_id", "witness_number", "witness")
    return rows.join(witnesses, on="candidate_id", how="left", maintain_order="left")
