"""Completions sampled from a model, or imported predictions, with the SQL in them."""

from stages.core.tables import FLOAT, INTEGER, TEXT, Dataset

CANDIDATES = Dataset(
    "candidates",
    key="candidate_id",
    columns={
        "candidate_id": TEXT, "question_id": TEXT, "sample": INTEGER, "completion": TEXT, "sql": TEXT, "model": TEXT,
        "model_version": TEXT, "prompt_sha256": TEXT, "temperature": FLOAT, "top_p": FLOAT, "max_tokens": INTEGER,
        "seed": INTEGER, "finish_reason": TEXT, "tokens": INTEGER, "logprob": FLOAT,
    },
)  # fmt: skip
