import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.files import read_json, write_json
from stages.core.layout import DATABASES
from stages.core.tables import read_any
from stages.datasets.catalog import DATASETS
from stages.prompting.rendering import PromptsParams, prompt_rows, read_schemas
from stages.prompting.token_budget import estimate_tokens
from stages.prompts import main
from tests.prompting.databases import make_database
from tests.workplace import put, set_arguments, write_params

PLAIN: dict[str, Any] = {
    "style": "compact", "example_rows": 0, "descriptions": False, "evidence": True, "shuffle": None,
    "max_tokens": None, "tokenizer": None, "revision": None,
}  # fmt: skip
"""The params as committed."""
MUSIC = """
CREATE TABLE singer(singer_id INTEGER PRIMARY KEY, name TEXT, country TEXT, born INT);
CREATE TABLE album(album_id INTEGER PRIMARY KEY, singer_id INT REFERENCES singer, title TEXT, year INT);
CREATE TABLE song(song_id INTEGER PRIMARY KEY, album_id INT REFERENCES album, seconds INT);
INSERT INTO singer VALUES (1, 'Ada', 'France', 1990);
"""
MUSIC_DDL = (
    "singer(singer_id, name, country, born)\nalbum(album_id, singer_id -> singer, title, year)\n"
    "song(song_id, album_id -> album, seconds)\n"
)
ZOO = "CREATE TABLE animal(name TEXT); CREATE VIRTUAL TABLE notes USING fts5(body)"
ASKED = {
    "demo/train/0000": ("music", "How many singers are there?", "", "SELECT count(*) FROM singer"),
    "demo/train/0001": ("music", "How long are the songs?", "a song is long", "SELECT 1 FROM Song JOIN album"),
    "demo/train/0002": ("zoo", "Which animals are there?", "", "SELECT name FROM animal"),
    "demo/dev/0000": ("music", "Which year?", "", "SELECT year FROM album"),
    "demo/dev/0001": ("music", "Which title?", "", "SELECT title FROM album"),
}
"""question_id to db_id, question, evidence, gold."""


def questions_of(ids: list[str]) -> pl.DataFrame:
    names = ("db_id", "question", "evidence", "gold_sql")
    rest = {"other_golds": "", "difficulty": "easy", "origin": "human", "source": "demo"}
    rows = [
        {"question_id": one, "split": one.split("/")[1], **rest, **dict(zip(names, ASKED[one], strict=True))}
        for one in ids
    ]
    return pl.DataFrame(rows, schema=DATASETS["questions"].columns)


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def databases(tmp_path: Path) -> Path:
    folder = tmp_path / "data/databases"
    for db_id, script in {"music": MUSIC, "zoo": ZOO}.items():
        make_database(folder / db_id / f"{db_id}.sqlite", script)
    write_json(folder / "music" / "descriptions.json", {"singer": {"born": {"description": "year of birth"}}})
    return folder


def prompts_of(databases: Path, ids: list[str] | None = None, **changed: Any) -> dict[str, dict[str, Any]]:
    """The rows of `prompts` by question_id."""
    params = PromptsParams.model_validate(PLAIN | changed)
    schemas = read_schemas(["music", "zoo"], params, DATABASES)
    rows = prompt_rows(questions_of(ids or list(ASKED)), schemas, params, estimate_tokens)
    return {row["question_id"]: row for row in rows.iter_rows(named=True)}


def test_a_prompt_is_ddl_then_evidence_then_question(databases: Path) -> None:
    made = prompts_of(databases)
    assert made["demo/train/0001"] == {
        "question_id": "demo/train/0001", "db_id": "music",
        "prompt": f"{MUSIC_DDL}evidence: a song is long\nquestion: How long are the songs?\nsql:\n",
        "tokens": estimate_tokens(made["demo/train/0001"]["prompt"]), "dropped_tables": "[]", "lost_tables": "[]",
    }  # fmt: skip
    assert made["demo/train/0002"]["prompt"] == "animal(name)\nquestion: Which animals are there?\nsql:\n"


def test_the_evidence_may_be_left_out(databases: Path) -> None:
    assert not any("evidence" in row["prompt"] for row in prompts_of(databases, evidence=False).values())


@pytest.mark.parametrize("style", ["compact", "create_table"])
@pytest.mark.parametrize("example_rows", [0, 2])
@pytest.mark.parametrize("descriptions", [False, True])
def test_prompts_of_one_database_begin_alike(
    style: str, example_rows: int, descriptions: bool, databases: Path
) -> None:
    made = prompts_of(databases, style=style, example_rows=example_rows, descriptions=descriptions).values()
    music = {row["prompt"].split("evidence:")[0].split("question:")[0] for row in made if row["db_id"] == "music"}
    assert len(music) == 1
    assert ("'Ada'" in music.pop()) is (example_rows > 0)


@pytest.mark.parametrize("descriptions", [False, True])
def test_descriptions_stand_at_their_column_where_they_are_wanted(descriptions: bool, databases: Path) -> None:
    made = prompts_of(databases, descriptions=descriptions)["demo/dev/0000"]["prompt"]
    assert ("  born -- year of birth\n" in made) is descriptions


def test_only_train_questions_are_shuffled_each_in_its_own_way(databases: Path) -> None:
    plain, drawn = prompts_of(databases), prompts_of(databases, shuffle=1)
    changed = [one for one in ASKED if plain[one]["prompt"] != drawn[one]["prompt"]]
    assert changed == ["demo/train/0000", "demo/train/0001"]
    first, second = (drawn[one]["prompt"].split("\n")[:3] for one in changed)
    assert first != second
    assert all(drawn[one]["tokens"] == plain[one]["tokens"] for one in ASKED)
    assert prompts_of(databases, ["demo/train/0001"], shuffle=1)["demo/train/0001"] == drawn["demo/train/0001"]
    assert prompts_of(databases, shuffle=2) != drawn


def test_tables_are_dropped_by_the_question_and_what_the_gold_loses_is_recorded(databases: Path) -> None:
    made = prompts_of(databases, max_tokens=30)
    assert [(json.loads(row["dropped_tables"]), json.loads(row["lost_tables"])) for row in made.values()] == [
        (["song", "album"], []), (["album", "singer"], ["album"]), ([], []), (["song", "singer"], []),
        (["song", "singer"], []),
    ]  # fmt: skip
    assert made["demo/train/0001"]["prompt"] == (
        "song(song_id, album_id -> album, seconds)\nevidence: a song is long\nquestion: How long are the songs?\nsql:\n"
    )


def test_the_gold_has_no_part_in_what_is_dropped(databases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompts_of(databases, max_tokens=30)
    for one, (*asked, _) in list(ASKED.items()):
        monkeypatch.setitem(ASKED, one, (*asked, "SELECT 1"))
    after = prompts_of(databases, max_tokens=30)
    assert [row["prompt"] for row in after.values()] == [row["prompt"] for row in before.values()]
    assert {row["lost_tables"] for row in after.values()} == {"[]"}


def test_every_database_that_cannot_be_read_is_told_at_once_and_none_is_made(databases: Path) -> None:
    contents = {"text": b"this is no database" * 100, "hollow": b"", "virtual": b""}
    for db_id, content in contents.items():
        (databases / db_id).mkdir()
        (databases / db_id / f"{db_id}.sqlite").write_bytes(content)
    make_database(databases / "virtual" / "virtual.sqlite", "CREATE VIRTUAL TABLE notes USING fts5(body)")
    named = make_database(databases / "zoo" / "zoo.sqlite", "CREATE TABLE no_utf_8(x)")
    named.write_bytes(named.read_bytes().replace(b"no_utf_8", b"no_utf_\xff"))
    with pytest.raises(UserError) as caught:
        read_schemas(["gone", *contents, "zoo"], PromptsParams.model_validate(PLAIN), DATABASES)
    told = dict(zip(("gone", *contents, "zoo"), caught.value.sentences, strict=True))
    assert "gone.sqlite does not exist" in told["gone"]
    assert "hollow.sqlite holds no tables" in told["hollow"]
    assert "virtual.sqlite holds no tables" in told["virtual"]
    assert "text.sqlite cannot be read as SQLite (file is not a database)" in told["text"]
    assert "zoo.sqlite cannot be read as SQLite ('utf-8' codec can't decode" in told["zoo"]
    assert not (databases / "gone").exists()


def stage_in(section: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions, their receipt and params.yaml in the working directory."""
    set_arguments(monkeypatch, "prompts")
    write_params(prompts=section)
    put("questions", questions_of(list(ASKED)))


def test_the_stage_writes_the_same_bytes_twice_and_counts_what_it_dropped(
    tmp_path: Path, databases: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage_in(PLAIN | {"max_tokens": 21}, monkeypatch)
    main()
    first = Path("data/prompts.parquet").read_bytes(), Path("reports/prompts.json").read_bytes()
    main()
    assert first == (Path("data/prompts.parquet").read_bytes(), Path("reports/prompts.json").read_bytes())
    tokens = read_any(Path("data/prompts.parquet"))["tokens"]
    assert read_json(Path("reports/prompts.json")) == {
        "in": 5, "out": 5, "databases": 2,
        "tokens": {"min": tokens.min(), "median": tokens.median(), "max": tokens.max()},
        "prompts_with_dropped_tables": 4, "tables_dropped": 8, "gold_reads_dropped_table": 1,
        "over_max_tokens": int((tokens > 21).sum()),
        "not_shown": {
            "virtual_table": 1, "shadow_table": 5, "unreadable_view": 0, "unreadable_rows": 0, "unknown_column": 0,
        },
    }  # fmt: skip
    assert capsys.readouterr().out.startswith(f"prompts: 5 rows, 0 dropped, at most {max(tokens)} tokens, 8 ")


def test_an_invalid_dataset_stops_the_stage(tmp_path: Path, databases: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage_in(PLAIN, monkeypatch)
    put("questions", questions_of(list(ASKED)), valid=False)
    with pytest.raises(UserError, match=r"data/questions.parquet broke its suite"):
        main()
    assert not Path("data/prompts.parquet").exists()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"tokenizer": "some/model"}, "`prompts.revision` is None; give the commit or tag"),
        ({"revision": "main"}, "`prompts.revision` is 'main'; give the commit or tag"),
        ({"max_tokens": 0}, "`prompts.max_tokens` is 0; input should be greater than 0"),
        ({"example_rows": -1}, "`prompts.example_rows` is -1; input should be greater than or equal to 0"),
        ({"style": "sql"}, "`prompts.style` is 'sql'; input should be 'compact' or 'create_table'"),
    ],
)
def test_a_wrong_param_is_told(
    changed: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage_in(PLAIN | changed, monkeypatch)
    with pytest.raises(UserError) as caught:
        main()
    assert told in caught.value.sentences[0]
    assert len(caught.value.sentences) == 1
