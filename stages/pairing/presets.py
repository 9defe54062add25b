"""Settings of `pairs` that have a name."""

from collections.abc import Mapping
from typing import Literal

Preset = Literal["grouped-any-limit1", "grouped-any-all", "one-per-question", "hard-negatives"]

_PUBLISHED: dict[str, object] = {
    "dedup": True, "neg_filter": "all", "keep_gold": False, "neg_limit": 1, "neg_order": "random", "pos_limit": None,
    "counterexamples": 0,
}  # fmt: skip
PRESETS: dict[Preset, dict[str, object]] = {
    "grouped-any-limit1": _PUBLISHED,
    "grouped-any-all": _PUBLISHED | {"neg_limit": None},
    "one-per-question": _PUBLISHED | {"pos_limit": 1},
    "hard-negatives": _PUBLISHED | {"neg_filter": "executable", "neg_order": "nearest", "counterexamples": 8},
}
"""Preset to the params that it sets. `grouped-any-limit1`: the published setting; `grouped-any-all`: every pair of it;
`one-per-question`: each question counts alike; `hard-negatives`: queries that ran, nearest to a chosen that no
counterexample database refutes."""


def preset_problems(preset: Preset | None, params: Mapping[str, object]) -> list[str]:
    """A sentence for each of the params that is not what the preset has."""
    return [
        f"`pairs.{name}` is {_yaml(params[name])}, but preset {preset} has {_yaml(value)}; "
        f"set it to {_yaml(value)}, or pairs.preset to null"
        for name, value in (PRESETS[preset] if preset else {}).items()
        if params[name] != value
    ]


def _yaml(value: object) -> str:
    return "null" if value is None else str(value).lower()
