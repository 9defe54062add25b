"""The data half of the pipeline on real Spider: the recipe, `dvc repro`, and what it comes to."""

import shutil
from pathlib import Path

import polars as pl
import pytest

from stages.core.files import read_json
from stages.core.tables import read_any
from tests.real import REAL
from tests.test_end_to_end import commit, copy_repository, run, stages_run

pytestmark = [
    pytest.mark.slow, pytest.mark.realdata,
]  # fmt: skip
DATA_HALF = ["corpus", "gold", "prompts", "sft", "candidates", "exec_results", "counterexamples", "pairs"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the recipe applied, Spider and 45 systems' predictions in place, not yet run."""
    folder = tmp_path_factory.mktemp("real")
    copy_repository(folder)
    shutil.copytree(REAL / "spider", folder / "data" / "raw" / "spider")
    imported = folder / "models" / "imported" / "spider-dev"
    imported.mkdir(parents=True)
    for path in (REAL / "predictions" / "spider_dev").glob("*.txt"):
        shutil.copy(path, imported)
    run(folder, "python", "-m", "stages.recipe", "models/recipes/spider.yaml", "--apply")
    commit(folder)
    return folder


def test_three_databases_are_missing_and_the_run_says_so_before_it_starts(repository: Path) -> None:
    with pytest.raises(AssertionError, match=r"spider-dev: 62 questions ask .* missing .wta_1 62."):
        run(repository, "dvc", "repro", "corpus")
    assert not (repository / "data" / "questions.parquet").exists()


def test_the_recipe_runs_from_spiders_files_to_valid_pairs(repository: Path) -> None:
    targets = ["validate@sft", "validate@pairs"]
    told = run(repository, "dvc", "exp", "run", "-S", "corpus.allow_missing=true", *targets)
    ran = {name.partition("@")[0] for name in stages_run(told)}
    assert ran == {*DATA_HALF, "synthesize", "validate", "check_params"}
    tables = {name: read_any(repository / "data" / f"{name}.parquet") for name in (*DATA_HALF[1:], "questions")}
    assert tables["questions"].group_by("split").len().sort("split").rows() == [("dev", 972), ("train", 6904)]
    assert tables["candidates"].height == tables["exec_results"].height == 45 * 972
    assert all(read_json(repository / f"reports/validation/{name}.json")["valid"] for name in ("sft", "pairs"))
    verdicts = dict(tables["exec_results"]["verdict"].value_counts().iter_rows())
    assert verdicts["match"] > 25_000 and "undecided" not in verdicts and "gold_error" not in verdicts
    assert set(tables["pairs"]["db_id"]) <= set(tables["questions"].filter(pl.col("split") == "dev")["db_id"])
    assert tables["pairs"].height > 5_000


def test_every_gold_that_can_be_executed_is_and_the_known_bad_ones_are_found(repository: Path) -> None:
    gold = read_any(repository / "data" / "gold.parquet")
    bad = gold.filter(pl.col("verdict") != "ok")
    assert bad["question_id"].to_list() == [f"spider/train/{number}" for number in (3153, 4513, 4514)]
    sft = read_any(repository / "data" / "sft.parquet")
    assert not set(bad["question_id"]) & set(sft["question_id"])
    assert read_json(repository / "reports" / "sft.json")["human"]["dropped"]["gold_exec_error"] == 3


def test_the_page_of_the_audit_shows_them(repository: Path) -> None:
    page = (repository / "reports" / "gold.html").read_text(encoding="utf-8")
    assert "spider/train/3153" in page and "no such table: Ref_Company_Types" in page
