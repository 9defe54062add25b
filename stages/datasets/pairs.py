"""Preference pairs: a prompt, a completion that is right and one that is wrong."""

from stages.core.tables import FLOAT, TEXT, Dataset

PAIRS = Dataset(
    "pairs",
    key="pair_id",
    columns={
        "pair_id": TEXT, "question_id": TEXT, "db_id": TEXT, "prompt": TEXT, "chosen": TEXT, "rejected": TEXT,
        "chosen_id": TEXT, "rejected_id": TEXT, "rejected_verdict": TEXT, "similarity": FLOAT, "witness": TEXT,
    },
)  # fmt: skip
