"""Metrics and params of two versions, side by side."""

from dataclasses import dataclass

from stages.diffing.versions import Version

_MISSING = object()
INTERVAL = ("ex", "ex_low", "ex_high")
"""What a metrics file has that is the evaluation of a model: EX and its interval."""


@dataclass(frozen=True)
class Number:
    """A metric in both versions; None where one has it not."""

    old: float | None
    new: float | None

    @property
    def difference(self) -> float | None:
        return None if self.old is None or self.new is None else round(self.new - self.old, 10)


def diff_metrics(old: Version, new: Version) -> dict[str, dict[str, Number]] | None:
    """File to dotted name to both values, equal ones too, in the order of the files. None where the metrics of a
    version are not known."""
    if old.metrics is None or new.metrics is None:
        return None
    found = {}
    for file in sorted(old.metrics.keys() | new.metrics.keys()):
        before, after = old.metrics.get(file, {}), new.metrics.get(file, {})
        found[file] = {name: Number(before.get(name), after.get(name)) for name in {**before, **after}}
    return found


def diff_params(old: Version, new: Version) -> dict[str, dict[str, object]] | None:
    """Dotted name to the values of the params that differ, under `old` and `new`; a side that has no such param is left
    out. None where the params of a version are not known."""
    before, after = old.params, new.params
    if before is None or after is None:
        return None
    differ = [name for name in {**before, **after} if before.get(name, _MISSING) != after.get(name, _MISSING)]
    sides = {"old": before, "new": after}
    return {name: {side: of[name] for side, of in sides.items() if name in of} for name in differ}
