"""Stage `check_params`: names every mistake in params.yaml at once, before any other stage runs.

The first stage waits for its report, which is always the same: a change of params re-runs only what reads them.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from stages.candidates import CandidatesParams
from stages.core.end_line import end_stage
from stages.core.errors import UserError, collect_errors, run_stage
from stages.core.files import write_json
from stages.core.layout import report_file
from stages.core.params import PARAMS_FILE, parse_section, read_sections
from stages.corpora.demo.domains import read_domains
from stages.corpus import DEMO, CorpusParams
from stages.counterexamples import CounterexamplesParams
from stages.evaluate import EvaluateParams
from stages.exec_results import ExecResultsParams
from stages.execution.params import ExecutionParams
from stages.gold import GoldParams
from stages.pairs import PairsParams
from stages.prompting.rendering import PromptsParams
from stages.publish import PublishParams
from stages.report import TestSets
from stages.sft import SftParams
from stages.synthesis.params import SynthesizeParams
from stages.train_dpo import OBJECTIVES, TrainDpoParams
from stages.train_grpo import TrainGrpoParams
from stages.train_sft import TrainSftParams

SECTIONS: dict[str, type[BaseModel]] = {
    "corpus": CorpusParams,
    "execution": ExecutionParams,
    "synthesize": SynthesizeParams,
    "gold": GoldParams,
    "prompts": PromptsParams,
    "sft": SftParams,
    "train_sft.strong": TrainSftParams,
    "train_sft.weak": TrainSftParams,
    "candidates": CandidatesParams,
    "exec_results": ExecResultsParams,
    "counterexamples": CounterexamplesParams,
    "pairs": PairsParams,
    "train_grpo": TrainGrpoParams,
    "train_dpo": TrainDpoParams,
    **{f"objectives.{name}": model for name, model in OBJECTIVES.items()},
    "test_sets": TestSets,
    "evaluate": EvaluateParams,
    "publish": PublishParams,
}
"""Every section of params.yaml and the model that reads it."""


def check_params(path: Path = PARAMS_FILE) -> None:
    """Raises UserError with a sentence for each unknown section, and for each wrong key or value of every section."""
    values = read_sections(path)
    listed = ", ".join(dict.fromkeys(section.partition(".")[0] for section in SECTIONS))
    mistakes = [f"{path}: `{name}` is not a section; there are: {listed}" for name in unknown_sections(values)]
    sections: dict[str, Any] = {}
    for section, model in SECTIONS.items():
        with collect_errors(mistakes):
            sections[section] = parse_section(values, section, model, path)
    for needed, check in ACROSS:
        if needed <= sections.keys():  # what is wrong with one of them by itself is told already
            mistakes += [f"{path}: {sentence}" for sentence in check(sections)]
    if mistakes:
        raise UserError(*mistakes)


def unknown_sections(values: Mapping[str, object]) -> list[str]:
    """The names in the params file that no stage reads; those of a section by role as `train_sft.<role>`."""
    parents = {section.partition(".")[0] for section in SECTIONS if "." in section}
    names = []
    for name, part in values.items():
        inside = part if name in parents and isinstance(part, dict) else ()
        names += [f"{name}.{role}" for role in inside] if inside else [name]
    return [name for name in names if name not in SECTIONS and name not in parents]


def _unknown_test_sets(sections: Mapping[str, Any]) -> list[str]:
    """Names in `test_sets` that no source of `corpus` gives."""
    corpus: CorpusParams = sections["corpus"]
    splits = corpus.demo.splits.items() if corpus.demo else ()
    available = [f"{DEMO}-{split}" for split, (databases, _) in splits if databases]
    available += [f"{name}-{split}" for name, source in corpus.sources.items() for split in source.splits]
    return [
        f"`test_sets` has {name}, which no source of `corpus` gives; there are: {', '.join(available)}"
        for name in sections["test_sets"].root if name not in available
    ]  # fmt: skip


def _unknown_domains(sections: Mapping[str, Any]) -> list[str]:
    """Domains of the demo corpus that are none."""
    demo = sections["corpus"].demo
    known = [domain.domain for domain in read_domains()] if demo and demo.domains else []
    return [
        f"`corpus.demo.domains` has {name}, which is no domain; there are: {', '.join(known)}"
        for name in (demo.domains or [] if demo else []) if name not in known
    ]


def _no_domain_left(sections: Mapping[str, Any]) -> list[str]:
    """Domains of the demo corpus that are left to the strong model: some if it is asked, and never all."""
    demo, source = sections["corpus"].demo, sections["synthesize"].source
    if demo is None:
        problem = "`synthesize.source` is demo, but `corpus.demo` is null; give another source, or none"
        return [problem] if source == "demo" else []
    count = len(demo.domains or read_domains())
    if demo.strong_domains >= count:
        problem = f"`corpus.demo.strong_domains` is {demo.strong_domains}, of {count} domains"
        return [f"{problem}, which leaves none for train; give at most {count - 1}"]
    if source == "demo" and not demo.strong_domains:
        problem = "`corpus.demo.strong_domains` is 0, so the demo's strong model has no domain"
        return [f"{problem}; give 1 or more, or another `synthesize.source`"]
    return []


def _no_strong_data(sections: Mapping[str, Any]) -> list[str]:
    """A share of strong data, without any."""
    share = sections["sft"].strong_share
    if sections["synthesize"].source != "none" or not share:
        return []
    return [f"`sft.strong_share` is {share}, but `synthesize.source` is none; set the share to null, or give a source"]


def _too_few_mutants(sections: Mapping[str, Any]) -> list[str]:
    """More counterexample databases than are made."""
    mutants, wanted = sections["counterexamples"].mutants, sections["pairs"].counterexamples
    if wanted <= mutants:
        return []
    return [f"`pairs.counterexamples` is {wanted}, but `counterexamples.mutants` is {mutants}; lower it, or raise that"]


def _beyond_context(sections: Mapping[str, Any]) -> list[str]:
    """What else would show only after the strong model is trained: that it sees less far than pairs or samples go."""
    strong = sections["train_sft.strong"]
    lengths = {name: sections[name].max_length for name in ("train_grpo", "train_dpo")}
    seen = f"the strong model, a scratch base, sees {strong.max_length} tokens (`train_sft.strong.max_length`)"
    return [
        f"`{name}.max_length` is {length}, but {seen}; lower it, or raise that"
        for name, length in lengths.items() if strong.base == "scratch" and length > strong.max_length
    ]  # fmt: skip


def _no_room(sections: Mapping[str, Any]) -> list[str]:
    """Answers that are as long as all that a scratch model sees: no prompt would fit beside them."""
    tokens = {section: sections[section].max_tokens for section in ("candidates", "evaluate")}
    models = {f"sft/{role}": sections[f"train_sft.{role}"] for role in ("strong", "weak")}
    return [
        f"`{section}.max_tokens` is {tokens[section]}, but {name}, a scratch base, sees {model.max_length} tokens in "
        f"all (`train_sft.{name.removeprefix('sft/')}.max_length`); lower it, or raise that"
        for section in tokens
        for name, model in models.items()
        if model.base == "scratch" and tokens[section] >= model.max_length
        and (section == "evaluate" or name == sections["candidates"].model)
    ]  # fmt: skip


_HIGHEST_RATES = {"train_sft": (1e-3, 5e-3), "train_dpo": (5e-5, 5e-4), "train_grpo": (5e-5, 5e-4)}
"""Of a pretrained model, all weights trained or with LoRA. No published recipe that we know goes beyond."""


def _rates_of_new_models(sections: Mapping[str, Any]) -> list[str]:
    """Learning rates with which a pretrained model forgets what it knows, as the defaults are those of a new one."""
    bases = {f"train_sft.{role}": sections[f"train_sft.{role}"].base for role in ("strong", "weak")}
    bases["train_dpo"] = bases["train_sft.strong"]
    bases |= {"train_grpo": bases["train_sft.strong"]} if sections["train_grpo"].models else {}
    sentences = []
    for section, base in bases.items():
        params = sections[section]
        highest = _HIGHEST_RATES[section.partition(".")[0]][params.lora is not None]
        if base != "scratch" and params.learning_rate > highest:
            trained = "with `lora`" if params.lora else "without `lora`"
            sentences.append(
                f"`{section}.learning_rate` is {params.learning_rate:g}, but the base {base} is pretrained; give at "
                f"most {highest:g} {trained}, and less to a larger model (compare models/recipes)"
            )
    return sentences


def _beside_preset(sections: Mapping[str, Any]) -> list[str]:
    """Params of pairs that are not what their preset has."""
    pairs: PairsParams = sections["pairs"]
    return pairs.problems()


def _without_adapters(sections: Mapping[str, Any]) -> list[str]:
    """Models whose adapters are to be published, and that will have none."""
    training = {"dpo": sections["train_dpo"]}
    training |= {f"sft/{role}": sections[f"train_sft.{role}"] for role in ("strong", "weak")}
    return [
        f"`publish.adapters` has {model}, which is trained without `lora`; set that, or take it out there"
        for model in sections["publish"].adapters if training[model].lora is None
    ]  # fmt: skip


_TRAINED = {"train_sft.strong", "train_sft.weak"}
ACROSS: list[tuple[set[str], Callable[[Mapping[str, Any]], list[str]]]] = [
    ({"corpus", "test_sets"}, _unknown_test_sets),
    ({"corpus"}, _unknown_domains),
    ({"corpus", "synthesize"}, _no_domain_left),
    ({"synthesize", "sft"}, _no_strong_data),
    ({"counterexamples", "pairs"}, _too_few_mutants),
    ({"train_sft.strong", "train_dpo", "train_grpo"}, _beyond_context),
    ({"candidates", "evaluate", *_TRAINED}, _no_room),
    ({"train_dpo", "train_grpo", *_TRAINED}, _rates_of_new_models),
    ({"pairs"}, _beside_preset),
    ({"publish", "train_dpo", *_TRAINED}, _without_adapters),
]
"""What is checked across sections: the sections needed, and what gives a sentence for each mistake."""


def main() -> None:
    argparse.ArgumentParser(prog="python -m stages.check_params", description=__doc__).parse_args()
    check_params()
    write_json(report_file("check_params"), {"params": str(PARAMS_FILE), "valid": True})
    end_stage("check_params", report_file("check_params"), f"all {len(SECTIONS)} sections are valid")


if __name__ == "__main__":
    run_stage(main)
