"""Predictions in files as candidates. Each case of a file that is read or refused: tests/fixtures/predictions."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.candidates import main
from stages.core.files import read_json, sha256_file, write_json
from stages.core.tables import read_any
from stages.databases.paths import database_path
from stages.datasets.catalog import DATASETS
from stages.predictions.imported_candidates import SystemPredictions, imported_rows, read_imported
from stages.predictions.prediction_db_ids import PredictionTexts
from stages.predictions.prediction_files import read_predictions_for
from stages.predictions.prediction_tables import QuestionRef
from stages.validation.suites import failed_expectations, read_suite
from tests import ROOT
from tests.predictions.test_prediction_files import cases, fit, refusal, written
from tests.real import REAL
from tests.test_candidates import PARAMS
from tests.workplace import put_rows, set_arguments, write_params

ASKED = [QuestionRef(1, "demo/train/0001", "pets"), QuestionRef(3, "demo/train/0003", "concert")]


@cases("asked")
def test_the_predictions_of_the_questions_asked_are_read(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = read_predictions_for(written(case, tmp_path, monkeypatch), ASKED, 4)
    assert (result.texts, result.not_asked) == (case["predictions"], case["not_asked"])


@cases("asked_refused")
def test_files_that_do_not_answer_the_questions_asked_are_refused(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = refusal(read_predictions_for, written(case, tmp_path, monkeypatch), ASKED, 4)
    assert fit(sentences, case["sentences"]), sentences


def predictions_of(path: Path, *texts: list[str]) -> SystemPredictions:
    return SystemPredictions(path, ASKED[: len(texts)], PredictionTexts(list(texts), Counter()))


@pytest.fixture
def systems(tmp_path: Path) -> list[SystemPredictions]:
    """Two systems of two samples and of one for each of two questions."""
    for name in ("a.jsonl", "b.txt"):
        (tmp_path / name).write_text(name)
    return [
        predictions_of(tmp_path / "a.jsonl", ["SELECT 1", ""], ["SELECT 2", "SELECT 2"]),
        predictions_of(tmp_path / "b.txt", ["SELECT 1"], ["SELECT 3"]),
    ]


def test_a_row_holds_the_prediction_and_its_system_and_nothing_that_only_sampling_knows(
    systems: list[SystemPredictions],
) -> None:
    frame = imported_rows(systems)
    assert frame.schema == pl.Schema(DATASETS["candidates"].columns)
    row = frame.row(0, named=True)
    assert len(row.pop("candidate_id")) == 16
    assert {name: value for name, value in row.items() if value is not None} == {
        "question_id": "demo/train/0001", "sample": 0, "completion": "SELECT 1", "sql": "SELECT 1", "model": "a",
        "model_version": sha256_file(systems[0].path), "finish_reason": "imported",
    }  # fmt: skip


def test_the_samples_of_a_question_are_numbered_over_all_systems(systems: list[SystemPredictions]) -> None:
    numbered = imported_rows(systems).sort("question_id", "sample").select("question_id", "sample", "model").rows()
    assert numbered == [
        (question.question_id, sample, model) for question in ASKED for sample, model in enumerate("aab")
    ]


def test_another_system_changes_no_candidates_id(systems: list[SystemPredictions]) -> None:
    alone, both = (set(imported_rows(subset)["candidate_id"]) for subset in (systems[1:], systems))
    assert len(both) == 6 and alone < both


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with questions of two sources, all but two of one split, predictions and params.yaml."""
    monkeypatch.chdir(tmp_path)
    set_arguments(monkeypatch, "candidates")
    rows: list[dict[str, object]] = [
        {"question_id": f"{source}/{split}/{number:04}", "source": source, "split": split, "db_id": "music"}
        for source, split, numbers in (("spider", "dev", (0, 2, 3)), ("bird", "dev", (1,)), ("spider", "train", (0,)))
        for number in numbers
    ]
    put_rows("questions", rows)
    change_params()
    write_json(tmp_path / "reports/corpus.json", {"sets": {"spider-dev": {"read": 4}, "bird-dev": {"read": 2}}})
    write("spider-dev/b.txt", "SELECT 1\nSELECT 9\n\nSELECT 2\n")
    write("spider-dev/a.jsonl", "".join(
        json.dumps({"question_id": f"spider/dev/{number:04}", "sql": sql}) + "\n"
        for number, sql in ((3, "SELECT 2"), (0, "SELECT 1"), (2, "SELECT 3"), (0, "SELECT 4"), (1, "SELECT 5"))
    ))  # fmt: skip
    write("bird-dev/c.json", json.dumps({"1": "SELECT 6\t----- bird -----\tmusic"}))
    return tmp_path


def test_a_query_is_the_same_with_and_without_a_fence_and_its_completion_is_kept(folder: Path) -> None:
    fenced = ["Sure:\n```sql\nSELECT 1\n```\nIt is 1.", "SELECT 1\n\nExplanation: it is 1.", "SELECT 1"]
    others = ({"question_id": f"spider/dev/000{number}", "sql": "SELECT 2"} for number in (2, 3))
    rows = [*({"question_id": "spider/dev/0000", "sql": text} for text in fenced), *others]
    write("spider-dev/a.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))
    main()
    table = read_any(folder / "data/candidates.parquet").sort("sample")
    table = table.filter(model="a", question_id="spider/dev/0000")
    assert table["completion"].to_list() == fenced
    assert table["sql"].to_list() == ["SELECT 1"] * 3
    counts = read_json(folder / "reports/candidates.json")["systems"]["spider-dev"]["a"]
    assert (counts["out"], counts["no_sql"], counts["cut_out"]) == (5, 0, 2)


def write(name: str, text: str) -> None:
    path = Path("models", "imported", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def change_params(**changed: Any) -> None:
    section = PARAMS | {"engine": "file", "model": "imported", "split": "dev"} | changed
    write_params(candidates=section, sft={"preference_share": 0.0})


def test_every_system_of_every_test_set_gives_its_candidates_and_the_report_counts_them(folder: Path) -> None:
    main()
    table = read_any(folder / "data/candidates.parquet")
    assert table.sort("question_id", "sample").select("question_id", "sample", "model", "sql").rows() == [
        ("bird/dev/0001", 0, "c", "SELECT 6"),
        ("spider/dev/0000", 0, "a", "SELECT 1"), ("spider/dev/0000", 1, "a", "SELECT 4"),
        ("spider/dev/0000", 2, "b", "SELECT 1"),
        ("spider/dev/0002", 0, "a", "SELECT 3"), ("spider/dev/0002", 1, "b", ""),
        ("spider/dev/0003", 0, "a", "SELECT 2"), ("spider/dev/0003", 1, "b", "SELECT 2"),
    ]  # fmt: skip
    assert read_json(folder / "reports/candidates.json") == {
        "in": 5, "asked": 4, "out": 8,
        "dropped": {"not_dev": 1, "seen_by_sft": 0, "over_max_questions": 0, "no_predictions": 0},
        "distinct_sql": 6, "finish_reason": {"imported": 8}, "no_sql": 1, "tokens": 0, "not_asked": 2,
        "systems": {
            "bird-dev": {"c": {"in": 1, "not_asked": 0, "out": 1, "no_sql": 0, "cut_out": 0}},
            "spider-dev": {
                "a": {"in": 5, "not_asked": 1, "out": 4, "no_sql": 0, "cut_out": 0},
                "b": {"in": 4, "not_asked": 1, "out": 3, "no_sql": 1, "cut_out": 0},
            },
        },
    }  # fmt: skip


def test_a_test_set_without_a_folder_has_no_candidates_and_its_questions_are_counted(folder: Path) -> None:
    shutil.rmtree("models/imported/bird-dev")
    main()
    report = read_json(folder / "reports/candidates.json")
    assert (report["asked"], report["dropped"]["no_predictions"], report["out"]) == (3, 1, 7)


def test_a_limit_of_questions_and_what_else_is_for_sampling_changes_nothing(folder: Path) -> None:
    main()
    first = Path("data/candidates.parquet").read_bytes()
    change_params(max_questions=1, n=1, seed=9, temperature=0.1)
    main()
    assert Path("data/candidates.parquet").read_bytes() == first


def test_the_same_files_give_the_same_bytes(folder: Path) -> None:
    main()
    first = Path("data/candidates.parquet").read_bytes()
    main()
    assert Path("data/candidates.parquet").read_bytes() == first


def test_hidden_files_and_folders_of_other_test_sets_are_not_read(folder: Path) -> None:
    main()
    first = read_json(folder / "reports/candidates.json")
    for name in (
        ".gitignore", "spider-dev/.DS_Store", "spider-train/d.txt", "other-dev/e.log", "spider-dev/._b.txt",
        "spider-dev/Thumbs.db", "desktop.ini", "__MACOSX/spider-dev/._b.txt", "spider-dev.dvc",
    ):
        write(name, "")
    main()
    assert read_json(folder / "reports/candidates.json") == first


def test_files_of_every_kind_are_imported(folder: Path) -> None:
    write("bird-dev/a.sql", "SELECT 1;\nSELECT 2;\n")
    write("bird-dev/b.csv", "index,pred\n1,SELECT 2\n")
    write("bird-dev/d.tsv", "pred\tdb_id\nSELECT 1\tmusic\nSELECT 2\tmusic\n")
    write("bird-dev/e.json", json.dumps([{"question_id": "bird/dev/0001", "predicted_sql": "```sql\nSELECT 2\n```"}]))
    write("bird-dev/f.json", json.dumps({"0": "SELECT 1", "1": 0}))
    main()
    table = read_any(folder / "data/candidates.parquet").filter(question_id="bird/dev/0001").sort("sample")
    assert dict(table.select("model", "sql").iter_rows()) == {
        "a": "SELECT 2;", "b": "SELECT 2", "c": "SELECT 6", "d": "SELECT 2", "e": "SELECT 2", "f": "",
    }  # fmt: skip


def test_the_report_counts_predictions_that_may_have_been_meant_otherwise(folder: Path) -> None:
    write("spider-dev/b.txt", "SELECT 1\tmusic\nSELECT 9\tmusic\nerror\nSELECT 2\tFROM t\tmusic\n")
    main()
    counts = read_json(folder / "reports/candidates.json")["systems"]["spider-dev"]
    assert counts["b"] == {
        "in": 4, "not_asked": 1, "out": 3, "no_sql": 1, "cut_out": 0, "cut_at_tab": 1, "without_db_id": 1,
    }  # fmt: skip
    assert set(counts["a"]) == {"in", "not_asked", "out", "no_sql", "cut_out"}


def test_git_ignores_what_is_imported_but_not_what_dvc_tells_of_it(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=lambda _, names: set(names) - {".gitignore"})
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    names = ["models/imported/spider-dev/a.sql", "models/mine/config.json", "models/imported/spider-dev.dvc",
             "models/imported/.gitignore", "models/imported.dvc", "models/recipes/mine.yaml"]  # fmt: skip
    command = ["git", "-C", str(tmp_path), "check-ignore", *names]
    ignored = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert ignored == names[:2]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("f.txt", "models/imported/f.txt lies beside the test sets; move it into models/imported/<source>-<split>/"),
        ("spider-dev/b.official_exec", "models/imported/spider-dev/b.official_exec is no prediction file; take it out"),
        ("spider-dev/more/b.txt", "models/imported/spider-dev/more is no prediction file; take it out"),
        ("spider-dev/b.json", "models/imported/spider-dev has several files of the system b; leave one of them"),
    ],
)
def test_a_file_that_cannot_be_a_systems_predictions_is_named(name: str, sentence: str, folder: Path) -> None:
    write(name, "[]")
    assert fit(refusal(main), [sentence])
    assert not list(folder.glob("data/candidates*"))


def test_a_file_whose_name_is_no_text_is_named(folder: Path) -> None:
    (Path("models/imported/spider-dev") / os.fsdecode(b"a\xff.txt")).write_text("SELECT 1\n")
    sentence = "models/imported/spider-dev has a file whose name is not UTF-8 ('a\\udcff.txt'); rename it"
    assert fit(refusal(main), [sentence])


def test_a_folder_without_any_of_the_test_sets_says_which_it_needs(folder: Path) -> None:
    Path("models/imported/spider-dev").rename("models/imported/spider_dev")
    shutil.rmtree("models/imported/bird-dev")
    assert fit(refusal(main), [
        "models/imported has a folder for none of the test sets asked (there: spider_dev); make "
        "models/imported/<source>-<split>/, here models/imported/bird-dev/ or models/imported/spider-dev/"
    ])  # fmt: skip


def test_a_folder_that_is_empty_or_absent_says_what_to_put_there(folder: Path) -> None:
    Path("models/imported/bird-dev/c.json").unlink()
    assert fit(refusal(main), ["models/imported/bird-dev is empty; put one prediction file a system into it (.txt, "])
    shutil.rmtree("models")
    assert fit(refusal(main), ["models/imported does not exist; put one prediction file a system into models/imported"])


def test_the_mistakes_of_all_files_are_reported_at_once(folder: Path) -> None:
    write("spider-dev/b.txt", "SELECT 1\n")
    write("bird-dev/c.json", json.dumps({"1": "SELECT 6\t----- bird -----\tpets"}))
    assert fit(refusal(main), [
        "models/imported/bird-dev/c.json, key \"1\": the db_id is 'pets', but the gold's is 'music'",
        "models/imported/spider-dev/b.txt has 1 lines, but there are 4 gold questions; give one line a question",
    ])  # fmt: skip


def test_reading_predictions_does_not_load_torch(folder: Path) -> None:
    code = "import sys; from stages.candidates import main; main(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, *sys.argv[1:]], check=True, env={"PYTHONPATH": str(ROOT)})


@pytest.mark.realdata
def test_45_real_systems_give_43740_candidates_that_hold_to_the_contract(tmp_path: Path) -> None:
    (tmp_path / "spider-dev").mkdir()
    for file in (REAL / "predictions" / "spider_dev").glob("*.txt"):
        shutil.copy(file, tmp_path / "spider-dev")
    entries = json.loads((REAL / "spider" / "dev.json").read_text(encoding="utf-8"))
    questions = pl.DataFrame([
        {"question_id": f"spider/dev/{number:04}", "source": "spider", "split": "dev", "db_id": entry["db_id"]}
        for number, entry in enumerate(entries)
        if database_path(REAL / "spider" / "database", entry["db_id"]).is_file()
    ])  # fmt: skip
    systems = read_imported(questions, tmp_path, {"spider-dev": len(entries)})
    assert (questions.height, len(systems), {system.predictions.not_asked for system in systems}) == (972, 45, {62})
    frame = imported_rows(systems)
    assert (frame.height, frame["candidate_id"].n_unique()) == (43_740, 43_740)
    assert frame.group_by("question_id").agg(pl.col("sample").sort())["sample"].unique().to_list() == [list(range(45))]
    suite = read_suite(ROOT / "schemas" / "candidates.json")
    assert failed_expectations(frame, suite, {"orphan_question_id": []}) == []
