"""Reads the datasets, metrics, params and stale stages of a version from its dvc.yaml, dvc.lock and params.yaml.

DVC's own index gives the same of datasets, four times as slowly, and knows no params that data was made with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from stages.core.errors import UserError
from stages.core.files import decode_json
from stages.core.params import PARAMS_FILE
from stages.core.yaml_files import parse_yaml
from stages.datasets.catalog import DATASETS
from stages.diffing.recorded import flat, live_entries, params_of, stale_stages

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"
_RECEIPTS = "validation"  # their folder in `reports`
_NO_FIGURES = ("check_params.json", "metrics.json")  # a receipt; the summary, and the last step of a training's curves
_MOST_VALUES = 1_000_000  # mappings, lists and scalars; a dvc.lock of this project has about 10,000
_DEEPEST = 100  # mappings and lists in each other; those of DVC are not ten


@dataclass(frozen=True)
class Contents:
    """`hashes`: path of each output that was made to its md5 in DVC's cache. `datasets`: dataset to its path and md5
    (None: not made yet). `metrics`: paths of JSON files. `params`, `stale`: as in `Version`."""

    hashes: dict[str, str | None]
    datasets: dict[str, tuple[str, str | None]]
    metrics: list[str]
    params: dict[str, object]
    stale: dict[str, list[str]]


def contents_of(pipeline: str, lock: str, params: str | None, name: str) -> Contents:
    """Reads the texts of dvc.yaml, dvc.lock and params.yaml (None: missing) of the version `name`. Raises UserError
    where one of them is not as DVC writes or reads it."""
    try:
        current = None if params is None else flat(parse_yaml(params) or {})
    except ValueError as error:
        raise UserError(f"{name}: {PARAMS_FILE} is not valid YAML ({error}); correct or restore it") from None
    try:
        stages: dict[str, Any] = _parse_as_text(pipeline)["stages"]
        locked: dict[str, Any] = (_parse_as_text(lock) or {}).get("stages", {})
        entries = live_entries(stages, locked, current)
        recorded, stale = params_of(entries, current), stale_stages(entries, current)
        # Without receipts, and without the reports that repeat figures of others.
        hashes = {out["path"]: out.get("md5") for entry in entries.values() for out in entry.get("outs", [])}
        metrics = sorted(
            str(path) for path in map(PurePosixPath, hashes)
            if path.suffix == ".json" and _RECEIPTS not in path.parts and path.name not in _NO_FIGURES
        )  # fmt: skip
        return Contents(hashes, _datasets(stages, hashes), metrics, recorded, stale)
    except (yaml.YAMLError, AttributeError, KeyError, RecursionError, TypeError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{name}: {PIPELINE} or {LOCK} is not as DVC writes it ({message}); restore it") from None


def _parse_as_text(text: str) -> Any:
    """The value of a YAML text, all scalars as text: DVC's own reader takes seconds for a big dvc.lock, and YAML 1.1
    reads 1e-06 as text. Raises YAMLError where the text is no YAML, where values are nested so deeply that libyaml
    would crash, where a value holds itself, and where there are too many values. DVC writes aliases for params that
    several stages share: what an alias stands for counts again."""
    count, opened, sizes = 0, list[tuple[str | None, int]](), dict[str, int]()
    for event in yaml.parse(text, yaml.CBaseLoader):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise yaml.YAMLError(f"the alias `*{event.anchor}` stands for no value before it")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, count))
            count += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: count - before} if anchor else {}
        elif isinstance(event, yaml.ScalarEvent):
            count += 1
            sizes |= {event.anchor: 1} if event.anchor else {}
        if len(opened) > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")
        if count > _MOST_VALUES:
            raise yaml.YAMLError(f"with its aliases, it has more than {_MOST_VALUES:,} values")
    return yaml.load(text, yaml.CBaseLoader)


def contents_in(folder: Path, name: str) -> Contents:
    """Reads these files of a folder, the version `name`. Raises UserError as `contents_of`, or if one is not UTF-8."""
    pipeline, lock, params = (_text(folder / file, name) for file in (PIPELINE, LOCK, PARAMS_FILE))
    return contents_of(pipeline or "", lock or "", params, name)


def _text(file: Path, name: str) -> str | None:
    """The text of a file, None where it is missing."""
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: {file.name} is not UTF-8 ({error}); restore it") from None


def _datasets(stages: dict[str, Any], hashes: dict[str, str | None]) -> dict[str, tuple[str, str | None]]:
    """A dataset is the out that is named `<dataset>.parquet`."""
    outs = [out for stage in stages.values() for out in stage.get("do", stage).get("outs", [])]
    paths = [next(iter(out)) if isinstance(out, dict) else out for out in outs]
    named = {PurePosixPath(path).name.removesuffix(".parquet"): path for path in paths if path.endswith(".parquet")}
    return {dataset: (named[dataset], hashes.get(named[dataset])) for dataset in DATASETS if dataset in named}


def numbers_of(text: str, label: str) -> dict[str, float]:
    """Every number in a metrics file, by dotted name; lists are no metrics, as for DVC. Raises UserError where it is
    no JSON object."""
    try:
        values = decode_json(text, parse_constant=lambda name: None)  # NaN: of a training that failed, no number
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
