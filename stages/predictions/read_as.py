"""How predictions were read where that may not be what was meant: counts, and the sentences about them."""

from collections.abc import Iterator, Mapping, Sequence

from stages.predictions.prediction_db_ids import CUT_AT_TAB, WITHOUT_DB_ID

FENCED = "fenced"
READ_AS = {
    CUT_AT_TAB: "hold a tab that may be SQL: only what is before the first was executed, as by Spider's evaluator",
    WITHOUT_DB_ID: "have no db_id after them, as most have: the whole text was executed",
    FENCED: "stand in code fences, which the official evaluators do not remove: they were executed with them, and "
    "fail; cut the SQL out of the fences first, or import the file (candidates.engine: file), which does",
}
"""What the output says of predictions that may have been meant otherwise than they were executed."""


def read_as_counts(counts: Mapping[str, int], predictions: Sequence[Sequence[str]]) -> dict[str, int]:
    """The number of predictions for each key of READ_AS. `counts`: those of CUT_AT_TAB and WITHOUT_DB_ID."""
    fenced = sum("```" in sql for sqls in predictions for sql in sqls)
    return {**dict.fromkeys(READ_AS, 0), **counts, FENCED: fenced}


def read_as_lines(counts: Mapping[str, int], count: int) -> Iterator[str]:
    """A line for each key of READ_AS that some of the `count` predictions have."""
    for name, text in READ_AS.items():
        if counts[name]:
            yield f"{counts[name]} of {count} predictions {text}"
