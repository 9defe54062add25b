"""A small search from end to end: tiny models, pairs of gold queries, two seeds."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from stages.core.errors import UserError
from stages.core.files import read_json
from stages.scoring.search import Measured
from stages.search import best_of_groups, main
from stages.searching.plan import Setting
from tests import ROOT
from tests.execution.world import make_database
from tests.searching.test_plan import PLAN
from tests.test_train_sft import PARAMS as TRAIN_SFT
from tests.workplace import put, put_rows, set_arguments, write_prompts, write_questions

GOLDS = ["SELECT name FROM singer", "SELECT age FROM singer", "SELECT count(*) FROM album", "SELECT title FROM album"]
OWN = {"model": "sft/strong", "questions": "unseen", "pairs": {"keep_gold": True}}
SETTINGS: list[dict[str, Any]] = [
    {"pairs": "own", "objective": "rft"},
    {"pairs": "own", "objective": "cdpo", "objective_params": {"beta": 1.0}},
    {"pairs": "own", "objective": "cdpo", "rounds": 2},
]


def measured(right: int) -> Measured:
    return Measured(1, 0.0, 0.0, pl.DataFrame({"right": [True] * right + [False] * (9 - right)}))


def test_of_each_group_the_best_on_dev_goes_on_and_of_equal_ones_the_first() -> None:
    settings = [
        Setting(pairs=pairs, objective="cdpo", objective_params={"beta": beta})
        for pairs, beta in (("weak", 0.1), ("own", 0.1), ("weak", 2.0), ("own", 2.0), ("weak", 5.0))
    ]
    assert best_of_groups(settings, [measured(right) for right in (3, 7, 5, 6, 5)]) == [1, 2]


@pytest.fixture
def folder(
    tmp_path: Path, sft_rows: pl.DataFrame, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A working directory with twelve train questions of six databases, four of dev and of test, and a tiny model."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        make_database(Path("data/databases"), f"music_{number}")
    rows = write_questions(GOLDS * 5, [f"music_{number}" for number in range(6)]).to_dicts()
    for number, split in zip(range(12, 20), ["dev"] * 4 + ["test"] * 4, strict=True):
        rows[number] |= {"split": split}
    questions = put_rows("questions", rows)
    write_prompts()
    put_rows("gold", [{"question_id": name, "verdict": "ok", "flags": ""} for name in questions["question_id"]])
    put("sft", sft_rows)
    model.save_pretrained("models/sft/strong")
    tokenizer.save_pretrained("models/sft/strong")
    write_own_params()
    write_plan()
    set_arguments(monkeypatch, "search", "plan.yaml", "--workers=1")
    return tmp_path


def write_own_params() -> None:
    """Those of the repository, for models that take no time."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params["train_sft"]["strong"] = TRAIN_SFT
    params["sft"]["preference_share"] = 0.5
    params["train_dpo"] |= {"batch_size": 4, "max_length": 128}
    params["candidates"] |= {"n": 2, "max_tokens": 6}
    params["evaluate"] |= {"max_tokens": 6, "resamples": 100}
    with Path("params.yaml").open("w") as file:
        YAML().dump(params, file)


def write_plan(**changed: Any) -> None:
    with Path("plan.yaml").open("w") as file:
        YAML().dump(PLAN | {"pair_sets": {"own": OWN}, "settings": SETTINGS} | changed, file)


@pytest.mark.slow
def test_a_search_gives_a_row_a_setting_and_again_the_same_without_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    figures, table = read_json(Path("reports/search.json")), capsys.readouterr().out
    assert [(row["objective"], row["rounds"]) for row in figures["settings"]] == [("rft", 1), ("cdpo", 1), ("cdpo", 2)]
    assert all(row["pairs"] for row in figures["settings"])
    assert [len(row["test"]["seeds"]) for row in figures["settings"]] == [2, 2, 2]
    models = {path: path.stat().st_mtime_ns for path in Path("models/search").rglob("*.safetensors")}
    assert len(models) == 1 + 2 * 4  # an SFT model; for each of two seeds rft, cdpo, and two rounds of cdpo
    main()
    assert read_json(Path("reports/search.json")) == figures and capsys.readouterr().out == table
    assert models == {path: path.stat().st_mtime_ns for path in Path("models/search").rglob("*.safetensors")}


def test_mistakes_in_plan_and_params_are_told_before_any_work(folder: Path) -> None:
    pair_sets = {"own": OWN | {"pairs": {"neg_limit": 0}}, "weak": {"model": "sft/weak", "questions": "seen"}}
    settings = [SETTINGS[0] | {"training": {"epochs": 0.0}}, {"pairs": "own", "objective": "ppo"}]
    write_plan(pair_sets=pair_sets, settings=settings)
    with pytest.raises(UserError) as error:
        main()
    assert [sentence.partition(";")[0] for sentence in error.value.sentences] == [
        "plan.yaml: `pairs.neg_limit` is 0", "plan.yaml: `train_dpo.epochs` is 0.0",
        "plan.yaml: `train_dpo.objective` is 'ppo'", "models/sft/weak is not there",
    ]  # fmt: skip
    assert not Path("models/search").exists()
