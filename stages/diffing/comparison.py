"""All that differs between two versions, and the same as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from stages.core.commands import noted
from stages.core.errors import UserError
from stages.core.tables import KEYS
from stages.diffing.flips import Flips, flips_of
from stages.diffing.measures import Number, diff_metrics, diff_params
from stages.diffing.rows import MOST_KEYS, RowsDiff, diff_rows
from stages.diffing.versions import Version


@dataclass(frozen=True)
class Comparison:
    """Two versions and what differs: params, datasets, labels and metrics; None: not known of both."""

    old: Version
    new: Version
    params: dict[str, dict[str, object]] | None
    datasets: dict[str, RowsDiff]
    flips: Flips | None
    metrics: dict[str, dict[str, Number]] | None

    def as_json(self) -> dict[str, Any]:
        """For `write_json`; nothing in it depends on the machine."""
        sides = {"old": self.old, "new": self.new}
        return {
            **{side: {"name": version.name, "commit": version.commit} for side, version in sides.items()},
            "params": self.params,
            "stale": {side: version.stale for side, version in sides.items()},
            "most_keys": MOST_KEYS,
            "datasets": {dataset: asdict(rows) for dataset, rows in self.datasets.items()},
            "flips": self.flips and asdict(self.flips),
            "metrics": self.metrics and {
                file: {name: asdict(number) | {"difference": number.difference} for name, number in numbers.items()}
                for file, numbers in self.metrics.items()
            },
        }


def compare(old: Version, new: Version) -> Comparison:
    """Raises UserError where a dataset's key is not unique, or a file of it is damaged."""
    wrong: list[str] = []
    datasets = {}
    for dataset in KEYS:
        if dataset in old.tables or dataset in new.tables:
            with noted(wrong):
                datasets[dataset] = diff_rows(old.tables.get(dataset), new.tables.get(dataset))
    if wrong:
        raise UserError(*wrong)
    return Comparison(old, new, diff_params(old, new), datasets, flips_of(old, new), diff_metrics(old, new))
