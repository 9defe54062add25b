"""Tables as a page holds them."""

import gzip
import json
from base64 import b64decode
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from stages.reporting.encoding import encode_tables, packed


def decoded(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    return [None if code < 0 else column["values"][code] for code in column["codes"]]


@given(st.lists(st.none() | st.text(max_size=3), max_size=30))
def test_a_column_reads_as_it_was(values: list[str | None]) -> None:
    table = encode_tables({"t": pl.DataFrame({"c": pl.Series(values, dtype=pl.String)})})["t"]
    assert table["rows"] == len(values) and decoded(table["columns"]["c"]) == values


def test_a_column_of_few_texts_is_a_dictionary_and_one_of_many_or_of_numbers_a_list() -> None:
    frame = pl.DataFrame(
        {"few": ["b", "a", None, "b", "a", "a"], "many": list("uvwxyz"), "number": [1, 2, None, 1, 1, 1]}
    )
    columns = encode_tables({"t": frame})["t"]["columns"]
    assert columns["few"] == {"values": ["a", "b"], "codes": [1, 0, -1, 1, 0, 0]}
    assert columns["many"] == list("uvwxyz") and columns["number"] == [1, 2, None, 1, 1, 1]


def test_a_packed_value_is_gzip_in_base64_with_the_same_bytes_each_time() -> None:
    value = {"text": "ä\u2028", "numbers": [1, None, 2.5]}
    assert json.loads(gzip.decompress(b64decode(packed(value)))) == value
    assert packed(value) == packed(value)
