"""Each source, in the layout in which its authors ship it."""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.corpora.bird import descriptions
from stages.corpora.question_files import Entry
from stages.corpora.readers import KNOWN, LAYOUTS, Reader
from stages.corpora.source_databases import duplicate_problems
from tests import FIXTURES
from tests.corpora.world import bird_row, make_bird, make_database, make_spider, spider_row, write_json

BAD = json.loads((FIXTURES / "corpora" / "bad.json").read_text(encoding="utf-8"))
FOLDER = LAYOUTS["folder"]


def read(reader: Reader, folder: Path, split: str) -> list[Entry]:
    entries, errors = reader.read(folder, split)
    assert errors == []
    return entries


def errors_of(reader: Reader, folder: Path, split: str) -> list[str]:
    return reader.read(folder, split).errors


# ---- Spider and its variants ----


def test_train_others_of_spider_is_counted_on_from_train_spider(tmp_path: Path) -> None:
    entries = read(KNOWN["spider"], make_spider(tmp_path), "train")
    assert [entry.position for entry in entries] == [0, 1, 2, 3, 4]
    assert [entry.gold_sql.split()[1] for entry in entries] == ["0", "1", "2", "100", "101"]


def test_spider_is_read_without_train_others_too(tmp_path: Path) -> None:
    assert len(read(KNOWN["spider"], make_spider(tmp_path, others=0), "train")) == 3


def test_a_parsed_query_in_spiders_train_set_changes_nothing(tmp_path: Path) -> None:
    first, second, *_ = read(KNOWN["spider"], make_spider(tmp_path), "train")
    assert (first.question, second.question) == ("Question 0?", "Question 1?")


def test_the_test_set_of_spider_has_databases_of_its_own(tmp_path: Path) -> None:
    assert [path.name for path in KNOWN["spider"].databases(tmp_path, "test")] == ["test_database", "database"]


def test_spider_syn_asks_its_own_question_on_spiders_databases(tmp_path: Path) -> None:
    row = {"db_id": "music", "SpiderQuestion": "old", "SpiderSynQuestion": "new", "query": "SELECT 1"}
    write_json(tmp_path / "spider-syn" / "dev.json", [row])
    (entry,) = read(KNOWN["spider-syn"], tmp_path / "spider-syn", "dev")
    assert entry.question == "new"
    assert tmp_path / "spider" / "database" in KNOWN["spider-syn"].databases(tmp_path / "spider-syn", "dev")


@pytest.mark.parametrize(("name", "file"), [("spider-dk", "Spider-DK"), ("spider-realistic", "spider-realistic")])
def test_the_other_variants_of_spider_are_dev_sets(name: str, file: str, tmp_path: Path) -> None:
    write_json(tmp_path / name / f"{file}.json", [spider_row(1)])
    assert KNOWN[name].splits == ("dev",)
    assert read(KNOWN[name], tmp_path / name, "dev")[0].question == "Question 1?"


# ---- BIRD ----


def test_bird_has_evidence_and_difficulty_and_is_counted_by_position(tmp_path: Path) -> None:
    entries = read(KNOWN["bird"], make_bird(tmp_path), "dev")
    assert [(entry.position, entry.evidence, entry.difficulty) for entry in entries] == [
        (number, f"hint {number}", "simple") for number in range(3)
    ]


def test_the_train_set_of_bird_may_lie_in_a_folder_of_its_own(tmp_path: Path) -> None:
    (entry,) = read(KNOWN["bird"], make_bird(tmp_path), "train")
    assert (entry.db_id, entry.difficulty) == ("films", "")


def test_mini_dev_is_read_from_its_own_file_and_never_for_birds_dev_set(tmp_path: Path) -> None:
    write_json(tmp_path / "bird-mini" / "mini_dev_sqlite.json", [bird_row(7)])
    write_json(tmp_path / "bird" / "mini_dev_sqlite.json", [bird_row(7)])
    assert len(read(KNOWN["bird-mini"], tmp_path / "bird-mini", "dev")) == 1
    assert "dev.json is no file" in errors_of(KNOWN["bird"], tmp_path / "bird", "dev")[0]


def test_other_versions_of_a_gold_are_kept_that_differ_in_more_than_white_space(tmp_path: Path) -> None:
    folder = make_bird(tmp_path)
    lines = ["SELECT  0 FROM singer \tmusic", "SELECT 'b' FROM singer\tmusic", "SELECT 2 FROM singer\tmusic"]
    (folder / "dev_gold_2023.sql").write_text("\r\n".join(lines) + "\r\n")
    write_json(folder / "dev_tied_append.json", [bird_row(2, question_id=2, SQL="SELECT 'tied'")])
    write_json(folder / "dev_20251106-00000-of-00001.json", [bird_row(2, question_id=2, SQL="SELECT 'revised'")])
    others = [dict(entry.other_golds) for entry in read(KNOWN["bird"], folder, "dev")]
    assert others[:2] == [{}, {"2023": "SELECT 'b' FROM singer"}]
    assert others[2] == {"20251106": "SELECT 'revised'", "tied_append": "SELECT 'tied'"}


def test_a_revision_whose_entries_do_not_say_which_question_they_are_of_is_refused(tmp_path: Path) -> None:
    folder = make_bird(tmp_path)
    write_json(folder / "dev_tied_append.json", [{"SQL": "SELECT 1"}])
    (sentence,) = errors_of(KNOWN["bird"], folder, "dev")
    assert sentence.endswith("dev_tied_append.json, entry 0: `question_id` and `SQL` are needed; add them")


@pytest.mark.parametrize("row", [{"question_id": 3}, {"question_id": -1}, {"question_id": 1, "db_id": "zoo"}])
def test_a_revision_of_another_question_or_none_is_refused(row: dict[str, Any], tmp_path: Path) -> None:
    folder = make_bird(tmp_path)
    write_json(folder / "dev_20251106.json", [{"SQL": "SELECT 1", "db_id": "music"} | row])
    (sentence,) = errors_of(KNOWN["bird"], folder, "dev")
    assert f"dev_20251106.json, entry 0: `question_id` {row['question_id']} is no question of the dev set" in sentence


def test_a_description_of_any_length_is_read(tmp_path: Path) -> None:
    database = make_database(tmp_path / "music" / "music.sqlite")
    database.with_name("database_description").mkdir()
    text = f"original_column_name,column_name,column_description\nname,,{'x' * 200_000}\n"
    (database.with_name("database_description") / "singer.csv").write_text(text)
    assert len(descriptions(database)["singer"]["name"]["description"]) == 200_000


@pytest.mark.parametrize(
    ("text", "message"),
    [("SELECT 0\tmusic\n", "it has 1 lines"), ("SELECT 0\tmusic\nx\tzoo\nx\tmusic\n", "line 2 is of another")],
)
def test_a_version_that_does_not_fit_the_questions_is_refused(text: str, message: str, tmp_path: Path) -> None:
    folder = make_bird(tmp_path)
    (folder / "dev_gold_2023.sql").write_text(text)
    (sentence,) = errors_of(KNOWN["bird"], folder, "dev")
    assert "dev_gold_2023.sql does not fit the 3 questions" in sentence and message in sentence


def test_column_descriptions_are_read_with_a_byte_order_mark_and_in_windows_1252(tmp_path: Path) -> None:
    database = make_database(tmp_path / "music" / "music.sqlite")
    folder = database.with_name("database_description")
    folder.mkdir()
    head = "original_column_name,column_name,column_description,data_format,value_description\n"
    (folder / "singer.csv").write_bytes(b"\xef\xbb\xbf" + f'{head}name ,full name,"the\nname",text,\n'.encode())
    (folder / "album.csv").write_bytes(f"{head}title,,Café,text,a – b\nyear,,,integer,\n".encode("cp1252"))
    assert descriptions(database) == {
        "singer": {"name": {"name": "full name", "description": "the name"}},
        "album": {"title": {"description": "Café", "values": "a – b"}},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("line", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("comma", [",", ";", "\t"])
def test_column_descriptions_are_read_as_any_excel_writes_them(
    comma: str, line: str, encoding: str, tmp_path: Path
) -> None:
    database = make_database(tmp_path / "music" / "music.sqlite")
    folder = database.with_name("database_description")
    folder.mkdir()
    rows = ["original_column_name,column_name,column_description", f'name,,"the{line}naïve name"', "age,\0,in years\0"]
    text = "".join(row.replace(",", comma) + line for row in rows)
    (folder / "singer.csv").write_bytes(text.encode(encoding))
    (folder / "._singer.csv").write_bytes(b"\0\x05\x16\x07\0")
    assert descriptions(database) == {
        "singer": {"name": {"description": "the naïve name"}, "age": {"description": "in years"}}
    }


def test_a_description_that_is_no_csv_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = make_database(tmp_path / "music" / "music.sqlite")
    path = database.with_name("database_description") / "singer.csv"
    path.parent.mkdir()
    path.write_text(f"original_column_name,column_name\nname,{'x' * 2000}\n")
    monkeypatch.setattr("csv.field_size_limit", lambda size, limit=csv.field_size_limit: limit(1000))
    with pytest.raises(UserError, match=f"{path}, line 2: this is not CSV .field larger than field limit"):
        descriptions(database)


# ---- a folder of one's own ----

OWN: list[dict[str, Any]] = [
    {"question": "Which, 1?", "db_id": "music", "gold_sql": "SELECT 'é,\"'", "evidence": "a\nb", "difficulty": "hard"},
    {"question": "Which 2?", "db_id": "music", "gold_sql": "SELECT 2", "evidence": None, "difficulty": None},
]


def write_own(folder: Path, kind: str, start: str = "", line: str = "\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame, path = pl.DataFrame(OWN), folder / f"train{kind}"
    if kind == ".parquet":
        frame.write_parquet(path)
        return
    text = {
        ".csv": frame.write_csv(line_terminator=line), ".json": json.dumps(OWN, indent=1),
        ".jsonl": "\n".join(map(json.dumps, OWN)) + "\n",
    }[kind]  # fmt: skip
    path.write_bytes((start + text.replace("\r\n", "\n").replace("\n", line)).encode())


@pytest.mark.parametrize("kind", [".parquet", ".csv", ".json", ".jsonl"])
def test_every_file_format_gives_the_same_questions(kind: str, tmp_path: Path) -> None:
    write_own(tmp_path, kind)
    first, second = read(FOLDER, tmp_path, "train")
    assert (first.gold_sql, first.evidence.split(), first.difficulty) == ("SELECT 'é,\"'", ["a", "b"], "hard")
    assert (second.position, second.evidence, second.difficulty) == (1, "", "")


@pytest.mark.parametrize("kind", [".csv", ".json", ".jsonl"])
def test_a_byte_order_mark_and_crlf_change_nothing(kind: str, tmp_path: Path) -> None:
    write_own(tmp_path / "plain", kind)
    write_own(tmp_path / "windows", kind, "\ufeff", "\r\n")
    plain, windows = (read(FOLDER, tmp_path / name, "train") for name in ("plain", "windows"))
    assert [(e.question, e.gold_sql, e.evidence.split()) for e in windows] == [
        (e.question, e.gold_sql, e.evidence.split()) for e in plain
    ]


@pytest.mark.parametrize("versions", [{"2023": "SELECT 1"}, '{"2023": "SELECT 1"}'])
def test_versions_of_a_gold_may_be_an_object_or_its_json_text(versions: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", [{**OWN[0], "other_golds": versions}])
    assert read(FOLDER, tmp_path, "train")[0].other_golds == {"2023": "SELECT 1"}


def test_two_databases_of_one_name_are_refused_where_they_differ(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    for name, text in (("zoo.sqlite", "a"), ("zoo/zoo.sqlite", "b")):
        (tmp_path / name).write_text(text)
    assert duplicate_problems([tmp_path], ["zoo", "music"]) == [
        f"the database `zoo` is another one in {tmp_path}/zoo.sqlite than in {tmp_path}/zoo/zoo.sqlite; rename one of "
        "them, in its questions too"
    ]
    (tmp_path / "zoo.sqlite").write_text("b")
    assert duplicate_problems([tmp_path], ["zoo", "music"]) == []


def test_two_tables_for_one_split_are_refused(tmp_path: Path) -> None:
    write_own(tmp_path, ".csv")
    write_own(tmp_path, ".json")
    (sentence,) = errors_of(FOLDER, tmp_path, "train")
    assert "in one of train.parquet, train.jsonl, train.csv, train.json; there is train.csv and train.json" in sentence


@pytest.mark.parametrize("case", BAD, ids=lambda case: case["name"])
def test_what_is_wrong_in_a_file_is_reported_with_file_place_and_field(case: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / case["file"]).write_bytes(case["text"].encode("utf-8", "surrogateescape"))
    sentences = errors_of(FOLDER, tmp_path, "train")
    assert [sentence.replace(f"{tmp_path}/", "") for sentence in sentences] == case["sentences"]


def test_many_mistakes_of_a_file_are_cut_after_ten_and_counted(tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", [{"question": "q", "db_id": "music"}] * 25)
    sentences = errors_of(FOLDER, tmp_path, "train")
    assert len(sentences) == 11 and sentences[-1].endswith("and 15 more such mistakes")


def test_versions_that_are_nested_without_end_are_reported(tmp_path: Path) -> None:
    write_json(tmp_path / "train.json", [{**OWN[0], "other_golds": "[" * 100_000}])
    (sentence,) = errors_of(FOLDER, tmp_path, "train")
    assert "entry 0: `other_golds` is '[[[" in sentence
