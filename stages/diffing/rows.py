"""The rows of a dataset in two versions, by key: added, removed, changed, and in which columns."""

from dataclasses import dataclass, field

import polars as pl

from stages.datasets.catalog import DATASETS
from stages.diffing.versions import Table

MOST_KEYS = 10_000
"""Keys of each kind that are listed at most; the counts are of all."""

EXAMPLES = 3


@dataclass(frozen=True)
class RowsDiff:
    """What differs in a dataset. `old`, `new`: number of rows, None where a version lacks the dataset. `changed`: rows
    with the same key and another value in a column that both have. The lists of keys are sorted and hold MOST_KEYS at
    most. `retyped`: column to both types. `examples`: key to column to both values, of the first changed rows."""

    old: int | None
    new: int | None
    added: int = 0
    removed: int = 0
    changed: int = 0
    changed_columns: dict[str, int] = field(default_factory=dict)
    columns_added: list[str] = field(default_factory=list)
    columns_removed: list[str] = field(default_factory=list)
    retyped: dict[str, list[str]] = field(default_factory=dict)
    added_keys: list[str] = field(default_factory=list)
    removed_keys: list[str] = field(default_factory=list)
    changed_keys: list[str] = field(default_factory=list)
    examples: dict[str, dict[str, list[str | None]]] = field(default_factory=dict)


def diff_rows(old: Table | None, new: Table | None) -> RowsDiff:
    """Compares a dataset of two versions. Raises UserError where a key is not unique or a file is damaged."""
    if old is None or new is None:
        return RowsDiff(old.keys().len() if old else None, new.keys().len() if new else None)
    old_keys, new_keys = old.keys(), new.keys()
    if old.is_the_same_file(new):
        return RowsDiff(old_keys.len(), new_keys.len())
    places = None if old_keys.equals(new_keys) else _places(old_keys, new_keys)
    both = old_keys if places is None else old_keys.gather(places["old"])
    shared = [name for name in old.columns if name in new.columns and name != DATASETS[old.dataset].key]
    columns, differs = _changes(old, new, shared, places, both.len())
    changed, added, removed = both.filter(differs).sort(), _without(new_keys, old_keys), _without(old_keys, new_keys)
    types = {name: [str(old.columns[name]), str(new.columns[name])] for name in shared}
    return RowsDiff(
        old=old_keys.len(), new=new_keys.len(), added=added.len(), removed=removed.len(), changed=changed.len(),
        changed_columns=columns,
        columns_added=[name for name in new.columns if name not in old.columns],
        columns_removed=[name for name in old.columns if name not in new.columns],
        retyped={name: pair for name, pair in types.items() if pair[0] != pair[1]},
        added_keys=added.head(MOST_KEYS).to_list(), removed_keys=removed.head(MOST_KEYS).to_list(),
        changed_keys=changed.head(MOST_KEYS).to_list(),
        examples=_examples(old, new, changed.head(EXAMPLES), list(columns)),
    )  # fmt: skip


def _changes(
    old: Table, new: Table, shared: list[str], places: pl.DataFrame | None, rows: int
) -> tuple[dict[str, int], pl.Series]:
    """Column to the number of rows with another value in it; and, for each row that both have, whether any differs."""
    counts: dict[str, int] = {}
    changed = pl.Series([False]).new_from_index(0, rows)
    for name in shared:  # one at a time: two versions of a big dataset need not fit into memory
        before, after = _column(old, name, places, "old"), _column(new, name, places, "new")
        if before.dtype != after.dtype and not (before.dtype.is_numeric() and after.dtype.is_numeric()):
            before, after = before.cast(pl.String), after.cast(pl.String)  # else they cannot be compared
        differs = before.ne_missing(after)  # NULL equals NULL, and NaN equals NaN
        if count := int(differs.sum()):
            counts[name] = count
            changed |= differs
    return counts, changed


def _places(old: pl.Series, new: pl.Series) -> pl.DataFrame:
    """The position of each key that both have, in `old` and in `new`."""
    left, right = old.to_frame("key").with_row_index("old"), new.to_frame("key").with_row_index("new")
    return left.join(right, on="key", maintain_order="left").select("old", "new")


def _column(table: Table, name: str, places: pl.DataFrame | None, side: str) -> pl.Series:
    column = table.read(name)[name]
    return column if places is None else column.gather(places[side])


def _without(keys: pl.Series, others: pl.Series) -> pl.Series:
    """The keys that are not among `others`, sorted."""
    return keys.to_frame("key").join(others.to_frame("key"), on="key", how="anti")["key"].sort()


def _examples(old: Table, new: Table, keys: pl.Series, columns: list[str]) -> dict[str, dict[str, list[str | None]]]:
    if keys.is_empty():
        return {}
    pairs = zip(old.rows(keys).iter_rows(named=True), new.rows(keys).iter_rows(named=True), strict=True)
    examples = {}
    for key, (before, after) in zip(keys, pairs, strict=True):
        values = {name: [_text(before[name]), _text(after[name])] for name in columns}
        examples[key] = {name: pair for name, pair in values.items() if pair[0] != pair[1]}
    return examples


def _text(value: object) -> str | None:
    return None if value is None else str(value)
