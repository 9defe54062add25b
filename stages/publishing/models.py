"""The files of a model that are published, and its card."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import read_json, write_json, write_text
from stages.core.layout import evaluation_file, model_path
from stages.databases.schema import Column, Table
from stages.prompting.ddl import render_table
from stages.prompting.token_budget import render_prompt
from stages.publishing.card_facts import SENSE_CITATION
from stages.publishing.cards import model_metadata, render_card
from stages.publishing.licences import OURS
from stages.publishing.release_info import ReleaseInfo
from stages.publishing.shards import files_in

TEMPLATE = Path(__file__).with_name("model.md.jinja")
STRONG = "sft/strong"

_ADAPTER = "adapter/"  # the folder of the LoRA adapters in the model's
_CONFIG = "adapter_config.json"
_TOKENIZER_FILES = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja",
]  # fmt: skip
_MODEL_FILES = [
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", f"{_ADAPTER}{_CONFIG}", f"{_ADAPTER}adapter_model.safetensors",
]  # fmt: skip


def model_files(folder: Path, adapters: bool) -> dict[str, Path]:
    """The files of a model that are published: path in the repository to the file.

    `adapters`: publish the LoRA adapters with the tokenizer, in place of the whole model. Raises UserError where files
    are missing, or where the folder has a file of another name: pickled weights can run code.
    """
    files = files_in(folder)
    patterns = [*_TOKENIZER_FILES, *_MODEL_FILES]
    if unknown := [name for name in files if not any(fnmatchcase(name, pattern) for pattern in patterns)]:
        raise UserError(f"{folder} has {', '.join(unknown)}, which is no file of a model as it is published; remove it")
    if adapters:
        published = {name: path for name, path in files.items() if name in _TOKENIZER_FILES}
        published |= {name.removeprefix(_ADAPTER): path for name, path in files.items() if name.startswith(_ADAPTER)}
        config, fix = _CONFIG, "LoRA adapters; train it with `lora`, or take it out of `publish.adapters`"
    else:
        published = {name: path for name, path in files.items() if "/" not in name}
        config, fix = "config.json", "whole model; run `dvc repro` to make it"
    if config not in published or not any(".safetensors" in name for name in published):
        raise UserError(f"{folder} holds no {fix}")
    return published


def adapters_base(model: str, info: ReleaseInfo) -> tuple[str, str]:
    """The repository and revision of the model that the adapters of `model` are added to. For `dpo` it is the strong
    model, published whole with this version. Raises UserError where it is not on the Hub."""
    if model == "dpo":
        if STRONG not in info.models or STRONG in info.adapters:
            fix = f"name a repository for {STRONG} in `publish.models`, not in `publish.adapters`"
            raise UserError(f"the adapters of dpo belong to {STRONG}, which is not published whole; {fix}")
        return info.models[STRONG], info.version
    base = info.bases.get(model.removeprefix("sft/"))
    if base is None:
        raise UserError(f"the adapters of {model} belong to a scratch base; take it out of `publish.adapters`")
    return base.name, base.revision


def write_adapter_config(model: str, info: ReleaseInfo, folder: Path, file: Path) -> None:
    """Writes the config of adapters with their base on the Hub, in place of the folder that they were trained from."""
    base, revision = adapters_base(model, info)
    write_json(file, read_json(folder / _ADAPTER / _CONFIG) | {"base_model_name_or_path": base, "revision": revision})


def write_model_card(
    model: str, info: ReleaseInfo, preference: Mapping[str, Any], trained_on: Sequence[str], path: Path
) -> None:
    """Writes the card of a model. `preference`: the report of `train_dpo`; `trained_on`: the sources of its training
    questions. Raises UserError where a test set was not evaluated, or the template is wrong."""
    repository, base, evaluate = info.models[model], info.base_of(model), info.sections["evaluate"]
    title = repository.rpartition("/")[2]
    results = {name: read_json(evaluation_file(model, name)) for name in info.sections["test_sets"]}
    adapter_base = adapters_base(model, info) if model in info.adapters else None
    base_name = adapter_base[0] if adapter_base else base.name if base else None
    metadata = model_metadata(title, base.licence if base else OURS, base_name, info, results)
    card = render_card(TEMPLATE, metadata, {
        **info.facts(), **_training_facts(model, info.sections), "name": title, "repository": repository,
        "adapter_base": adapter_base, "base": base.title if base else None,
        "preference": preference if model == "dpo" else None, "results": results,
        "example_prompt": example_prompt(info.sections["prompts"]), "max_tokens": evaluate["max_tokens"],
        "chat_template": has_chat_template(model_path(model)),
        "contract": evaluate["contract"], "ks": _shared_ks(results), "citations": [SENSE_CITATION],
        "left_out": [origin.name for origin in info.origins if not origin.published and origin.name in trained_on],
    })  # fmt: skip
    write_text(path, card)


def example_prompt(params: Mapping[str, Any]) -> str:
    """A prompt about an invented table, as section `prompts` of the params makes it."""
    columns = (Column("singer_id", "INTEGER", 1, ""), Column("name", "TEXT", 0, ""), Column("age", "INTEGER", 0, ""))
    rows = (("1", "'Ada'", "36"), ("2", "'Bea'", "29"))[: params["example_rows"]]
    ddl = render_table(Table("singer", False, False, columns, (), rows), params["style"])
    return render_prompt(ddl, "How many singers are older than 30?", "")


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer of the model in a folder has a chat template."""
    config = folder / "tokenizer_config.json"
    return (folder / "chat_template.jinja").exists() or (config.exists() and "chat_template" in read_json(config))


def _training_facts(model: str, sections: Mapping[str, Any]) -> dict[str, Any]:
    """How the model was trained, in words, and the params that count."""
    role, train_sft, train_dpo = model.removeprefix("sft/"), sections["train_sft"], sections["train_dpo"]
    if model != "dpo":
        training, params = f"the {role} model after SFT", {"train_sft": {role: train_sft.get(role)}}
    else:
        training = f"the strong model after SFT and preference learning ({train_dpo['objective']}) on `pairs`"
        objective = {train_dpo["objective"]: sections["objectives"][train_dpo["objective"]]}
        params = {"train_sft": {"strong": train_sft["strong"]}, "train_dpo": train_dpo, "objectives": objective}
    return {"training": training, "params": params | {name: sections[name] for name in ("execution", "evaluate")}}


def _shared_ks(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The k of pass@k that every test set has."""
    pass_at = [figures["pass_at"] for figures in results.values()]
    return [k for k in pass_at[0] if all(k in figures for figures in pass_at)] if pass_at else []
