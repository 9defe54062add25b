"""Presets: settings that have a name."""

from typing import get_args

import pytest

from stages.pairing.presets import PRESETS, Preset
from stages.pairs import PairsParams
from tests.pairing.tables import PUBLISHED, params


def test_the_presets_that_can_be_named_are_those_of_the_table() -> None:
    assert set(get_args(Preset)) == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_sets_params_that_are_there_and_can_be_read(preset: Preset) -> None:
    assert params(preset=preset, **PRESETS[preset]).problems() == []
    assert set(PRESETS[preset]) == set(PairsParams.model_fields) - {"preset", "seed", "drop_flags"}


def test_the_published_preset_is_the_published_setting() -> None:
    assert {name: PUBLISHED[name] for name in PRESETS["grouped-any-limit1"]} == PRESETS["grouped-any-limit1"]


def test_each_param_that_a_preset_has_otherwise_is_named_with_what_to_do() -> None:
    assert params(preset="grouped-any-limit1", neg_limit=3, dedup=False, pos_limit=2, seed=9).problems() == [
        "`pairs.dedup` is false, but preset grouped-any-limit1 has true; set it to true, or pairs.preset to null",
        "`pairs.neg_limit` is 3, but preset grouped-any-limit1 has 1; set it to 1, or pairs.preset to null",
        "`pairs.pos_limit` is 2, but preset grouped-any-limit1 has null; set it to null, or pairs.preset to null",
    ]


def test_without_a_preset_any_param_will_do() -> None:
    assert params(preset=None, neg_limit=3, neg_order="nearest").problems() == []
