"""Stage `report`: few metrics, plots of all models, and what a person reads at the end of a run."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.files import read_json, write_json
from stages.core.layout import evaluation_file, plot_file, report_file
from stages.report import MODELS, main
from tests.workplace import set_arguments, write_params

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
    set_arguments(monkeypatch, "report")
    write_params(test_sets=TEST_SETS)
    write_json(report_file("pairs"), {"in": 9, "out": 3464})
    for place, (test_set, model) in enumerate((test_set, model) for test_set in TEST_SETS for model in MODELS):
        write_json(evaluation_file(model, test_set), figures(0.3 + place / 20))
    return tmp_path


def test_the_metrics_are_ex_and_the_most_samples_of_each_model_and_the_pairs(folder: Path) -> None:
    main()
    metrics = read_json(report_file("metrics"))
    assert list(metrics) == [*TEST_SETS, "pairs"] and metrics["pairs"] == 3464
    assert list(metrics["demo-dev"]) == ["sft_weak", "sft_strong", "dpo"]
    assert metrics["demo-test"]["dpo"] == {"ex": 0.55, "pass_at_16": 0.65, "maj_at_16": 0.6}


def test_one_plot_has_each_k_of_every_model_and_the_other_each_difficulty_from_the_easiest(folder: Path) -> None:
    main()
    samples, difficulties = pl.read_csv(plot_file("samples")), pl.read_csv(plot_file("difficulty"))
    assert samples.height == 6 * 2 * 3 and samples["k"].unique().sort().to_list() == [1, 2, 16]
    assert samples.row(0) == ("demo-dev", "sft/weak", "pass@k", 1, 0.3)
    assert difficulties["difficulty"].to_list() == ["easy", "medium", "hard", "extra"] * 6
    assert difficulties["model"].unique(maintain_order=True).to_list() == list(MODELS)


def test_without_test_sets_there_are_the_pairs_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(test_sets=[])
    main()
    assert read_json(report_file("metrics")) == {"pairs": 3464} and "no model was evaluated" in capsys.readouterr().out
    assert pl.read_csv(plot_file("samples")).is_empty() and pl.read_csv(plot_file("difficulty")).is_empty()


def test_it_prints_the_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3,464 pairs; EX in per cent, with its 95 % interval:"
    assert lines[-1].split() == ["demo-test", "dpo", "55.0", "(45.0–65.0)", "pass@16", "65.0,", "maj@16", "60.0"]


def test_every_evaluation_that_is_missing_is_named(folder: Path) -> None:
    evaluation_file("dpo", "demo-dev").unlink()
    evaluation_file("sft/weak", "demo-test").unlink()
    with pytest.raises(UserError) as caught:
        main()
    assert caught.value.sentences == (
        "reports/evaluate/dpo-demo-dev.json is missing; call `dvc repro evaluate`",
        "reports/evaluate/sft/weak-demo-test.json is missing; call `dvc repro evaluate`",
    )
