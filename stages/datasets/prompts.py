"""What a model is asked for each question."""

from stages.core.tables import INTEGER, TEXT, Dataset

PROMPTS = Dataset(
    "prompts",
    key="question_id",
    columns={
        "question_id": TEXT, "db_id": TEXT, "prompt": TEXT, "tokens": INTEGER, "dropped_tables": TEXT,
        "lost_tables": TEXT,
    },
)  # fmt: skip
