"""The export folder of a dataset repository: Parquet shards by config and split."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from stages.core.progress import progress
from stages.publishing.configs import columns_of, features_of

Counts = dict[str, dict[str, int]]
"""Config to split to a number: of rows, or of bytes."""

SPLITS = ["train", "dev", "test"]
_ROW_GROUP = 10_000  # rows; the Hub's viewer reads whole groups


def write_export(configs: Mapping[str, pl.DataFrame], folder: Path, shard_rows: int) -> tuple[Counts, Counts]:
    """Writes `<config>/<split>-<shard>-of-<shards>.parquet`; a split without rows has no file.

    `configs`: those of `views`. Returns the number of rows that were written, and their size in memory as Arrow.
    """
    counts: Counts = {}
    sizes: Counts = {}
    with progress("export", sum(rows.height for rows in configs.values()), "rows") as bar:
        for config, rows in configs.items():
            for split in SPLITS:
                split_rows = rows.filter(pl.col("_split") == split)
                if not split_rows.is_empty():
                    counts.setdefault(config, {})[split] = split_rows.height
                    size = _write_split(split_rows, config, folder / config / split, shard_rows)
                    sizes.setdefault(config, {})[split] = size
                bar.update(split_rows.height)
    return counts, sizes


def _write_split(rows: pl.DataFrame, config: str, start: Path, shard_rows: int) -> int:
    schema = features_of(config).arrow_schema  # with the Features in its metadata
    start.parent.mkdir(parents=True, exist_ok=True)
    shards, size = -(-rows.height // shard_rows), 0
    for number in range(shards):
        shard = rows.slice(number * shard_rows, shard_rows).select(columns_of(config))
        table = shard.to_arrow().cast(schema).replace_schema_metadata(schema.metadata)
        path = start.with_name(f"{start.name}-{number:05}-of-{shards:05}.parquet")
        pq.write_table(table, path, compression="zstd", row_group_size=_ROW_GROUP, use_content_defined_chunking=True)
        size += table.nbytes
    return size


def files_in(folder: Path) -> dict[str, Path]:
    """All files of a folder: path in it to the file."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
