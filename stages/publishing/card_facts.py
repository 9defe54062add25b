"""The facts on the dataset's card. Every number is counted from the published rows."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from stages.core.errors import UserError
from stages.core.files import sha256_folder
from stages.core.layout import model_path
from stages.publishing.configs import VIEWS, features_of, naming_configs
from stages.publishing.release_info import ReleaseInfo
from stages.publishing.shards import SPLITS, Counts

ROW_MEANINGS = {
    "pairs": "prompt, chosen, rejected",
    "candidates": "a sampled completion, the SQL in it, and what executing it showed",
    "sft": "prompt and completion of a train question whose gold is usable, or of strong data",
    "synthetic": "strong data: a question and SQL that a strong model made up, and what checking it showed",
    "gold": "a question, its gold SQL, what executing and auditing it showed, and its prompt",
    "answers": "what a model said to a question of a test set, greedily or as a sample, with its verdicts",
}
"""What a row of each config is."""

SENSE_CITATION = """@inproceedings{yang2024synthesizing,
  title     = {Synthesizing text-to-{SQL} data from weak and strong {LLMs}},
  author    = {Yang, Jiaxi and Hui, Binyuan and Yang, Min and Yang, Jian and Lin, Junyang and Zhou, Chang},
  booktitle = {Proceedings of the 62nd Annual Meeting of the Association for Computational Linguistics
               (Volume 1: Long Papers)},
  pages     = {7864--7875},
  year      = {2024}
}"""
DATA_SECTIONS = [
    "corpus", "execution", "synthesize", "gold", "prompts", "sft", "train_sft", "candidates", "exec_results",
    "counterexamples", "pairs",
]  # fmt: skip
"""The sections of params.yaml that the datasets depend on, but for `answers`."""
ANSWER_SECTIONS = ["train_dpo", "objectives", "test_sets", "evaluate"]
"""Those that `answers` depends on as well."""


def data_facts(counts: Counts, configs: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    """Rows, columns, verdicts, contracts and versions of the published rows."""
    candidates, gold = configs["candidates"], configs["gold"]
    flags = gold["flags"].str.split(",").explode(empty_as_null=True, keep_nulls=True)
    return {
        "splits": [split for split in SPLITS if any(split in rows for rows in counts.values())],
        "rows": sum(sum(rows.values()) for rows in counts.values()),
        "verdicts": _value_counts(candidates["verdict"]),
        "gold_verdicts": _value_counts(gold["verdict"]),
        "flags": _value_counts(flags.filter(flags != "")),
        "contracts": sorted(candidates["contract"].unique()),
        "sqlite_versions": sorted(candidates["sqlite_version"].unique()),
        "models": list(candidates.select("model", "model_version").unique().sort("model").iter_rows(named=True)),
    }


def strong_fact(synthetic: pl.DataFrame) -> str:
    """How much strong data there is, and from which model, in words; empty if there is none."""
    if synthetic.is_empty():
        return ""
    versions = synthetic.select("model", "model_version").unique().sort("model")
    models = " and ".join(f"{model} ({version})" for model, version in versions.iter_rows())
    refusal = synthetic["refusal"]
    return f"{refusal.null_count():,} items of {models} accepted, {refusal.count():,} left out"


def answering_models(answers: pl.DataFrame) -> list[dict[str, Any]]:
    """Each model with the sha256 of its folder, the test sets that it answered, and how many questions these are.
    Raises UserError where a folder does not exist."""
    models = answers.group_by("model").agg(pl.col("test_set").unique().sort(), pl.col("question_id").n_unique())
    return [
        {"name": model, "sha256": _sha256_of(model_path(model)), "test_sets": test_sets, "questions": questions}
        for model, test_sets, questions in models.sort("model").iter_rows()
    ]


def _sha256_of(folder: Path) -> str:
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist, but its answers are there; run `dvc repro` to make it")
    return sha256_folder(folder)


def config_facts(counts: Counts, meanings: Mapping[tuple[str, str], str]) -> list[dict[str, Any]]:
    """The name of each config, what a row is, rows by split, and the columns with their types and meanings."""
    return [
        {
            "name": config, "row_meaning": ROW_MEANINGS[config], "rows": rows,
            "columns": [
                {
                    "name": column, "type": features_of(config)[column].dtype,
                    "meaning": naming_configs(meanings[dataset, column]),
                }
                for dataset, column in VIEWS[config]
            ],
        }
        for config, rows in counts.items()
    ]  # fmt: skip


def provenance_facts(info: ReleaseInfo) -> dict[str, Any]:
    """How candidates were sampled, pairs drawn and questions answered, in words, and the params that the data depends
    on. Where candidates were imported, there are no params of sampling."""
    candidates, params = info.sections["candidates"], {name: info.sections[name] for name in DATA_SECTIONS}
    imported, titles = candidates["engine"] == "file", [model.title for model in info.candidate_models()]
    sampler = f"`{candidates['model']}` with {candidates['engine']}, fine-tuned from {[*titles, 'scratch'][0]}"
    if candidates["engine"] == "openai" and titles:
        sampler = f"{titles[0]}, at an endpoint"
    sampling = (
        f"{candidates['n']} a question, temperature {candidates['temperature']}, top_p {candidates['top_p']}, at most "
        f"{candidates['max_tokens']:,} tokens, seed {candidates['seed']}"
    )
    evaluate, answering = info.sections["evaluate"], ""
    if imported:
        params["candidates"] = {name: candidates[name] for name in ("engine", "model", "split")}
    if info.sections["test_sets"]:
        params |= {name: info.sections[name] for name in ANSWER_SECTIONS}
        answering = (
            f"one greedy one a question and model, and {evaluate['n']} samples at temperature "
            f"{evaluate['temperature']}, top_p {evaluate['top_p']}; at most {evaluate['max_tokens']:,} tokens, "
            f"seed {evaluate['seed']}"
        )
    elif imported:
        del params["train_sft"]
    return {
        "imported": imported, "params": params,
        "sampler": "predictions of other systems, imported" if imported else f"sampled from {sampler}",
        "sampling": "" if imported else sampling,
        "answering": answering,
        "pairing": ", ".join(f"{name} {json.dumps(value)}" for name, value in params["pairs"].items()),
    }


def _value_counts(values: pl.Series) -> list[tuple[str, int]]:
    """Each value and how often it occurs, the most frequent first."""
    counts = values.alias("value").value_counts(name="rows")
    return list(counts.sort(["rows", "value"], descending=[True, False]).iter_rows())
