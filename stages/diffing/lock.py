"""What dvc.lock says of its stages: the params that the data was made with, and which stages are stale.

A stage is stale where it was not run again after something that it depends on changed, as after `dvc exp run` of a part
of the pipeline. Its outputs belong to an earlier version, and so do the params that it recorded.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

Entries = Mapping[str, Mapping[str, Any]]
"""Stage to its entry in dvc.lock, all scalars as text, in the order of dvc.yaml."""


def owned_params(entries: Entries, current: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Dotted name to the value that counts, and the stage that recorded it: the stage that the section is named after.

    Of several such stages (`evaluate@…`) the one counts that agrees with `current`, the version's params.yaml.
    """
    wanted = {name: meaning(value) for name, value in flat(current)}
    params: dict[str, tuple[str, str]] = {}
    for stage, entry in entries.items():
        for name, value in _recorded(entry).items():
            agrees = name in wanted and meaning(value) == wanted[name]
            if stage.partition("@")[0] == name.partition(".")[0] and (agrees or name not in params):
                params[name] = (value, stage)
    return params


def stale_stages(entries: Entries, owned: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Each stale stage, in the order of the pipeline, with the reason: what follows its name in a sentence."""
    makers = {out["path"]: (stage, out.get("md5")) for stage, entry in entries.items() for out in entry.get("outs", [])}
    own = {stage: _other_param(entry, owned) or _other_input(entry, makers) for stage, entry in entries.items()}
    reasons = {stage: reason for stage, reason in own.items() if reason}
    while further := _readers(entries, makers, reasons):
        reasons |= further
    return {stage: reasons[stage] for stage in entries if stage in reasons}


def other_params(entries: Entries, owned: Mapping[str, object], stale: Mapping[str, str]) -> dict[str, str]:
    """The params that no stage of their name recorded, from the stages that are not stale."""
    params: dict[str, str] = {}
    for stage, entry in entries.items():
        if stage not in stale:
            params = {**_recorded(entry), **params}
    return {name: value for name, value in params.items() if name not in owned}


def flat(value: Any, above: str = "") -> Iterator[tuple[str, str]]:
    """Every value in nested mappings, by dotted name; a list is one value."""
    if isinstance(value, dict) and value:
        for name, part in value.items():
            yield from flat(part, f"{above}.{name}" if above else name)
    else:
        yield above, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def meaning(text: str) -> object:
    """What a value of dvc.lock means: a number, true, false, a list, null (which DVC writes as nothing); else text."""
    if text == "":
        return None
    try:
        return json.loads(text, parse_constant=str)
    except ValueError:
        return text


def _recorded(entry: Mapping[str, Any]) -> dict[str, str]:
    """The params of a stage by dotted name."""
    return {name: value for values in entry.get("params", {}).values() for name, value in flat(values)}


def _other_param(entry: Mapping[str, Any], owned: Mapping[str, tuple[str, str]]) -> str | None:
    for name, value in _recorded(entry).items():
        if name in owned and owned[name][0] != value:
            return f"was made with {name} {value}, {owned[name][1]} with {owned[name][0]}"
    return None


def _other_input(entry: Mapping[str, Any], makers: Mapping[str, tuple[str, str | None]]) -> str | None:
    for dep in entry.get("deps", []):
        stage, md5 = makers.get(dep["path"], ("", None))
        if md5 and dep.get("md5") not in (md5, None):
            return f"read another {dep['path']} than the one that {stage} made last"
    return None


def _readers(
    entries: Entries, makers: Mapping[str, tuple[str, str | None]], stale: Mapping[str, str]
) -> dict[str, str]:
    """The other stages that read, by itself or in a folder, what a stale one made."""
    of_stale = {path: stage for path, (stage, _) in makers.items() if stage in stale}
    return {
        stage: f"reads {path}, and {maker} is stale"
        for stage, entry in entries.items() if stage not in stale
        for dep in entry.get("deps", [])
        for path, maker in of_stale.items() if path == dep["path"] or path.startswith(f"{dep['path']}/")
    }  # fmt: skip
