"""The dataset repository as a folder: shards and card."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from stages.errors import UserError
from stages.files import write_text
from stages.publishing import facts
from stages.publishing.cards import dataset_front, render
from stages.publishing.export import write_export
from stages.publishing.licences import DEMO
from stages.publishing.making import Making
from stages.publishing.views import Tables, meanings, views

TEMPLATE = Path(__file__).with_name("dataset.md.jinja")


def write_dataset(
    tables: Tables, making: Making, receipts: Sequence[Mapping[str, Any]], dictionary: Path, shard_rows: int,
    folder: Path,
) -> dict[str, Any]:
    """Writes shards and card to `folder`; returns the rows by config and split, and those left out by source.

    `dictionary`: data/README.md. Raises UserError where that does not tell of a column, or the template is wrong.
    """
    told = meanings(dictionary)
    if missing := facts.columns_told(told):
        raise UserError(f"{dictionary} does not tell of {', '.join(missing)}; add a row to its tables")
    made = views(tables)
    published = [origin.name for origin in making.origins if origin.published]
    kept = {config: rows.filter(pl.col("_source").is_in(published)) for config, rows in made.items()}
    (counts, sizes), left_out = write_export(kept, folder, shard_rows), facts.left_out(making.origins, made)
    title, bases = making.dataset.rpartition("/")[2], list(making.bases.values())
    card = render(TEMPLATE, dataset_front(title, counts, sizes, [*making.origins, *bases]), {
        **making.facts(), **facts.about_data(counts, kept), **facts.about_making(making.sections, making.bases),
        "title": title, "repository": making.dataset, "configs": facts.about_configs(counts, told),
        "origins": making.origins, "questions": Counter(tables["questions"]["source"]),
        "bases": bases, "left_out": list(left_out), "demo": DEMO in published,
        "params": {name: making.sections[name] for name in facts.MADE_BY}, "receipts": receipts,
        "citations": facts.citations(making.origins),
    })  # fmt: skip
    write_text(folder / "README.md", card)
    return {"rows": counts, "left_out": left_out}
