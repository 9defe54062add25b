"""What dvc.yaml and dvc.lock tell of a version: its datasets, its metrics, the params it was made with."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from stages.errors import UserError
from stages.tables import KEYS

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"


@dataclass(frozen=True)
class Contents:
    """`datasets`: dataset to its path and the md5 by which DVC's cache has it (None: nothing was made of it yet).
    `metrics`: paths of JSON files. `params`: dotted name to value, as text."""

    datasets: dict[str, tuple[str, str | None]]
    metrics: list[str]
    params: dict[str, str]


def contents_of(pipeline: str, lock: str, name: str) -> Contents:
    """From the texts of both files of the version `name`. Raises UserError where one is not as DVC writes it."""
    try:
        # All scalars as text: DVC's own reader takes seconds for a big dvc.lock, and YAML 1.1 another view of 1e-06.
        stages: dict[str, Any] = yaml.load(pipeline, yaml.CBaseLoader)["stages"]
        locked: dict[str, Any] = (yaml.load(lock, yaml.CBaseLoader) or {}).get("stages", {})
        made = {name: entry for name, entry in locked.items() if name.partition("@")[0] in stages}
        params = {
            param: value
            for entry in made.values()
            for values in entry.get("params", {}).values()
            for param, value in _flat(values)
        }
        return Contents(_datasets(stages, made), sorted(_metrics(stages, made)), params)
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        told = " ".join(str(error).split())
        raise UserError(f"{name}: {PIPELINE} or {LOCK} is not as DVC writes it ({told}); restore it") from None


def _datasets(stages: dict[str, Any], made: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """A dataset is the out that is named `<dataset>.parquet`."""
    hashes = {out["path"]: out.get("md5") for entry in made.values() for out in entry.get("outs", [])}
    paths = [path for stage in stages.values() for path in _paths(stage.get("do", stage), "outs")]
    named = {PurePosixPath(path).name.removesuffix(".parquet"): path for path in paths if path.endswith(".parquet")}
    return {dataset: (named[dataset], hashes.get(named[dataset])) for dataset in KEYS if dataset in named}


def _metrics(stages: dict[str, Any], made: dict[str, Any]) -> Iterator[str]:
    """The outs that stand under `metrics` in dvc.yaml, where paths may have `${…}`."""
    for name, entry in made.items():
        stage = stages[name.partition("@")[0]]
        forms = [_pattern(path) for path in _paths(stage.get("do", stage), "metrics") if path.endswith(".json")]
        for out in entry.get("outs", []):
            if any(form.fullmatch(out["path"]) for form in forms):
                yield out["path"]


def _paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind, [])]


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(".+".join(re.escape(part) for part in re.split(r"\$\{[^}]*\}", path)))


def _flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Every value in nested mappings, by dotted name; a list is one value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from _flat(part, f"{above}.{name}" if above else name)
    else:
        yield above, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def numbers_of(text: str, label: str) -> dict[str, float]:
    """Every number in a metrics file, by dotted name; lists are no metrics, as for DVC. Raises UserError where it is
    no JSON object."""
    try:
        values = json.loads(text, parse_constant=lambda name: None)  # NaN: of a training that failed, no number
    except ValueError as error:
        raise UserError(f"{label} is not JSON ({error}); restore it") from None
    if not isinstance(values, dict):
        raise UserError(f"{label} holds no JSON object; restore it")
    return dict(_numbers(values))


def _numbers(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{above}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{above}{name}", value
