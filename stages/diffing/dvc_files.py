"""What dvc.yaml, dvc.lock and params.yaml tell of a version: datasets, metrics, params, stages that are stale."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from stages.core.errors import UserError
from stages.core.files import decode_json
from stages.core.params import PARAMS_FILE
from stages.core.tables import KEYS
from stages.core.yaml_files import parse_yaml
from stages.diffing.recorded import Entries, flat, live_entries, params_of, stale_stages

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"
_RECEIPTS = "validation"  # their folder in `reports`
_NO_FIGURES = ("check_params.json", "metrics.json")  # a receipt; the summary, and the last step of a training's curves
_MOST_VALUES = 1_000_000  # mappings, lists and scalars; a dvc.lock of this project has about 10,000
_DEEPEST = 100  # mappings and lists in each other; those of DVC are not ten


@dataclass(frozen=True)
class Contents:
    """`datasets`: dataset to its path and the md5 by which DVC's cache has it (None: nothing was made of it yet).
    `metrics`: paths of JSON files. `params`, `stale`: as a `Version` has them."""

    datasets: dict[str, tuple[str, str | None]]
    metrics: list[str]
    params: dict[str, object]
    stale: dict[str, list[str]]


def contents_of(pipeline: str, lock: str, params: str | None, name: str) -> Contents:
    """From the texts of dvc.yaml, dvc.lock and, where there is one, params.yaml of the version `name`. Raises UserError
    where one is not as DVC writes or reads it."""
    current = None if params is None else _params(params, name)
    try:
        stages: dict[str, Any] = _texts_in(pipeline)["stages"]
        locked: dict[str, Any] = (_texts_in(lock) or {}).get("stages", {})
        entries = live_entries(stages, locked, current)
        recorded, stale = params_of(entries, current), stale_stages(entries, current)
        return Contents(_datasets(stages, entries), sorted(_metrics(entries)), recorded, stale)
    except (yaml.YAMLError, AttributeError, KeyError, RecursionError, TypeError) as error:
        message = " ".join(str(error).split())
        raise UserError(f"{name}: {PIPELINE} or {LOCK} is not as DVC writes it ({message}); restore it") from None


def _texts_in(text: str) -> Any:
    """The value of a YAML text, all scalars as text: DVC's own reader takes seconds for a big dvc.lock, and YAML 1.1
    reads 1e-06 as text. Raises YAMLError where the text is no YAML, or holds more than `_require_bounded` allows."""
    _require_bounded(text)
    return yaml.load(text, yaml.CBaseLoader)


def _require_bounded(text: str) -> None:
    """Raises YAMLError where values are nested so deeply that libyaml would crash, where a value holds itself, and
    where there are too many values. DVC writes aliases for params that several stages share: what an alias stands for
    counts again."""
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


def contents_in(folder: Path, name: str) -> Contents:
    """Those of the folder of a version. Raises UserError as `contents_of` does, and where a file is not UTF-8."""
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


def _params(text: str, name: str) -> dict[str, object]:
    try:
        return flat(parse_yaml(text) or {})
    except ValueError as error:
        raise UserError(f"{name}: {PARAMS_FILE} is not valid YAML ({error}); correct or restore it") from None


def _datasets(stages: dict[str, Any], made: Entries) -> dict[str, tuple[str, str | None]]:
    """A dataset is the out that is named `<dataset>.parquet`."""
    hashes = {out["path"]: out.get("md5") for entry in made.values() for out in entry.get("outs", [])}
    paths = [path for stage in stages.values() for path in _paths(stage.get("do", stage), "outs")]
    named = {PurePosixPath(path).name.removesuffix(".parquet"): path for path in paths if path.endswith(".parquet")}
    return {dataset: (named[dataset], hashes.get(named[dataset])) for dataset in KEYS if dataset in named}


def _metrics(made: Entries) -> Iterator[str]:
    """The JSON reports of the stages, but receipts and what repeats figures of others."""
    for entry in made.values():
        for out in entry.get("outs", []):
            path = PurePosixPath(out["path"])
            if path.suffix == ".json" and path.parent.name != _RECEIPTS and path.name not in _NO_FIGURES:
                yield str(path)


def _paths(stage: Mapping[str, Any], kind: str) -> list[str]:
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in stage.get(kind, [])]


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
