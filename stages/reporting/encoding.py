"""Tables as a page holds them: columns, dictionary-coded where that is shorter, as JSON, compressed, in base64.

A browser reads this with its own DecompressionStream. The bytes depend on the tables and on the release of pyarrow
alone: the zlib of Python differs between systems.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa

_LEVEL = 9


def encode_tables(tables: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Each table as `{"rows": N, "columns": {name: column}}`. A column is a list of N values, or a dictionary of
    `values` and N `codes` that index them, -1 for NULL."""
    return {
        name: {"rows": table.height, "columns": {column.name: _column(column) for column in table.iter_columns()}}
        for name, table in tables.items()
    }


def _column(column: pl.Series) -> list[Any] | dict[str, list[Any]]:
    if column.dtype != pl.String or 2 * column.n_unique() > len(column):
        return column.to_list()
    values = column.drop_nulls().unique().sort()
    codes = column.to_frame("value").join(
        values.to_frame("value").with_row_index("code"), on="value", how="left", maintain_order="left"
    )["code"]
    return {"values": values.to_list(), "codes": codes.cast(pl.Int64).fill_null(-1).to_list()}


def packed(value: object) -> str:
    """A value as JSON, compressed by gzip, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    codec = pa.Codec("gzip", compression_level=_LEVEL)
    compressed = codec.compress(text.encode("utf-8", "surrogatepass"), asbytes=True)
    return b64encode(compressed).decode()
