"""Preference pairs: a prompt, a completion that is right and one that is wrong.

`similarity`: the share that both sides have in common, from 0 (nothing) to 1 (all), four decimals: of their tokens in
order or, with `pairs.neg_order: nearest`, of the binary branches of their syntax trees (`stages.pairing.syntax_trees`),
NULL where a side has no tree. `witness`: the counterexample database, as JSON, that tells `chosen` from the gold, NULL
where there is none; only one beyond the first `pairs.counterexamples`, as a chosen that those refute is dropped.
"""

from stages.core.tables import FLOAT, TEXT, Dataset

PAIRS = Dataset(
    "pairs",
    key="pair_id",
    columns={
        "pair_id": TEXT, "question_id": TEXT, "db_id": TEXT, "prompt": TEXT, "chosen": TEXT, "rejected": TEXT,
        "chosen_id": TEXT, "rejected_id": TEXT, "rejected_verdict": TEXT, "similarity": FLOAT, "witness": TEXT,
    },
)  # fmt: skip
