"""Values just beside the constants of queries, as a column may hold them: WHERE a > 30 gives 29, 30 and 31."""

from collections.abc import Iterable
from datetime import date
from math import isfinite

from stages.execution.comparison import Cell
from stages.mutation.rules import ColumnRules

_MOST_FITTING = 4  # values that fit a pattern


def values_beside(constants: Iterable[Cell], rules: ColumnRules) -> list[Cell]:
    """The constants and the values beside them that keep the rules of a column, in a fixed order."""
    values = {value for constant in constants for value in _beside(constant, rules)}
    usable = [value for value in values if value in rules.values or not rules.closed]
    return sorted(usable, key=lambda value: (type(value).__name__, repr(value)))


def _beside(constant: Cell, rules: ColumnRules) -> list[Cell]:
    if rules.kind is str:
        return _texts_beside(constant, rules)
    if rules.kind in (int, float):
        return _numbers_beside(constant, rules)
    return []


def _numbers_beside(constant: Cell, rules: ColumnRules) -> list[Cell]:
    number = _number(constant)
    if number is None or not isfinite(number) or rules.low is None or rules.high is None:
        return []
    if rules.kind is int:
        near: list[int | float] = [int(number) + step for step in ((-1, 0, 1) if number == int(number) else (0, 1))]
    else:
        has_parts = any(isinstance(value, float) and not value.is_integer() for value in rules.values)
        near = [round(float(number) + step * (0.1 if has_parts else 1), 6) for step in (-1, 0, 1)]
    return [value for value in near if rules.low <= value <= rules.high]


def _number(constant: Cell) -> int | float | None:
    if isinstance(constant, str):
        try:
            return float(constant) if "." in constant else int(constant)
        except ValueError:
            return None
    return constant if isinstance(constant, int | float) else None


def _texts_beside(constant: Cell, rules: ColumnRules) -> list[Cell]:
    """Of a pattern with %, values that it fits or, if there are none, what stands between its signs."""
    if rules.decimals:
        return _decimals_beside(str(constant))
    if not isinstance(constant, str):
        return []
    if rules.dates:
        return _dates_beside(constant)
    if "%" in constant:
        part = constant.strip("%").lower()
        fitting = sorted(value for value in rules.values if isinstance(value, str) and part in value.lower())
        return [*fitting[:_MOST_FITTING]] or [constant.strip("%")]
    return [constant]


def _decimals_beside(text: str) -> list[Cell]:
    """The whole number and those before and after it, with as many digits: beside 007 are 006 and 008."""
    near = [int(text) + step for step in (-1, 0, 1)] if text.isdecimal() else []
    return [str(number).zfill(len(text)) for number in near if number >= 0]


def _dates_beside(text: str) -> list[Cell]:
    """The date and the days before and after it; nothing where the text is no date as YYYY-MM-DD."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        return []
    near = [day.toordinal() + step for step in (-1, 0, 1)]
    return [date.fromordinal(number).isoformat() for number in near if 0 < number <= date.max.toordinal()]
