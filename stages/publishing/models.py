"""What of a model is published, and the facts of its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from stages.errors import UserError
from stages.files import read_json, write_text
from stages.publishing.cards import model_front, render
from stages.publishing.facts import SENSE
from stages.publishing.licences import OURS
from stages.publishing.making import Making

TEMPLATE = Path(__file__).with_name("model.md.jinja")
Weights = Literal["full", "adapter"]

_TAKEN = {".safetensors", ".json", ".jinja", ".model", ".txt"}
_ADAPTER = "adapter"  # the folder in a model's that has its adapters


def model_files(folder: Path, weights: Weights) -> dict[str, Path]:
    """The files of a model that are published: path in the repository to the file.

    `weights`: full is the whole model, adapter its LoRA adapters with the tokenizer. Raises UserError where there are
    none, or where the folder has files of another kind: pickled weights can run code.
    """
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    strange = [name for name, path in files.items() if path.suffix not in _TAKEN]
    if strange:
        raise UserError(f"{folder} has {', '.join(strange)}; only safetensors, JSON and text are published: remove it")
    own = {name.removeprefix(f"{_ADAPTER}/"): path for name, path in files.items() if name.startswith(f"{_ADAPTER}/")}
    if weights == "full":
        return {name: path for name, path in files.items() if not name.startswith(f"{_ADAPTER}/")}
    if not own:
        raise UserError(f"`publish.weights` is adapter, but {folder} has none; train it with `lora`, or set it to full")
    return own | {name: path for name, path in files.items() if "token" in name or path.suffix in {".jinja", ".model"}}


def write_model_card(
    model: str, repository: str, weights: Weights, making: Making, evaluations: Path, learnt: Mapping[str, Any],
    path: Path,
) -> None:
    """Writes the card of a model. `evaluations`: folder of the figures of `evaluate`; `learnt`: what the preference
    learning reported. Raises UserError where a test set was not evaluated, or the template is wrong."""
    sections = making.sections
    role = model.removeprefix("sft/")
    base = making.bases.get("strong" if model == "dpo" else role)
    results = {name: read_json(evaluations / f"{model}-{name}.json") for name in sections["evaluate"]["test_sets"]}
    title, licence = repository.rpartition("/")[2], base.licence if base else OURS
    front = model_front(title, licence, base.name if base else None, making.dataset, making.version, results)
    card = render(TEMPLATE, front, {
        **making.facts(), **_about(model, sections, results), "name": title, "repository": repository,
        "weights": weights, "base": base.title if base else None, "preference": learnt if model == "dpo" else None,
        "results": results, "citations": [SENSE],
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
        "ks": [k for k in kinds[0] if all(k in kind for kind in kinds)],
    }  # fmt: skip
