"""Metrics and params of two versions, side by side."""

from dataclasses import dataclass

from stages.diffing.versions import Version

_MISSING = object()
INTERVAL = ("ex", "ex_low", "ex_high")
"""The metrics that only the evaluation of a model has: EX and its interval."""


@dataclass(frozen=True)
class Metric:
    """A metric's value in both versions; None where a version lacks it."""

    old: float | None
    new: float | None

    @property
    def difference(self) -> float | None:
        return None if self.old is None or self.new is None else round(self.new - self.old, 10)


def diff_metrics(old: Version, new: Version) -> dict[str, dict[str, Metric]] | None:
    """File to dotted name to metric, equal ones too, sorted by file. None where a version's metrics are not known."""
    if old.metrics is None or new.metrics is None:
        return None
    metrics = {}
    for file in sorted(old.metrics.keys() | new.metrics.keys()):
        before, after = old.metrics.get(file, {}), new.metrics.get(file, {})
        metrics[file] = {name: Metric(before.get(name), after.get(name)) for name in {**before, **after}}
    return metrics


def diff_params(old: Version, new: Version) -> dict[str, dict[str, object]] | None:
    """Dotted name of each param that differs to its values under `old` and `new`; a version that lacks the param has no
    value there. None where the params of a version are not known."""
    before, after = old.params, new.params
    if before is None or after is None:
        return None
    differ = [name for name in {**before, **after} if before.get(name, _MISSING) != after.get(name, _MISSING)]
    sides = {"old": before, "new": after}
    return {name: {side: params[name] for side, params in sides.items() if name in params} for name in differ}
