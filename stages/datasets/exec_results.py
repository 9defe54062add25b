"""The verdict of each candidate."""

from stages.core.tables import INTEGER, TEXT, Dataset

EXEC_RESULTS = Dataset(
    "exec_results",
    key="candidate_id",
    columns={
        "candidate_id": TEXT, "question_id": TEXT, "db_sha256": TEXT, "sql": TEXT, "verdict": TEXT,
        "error_class": TEXT, "error": TEXT, "steps": INTEGER, "rows": INTEGER, "digest": TEXT, "contract": TEXT,
        "sqlite_version": TEXT,
    },
)  # fmt: skip
