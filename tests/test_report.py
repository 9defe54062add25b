"""Stage `report`: few metrics, plots of all models, and what a person reads at the end of a run."""

import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from stages.core.errors import UserError
from stages.core.files import read_json, write_json
from stages.report import MODELS, main

TEST_SETS = ["demo-dev", "demo-test"]


def figures(ex: float) -> dict[str, Any]:
    return {
        "questions": 10, "ex": ex, "ex_low": ex - 0.1, "ex_high": ex + 0.1,
        "ex_difficulty": {"easy": ex, "medium": ex, "hard": 0.0, "extra": 0.0},
        "pass_at": {"1": ex, "2": ex, "16": 0.65}, "maj_at": {"1": ex, "2": ex, "16": 0.6},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with params.yaml, and the reports of `pairs` and of `evaluate`."""
    monkeypatch.chdir(tmp_path)
    write_params(TEST_SETS)
    Path("evaluate/sft").mkdir(parents=True)
    write_json(Path("pairs.json"), {"in": 9, "out": 3464})
    for place, (test_set, model) in enumerate((test_set, model) for test_set in TEST_SETS for model in MODELS):
        write_json(Path("evaluate") / f"{model}-{test_set}.json", figures(0.3 + place / 20))
    monkeypatch.setattr(sys, "argv", [
        "report", "--evaluations=evaluate", "--pairs-report=pairs.json", "--metrics=metrics.json",
        "--samples-plot=samples.csv", "--difficulty-plot=difficulty.csv",
    ])  # fmt: skip
    return tmp_path


def write_params(test_sets: list[str]) -> None:
    with Path("params.yaml").open("w") as file:
        YAML().dump({"evaluate": {"test_sets": test_sets}}, file)


def test_the_metrics_are_ex_and_the_most_samples_of_each_model_and_the_pairs(folder: Path) -> None:
    main()
    metrics = read_json(Path("metrics.json"))
    assert list(metrics) == [*TEST_SETS, "pairs"] and metrics["pairs"] == 3464
    assert list(metrics["demo-dev"]) == ["sft_weak", "sft_strong", "dpo"]
    assert metrics["demo-test"]["dpo"] == {"ex": 0.55, "pass_at_16": 0.65, "maj_at_16": 0.6}


def test_one_plot_has_each_k_of_every_model_and_the_other_each_difficulty_from_the_easiest(folder: Path) -> None:
    main()
    samples, difficulties = pl.read_csv("samples.csv"), pl.read_csv("difficulty.csv")
    assert samples.height == 6 * 2 * 3 and samples["k"].unique().sort().to_list() == [1, 2, 16]
    assert samples.row(0) == ("demo-dev", "sft/weak", "pass@k", 1, 0.3)
    assert difficulties["difficulty"].to_list() == ["easy", "medium", "hard", "extra"] * 6
    assert difficulties["model"].unique(maintain_order=True).to_list() == list(MODELS)


def test_without_test_sets_there_are_the_pairs_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params([])
    main()
    assert read_json(Path("metrics.json")) == {"pairs": 3464} and "no model was evaluated" in capsys.readouterr().out
    assert pl.read_csv("samples.csv").is_empty() and pl.read_csv("difficulty.csv").is_empty()


def test_by_hand_it_prints_the_figures_and_writes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = "python -m stages.report --evaluations evaluate --pairs-report pairs.json --metrics metrics.json"
    with Path("dvc.yaml").open("w") as file:
        YAML().dump({"stages": {"report": {"cmd": command}}}, file)
    before = sorted(folder.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["report"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3,464 pairs; EX in per cent, with its 95 % interval:"
    assert lines[-1].split() == ["demo-test", "dpo", "55.0", "(45.0–65.0)", "pass@16", "65.0,", "maj@16", "60.0"]
    assert sorted(folder.rglob("*")) == before


def test_every_evaluation_that_is_missing_is_named(folder: Path) -> None:
    Path("evaluate/dpo-demo-dev.json").unlink()
    Path("evaluate/sft/weak-demo-test.json").unlink()
    with pytest.raises(UserError) as caught:
        main()
    assert caught.value.sentences == (
        "evaluate/dpo-demo-dev.json is missing; call `dvc repro evaluate`",
        "evaluate/sft/weak-demo-test.json is missing; call `dvc repro evaluate`",
    )
