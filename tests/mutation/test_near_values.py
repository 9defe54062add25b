import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.execution.comparison import Cell
from stages.mutation.near_values import values_beside
from stages.mutation.rules import column_rules
from tests import FIXTURES

CASES: list[dict[str, Any]] = json.loads((FIXTURES / "mutation/near_values.json").read_text(encoding="utf-8"))
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
CELLS = st.none() | NUMBERS | st.text(max_size=5) | st.dates().map(str) | st.integers(0, 99999).map(str)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['constants']} in {case['values']}")
def test_values_beside_constants_keep_the_rules_of_their_column(case: dict[str, Any]) -> None:
    values = values_beside(case["constants"], column_rules(case["values"]))
    assert sorted(map(repr, values)) == sorted(map(repr, case["beside"]))


@given(st.lists(CELLS), st.lists(CELLS))
def test_any_constant_gives_values_of_the_type_and_in_the_range_of_any_column(
    values: list[Cell], constants: list[Cell]
) -> None:
    rules = column_rules(values)
    for value in values_beside(constants, rules):
        assert isinstance(value, rules.kind or object)
        if isinstance(value, int | float):
            assert rules.low is not None and rules.high is not None and rules.low <= value <= rules.high
