"""What the dataset's card tells of the data: every number is counted from what is published."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from stages.publishing.configs import VIEWS, features_of
from stages.publishing.licences import Origin
from stages.publishing.release_info import Making
from stages.publishing.shards import SPLITS, Counts

WHAT = {
    "pairs": "prompt, chosen, rejected",
    "candidates": "a sampled completion, the SQL in it, and what executing it showed",
    "sft": "prompt and completion of a train question whose gold is usable",
    "gold": "a question, its gold SQL, what executing and auditing it showed, and its prompt",
}
"""What a row of each config is."""

SENSE = """@inproceedings{yang2024synthesizing,
  title     = {Synthesizing text-to-{SQL} data from weak and strong {LLMs}},
  author    = {Yang, Jiaxi and Hui, Binyuan and Yang, Min and Yang, Jian and Lin, Junyang and Zhou, Chang},
  booktitle = {Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics
               (Volume 1: Long Papers)},
  pages     = {7864--7875},
  year      = {2024}
}"""
MADE_BY = ["corpus", "gold", "prompts", "sft", "train_sft", "candidates", "exec_results", "pairs"]
"""The sections of params.yaml that the datasets depend on."""


def about_data(counts: Counts, configs: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Rows, columns, verdicts, contracts and versions, of the rows that are published."""
    candidates, gold = configs["candidates"], configs["gold"]
    flags = gold["flags"].str.split(",").explode(empty_as_null=True, keep_nulls=True)
    return {
        "splits": [split for split in SPLITS if any(split in rows for rows in counts.values())],
        "rows": sum(sum(rows.values()) for rows in counts.values()),
        "verdicts": _counted(candidates["verdict"]),
        "gold_verdicts": _counted(gold["verdict"]),
        "flags": _counted(flags.filter(flags != "")),
        "contracts": sorted(candidates["contract"].unique()),
        "sqlite_versions": sorted(candidates["sqlite_version"].unique()),
        "models": list(candidates.select("model", "model_version").unique().sort("model").iter_rows(named=True)),
    }


def about_configs(counts: Counts, meanings: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """Of each config: its name, what a row is, rows by split, and its columns with their types and meanings."""
    return [
        {
            "name": config, "what": WHAT[config], "rows": rows,
            "columns": [
                {"name": column, "type": features_of(config)[column].dtype, "meaning": meanings[dataset, column]}
                for dataset, column in VIEWS[config]
            ],
        }
        for config, rows in counts.items()
    ]  # fmt: skip


def about_making(making: Making) -> dict[str, Any]:
    """How candidates were sampled and pairs drawn, in words, and the params that count; those of sampling count for
    nothing where candidates were imported."""
    asked, params = making.sections["candidates"], {name: making.sections[name] for name in MADE_BY}
    imported, [*behind] = asked["engine"] == "file", (origin.title for origin in making.behind_candidates())
    which = f"{behind[0]}, at an endpoint" if asked["engine"] == "openai" and behind else (
        f"`{asked['model']}` with {asked['engine']}, fine-tuned from {behind[0] if behind else 'scratch'}"
    )
    sampling = f"{asked['n']} a question, temperature {asked['temperature']}, top_p {asked['top_p']}, at most "
    if imported:
        params["candidates"] = {name: asked[name] for name in ("engine", "model", "split")}
        del params["train_sft"]
    return {
        "imported": imported, "params": params,
        "sampler": "predictions of other systems, imported" if imported else f"sampled from {which}",
        "sampling": "" if imported else f"{sampling}{asked['max_tokens']} tokens, seed {asked['seed']}",
        "pairing": ", ".join(f"{name} {json.dumps(value)}" for name, value in params["pairs"].items()),
    }


def citations(origins: Sequence[Origin]) -> list[str]:
    """BibTeX of the method, and of each published source once."""
    return list(dict.fromkeys([SENSE, *(one.citation.strip() for one in origins if one.published and one.citation)]))


def left_out(origins: Sequence[Origin], configs: Mapping[str, pl.DataFrame]) -> dict[str, dict[str, int]]:
    """Source that may not be passed on, to the rows of each config that are left out for it."""
    return {
        origin.name: {config: rows.filter(pl.col("_source") == origin.name).height for config, rows in configs.items()}
        for origin in origins
        if not origin.published
    }


def columns_told(meanings: Mapping[tuple[str, str], str]) -> list[str]:
    """A sentence for each published column of which the data dictionary does not tell."""
    asked = {place for config in VIEWS.values() for place in config}
    return [f"`{column}` of `{dataset}`" for dataset, column in sorted(asked - meanings.keys())]


def _counted(values: pl.Series) -> list[tuple[str, int]]:
    """Values and how often each occurs, the most frequent first."""
    counted = values.alias("value").value_counts(name="rows")
    return list(counted.sort(["rows", "value"], descending=[True, False]).iter_rows())
