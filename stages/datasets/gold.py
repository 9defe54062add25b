"""What executing and auditing each gold query showed."""

from stages.core.tables import INTEGER, TEXT, Dataset

GOLD = Dataset(
    "gold",
    key="question_id",
    columns={
        "question_id": TEXT, "verdict": TEXT, "error": TEXT, "steps": INTEGER, "rows": INTEGER, "columns": INTEGER,
        "digest": TEXT, "flags": TEXT, "findings": TEXT,
    },
)  # fmt: skip
