import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.mutation.constants import Constants, constants_of, merged, texts_that_occur
from tests import FIXTURES

CASES: dict[str, dict[str, list[Any]]] = json.loads((FIXTURES / "mutation/constants.json").read_text(encoding="utf-8"))
"""SQL to the constants of each column."""


@pytest.mark.parametrize("sql", CASES)
def test_constants_are_found_by_the_column_that_they_are_compared_with(sql: str) -> None:
    assert constants_of([sql]) == {name: frozenset(values) for name, values in CASES[sql].items()}


@given(st.text(alphabet="ab'\"`[]()=<>%-.,;*/ 179\n\x00é²INLIKE", max_size=60))
def test_any_text_can_be_read(text: str) -> None:
    for name, values in constants_of([text]).items():
        assert name == name.lower() and values


def test_the_constants_of_several_queries_are_put_together() -> None:
    left, right = constants_of(["SELECT a FROM t WHERE b = 1", "SELECT a FROM t WHERE b = 2"]), {"b": frozenset("x")}
    assert merged(left, right) == {"b": frozenset([1, 2, "x"])} == merged(right, left)


def test_of_the_texts_those_that_occur_are_left_and_all_numbers() -> None:
    constants: Constants = {"b": frozenset([1, "x", "y", "%x%"])}
    assert texts_that_occur(constants, {"x"}) == {"b": frozenset([1, "x"])}
