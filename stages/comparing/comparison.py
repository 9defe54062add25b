"""What differs between the answers of two sides to the same questions: the figures, and the questions."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from stages.comparing.answers import QUESTION_COLUMNS, VERDICTS, Side
from stages.core.errors import UserError
from stages.datasets.difficulties import by_difficulty
from stages.execution.comparison import CONTRACT_NAMES, Contract
from stages.scoring.paired import paired_figures


@dataclass(frozen=True)
class Comparison:
    """Two sides on the questions that both answer. `rows`: one a question, sorted by it, with `question_id`,
    QUESTION_COLUMNS, `outcome` (`won`: b alone is right, `lost`: a alone, `both_right`, `both_wrong`), and for each
    side, with the suffix `_a` or `_b`, `sql`, `verdict` (under `contract`), `error` and VERDICTS. `left_out`: questions
    of one side alone, or with different gold queries."""

    a: Side
    b: Side
    test_set: str
    contract: Contract
    rows: pl.DataFrame
    left_out: dict[str, int]

    def figures(self, seed: int, resamples: int) -> dict[str, Any]:
        """The paired figures of all questions, under each contract and of each difficulty. `seed`, `resamples`: of the
        bootstrap."""

        def of_rows(rows: pl.DataFrame, verdict: str) -> dict[str, Any]:
            a, b = ((rows[f"{verdict}_{side}"] == "match").to_list() for side in "ab")
            return paired_figures(a, b, seed, resamples)

        levels = {str(level): rows for (level,), rows in self.rows.partition_by("difficulty", as_dict=True).items()}
        return {
            **of_rows(self.rows, "verdict"),
            "contracts": {name: of_rows(self.rows, f"verdict_{name}") for name in CONTRACT_NAMES},
            "difficulties": {level: of_rows(levels[level], "verdict") for level in sorted(levels, key=by_difficulty)},
        }

    def as_json(self, figures: dict[str, Any]) -> dict[str, Any]:
        """All of it for `write_json`; nothing in it depends on the machine."""
        sides = {
            key: {"name": side.name, "origin": side.origin, "stale": list(side.stale), "read_as": dict(side.read_as)}
            for key, side in (("a", self.a), ("b", self.b))
        }
        about = {"test_set": self.test_set, "contract": self.contract, **sides, "left_out": self.left_out}
        return {**about, **figures, "rows": self.rows.to_dicts()}


def compare(a: Side, b: Side, test_set: str, contract: Contract) -> Comparison:
    """Compares two sides whose answers have verdicts. Raises UserError where no question is in both."""
    joined = a.rows.join(b.rows, on="question_id", suffix="_b", maintain_order="left")
    same_gold = joined.filter(pl.col("gold_sql") == pl.col("gold_sql_b"))
    left_out = {
        "only_a": a.rows.height - joined.height, "only_b": b.rows.height - joined.height,
        "different_gold": joined.height - same_gold.height,
    }  # fmt: skip
    if same_gold.is_empty():
        raise UserError(f"{a.name} and {b.name} have no question of {test_set} in common, so they cannot be compared")
    rows = same_gold.rename({column: f"{column}_a" for column in ("sql", *VERDICTS, "error")})
    rows = rows.with_columns(pl.col(f"verdict_{contract}_{side}").alias(f"verdict_{side}") for side in "ab")
    right_a, right_b = (pl.col(f"verdict_{side}") == "match" for side in "ab")
    equal_outcome = pl.when(right_a).then(pl.lit("both_right")).otherwise(pl.lit("both_wrong"))
    lost_or_equal = pl.when(right_a & ~right_b).then(pl.lit("lost")).otherwise(equal_outcome)
    outcome = pl.when(right_b & ~right_a).then(pl.lit("won")).otherwise(lost_or_equal)
    columns = [f"{column}_{side}" for side in "ab" for column in ("sql", "verdict", "error", *VERDICTS)]
    rows = rows.select("question_id", *QUESTION_COLUMNS, outcome.alias("outcome"), *columns)
    return Comparison(a, b, test_set, contract, rows, left_out)
