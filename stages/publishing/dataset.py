"""The dataset repository as a folder: shards and card."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import write_text
from stages.publishing import card_facts as facts
from stages.publishing.cards import dataset_front, render
from stages.publishing.configs import Tables, meanings, views, without
from stages.publishing.licences import DEMO
from stages.publishing.release_info import Making
from stages.publishing.shards import write_export

TEMPLATE = Path(__file__).with_name("dataset.md.jinja")


def write_dataset(
    tables: Tables, making: Making, hashes: Mapping[str, str], dictionary: Path, shard_rows: int, folder: Path
) -> dict[str, Any]:
    """Writes shards and card to `folder`; returns the rows by config and split, and those left out by source.

    `hashes`: dataset to the sha256 of its table; `dictionary`: data/README.md. Raises UserError where that does not
    tell of a column, the datasets do not belong together, or the template is wrong.
    """
    told = meanings(dictionary)
    if missing := facts.columns_told(told):
        raise UserError(f"{dictionary} does not tell of {', '.join(missing)}; add a row to its tables")
    made = views(tables)
    published = [origin.name for origin in making.origins if origin.published]
    left_out = facts.left_out(making.origins, made)
    kept = {config: rows.filter(pl.col("_source").is_in(published)) for config, rows in made.items()}
    kept["gold"] = kept["gold"].with_columns(without(kept["gold"]["findings"], list(left_out)))
    counts, sizes = write_export(kept, folder, shard_rows)
    card = render(TEMPLATE, dataset_front(making, counts, sizes), {
        **making.facts(), **facts.about_data(counts, kept), **facts.about_making(making),
        "title": making.dataset.rpartition("/")[2], "repository": making.dataset,
        "configs": facts.about_configs(counts, told),
        "origins": making.origins, "questions": Counter(tables["questions"]["source"]),
        "bases": making.behind_candidates(), "left_out": list(left_out), "demo": DEMO in published,
        "tables": [(name, tables[name].height, sha256) for name, sha256 in hashes.items()],
        "citations": facts.citations(making.origins),
    })  # fmt: skip
    write_text(folder / "README.md", card)
    return {"rows": counts, "left_out": left_out}
