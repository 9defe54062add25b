"""The fine-tuning set: prompt and gold query of train questions."""

from stages.core.tables import TEXT, Dataset

SFT = Dataset(
    "sft",
    key="question_id",
    columns={
        "question_id": TEXT, "prompt": TEXT, "completion": TEXT, "origin": TEXT,
    },
)  # fmt: skip
