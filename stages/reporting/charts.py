"""Where the curves of a chart lie in its SVG."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 352.0, 10.0, 146.0
_TICKS = 4

Points = Sequence[tuple[float, float]]


def axes(curves: Mapping[str, Points]) -> dict[str, Any]:
    """Curves, name to points (x, y), as the macro `lines` of charts.html draws them: `curves` with their points in the
    SVG and their first and last value, `rows` and `columns` with the place and the text of each tick. Each curve has at
    least one point."""
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points if math.isfinite(y)] or [0.0]
    least_x, greatest_x, ticks = min(xs), max(xs), _ticks(min(ys), max(ys))

    def column(x: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (x - least_x) / ((greatest_x - least_x) or 1), 1)

    def row(y: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * (y - ticks[0]) / (ticks[-1] - ticks[0]), 1)

    return {
        "curves": [
            {
                "name": name, "first": f"{points[0][1]:.3g}", "last": f"{points[-1][1]:.3g}",
                "points": " ".join(f"{column(x)},{row(y)}" for x, y in points if math.isfinite(y)),
            }
            for name, points in curves.items()
        ],
        "rows": [{"at": row(tick), "text": f"{tick:g}"} for tick in ticks],
        "columns": [{"at": column(x), "text": f"{x:g}"} for x in dict.fromkeys((least_x, greatest_x))],
    }  # fmt: skip


def _ticks(low: float, high: float) -> list[float]:
    """Round values, equally far apart, from at most `low` to at least `high`."""
    span = max(high - low, 1e-6 * max(abs(low), abs(high)), 1e-12)
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * _TICKS >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
