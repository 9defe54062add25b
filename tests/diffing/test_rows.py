from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.datasets.catalog import DATASETS
from stages.diffing.rows import EXAMPLES, MOST_KEYS, RowsDiff, diff_rows
from stages.diffing.versions import Table, open_table
from tests.diffing.world import PARAMS, frame, keyed, version

NAN = float("nan")
TEXTS = st.one_of(st.none(), st.sampled_from(["", "x", "ü\0"]))
FLOATS = st.one_of(st.none(), st.floats(allow_nan=True), st.sampled_from([0.0, NAN]))
ROWS = st.dictionaries(st.text("abc", max_size=2), st.tuples(TEXTS, FLOATS), max_size=8)


def table(rows: pl.DataFrame, dataset: str = "pairs") -> Table:
    return version("v", PARAMS, {}, **{dataset: rows}).tables[dataset]


def pairs(rows: dict[str, tuple[str | None, float | None]]) -> Table:
    """Pairs in the order given, by key: chosen and similarity."""
    return table(frame("pairs", *({"pair_id": key, "chosen": a, "similarity": b} for key, (a, b) in rows.items())))


def diff(old: pl.DataFrame, new: pl.DataFrame) -> RowsDiff:
    return diff_rows(table(old), table(new))


def counts(found: RowsDiff) -> tuple[int, int, int]:
    return found.added, found.removed, found.changed


def test_rows_are_compared_by_key_whatever_their_order() -> None:
    old = frame("pairs", *({"pair_id": key, "chosen": key, "rejected": "r"} for key in "abcd"))
    new = frame("pairs", *({"pair_id": key, "chosen": "x" if key == "c" else key, "rejected": "r"} for key in "edcb"))
    found = diff(old, new)
    assert counts(found) == (1, 1, 1) and (found.old, found.new) == (4, 4)
    assert (found.added_keys, found.removed_keys, found.changed_keys) == (["e"], ["a"], ["c"])
    assert found.changed_columns == {"chosen": 1} and found.examples == {"c": {"chosen": ["c", "x"]}}


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [(None, None, 0), (NAN, NAN, 0), (None, NAN, 1), (None, 0.0, 1), (0.0, -0.0, 0), (0.5, 0.5, 0), (0.5, 0.25, 1)],
)
def test_a_null_equals_a_null_and_nan_equals_nan(old: float | None, new: float | None, changed: int) -> None:
    assert diff(keyed("pairs", "a", similarity=old), keyed("pairs", "a", similarity=new)).changed == changed


def test_an_empty_text_is_no_null() -> None:
    assert diff(keyed("pairs", "a", witness=""), keyed("pairs", "a")).changed_columns == {"witness": 1}


def test_columns_that_one_version_lacks_are_listed_and_the_others_compared() -> None:
    old, new = keyed("pairs", "a", "b", chosen="x").drop("witness"), keyed("pairs", "a", "b").drop("prompt")
    found = diff(old, new)
    assert (found.columns_added, found.columns_removed) == (["witness"], ["prompt"])
    assert found.changed_columns == {"chosen": 2}


def test_a_column_of_another_type_is_compared_as_text_and_listed() -> None:
    old = keyed("pairs", "a", "b", similarity=1.0).with_columns(similarity=pl.Series(["1.0", "2.0"]))
    found = diff(old, keyed("pairs", "a", "b", similarity=1.0))
    assert found.retyped == {"similarity": ["String", "Float64"]} and found.changed_keys == ["b"]


def test_a_number_of_another_width_is_the_same_number() -> None:
    old = keyed("candidates", "a", tokens=3).with_columns(tokens=pl.col("tokens").cast(pl.Int32))
    found = diff_rows(table(old, "candidates"), table(keyed("candidates", "a", tokens=3), "candidates"))
    assert found.changed == 0 and found.retyped == {"tokens": ["Int32", "Int64"]}


def test_a_dataset_that_one_version_lacks_is_no_set_of_added_rows() -> None:
    only = table(keyed("pairs", "a"))
    assert (diff_rows(None, only), diff_rows(only, None)) == (RowsDiff(None, 1), RowsDiff(1, None))


def test_lists_of_keys_end_at_their_limit_and_counts_do_not() -> None:
    many = [f"{number:06}" for number in range(MOST_KEYS + 5)]
    found = diff(keyed("pairs"), keyed("pairs", *reversed(many)))
    assert found.added == MOST_KEYS + 5 and found.added_keys == many[:MOST_KEYS]
    changed = diff(keyed("pairs", *many), keyed("pairs", *many, chosen="x"))
    assert changed.changed_keys == many[:MOST_KEYS] and list(changed.examples) == many[:EXAMPLES]


@pytest.mark.parametrize("keys", [["a", "a"], ["a", None]])
def test_a_key_that_is_not_unique_is_refused(keys: list[Any]) -> None:
    rows = frame("pairs", *({"pair_id": key} for key in keys))
    with pytest.raises(UserError, match="v: pairs: two rows have the same `pair_id`, or one has none"):
        diff(rows, keyed("pairs"))


def test_a_table_without_its_key_is_refused() -> None:
    with pytest.raises(UserError, match="v: pairs has no text column `pair_id`"):
        table(keyed("pairs", "a").drop("pair_id"))


def test_a_file_that_is_damaged_within_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    keyed("pairs", *map(str, range(5000))).write_parquet(file)
    data = bytearray(file.read_bytes())
    data[4:2000] = b"x" * 1996
    file.write_bytes(data)
    with pytest.raises(UserError, match="mine cannot be read"):
        diff_rows(open_table("mine", "pairs", [file]), table(keyed("pairs")))


def test_a_dataset_in_several_files_is_one(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("dev-00000-of-00001.parquet", "train-00000-of-00001.parquet")]
    for file, key in zip(files, "ba", strict=True):
        keyed("pairs", key).write_parquet(file)
    found = diff_rows(open_table("export", "pairs", files), table(keyed("pairs", "a", "b", "c")))
    assert counts(found) == (1, 0, 0)


@settings(max_examples=40)
@given(old=ROWS, new=ROWS)
def test_counts_keys_and_mirror_hold_for_any_rows(
    old: dict[str, tuple[str | None, float | None]], new: dict[str, tuple[str | None, float | None]]
) -> None:
    found, mirrored = diff_rows(pairs(old), pairs(new)), diff_rows(pairs(new), pairs(old))
    assert set(found.added_keys) == new.keys() - old.keys()
    assert set(found.removed_keys) == old.keys() - new.keys()
    differ = {key for key in old.keys() & new.keys() if repr(_one_zero(old[key])) != repr(_one_zero(new[key]))}
    assert set(found.changed_keys) == differ
    assert len(old) + found.added - found.removed == len(new) == found.new
    assert (mirrored.added_keys, mirrored.removed_keys) == (found.removed_keys, found.added_keys)
    assert (mirrored.changed_keys, mirrored.changed_columns) == (found.changed_keys, found.changed_columns)
    assert max(found.changed_columns.values(), default=0) <= found.changed <= sum(found.changed_columns.values())


def _one_zero(values: tuple[str | None, float | None]) -> tuple[str | None, float | None]:
    """0.0 and -0.0 are one number; `repr` parts them, and does not part one NaN from another."""
    return values[0], values[1] + 0.0 if values[1] is not None else None


@settings(max_examples=20)
@given(rows=ROWS)
def test_nothing_differs_from_itself_nor_from_a_copy(rows: dict[str, tuple[str | None, float | None]]) -> None:
    one = pairs(rows)
    assert diff_rows(one, one) == diff_rows(one, pairs(rows)) == RowsDiff(len(rows), len(rows))


def test_every_dataset_can_be_compared() -> None:
    for dataset in DATASETS:
        found = diff_rows(table(keyed(dataset, "a"), dataset), table(keyed(dataset, "a", "b"), dataset))
        assert counts(found) == (1, 0, 0)
