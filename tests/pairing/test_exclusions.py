import polars as pl

from stages.datasets.catalog import DATASETS
from stages.pairing.exclusions import exclude_questions


def frame_of(dataset: str, rows: list[dict[str, str]]) -> pl.DataFrame:
    full = [{column: row.get(column) for column in DATASETS[dataset].columns} for row in rows]
    return pl.DataFrame(full, schema=DATASETS[dataset].columns)


GOLD = frame_of("gold", [
    {"question_id": "good", "flags": ""}, {"question_id": "tied", "flags": "empty,limit_tie"},
    {"question_id": "empty", "flags": "empty"}, {"question_id": "lost", "flags": ""},
    {"question_id": "both", "flags": "limit_tie"},
])  # fmt: skip
PROMPTS = frame_of("prompts", [
    {"question_id": one, "lost_tables": '["song"]' if one in ("lost", "both") else "[]"} for one in GOLD["question_id"]
])  # fmt: skip
QUESTIONS = GOLD.join(PROMPTS, on="question_id")
ROWS = pl.DataFrame(
    [(f"{one}:{at}", number) for number, one in enumerate(GOLD["question_id"]) for at in range(3)],
    schema={"candidate_id": pl.String, "question": pl.UInt32}, orient="row",
)  # fmt: skip


def test_questions_with_a_reason_are_left_out_and_counted_for_the_first() -> None:
    kept, counts = exclude_questions(ROWS, QUESTIONS, ["limit_tie", "null_first"])
    assert kept.equals(ROWS.filter(pl.col("question").is_in([0, 2])))
    assert counts.rows() == [("flag_limit_tie", 2, 6), ("flag_null_first", 0, 0), ("gold_table_dropped", 1, 3)]


def test_without_flags_to_drop_only_a_table_that_is_not_shown_counts() -> None:
    kept, counts = exclude_questions(ROWS, QUESTIONS, [])
    assert set(kept["question"]) == {0, 1, 2}
    assert counts.rows() == [("gold_table_dropped", 2, 6)]
