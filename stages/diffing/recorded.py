"""What dvc.lock records of the stages of a version: the params that its data was made with, and which stages are stale.

A stage is stale where DVC has not run it since one of its inputs changed: its params in params.yaml, a file that
another stage makes, or a stage before it that is stale. A partial run leaves stale stages. Code is not compared.
dvc.lock does not say what is in a folder: one that several stages write to counts as changed if one of them is stale.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from itertools import product
from typing import Any

from stages.core.files import decode_json
from stages.core.params import PARAMS_FILE

Entries = Mapping[str, Mapping[str, Any]]
"""Stage to its entry in dvc.lock."""

Params = Mapping[str, object]
"""Dotted name to value."""

_MISSING = object()


def flat(values: object, above: str = "") -> dict[str, object]:
    """Every value in nested mappings, by dotted name; a list is one value. Text that reads as a number, true, false or
    null becomes that: dvc.lock is read as text, where null is empty."""
    if isinstance(values, Mapping) and (values or not above):
        inside = (flat(value, f"{above}.{name}" if above else str(name)) for name, value in values.items())
        return {name: value for part in inside for name, value in part.items()}
    return {above: _plain(values)}


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, str):
        return value
    try:
        return decode_json(value, parse_constant=str) if value else None
    except ValueError:
        return value


def live_entries(pipeline: Mapping[str, Any], locked: Entries, current: Params | None) -> Entries:
    """The entries of the stages in the pipeline, in its order: DVC also keeps those of items that are no longer in a
    matrix. `current`: the params of params.yaml, None where they are not known."""
    entries = {}
    for stage, definition in pipeline.items():
        items = _items(definition, current or {})
        for name, entry in locked.items():
            base, _, item = name.partition("@")
            if base == stage and (items is None or item in items):
                entries[name] = entry
    return entries


def _items(definition: Mapping[str, Any], current: Params) -> set[str] | None:
    """The names behind the `@` of a stage's items; None where it has no items, or where they depend on params that are
    not known."""
    if "foreach" in definition:
        lists = [definition["foreach"]]
    elif "matrix" in definition:
        lists = list(definition["matrix"].values())
    else:
        return None
    names: list[list[str]] = []
    for values in lists:
        values = current.get(values[2:-1]) if isinstance(values, str) else values
        if not isinstance(values, list | dict) or not all(isinstance(value, str) for value in values):
            return None
        names.append(list(values))
    return set(map("-".join, product(*names)))


def params_of(entries: Entries, current: Params | None) -> dict[str, object]:
    """The params that the data was made with. A section is taken from the stage of its name, where that stage recorded
    all of it. Where stages ran with different values, the value in params.yaml (`current`) is taken if one of them ran
    with it, else that of the first stage in the pipeline."""
    records: dict[str, list[tuple[bool, bool, object]]] = defaultdict(list)
    whole = {stage for stage, entry in entries.items() if stage in entry.get("params", {}).get(str(PARAMS_FILE), {})}
    for stage, entry in entries.items():
        for name, value in _recorded(entry).items():
            section = name.partition(".")[0]
            other = stage.partition("@")[0] != section
            if not (other and section in whole):
                records[name].append((other, current is not None and current.get(name, _MISSING) != value, value))
    return {name: min(values, key=lambda record: record[:2])[2] for name, values in records.items()}


def stale_stages(entries: Entries, current: Params | None) -> dict[str, list[str]]:
    """Each stale stage with its inputs that changed since it ran: params with the value it ran with and that of
    params.yaml (`current`; None: not known), and paths."""
    outs = {out["path"]: (stage, out.get("md5")) for stage, entry in entries.items() for out in entry.get("outs", [])}

    @cache
    def changed_inputs(stage: str) -> list[str]:
        params = [] if current is None else _changed_params(entries[stage], current)
        return params + [dep["path"] for dep in entries[stage].get("deps", []) if is_changed(dep)]

    def is_changed(dep: Mapping[str, str]) -> bool:
        path = dep["path"]
        if path in outs and outs[path][1] != dep.get("md5"):
            return True
        return any(changed_inputs(stage) for out, (stage, _) in outs.items() if _overlap(out, path))

    return {stage: inputs for stage in entries if (inputs := changed_inputs(stage))}


def _overlap(path: str, other: str) -> bool:
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _changed_params(entry: Mapping[str, Any], current: Params) -> list[str]:
    sections = tuple(f"{section}." for section in entry.get("params", {}).get(str(PARAMS_FILE), {}))
    old = _recorded(entry)
    new = {name: value for name, value in current.items() if f"{name}.".startswith(sections)}
    names = [name for name in {**old, **new} if old.get(name, _MISSING) != new.get(name, _MISSING)]
    return [f"{name}: {_shown(old, name)} -> {_shown(new, name)}" for name in names]


def _recorded(entry: Mapping[str, Any]) -> dict[str, object]:
    parts = (flat(value, name) for name, value in entry.get("params", {}).get(str(PARAMS_FILE), {}).items())
    return {name: value for part in parts for name, value in part.items()}


def _shown(params: Params, name: str) -> str:
    return json.dumps(params[name], ensure_ascii=False, default=str) if name in params else "–"
