import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from stages.candidates import CandidatesParams
from stages.check_params import check_params, main
from stages.core.errors import UserError
from stages.core.files import read_json
from stages.core.params import read_params
from stages.train_dpo import TrainDpoParams
from tests import ROOT

PRETRAINED = {"base": "org/model", "revision": "v1", "scratch": None}
LORA = {"rank": 8, "alpha": 16, "dropout": 0.0}


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The repository's params; the working directory becomes an empty one."""
    monkeypatch.chdir(tmp_path)
    return dict(YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text()))


def write(params: dict[str, Any]) -> None:
    with Path("params.yaml").open("w") as file:
        YAML().dump(params, file)


def sentences(params: dict[str, Any]) -> tuple[str, ...]:
    write(params)
    with pytest.raises(UserError) as caught:
        check_params()
    return caught.value.sentences


def test_the_params_of_the_repository_are_right(params: dict[str, Any]) -> None:
    write(params)
    check_params()


def test_every_mistake_in_the_file_is_named_at_once_and_nothing_is_written(params: dict[str, Any]) -> None:
    params["pairs"]["neg_limit"] = 0
    params["candidates"]["temprature"] = params["candidates"].pop("temperature")
    params["gold"]["step_budget"] = "many"
    params["train_sft"]["strong"]["epochs"] = True
    sections = list(params)
    params["synthesise"] = {"n": 1}
    write(params)
    command = [sys.executable, "-m", "stages.check_params"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: params.yaml: `synthesise` is not a section; there are: {', '.join(sections)}",
        "error: params.yaml: `gold.step_budget` is 'many'; input should be a valid integer",
        "error: params.yaml: `train_sft.strong.epochs` is True; input should be a valid number",
        "error: params.yaml: `candidates.temperature` is missing; set it",
        "error: params.yaml: `candidates.temprature` is not a param; `candidates` knows: "
        f"{', '.join(CandidatesParams.model_fields)}",
        "error: params.yaml: `pairs.neg_limit` is 0; give 1 or more, or null for no limit",
    ]
    assert [path.name for path in Path().iterdir()] == ["params.yaml"]


def test_a_role_that_no_stage_trains_is_named(params: dict[str, Any]) -> None:
    params["train_sft"]["medium"] = params["train_sft"]["weak"]
    (sentence,) = sentences(params)
    assert sentence.startswith("params.yaml: `train_sft.medium` is not a section; there are: corpus, execution, synth")


def test_a_section_that_is_missing_is_named(params: dict[str, Any]) -> None:
    del params["pairs"], params["train_sft"]["weak"]
    assert [sentence.split("; ")[0] for sentence in sentences(params)] == [
        "params.yaml has no section `train_sft.weak`", "params.yaml has no section `pairs`",
    ]  # fmt: skip


def test_a_small_number_as_dvc_writes_it_is_a_number(params: dict[str, Any]) -> None:
    text = (ROOT / "params.yaml").read_text()
    rate = params["train_dpo"]["learning_rate"]
    section = text.index("\ntrain_dpo:")
    line = next(line for line in text[section:].splitlines() if line.strip().startswith("learning_rate:"))
    Path("params.yaml").write_text(text[:section] + text[section:].replace(line, "  learning_rate: 1e-06"))
    assert rate != 1e-6 == read_params("train_dpo", TrainDpoParams).learning_rate


def test_a_test_set_that_no_source_gives_is_named_beside_the_other_mistakes(params: dict[str, Any]) -> None:
    params["corpus"]["demo"]["test_databases"] = 0
    params["test_sets"] = ["demo-dev", "demo-test", "bird-dev"]
    params["pairs"]["neg_limit"] = 0
    told = "which no source of `corpus` gives; there are: demo-train, demo-dev"
    assert sentences(params)[1:] == tuple(
        f"params.yaml: `test_sets` has {name}, {told}" for name in ("demo-test", "bird-dev")
    )


def test_a_domain_that_is_none_is_named(params: dict[str, Any]) -> None:
    params["corpus"]["demo"] |= {"domains": ["music", "musik"], "strong_domains": 1}
    (sentence,) = sentences(params)
    assert sentence.startswith("params.yaml: `corpus.demo.domains` has musik, which is no domain; there are: ")


@pytest.mark.parametrize("section", ["train_dpo", "train_grpo"])
def test_what_is_longer_than_a_scratch_model_sees_is_named(section: str, params: dict[str, Any]) -> None:
    for name in ("train_dpo", "train_grpo"):
        params[name]["max_length"] = 301 if name == section else 300
    params["train_sft"]["strong"]["max_length"] = 300
    (told,) = sentences(params)
    assert told.startswith(f"params.yaml: `{section}.max_length` is 301, but the strong model, a scratch base, sees")
    params["train_sft"]["strong"] |= PRETRAINED | {"learning_rate": 1e-5}
    params["train_dpo"]["learning_rate"] = 5e-7
    write(params)
    check_params()


def test_a_rate_of_a_new_model_is_refused_for_grpo_where_that_is_on(params: dict[str, Any]) -> None:
    params["train_sft"]["strong"] |= PRETRAINED | {"learning_rate": 1e-5}
    params["train_dpo"]["learning_rate"] = 5e-7
    params["train_grpo"] |= {"learning_rate": 1e-4, "models": ["grpo"]}
    assert [message.split(", but ")[0] for message in sentences(params)] == [
        "params.yaml: `train_grpo.learning_rate` is 0.0001"
    ]


@pytest.mark.parametrize(("lora", "sft", "dpo"), [(None, 1e-3, 5e-5), (LORA, 5e-3, 5e-4)])
def test_a_rate_that_is_for_a_new_model_is_refused_for_a_pretrained_one(
    params: dict[str, Any], lora: dict[str, Any] | None, sft: float, dpo: float
) -> None:
    trained = [params["train_sft"]["strong"], params["train_sft"]["weak"], params["train_dpo"]]
    for section, highest in zip(trained, (sft, sft, dpo), strict=True):
        section |= {"lora": lora, "learning_rate": 1.1 * highest}
    write(params)
    check_params()
    for role in ("strong", "weak"):
        params["train_sft"][role] |= PRETRAINED
    shown = f"the base org/model is pretrained; give at most {sft:g} with{'' if lora else 'out'} `lora`, and less"
    messages = sentences(params)
    assert [message.split(", but ")[0] for message in messages] == [
        f"params.yaml: `{name}.learning_rate` is {1.1 * highest:g}"
        for name, highest in (("train_sft.strong", sft), ("train_sft.weak", sft), ("train_dpo", dpo))
    ]
    assert shown in messages[0] and f"at most {dpo:g} with" in messages[2]
    for section, highest in zip(trained, (sft, sft, dpo), strict=True):
        section["learning_rate"] = highest
    write(params)
    check_params()


def test_adapters_to_publish_of_a_model_that_will_have_none_are_named(params: dict[str, Any]) -> None:
    params["publish"] |= {"adapters": ["sft/weak", "dpo"], "models": {"sft/weak": "me/weak", "dpo": "me/dpo"}}
    params["train_dpo"]["lora"] = {"rank": 8, "alpha": 16, "dropout": 0.0}
    (told,) = sentences(params)
    assert told.startswith("params.yaml: `publish.adapters` has sft/weak, which is trained without `lora`;")


def test_answers_that_leave_a_scratch_model_no_room_for_a_prompt_are_named(params: dict[str, Any]) -> None:
    params["candidates"]["max_tokens"] = params["train_sft"]["weak"]["max_length"]
    (told,) = sentences(params)
    assert told.startswith("params.yaml: `candidates.max_tokens` is 384, but sft/weak, a scratch base, sees 384 tokens")
    params["candidates"]["max_tokens"], params["evaluate"]["max_tokens"] = 80, 1000
    assert [told.split(",")[0] for told in sentences(params)] == ["params.yaml: `evaluate.max_tokens` is 1000"] * 2


def test_params_without_a_mistake_get_a_receipt(params: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write(params)
    monkeypatch.setattr("sys.argv", ["check_params"])
    main()
    assert read_json(Path("reports/check_params.json"))["valid"] is True


def test_test_sets_are_named_once_and_may_be_none(params: dict[str, Any]) -> None:
    write(params | {"test_sets": []})
    check_params()
    (sentence,) = sentences(params | {"test_sets": ["demo-dev", "demo-dev"]})
    assert sentence == "params.yaml: `test_sets` is ['demo-dev', 'demo-dev']; name each test set once"


def test_params_that_contradict_the_preset_of_pairs_are_named(params: dict[str, Any]) -> None:
    params["pairs"] |= {"preset": "grouped-any-limit1", "counterexamples": 0, "neg_limit": 3, "neg_order": "frequent"}
    assert sentences(params) == (
        "params.yaml: `pairs.neg_limit` is 3, but preset grouped-any-limit1 has 1; set it to 1, or "
        "pairs.preset to null",
        "params.yaml: `pairs.neg_order` is frequent, but preset grouped-any-limit1 has random; set it to random, or "
        "pairs.preset to null",
    )
