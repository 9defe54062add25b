"""Writes the dataset repository as a folder: shards and card."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import write_text
from stages.publishing import card_facts as facts
from stages.publishing.cards import dataset_metadata, render_card
from stages.publishing.configs import VIEWS, Tables, column_meanings, hide_sources, views
from stages.publishing.licences import DEMO, STRONG
from stages.publishing.release_info import ReleaseInfo
from stages.publishing.shards import write_export

TEMPLATE = Path(__file__).with_name("dataset.md.jinja")


def write_dataset(
    tables: Tables, info: ReleaseInfo, hashes: Mapping[str, str], dictionary: Path, shard_rows: int, folder: Path
) -> dict[str, Any]:
    """Writes shards and card to `folder`; returns the rows by config and split, and those left out by source.

    `hashes`: dataset to the sha256 of its table; `dictionary`: data/README.md. Raises UserError where the dictionary
    lacks a column, the datasets do not belong together, or the template is wrong.
    """
    meanings = column_meanings(dictionary)
    columns = {column for config in VIEWS.values() for column in config}
    if missing := sorted(columns - meanings.keys()):
        names = ", ".join(f"`{column}` of `{dataset}`" for dataset, column in missing)
        raise UserError(f"{dictionary} does not describe {names}; add a row to its tables")
    configs = views(tables)
    origins = [origin for origin in info.origins if origin.published]
    sources = [origin.name for origin in origins]
    citations = [facts.SENSE_CITATION, *(origin.citation.strip() for origin in origins if origin.citation)]
    left_out = {
        origin.name: {config: rows.filter(pl.col("_source") == origin.name).height for config, rows in configs.items()}
        for origin in info.origins
        if not origin.published
    }
    published = {config: rows.filter(pl.col("_source").is_in(sources)) for config, rows in configs.items()}
    published["gold"] = published["gold"].with_columns(hide_sources(published["gold"]["findings"], list(left_out)))
    counts, sizes = write_export(published, folder, shard_rows)
    card = render_card(TEMPLATE, dataset_metadata(info, counts, sizes), {
        **info.facts(), **facts.data_facts(counts, published), **facts.provenance_facts(info),
        "title": info.dataset.rpartition("/")[2], "repository": info.dataset,
        "configs": facts.config_facts(counts, meanings),
        "origins": info.origins,
        "questions": Counter(tables["questions"]["source"]) | {STRONG: tables["synthetic"].height},
        "answering_models": facts.answering_models(published["answers"]),
        "strong": facts.strong_fact(published["synthetic"]),
        "writers": info.writers(), "left_out": list(left_out), "demo": DEMO in sources,
        "tables": [(name, tables[name].height, sha256) for name, sha256 in hashes.items()],
        "citations": list(dict.fromkeys(citations)),
    })  # fmt: skip
    write_text(folder / "README.md", card)
    return {"rows": counts, "left_out": left_out}
