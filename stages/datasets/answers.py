"""What a model said to the questions of a test set, with the verdicts; one file for each model and test set."""

from dataclasses import replace

from stages.core.tables import FLOAT, INTEGER, TEXT, Dataset

ANSWERS = Dataset(
    "answers",
    key="answer_id",
    columns={
        "answer_id": TEXT, "model": TEXT, "test_set": TEXT, "question_id": TEXT, "sample": INTEGER,
        "completion": TEXT, "sql": TEXT, "verdict_strict": TEXT, "verdict_spider": TEXT, "verdict_bird": TEXT,
        "error_class": TEXT, "error": TEXT, "steps": INTEGER, "rows": INTEGER, "logprob": FLOAT, "tokens": INTEGER,
    },
)  # fmt: skip


def answers_of(model: str, test_set: str) -> Dataset:
    """The dataset of one file: what a model (`dpo`, `sft/strong`) said on a test set."""
    return replace(ANSWERS, name=f"{ANSWERS.name}/{model}-{test_set}")
