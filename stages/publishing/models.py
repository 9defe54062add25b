"""What of a model is published, and its card."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from stages.core.errors import UserError
from stages.core.files import read_json, write_json, write_text
from stages.publishing.card_facts import SENSE
from stages.publishing.cards import model_front, render
from stages.publishing.licences import OURS
from stages.publishing.release_info import Making

TEMPLATE = Path(__file__).with_name("model.md.jinja")
STRONG = "sft/strong"

_ADAPTER = "adapter"  # the folder in a model's that has its LoRA adapters
_CONFIG = "adapter_config.json"
_TOKENIZER = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja",
]  # fmt: skip
_MODEL = [
    "config.json", "generation_config.json", "model.safetensors", "model-*-of-*.safetensors",
    "model.safetensors.index.json", f"{_ADAPTER}/{_CONFIG}", f"{_ADAPTER}/adapter_model.safetensors",
]  # fmt: skip


def model_files(folder: Path, adapters: bool) -> dict[str, Path]:
    """The files of a model that are published: path in the repository to the file.

    `adapters`: its LoRA adapters with the tokenizer, in place of the whole model. Raises UserError where it is not
    whole, or where the folder has a file that no model has: pickled weights can run code, others may hold anything.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    strange = [name for name in files if not any(fnmatchcase(name, known) for known in [*_TOKENIZER, *_MODEL])]
    if strange:
        raise UserError(f"{folder} has {', '.join(strange)}, which is no file of a model as it is published; remove it")
    own = {name.removeprefix(f"{_ADAPTER}/"): path for name, path in files.items() if name.startswith(f"{_ADAPTER}/")}
    taken = {name: path for name, path in files.items() if name in _TOKENIZER or not adapters}
    taken = own | taken if adapters else {name: path for name, path in taken.items() if "/" not in name}
    if not ({_CONFIG if adapters else "config.json"} <= taken.keys() and any(".safetensors" in name for name in taken)):
        what = "LoRA adapters; train it with `lora`, or take it out of `publish.adapters`"
        raise UserError(f"{folder} holds no {what if adapters else 'whole model; run `dvc repro` to make it'}")
    return taken


def adapters_base(model: str, making: Making) -> tuple[str, str]:
    """The repository and the revision of what a model's adapters belong to: for `dpo` the strong model as it is
    published here, whole. Raises UserError where they belong to nothing on the Hub."""
    if model == "dpo":
        if STRONG not in making.models or STRONG in making.adapters:
            fix = f"name a repository for {STRONG} in `publish.models`, not in `publish.adapters`"
            raise UserError(f"the adapters of dpo belong to {STRONG}, which is not published whole; {fix}")
        return making.models[STRONG], making.version
    base = making.bases.get(model.removeprefix("sft/"))
    if base is None:
        raise UserError(f"the adapters of {model} belong to a scratch base; take it out of `publish.adapters`")
    return base.name, base.revision


def write_adapter_config(model: str, making: Making, folder: Path, file: Path) -> None:
    """Writes the config of adapters with their base as it is on the Hub, in place of the folder it was trained from."""
    base, revision = adapters_base(model, making)
    write_json(file, read_json(folder / _ADAPTER / _CONFIG) | {"base_model_name_or_path": base, "revision": revision})


def write_model_card(
    model: str, making: Making, evaluations: Path, learnt: Mapping[str, Any], trained_on: Sequence[str], path: Path
) -> None:
    """Writes the card of a model. `evaluations`: folder of the figures of `evaluate`; `learnt`: what the preference
    learning reported; `trained_on`: the sources of what it was trained on. Raises UserError where a test set was not
    evaluated, or the template is wrong."""
    sections, repository, adapters = making.sections, making.models[model], model in making.adapters
    base = making.bases.get("strong" if model == "dpo" else model.removeprefix("sft/"))
    results = {name: read_json(evaluations / f"{model}-{name}.json") for name in sections["evaluate"]["test_sets"]}
    below = adapters_base(model, making) if adapters else None
    title, licence, named = repository.rpartition("/")[2], base.licence if base else OURS, base.name if base else None
    front = model_front(title, licence, below[0] if below else named, making, results)
    card = render(TEMPLATE, front, {
        **making.facts(), **_about(model, sections, results), "name": title, "repository": repository,
        "below": below, "base": base.title if base else None, "preference": learnt if model == "dpo" else None,
        "results": results, "citations": [SENSE],
        "left_out": [origin.name for origin in making.origins if not origin.published and origin.name in trained_on],
    })  # fmt: skip
    write_text(path, card)


def _about(model: str, sections: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What it was made by, with which params, and which k every result has."""
    role, kinds = model.removeprefix("sft/"), [one["pass_at"] for one in results.values()]
    made, params = f"the {role} model after SFT", {"train_sft": {role: sections["train_sft"].get(role)}}
    if model == "dpo":
        objective = sections["train_dpo"]["objective"]
        made = f"the strong model after SFT and preference learning ({objective}) on `pairs`"
        blocks = sections["train_dpo"].items()
        used = {objective, "lora"}  # of the blocks; the others are those of other objectives
        learning = {name: value for name, value in blocks if name in used or not isinstance(value, dict)}
        params = {"train_sft": {"strong": sections["train_sft"]["strong"]}, "train_dpo": learning}
    return {
        "made": made, "params": params | {"evaluate": sections["evaluate"]},
        "contract": sections["evaluate"]["contract"],
        "ks": [k for k in kinds[0] if all(k in kind for kind in kinds)] if kinds else [],
    }  # fmt: skip
