import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.core.errors import UserError
from stages.synthesis.databases import DatabaseMaker
from stages.synthesis.file_source import FileSource
from stages.synthesis.mending import Mending
from stages.synthesis.synthesizer import Synthesizer
from tests.execution.world import make_database
from tests.synthesis.world import ALBUMS, LIMITS, SINGERS, inline, verifier

SCHEMA = f"{SINGERS['create']}; {ALBUMS['create']}"
ROWS = {"singer": SINGERS["rows"], "album": ALBUMS["rows"]}
ENTRY = {
    "domain": "Music & More", "schema": SCHEMA, "rows": ROWS, "question": "How old is each singer?",
    "sql": "SELECT age FROM singer",
}  # fmt: skip
SYNSQL = {
    "db_id": "music", "question": "How old is each singer?", "sql": "SELECT age FROM singer",
    "external_knowledge": "an age is in years", "cot": "a long thought",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("in_this_process")
Opens = Callable[..., FileSource]


@pytest.fixture
def opens(tmp_path: Path) -> Opens:
    def open_it(*entries: Any, name: str = "data.jsonl") -> FileSource:
        lines = "".join(json.dumps(entry) + "\n" for entry in entries)
        (tmp_path / name).write_text(lines if name.endswith("l") else json.dumps(entries))
        return FileSource(tmp_path, DatabaseMaker(tmp_path / "out", LIMITS, inline, 0))

    return open_it


def error_of(folder: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        FileSource(folder, DatabaseMaker(folder / "out", LIMITS, inline, 0))
    return list(caught.value.sentences)


@pytest.mark.parametrize("name", ["data.jsonl", "data.json"])
def test_an_entry_with_schema_and_rows_becomes_an_item(opens: Opens, name: str) -> None:
    (item,) = opens(ENTRY, name=name).next_items(10)
    assert (item.item_id, item.question, item.sql) == ("strong/file/000000", ENTRY["question"], ENTRY["sql"])
    assert (item.database.domain, item.database.db_id) == ("music_more", "strong_music_more_000001")
    assert "'Ada', 30, 'Peru'" in item.database.ddl and "REFERENCES singer" in item.database.ddl


@pytest.mark.parametrize("schema", [SCHEMA, [SINGERS["create"], ALBUMS["create"]], [SCHEMA]])
def test_a_schema_is_one_text_or_a_list(opens: Opens, schema: Any) -> None:
    (item,) = opens(ENTRY | {"schema": schema}).next_items(10)
    assert "CREATE TABLE album" in item.database.ddl


@pytest.mark.parametrize("key", ["sql", "query", "gold_sql", "SQL"])
def test_the_sql_has_one_of_the_usual_keys(opens: Opens, key: str) -> None:
    (item,) = opens({name: value for name, value in ENTRY.items() if name != "sql"} | {key: "SELECT 5"}).next_items(10)
    assert item.sql == "SELECT 5"


@pytest.mark.parametrize(
    "create",
    ['CREATE TABLE "my table" (a)', "create table if not exists `my table` (a)", "CREATE TABLE [my table] (a)"],
)
def test_a_quoted_table_gets_its_rows(opens: Opens, create: str) -> None:
    (item,) = opens(ENTRY | {"schema": create, "rows": {"my table": [["x"]]}}).next_items(10)
    assert "('x')" in item.database.ddl


def test_entries_of_one_database_share_it(opens: Opens) -> None:
    other = {"schema": SCHEMA.replace("singer", "singers"), "rows": {"singers": ROWS["singer"]}}
    source = opens(ENTRY, ENTRY | {"question": "Who sings?"}, ENTRY | other)
    assert [item.database.db_id[-6:] for item in source.next_items(10)] == ["000001", "000001", "000002"]


def test_a_database_beside_the_file_is_taken_as_it_is(opens: Opens, tmp_path: Path) -> None:
    path = make_database(tmp_path / "databases")
    (item,) = opens(SYNSQL, name="data.json").next_items(10)
    assert item.evidence == "an age is in years" and item.asked == "an age is in years\nHow old is each singer?"
    assert item.database.file.read_bytes() == path.read_bytes() and item.database.domain == "music"
    assert item.database.file == tmp_path / "out/strong_music_000001/strong_music_000001.sqlite"


@pytest.mark.parametrize("db_id", ["nowhere", "../music", "..", "", None, 5, "a/b", {"a": 1}])
def test_an_entry_without_its_database_is_counted(opens: Opens, tmp_path: Path, db_id: Any) -> None:
    make_database(tmp_path / "databases")
    source = opens(SYNSQL | {"db_id": db_id}, SYNSQL)
    assert [item.item_id for item in source.next_items(10)] == ["strong/file/000001"]
    assert source.refused["no_database"] == 1


def test_a_broken_database_beside_the_file_is_counted(opens: Opens, tmp_path: Path) -> None:
    make_database(tmp_path / "databases").write_bytes(b"no database")
    source = opens(SYNSQL)
    assert source.next_items(10) == [] and source._maker.counts == {"unreadable": 1}


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"schema": f"{SCHEMA}; CREATE VIEW v AS SELECT 1"}, "schema_forbidden"),
        ({"schema": "CREATE TABLE singer (age, age)"}, "schema_error"), ({"schema": "no schema"}, "no_rows"),
        ({"schema": {"singer": ["age"]}}, "wrong_form"),
        ({"schema": ["CREATE TABLE t (a)", 5]}, "wrong_form"),
        ({"schema": SINGERS["create"], "rows": {"singer": [[1, "Ada"]]}}, "row_width"),
        ({"schema": SINGERS["create"], "rows": [[1, "Ada"]]}, "wrong_form"),
        ({"schema": SINGERS["create"], "rows": {"singer": "Ada"}}, "wrong_form"),
        ({"schema": SINGERS["create"], "rows": {"singer": [[1]] * 20_000}}, "wrong_form"),
        ({"schema": SINGERS["create"], "rows": None}, "no_rows"),
        ({"schema": ";".join(f"CREATE TABLE t{number} (a)" for number in range(200))}, "too_many_tables"),
    ],
)  # fmt: skip
def test_a_database_that_cannot_be_built_is_counted_with_its_reason(
    opens: Opens, changed: dict[str, Any], reason: str
) -> None:
    source = opens(ENTRY | changed, ENTRY)
    assert [item.item_id for item in source.next_items(10)] == ["strong/file/000001"]
    assert source._maker.counts == {reason: 1} and source.refused["no_database"] == 1


@pytest.mark.parametrize("changed", [{"question": ""}, {"question": " "}, {"question": None}, {"sql": ""}, {"sql": 5}])
def test_an_entry_without_question_or_sql_is_counted(opens: Opens, changed: dict[str, Any]) -> None:
    source = opens(ENTRY | changed, ENTRY)
    assert len(source.next_items(10)) == 1 and source.refused["wrong_form"] == 1


def test_entries_come_in_parts_and_end(opens: Opens) -> None:
    source = opens(*(ENTRY | {"question": f"How old is singer {number}?"} for number in range(5)))
    sizes = []
    while not source.ended_by():
        sizes.append(len(source.next_items(2)))
    assert (sizes, source.ended_by()) == ([2, 2, 1], "file")


def test_every_wrong_line_is_told(tmp_path: Path) -> None:
    lines = [json.dumps(ENTRY), "", "{", "5", '{"question": "\\ud800"}', '{"a": 1, "a": 2}']
    (tmp_path / "data.jsonl").write_text("\n".join(lines))
    sentences = error_of(tmp_path)
    assert [sentence.split(":")[0].removeprefix(f"{tmp_path}/") for sentence in sentences] == [
        f"data.jsonl, line {number}" for number in (3, 4, 5, 6)
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("data.jsonl", "", "has no entry"), ("data.jsonl", "\n\n", "has no entry"), ("data.json", "[]", "has no entry"),
        ("data.json", "{}", "is no list of objects"), ("data.json", "[5]", "is no list of objects"),
        ("data.json", "[", "is not JSON"), ("data.json", "", "is empty"), ("data.txt", "{}", "has neither data.jsonl"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    (sentence,) = error_of(tmp_path)
    assert message in sentence


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    (sentence,) = error_of(tmp_path / "nowhere")
    assert "has neither data.jsonl nor data.json; put the file there, or correct `synthesize.file`" in sentence


def test_a_file_is_worked_through_to_its_end_or_to_the_wanted_count(opens: Opens, tmp_path: Path) -> None:
    sql = "SELECT stage_name FROM singer WHERE age > {}"
    entries = [
        ENTRY | {"question": f"Who of all the {number} singers is older than {number}?", "sql": sql.format(number)}
        for number in (10, 20, 25, 50, 90)
    ]
    for count, expected, reason in ((None, 4, "file"), (2, 2, "items"), (100, 4, "file")):
        source = opens(*entries)
        source._maker.folder = tmp_path / f"out{count}"
        items, ended_by = Synthesizer(source, Mending(verifier(tmp_path), None, 3, 2)).run(count)
        assert (sum(not item.refusal for item in items), ended_by) == (expected, reason)
        assert not any(item.votes for item in items)
