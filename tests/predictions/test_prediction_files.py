"""Each case of a file that is read or refused is data: tests/fixtures/predictions."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from stages.core.errors import UserError
from stages.predictions.gold_files import Gold, read_gold
from stages.predictions.prediction_files import read_predictions
from tests import ROOT
from tests.real import REAL

FIXTURES = ROOT / "tests" / "fixtures" / "predictions"
DB_IDS = ["concert", "pets", "concert"]
GOLDS = [Gold(str(number), db_id, "SELECT 1", "easy", "") for number, db_id in enumerate(DB_IDS)]
SEVERAL = [
    {"question_id": "1", "sample": 0, "sql": None},
    {"question_id": "0", "sample": 1, "sql": " SELECT b\n"},
    {"question_id": "2", "sample": 0, "sql": "SELECT c"},
    {"question_id": "0", "sample": 0, "sql": "SELECT a"},
]


def cases(name: str) -> pytest.MarkDecorator:
    rows = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["case"]) for case in rows])


def written(case: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    path = Path(case["file"])
    path.write_bytes(case["text"].encode())
    return path


def refusal(call: Any, *args: Any) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        call(*args)
    return caught.value.sentences


def fit(sentences: tuple[str, ...], beginnings: list[str]) -> bool:
    return len(sentences) == len(beginnings) and all(map(str.startswith, sentences, beginnings))


@cases("read")
def test_predictions_are_read_in_the_order_of_the_gold(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = Counter[str]()
    assert read_predictions(written(case, tmp_path, monkeypatch), GOLDS, counts) == case["predictions"]
    assert +counts == case.get("counts", {})


@cases("refused")
def test_predictions_that_do_not_fit_are_refused_with_their_place(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = refusal(read_predictions, written(case, tmp_path, monkeypatch), GOLDS)
    assert fit(sentences, case["sentences"]), sentences


@cases("gold_read")
def test_gold_files_of_each_shape_say_the_same(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_gold(written(case, tmp_path, monkeypatch)) == [
        Gold("0", "concert", "SELECT a FROM t", "easy", ""),
        Gold("1", "pets", "SELECT b, c FROM t", "medium", ""),
    ]


@cases("gold_refused")
def test_gold_that_does_not_fit_is_refused_with_its_place(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentences = refusal(read_gold, written(case, tmp_path, monkeypatch))
    assert fit(sentences, case["sentences"]), sentences


def test_birds_gold_keeps_its_own_ids_and_difficulties(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    entry = {"question_id": 717, "db_id": "superhero", "SQL": "SELECT\n a FROM t ", "difficulty": "challenging"}
    path.write_text(json.dumps([entry]))
    assert read_gold(path) == [Gold("717", "superhero", "SELECT\n a FROM t", "challenging", "")]


def test_gold_of_the_questions_dataset_is_read_from_parquet(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    row = {"question_id": "spider/dev/0000", "source": "spider", "split": "dev", "db_id": "pets", "question": "?",
           "evidence": "", "gold_sql": "SELECT a FROM t", "difficulty": "hard", "origin": "human"}  # fmt: skip
    pl.DataFrame([row]).write_parquet(path)
    assert read_gold(path) == [Gold("spider/dev/0000", "pets", "SELECT a FROM t", "hard", "spider")]


def test_gold_parquet_without_db_id_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    pl.DataFrame({"question": ["?"], "gold_sql": ["SELECT 1"]}).write_parquet(path)
    (sentence,) = refusal(read_gold, path)
    assert sentence == f"{path} needs the columns db_id and gold_sql; it has question, gold_sql"


def test_candidates_are_read_from_parquet_by_sample(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame(SEVERAL).with_columns(completion=pl.lit("")).write_parquet(path)
    assert read_predictions(path, GOLDS) == [["SELECT a", "SELECT b"], [""], ["SELECT c"]]


def test_candidates_are_read_from_parquet_by_index(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame({"index": [2, 0, 1, 0], "sql": ["c", "z", None, "a"]}).cast({"index": pl.UInt32}).write_parquet(path)
    assert read_predictions(path, GOLDS) == [["z", "a"], [""], ["c"]]


def test_candidates_without_any_sql_are_read_from_parquet(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame({"index": [0, 1, 2], "sql": [None, None, None]}).write_parquet(path)
    assert read_predictions(path, GOLDS) == [[""], [""], [""]]


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame({"question_id": [1.0, 2.0], "sample": [0, None], "sql": [1, 2]}).write_parquet(path)
    assert fit(refusal(read_predictions, path, GOLDS), [
        f"{path}: column `question_id` is Float64; give a text",
        f"{path}: column `sql` is Int64; give a text, or null for no SQL",
        f"{path}, row 1: `sample` is null; give a whole number",
    ])


def test_rows_of_parquet_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame([*SEVERAL[:3], SEVERAL[2], {"question_id": "?", "sample": 0, "sql": ""}]).write_parquet(path)
    assert fit(refusal(read_predictions, path, GOLDS), [
        f"{path}, row 4: question_id '?' is not in the gold file; take the rows out",
        f"{path}, row 3: question_id '2' has a sample 0 at row 2; number them apart",
    ])


def test_candidates_by_a_question_id_that_two_gold_questions_have_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "candidates.parquet"
    pl.DataFrame(SEVERAL).write_parquet(path)
    (sentence,) = refusal(read_predictions, path, [*GOLDS, GOLDS[1]])
    assert sentence.startswith(f"{path} has question_id '1', as 2 gold questions do; give `index`")


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "p.txt", tmp_path / "p.json", tmp_path / "p.jsonl", tmp_path / "p.parquet"):
        assert refusal(read_predictions, path, GOLDS) == (f"{path} is no file; give the path of one",)


def test_a_byte_that_is_not_utf8_is_named_by_line_and_place(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(b"SELECT a\nSELECT '\xe9'\nSELECT c\n")
    (sentence,) = refusal(read_predictions, path, GOLDS)
    assert sentence == f"{path}, line 2: byte 9 (0xe9) is not UTF-8; convert the file to UTF-8"


def test_json_lines_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"index": 0, "sql": ""}\n{"index": 1, "sql": "\xff"}\n{"index": 2, "sql": ""}\n')
    assert fit(refusal(read_predictions, path, GOLDS), [f"{path}, line 2: this is not UTF-8 ("])


def test_json_nested_too_deep_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text("[" * 100_000)
    assert fit(refusal(read_predictions, path, GOLDS), [f"{path} is not JSON ("])


def test_more_than_ten_mistakes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "g.sql"
    path.write_text("SELECT a\n" * 25)
    sentences = refusal(read_gold, path)
    assert len(sentences) == 11
    assert sentences[-1] == f"{path}: and 15 more"


QUERY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\t\ufeff")).map(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(QUERY, min_size=3, max_size=3))
def test_the_same_predictions_are_read_from_every_shape(tmp_path: Path, sqls: list[str]) -> None:
    assume(not any("----- bird -----" in sql for sql in sqls))  # that one is always read as BIRD's
    shapes = {
        "plain.txt": "".join(f"{sql}\n" for sql in sqls),
        "tab.txt": "".join(f"{sql}\t{db_id}\n" for sql, db_id in zip(sqls, DB_IDS, strict=True)),
        "bird.json": json.dumps({i: f"{sql}\t----- bird -----\t{DB_IDS[i]}" for i, sql in enumerate(sqls)}),
        "list.json": json.dumps(sqls),
        "rows.jsonl": "".join(json.dumps({"index": i, "sql": sql}) + "\n" for i, sql in enumerate(sqls)),
    }
    for name, text in shapes.items():
        (tmp_path / name).write_bytes(text.encode())
        assert read_predictions(tmp_path / name, GOLDS) == [[sql] for sql in sqls], name


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "count"), [
    ("spider/dev_gold.sql", 1034), ("spider/dev.json", 1034), ("spider/train_gold.sql", 8659),
    ("spider/train_spider.json", 7000), ("variants/spider-realistic/spider-realistic.json", 508),
    ("variants/spider-syn/dev.json", 1034), ("variants/spider-syn/train_spider.json", 7000),
    ("bird/dev.json", 1534), ("bird/dev_gold_2023.sql", 1534), ("bird/dev_superhero.json", 129),
    ("bird/dev_tied_append.json", 42), ("bird/dev_sqlexam.json", 1534), ("bird/mini_dev_sqlite.json", 500),
    ("bird/mini_dev_sqlite_gold.sql", 500), ("predictions/bird_superhero/gold_2023.sql", 129),
])  # fmt: skip
def test_every_real_gold_file_is_read(name: str, count: int) -> None:
    assert len(read_gold(REAL / name)) == count


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "gold", "systems"), [
    ("spider_dev", "spider/dev.json", 45), ("bird_superhero", "bird/dev_superhero.json", 43),
])  # fmt: skip
def test_every_real_prediction_file_is_read_line_by_line(folder: str, gold: str, systems: int) -> None:
    golds = read_gold(REAL / gold)
    files = sorted((REAL / "predictions" / folder).glob("*.txt"))
    assert len(files) == systems
    for path in files:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        assert read_predictions(path, golds) == [[line.strip()] for line in lines], path
