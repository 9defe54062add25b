"""The words and figures of a comparison, as the terminal, the page and the changelog show them."""

import json

from stages.diffing.comparison import Comparison
from stages.diffing.flip_reasons import REASONS
from stages.diffing.measures import INTERVAL, Number
from stages.diffing.rows import RowsDiff
from stages.diffing.versions import Version

STALE = "stale, as what they depend on changed since they ran"
"""What the stages are that `Version.stale` has."""

_REASONS = 2  # of a stale stage, that are shown; the JSON has all


def count(number: int | None) -> str:
    """`1,234`, or a dash for None."""
    return "–" if number is None else f"{number:,}"


def figure(number: float | None) -> str:
    """A metric; a dash for None."""
    if number is None:
        return "–"
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def difference(number: Number) -> str:
    """New less old, with its sign."""
    change = number.difference
    if change is None:
        return ""
    return f"{change:+,}" if isinstance(change, int) else f"{change:+.6g}"


def side(version: Version) -> str:
    """A version's name, and the beginning of its commit if it is not the name itself."""
    short = version.commit[:7] if version.commit else ""
    return f"{version.name} ({short})" if short and not version.name.startswith(short) else version.name


def interval(numbers: dict[str, Number], which: str) -> str:
    """EX in per cent with its interval, of the side `which`; a dash where it has none."""
    ex, low, high = (getattr(numbers[name], which) for name in INTERVAL)
    return "–" if None in (ex, low, high) else f"{100 * ex:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def evaluations(found: Comparison) -> dict[str, dict[str, Number]]:
    """The metrics files that are the evaluation of a model."""
    return {file: numbers for file, numbers in (found.metrics or {}).items() if set(INTERVAL) <= set(numbers)}


def value(both: dict[str, object], which: str) -> str:
    """A param as JSON; a dash where a version has it not."""
    return json.dumps(both[which], ensure_ascii=False) if which in both else "–"


def reasons_to_run(version: Version) -> dict[str, str]:
    """Each stale stage of a version with some of what it reads that changed."""
    return {
        stage: ", ".join(reasons[:_REASONS]) + (f" and {len(reasons) - _REASONS} more" if reasons[_REASONS:] else "")
        for stage, reasons in version.stale.items()
    }


def counts(rows: RowsDiff) -> tuple[str, str, str]:
    """Rows added, removed and changed; dashes where only one version has the dataset."""
    if rows.old is None or rows.new is None:
        return "–", "–", "–"
    return count(rows.added), count(rows.removed), count(rows.changed)


def notes(rows: RowsDiff) -> list[str]:
    """What else there is to say of a dataset: changes by column, and columns that only one version has."""
    if rows.old is None or rows.new is None:
        return ["only in new" if rows.old is None else "only in old"]
    told = [f"{name} {count(number)}" for name, number in rows.changed_columns.items()]
    told += [f"column {name} only in new" for name in rows.columns_added]
    told += [f"column {name} only in old" for name in rows.columns_removed]
    return told + [f"{name} was {types[0]}, is {types[1]}" for name, types in rows.retyped.items()]


def different(numbers: dict[str, Number]) -> dict[str, Number]:
    """The metrics that differ."""
    return {name: number for name, number in numbers.items() if number.old != number.new}


def labels(found: Comparison) -> str:
    """How many labels flip, as a sentence without its end."""
    flips = found.flips
    if flips is None:
        return "not known of both versions"
    if not flips.candidates_in_both:
        return "no candidate is in both versions"
    return f"{count(flips.flipped)} of {count(flips.candidates_in_both)} candidates in both have another verdict"


def meanings(found: Comparison) -> dict[str, str]:
    """The reasons that occur, each with its meaning."""
    told = {name for reasons in (found.flips.reasons if found.flips else ()) for name in reasons.split(" + ")}
    return {name: meaning for name, meaning in REASONS.items() if name in told}
