"""What counterexample databases showed of each candidate that matches its gold."""

from typing import Literal, get_args

from stages.core.tables import INTEGER, TEXT, Dataset

WitnessClass = Literal["survived", "rows", "duplicates", "order", "untested"]
"""How the result of a candidate differs from the gold's on its witness: other `rows`, the same rows but one of them
another number of times (`duplicates`), or in another `order`. `survived`: it has no witness. `untested`: no
counterexample database showed anything, as none could be made, the gold is unstable on all of them, or the candidate
failed on them."""
WITNESS_CLASSES: tuple[WitnessClass, ...] = get_args(WitnessClass)

COUNTEREXAMPLES = Dataset(
    "counterexamples",
    key="candidate_id",
    columns={
        "candidate_id": TEXT, "question_id": TEXT, "class": TEXT, "mutants_tried": INTEGER, "mutants_void": INTEGER,
        "witness_number": INTEGER, "witness": TEXT,
    },
)  # fmt: skip
