"""What differs between two versions, and the same as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from stages.core.errors import UserError, collect_errors
from stages.datasets.catalog import DATASETS
from stages.diffing.flips import Flips, flips_of
from stages.diffing.metrics import Metric, diff_metrics, diff_params
from stages.diffing.rows import MOST_KEYS, RowsDiff, diff_rows
from stages.diffing.versions import Version


@dataclass(frozen=True)
class Comparison:
    """Two versions and what differs: params, datasets, labels and metrics. None: not known of both versions."""

    old: Version
    new: Version
    params: dict[str, dict[str, object]] | None
    datasets: dict[str, RowsDiff]
    flips: Flips | None
    metrics: dict[str, dict[str, Metric]] | None

    def as_json(self) -> dict[str, Any]:
        """For `write_json`; nothing in it depends on the machine."""
        sides = {"old": self.old, "new": self.new}
        return {
            **{side: {"name": version.name, "commit": version.commit} for side, version in sides.items()},
            "params": self.params,
            "stale": {side: version.stale for side, version in sides.items()},
            "most_keys": MOST_KEYS,
            "datasets": {dataset: asdict(diff) for dataset, diff in self.datasets.items()},
            "flips": self.flips and asdict(self.flips),
            "metrics": self.metrics and {
                file: {name: asdict(metric) | {"difference": metric.difference} for name, metric in metrics.items()}
                for file, metrics in self.metrics.items()
            },
        }


def compare(old: Version, new: Version) -> Comparison:
    """Compares two versions. Raises UserError where a dataset's key is not unique, or a file of it is damaged."""
    errors: list[str] = []
    datasets = {}
    for dataset in DATASETS:
        if dataset in old.tables or dataset in new.tables:
            with collect_errors(errors):
                datasets[dataset] = diff_rows(old.tables.get(dataset), new.tables.get(dataset))
    if errors:
        raise UserError(*errors)
    return Comparison(old, new, diff_params(old, new), datasets, flips_of(old, new), diff_metrics(old, new))
