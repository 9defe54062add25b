"""Stage `check_params`: names every mistake in params.yaml at once, before any other stage runs.

The first stage waits for its receipt, which is always the same: a change of params re-runs only what reads them.
"""

import argparse
from pathlib import Path

from stages.candidates import CandidatesParams
from stages.corpus import DEMO, CorpusParams
from stages.errors import UserError, run_stage
from stages.evaluate import EvaluateParams
from stages.exec_results import ExecResultsParams
from stages.files import write_json
from stages.gold import GoldParams
from stages.pairs import PairsParams
from stages.params import PARAMS_FILE, Params, read_params, read_sections
from stages.prompts import PromptsParams
from stages.publish import PublishParams
from stages.sft import SftParams
from stages.train_dpo import TrainDpoParams
from stages.train_sft import TrainSftParams

SECTIONS: dict[str, type[Params]] = {
    "corpus": CorpusParams,
    "gold": GoldParams,
    "prompts": PromptsParams,
    "sft": SftParams,
    "train_sft.strong": TrainSftParams,
    "train_sft.weak": TrainSftParams,
    "candidates": CandidatesParams,
    "exec_results": ExecResultsParams,
    "pairs": PairsParams,
    "train_dpo": TrainDpoParams,
    "evaluate": EvaluateParams,
    "publish": PublishParams,
}
"""Every section of params.yaml and the model that reads it."""


def check_params(path: Path = PARAMS_FILE) -> None:
    """Raises UserError with a sentence for each unknown section, and for each wrong key or value of every section."""
    listed = ", ".join(SECTIONS)
    mistakes = [f"{path}: `{name}` is not a section; there are: {listed}" for name in unknown_sections(path)]
    for section, model in SECTIONS.items():
        try:
            read_params(section, model, path)
        except UserError as error:
            mistakes += error.sentences
    across = (*_strange_test_sets(path), *_beyond_context(path), *_no_room(path), *_without_adapters(path))
    mistakes += [f"{path}: {sentence}" for sentence in across]
    if mistakes:
        raise UserError(*mistakes)


def _strange_test_sets(path: Path) -> list[str]:
    try:
        corpus, evaluate = read_params("corpus", CorpusParams, path), read_params("evaluate", EvaluateParams, path)
        return strange_test_sets(corpus, evaluate)
    except UserError:  # told already
        return []


def strange_test_sets(corpus: CorpusParams, evaluate: EvaluateParams) -> list[str]:
    """A sentence for each test set of `evaluate` that no source of `corpus` gives."""
    made = corpus.demo.splits.items() if corpus.demo else ()
    there = [f"{DEMO}-{split}" for split, (databases, _) in made if databases]
    there += [f"{name}-{split}" for name, source in corpus.sources.items() for split in source.splits]
    return [
        f"`evaluate.test_sets` has {name}, which no source of `corpus` gives; there are: {', '.join(there)}"
        for name in evaluate.test_sets if name not in there
    ]


def _beyond_context(path: Path) -> list[str]:
    """What else would show only after the strong model is trained: that it does not see as far as the pairs go."""
    try:
        strong = read_params("train_sft.strong", TrainSftParams, path)
        dpo = read_params("train_dpo", TrainDpoParams, path)
    except UserError:  # told already
        return []
    if strong.base != "scratch" or dpo.max_length <= strong.max_length:
        return []
    seen = f"the strong model, a scratch base, sees {strong.max_length} tokens (`train_sft.strong.max_length`)"
    return [f"`train_dpo.max_length` is {dpo.max_length}, but {seen}; lower it, or raise that"]


def _no_room(path: Path) -> list[str]:
    """Answers that are as long as all that a scratch model sees: no prompt would fit beside them."""
    try:
        tokens = {
            "candidates": read_params("candidates", CandidatesParams, path).max_tokens,
            "evaluate": read_params("evaluate", EvaluateParams, path).max_tokens,
        }
        asked = read_params("candidates", CandidatesParams, path).model
        models = {f"sft/{role}": read_params(f"train_sft.{role}", TrainSftParams, path) for role in ("strong", "weak")}
    except UserError:  # told already
        return []
    return [
        f"`{section}.max_tokens` is {tokens[section]}, but {name}, a scratch base, sees {model.max_length} tokens in "
        f"all (`train_sft.{name.removeprefix('sft/')}.max_length`); lower it, or raise that"
        for section in tokens
        for name, model in models.items()
        if model.base == "scratch" and tokens[section] >= model.max_length and (section == "evaluate" or name == asked)
    ]


def _without_adapters(path: Path) -> list[str]:
    """Models whose adapters are to be published, and that will have none."""
    try:
        publish = read_params("publish", PublishParams, path)
        training: dict[str, TrainSftParams | TrainDpoParams] = {"dpo": read_params("train_dpo", TrainDpoParams, path)}
        for role in ("strong", "weak"):
            training[f"sft/{role}"] = read_params(f"train_sft.{role}", TrainSftParams, path)
    except UserError:  # told already
        return []
    return [
        f"`publish.adapters` has {model}, which is trained without `lora`; set that, or take it out there"
        for model in publish.adapters if training[model].lora is None
    ]  # fmt: skip


def unknown_sections(path: Path = PARAMS_FILE) -> list[str]:
    """The names in the params file that no stage reads; those of a section by role as `train_sft.<role>`."""
    parents = {section.partition(".")[0] for section in SECTIONS if "." in section}
    names = []
    for name, values in read_sections(path).items():
        inside = values if name in parents and isinstance(values, dict) else ()
        names += [f"{name}.{role}" for role in inside] if inside else [name]
    return [name for name in names if name not in SECTIONS and name not in parents]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m stages.check_params", description=__doc__)
    parser.add_argument("--receipt", type=Path, help="the receipt to write")
    args = parser.parse_args()
    check_params()
    if args.receipt:
        write_json(args.receipt, {"params": str(PARAMS_FILE), "valid": True})


if __name__ == "__main__":
    run_stage(main)
