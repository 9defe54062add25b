import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages import corpus, evaluate, train_dpo
from stages.core.end_line import counts_text, end_stage, shares_text, write_report
from stages.core.files import read_json
from stages.core.layout import TIMES
from tests import ROOT


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_STAGE", raising=False)


def test_a_stage_ends_with_its_report_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    dropped = {"not_train": 1_768, "over_max_questions": 6_200, "too_long": 0}
    report = {"out": 56_000, "dropped": dropped}
    write_report("candidates", report, 56_000, dropped, "5 without SQL", what="questions dropped")
    assert read_json(Path("reports/candidates.json")) == report
    assert re.fullmatch(
        r"candidates: 56,000 rows, 7,968 questions dropped \(over_max_questions 6,200, not_train 1,768\), "
        r"5 without SQL; see reports/candidates.json \([\d,]+ s\)\n",
        capsys.readouterr().out,
    )


def test_an_item_of_a_matrix_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_report("train_sft weak", {}, 9, {})
    expected = "train_sft weak: 9 rows, 0 dropped; see reports/train_sft/weak.json ("
    assert capsys.readouterr().out.startswith(expected) and Path("reports/train_sft/weak.json").is_file()


def test_of_many_reasons_the_largest_are_shown() -> None:
    counts = {"a": 1, "b": 0, "c": 3, "d": 1_200, "e": 2, "f": 9, "g": 4}
    assert counts_text(counts) == "d 1,200, f 9, g 4, c 3, e 2, …"
    assert shares_text({"match": 1, "mismatch": 3, "no_sql": 0}) == "mismatch 75.0 %, match 25.0 %"
    assert counts_text({}) == shares_text({"match": 0}) == ""


REPORTS: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("corpus", corpus.dropped_in, r"Counter\(\{.*\}\)"),
    ("train_dpo", train_dpo.figures_of,
     r"\['\d+ steps', 'loss [\d.]+ to [\d.]+', 'reward accuracy [\d.]+ %', 'log-probability .*'\]"),
    ("evaluate/dpo-demo-dev", evaluate.figures_of,
     r"\['EX [\d.]+ % \([\d.]+–[\d.]+\)', 'pass@4 [\d.]+ %', 'maj@4 [\d.]+ %'\]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "figures", "expected"), REPORTS)
def test_the_figures_of_a_stage_come_from_its_report(
    name: str, figures: Callable[[dict[str, Any]], Any], expected: str
) -> None:
    assert re.fullmatch(expected, str(figures(read_json(ROOT / f"reports/{name}.json"))))


def test_the_seconds_of_a_stage_are_recorded_where_dvc_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    TIMES.parent.mkdir()
    end_stage("by hand", Path("a.json"))
    assert not TIMES.exists()
    for name in ("gold", "sub/dvc.yaml:evaluate@dpo-demo-dev"):
        monkeypatch.setenv("DVC_STAGE", name)
        end_stage("a stage", Path("a.json"))
    records = [json.loads(line) for line in TIMES.read_text().splitlines()]
    assert [record["stage"] for record in records] == ["gold", "evaluate@dpo-demo-dev"]
    assert all(0 < record["seconds"] < 3600 for record in records)


def test_a_time_that_cannot_be_recorded_fails_no_stage(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    TIMES.mkdir(parents=True)
    monkeypatch.setenv("DVC_STAGE", "gold")
    end_stage("gold", Path("a.json"))
    output = capsys.readouterr()
    assert output.out.startswith("gold: ")
    assert output.err.startswith("reports/times.jsonl cannot be written (Is a directory), so the time of this run is ")
