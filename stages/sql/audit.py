"""What can be said against a gold query that runs, from running it a second time the other way round."""

from collections import Counter

from stages.sql.compare import Result, Row
from stages.sql.text import orders


def flags_of(sql: str, forward: Result, backward: Result | None) -> list[str]:
    """The audit flags, sorted, of a query from its result and that of the second run (None: it had none)."""
    flags = [] if forward.rows else ["empty"]
    if backward is None:
        return flags
    there, back = _rounded(forward.rows), _rounded(backward.rows)
    if Counter(there) != Counter(back):
        flags.append("limit_tie")
    elif there != back and orders(sql):
        flags.append("order_unstable")
    return flags


def _rounded(rows: list[Row]) -> list[Row]:
    return [tuple(float(f"{cell:.12g}") if isinstance(cell, float) else cell for cell in row) for row in rows]
