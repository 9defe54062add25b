"""Stage `report`: few metrics, plots of all models, the page, and what a person reads at the end of a run."""

import gzip
import json
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.files import read_json, write_json, write_text
from stages.core.layout import TIMES, evaluation_file, plot_file, report_file
from stages.report import PAGE, main
from stages.reporting import page
from stages.reporting.metrics import MODELS
from tests.reporting.world import PARAMS, TEST_SET, write_world
from tests.workplace import set_arguments, write_params

HOSTILE = "</script><script>alert(1)</script> \"><img src=x onerror=alert(2)> javascript: \u2028 \u202e {{ 7 * 7 }}"


def figures(ex: float) -> dict[str, Any]:
    return {
        "questions": 10, "ex": ex, "ex_low": ex - 0.1, "ex_high": ex + 0.1, "verdicts": {"match": 5, "mismatch": 5},
        "ex_difficulty": {"easy": ex, "medium": ex, "hard": 0.0, "extra": 0.0},
        "sampled_questions": 2, "pass_at": {"1": ex, "2": ex, "16": 0.65}, "maj_at": {"1": ex, "2": ex, "16": 0.6},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all that the stage reads, and figures of the three models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    set_arguments(monkeypatch, "report", "--workers", "1")
    write_params(**PARAMS)
    write_world()
    write_json(report_file("pairs"), read_json(report_file("pairs")) | {"out": 3464})
    for place, model in enumerate(MODELS):
        write_json(evaluation_file(model, TEST_SET), figures(0.3 + place / 20))
    return tmp_path


def tables_in(text: str) -> dict[str, Any]:
    match = re.search(r'<script type="text/plain" id="tables">(.*?)</script>', text)
    assert match
    return dict(json.loads(gzip.decompress(b64decode(match[1]))))


def test_the_metrics_are_ex_and_the_most_samples_of_each_model_and_the_pairs(folder: Path) -> None:
    main()
    metrics = read_json(report_file("metrics"))
    assert list(metrics) == [TEST_SET, "pairs"] and metrics["pairs"] == 3464
    assert list(metrics[TEST_SET]) == ["sft_weak", "sft_strong", "dpo"]
    assert metrics[TEST_SET]["dpo"] == {"ex": 0.4, "pass_at_16": 0.65, "maj_at_16": 0.6}


def test_one_plot_has_each_k_of_every_model_and_the_other_each_difficulty_from_the_easiest(folder: Path) -> None:
    main()
    samples, difficulties = pl.read_csv(plot_file("samples")), pl.read_csv(plot_file("difficulty"))
    assert samples.height == 3 * 2 * 3 and samples["k"].unique().sort().to_list() == [1, 2, 16]
    assert samples.row(0) == (TEST_SET, "sft/weak", "pass@k", 1, 0.3)
    assert difficulties["difficulty"].to_list() == ["easy", "medium", "hard", "extra"] * 3
    assert difficulties["model"].unique(maintain_order=True).to_list() == list(MODELS)


def test_without_test_sets_there_are_the_pairs_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_params(**PARAMS | {"test_sets": []})
    main()
    assert read_json(report_file("metrics")) == {"pairs": 3464} and "no model was evaluated" in capsys.readouterr().out
    assert pl.read_csv(plot_file("samples")).is_empty() and pl.read_csv(plot_file("difficulty")).is_empty()
    text = PAGE.read_text()
    assert 'id="models"' not in text.split('id="explorer"')[0] and "#/compare" not in text.split("<script>")[0]


def test_it_prints_the_figures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3,464 pairs; EX in per cent, with its 95 % interval:"
    assert lines[3].split() == [TEST_SET, "dpo", "40.0", "(30.0–50.0)", "pass@16", "65.0,", "maj@16", "60.0"]


def test_the_figures_alone_are_printed_and_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_arguments(monkeypatch, "report", "--figures")
    main()
    assert capsys.readouterr().out.startswith("3,464 pairs; EX in per cent")
    assert not PAGE.exists() and not report_file("metrics").exists()


def test_every_evaluation_that_is_missing_is_named(folder: Path) -> None:
    evaluation_file("dpo", TEST_SET).unlink()
    evaluation_file("sft/weak", TEST_SET).unlink()
    with pytest.raises(UserError) as caught:
        main()
    assert caught.value.sentences == (
        "reports/evaluate/sft/weak-demo-dev.json is missing; call `dvc repro evaluate`",
        "reports/evaluate/dpo-demo-dev.json is missing; call `dvc repro evaluate`",
    )


def test_the_page_holds_every_question_and_loads_nothing(folder: Path) -> None:
    main()
    text = PAGE.read_text()
    assert tables_in(text)["questions"]["rows"] == 4 and tables_in(text)["candidates"]["rows"] == 6
    assert not re.search(r"(src|href)=\"?(https?:)?//", text) and "default-src 'none'" in text


def test_the_page_has_the_same_bytes_again(folder: Path) -> None:
    main()
    first = PAGE.read_bytes()
    main()
    assert PAGE.read_bytes() == first


def test_every_section_that_is_linked_is_there(folder: Path) -> None:
    main()
    text = PAGE.read_text()
    anchors = set(re.findall(r'href="#([a-z]+)"', text))
    assert anchors >= {"pipeline", "funnel", "models", "versions"} and anchors <= set(re.findall(r'id="([^"]+)"', text))


def test_a_paired_difference_counts_the_questions_won(folder: Path) -> None:
    main()
    text = PAGE.read_text()
    assert "sft/strong → dpo" in text and "+100.0 to +100.0" in text  # one question, which dpo alone has right


def test_a_figure_of_the_report_leads_to_its_questions(folder: Path) -> None:
    main()
    text = PAGE.read_text()
    assert 'href="#/questions?model=candidates&amp;verdict=match"' in text
    assert 'href="#/compare?a=sft/strong&amp;b=dpo&amp;source=demo&amp;split=dev"' in text
    wrong = "#/questions?model=dpo&amp;sample=greedy&amp;verdict=mismatch&amp;source=demo&amp;split=dev"
    assert f'href="{wrong}"' in text


def test_what_is_hostile_stays_text(folder: Path) -> None:
    write_world(HOSTILE)
    main()
    text = PAGE.read_text()
    assert "alert(1)" not in text and "alert(2)" not in text  # all of it is compressed
    questions = tables_in(text)["questions"]["columns"]["question"]
    assert HOSTILE in (questions["values"] if isinstance(questions, dict) else questions)


def test_hostile_params_are_escaped(folder: Path) -> None:
    write_params(**PARAMS | {"corpus": {"note": HOSTILE}})
    main()
    text = PAGE.read_text()
    assert "<script>alert(1)" not in text and "&lt;script&gt;alert(1)" in text and "\u202e" not in text


def test_more_rows_than_a_page_can_hold_are_left_to_the_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", 11)
    main()
    text = PAGE.read_text()
    assert "12 candidates and answers are too many" in text and "report --serve" in text
    assert 'id="tables"' not in text and "#/questions" not in text


def test_the_seconds_of_the_last_run_are_kept_for_the_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"stage": "corpus", "seconds": 3.0}, {"stage": "evaluate@dpo-demo-dev", "seconds": 41.0}]
    lines += [{"stage": "evaluate@sft/weak-demo-dev", "seconds": 6.04}, {"stage": "corpus", "seconds": 8.26}]
    write_text(TIMES, "".join(f"{json.dumps(line)}\n" for line in lines))
    set_arguments(monkeypatch, "report", "--times")
    main()
    times = read_json(report_file("times"))
    assert times["seconds"] == {"corpus": 8.3, "evaluate@dpo-demo-dev": 41.0, "evaluate@sft/weak-demo-dev": 6.0}
    assert "dvc repro report" in capsys.readouterr().out
    set_arguments(monkeypatch, "report")
    main()
    assert times["measured"] in PAGE.read_text() and "<td>47</td>" in PAGE.read_text()


def test_without_a_run_there_are_no_seconds_to_keep(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_arguments(monkeypatch, "report", "--times")
    with pytest.raises(UserError, match=r"reports/times.jsonl has no seconds of any stage; run `dvc repro`"):
        main()


@pytest.mark.parametrize("port", ["-1", "65536", "x", "80.5"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    set_arguments(monkeypatch, "report", "--serve", f"--port={port}")
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
