"""The stage `corpus`: sources in, questions and databases out, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages import corpus
from stages.core.files import read_json, sha256_file
from stages.core.tables import read_any
from stages.corpora.question_files import Entry
from stages.corpora.readers import KNOWN
from stages.corpora.sources import SourceSplit, SplitParams, question_rows
from tests import ROOT
from tests.commands import run_here
from tests.corpora.world import make_bird, make_database, make_spider, spider_row, write_json
from tests.real import REAL

ALL = {"share": 1.0, "limit": None}
DEMO = {
    "seed": 3, "domains": ["music", "bank"], "strong_domains": 0,
    "train_databases": 2, "dev_databases": 1, "test_databases": 1,
    "train_questions": 20, "dev_questions": 10, "test_questions": 10,
}  # fmt: skip


def write_params(folder: Path, **params: Any) -> None:
    with (folder / "params.yaml").open("w") as file:
        defaults: dict[str, Any] = {"seed": 1, "allow_missing": False, "rewrites": None, "demo": None, "sources": {}}
        YAML().dump({"corpus": defaults | params}, file)


def run(folder: Path, **params: Any) -> subprocess.CompletedProcess[str]:
    """Runs the stage on `folder/data/raw`."""
    write_params(folder, **params)
    return run_here(corpus.main, folder)


def made(folder: Path, **params: Any) -> pl.DataFrame:
    """The questions that the stage makes."""
    done = run(folder, **params)
    assert done.returncode == 0, done.stderr
    return read_any(folder / "data" / "questions.parquet")


def refused(folder: Path, **params: Any) -> list[str]:
    """The sentences of a refusal, which leaves nothing behind."""
    done = run(folder, **params)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert not (folder / "data/questions.parquet").exists()
    return [line.removeprefix("error: ") for line in done.stderr.splitlines()]


def test_several_sources_give_one_table_with_readable_ids_and_one_folder_of_databases(tmp_path: Path) -> None:
    make_spider(tmp_path / "data/raw")
    make_bird(tmp_path / "data/raw")
    databases = tmp_path / "data/raw/bird/dev_databases"
    (databases / "music").rename(databases / "m2")
    (databases / "m2/music.sqlite").rename(databases / "m2/m2.sqlite")
    text = (tmp_path / "data/raw" / "bird" / "dev.json").read_text().replace('"music"', '"m2"')
    (tmp_path / "data/raw" / "bird" / "dev.json").write_text(text)
    questions = made(tmp_path, sources={"spider": {"train": ALL, "dev": ALL}, "bird": {"dev": ALL}}, demo=DEMO)
    ids = questions.filter(pl.col("source") != "demo")["question_id"].to_list()
    assert ids == [
        *(f"bird/dev/000{n}" for n in range(3)), "spider/dev/0000", "spider/dev/0001",
        *(f"spider/train/000{n}" for n in range(5)),
    ]  # fmt: skip
    there = {path.name for path in (tmp_path / "data" / "databases").iterdir()}
    assert there == set(questions["db_id"]) and {"music", "zoo", "m2", "bank_1"} <= there
    sets = read_json(tmp_path / "reports/corpus.json")["sets"]
    assert sets["spider-train"]["questions"] == 5 and sets["bird-dev"]["read"] == 3
    assert sum(counts["questions"] for counts in sets.values()) == questions.height


def test_a_domain_left_to_the_strong_model_has_no_train_questions_and_the_same_dev_and_test(tmp_path: Path) -> None:
    every_domain = made(tmp_path, demo=DEMO)
    without = made(tmp_path, demo=DEMO | {"strong_domains": 1})
    is_train = pl.col("split") == "train"
    domains = [set(rows.filter(is_train)["db_id"].str.split("_").list.first()) for rows in (every_domain, without)]
    assert domains[0] == {"music", "bank"} and len(domains[1]) == 1
    assert without.filter(~is_train).equals(every_domain.filter(~is_train))
    assert set(without.filter(is_train)["question"]) < set(every_domain.filter(is_train)["question"])


def test_a_source_without_difficulty_gets_that_of_spider(tmp_path: Path) -> None:
    make_spider(tmp_path / "data/raw")
    assert set(made(tmp_path, sources={"spider": {"dev": ALL}})["difficulty"]) == {"easy"}


def test_descriptions_lie_beside_their_database(tmp_path: Path) -> None:
    folder = make_bird(tmp_path / "data/raw") / "dev_databases" / "music" / "database_description"
    folder.mkdir()
    (folder / "singer.csv").write_text("original_column_name,column_name,column_description\nname,,the stage name\n")
    made(tmp_path, sources={"bird": {"dev": ALL}})
    told = read_json(tmp_path / "data/databases/music/descriptions.json")
    assert told == {"singer": {"name": {"description": "the stage name"}}}


def test_the_same_params_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("first", "second"):
        make_spider(tmp_path / name / "data/raw", train=30)
        sources = {"spider": {"train": {"share": 0.5, "limit": 9}}}
        write_params(tmp_path / name, sources=sources, demo={**DEMO, "domains": ["bank"]})
        # A process of its own: each has another order of sets.
        command = [sys.executable, "-m", "stages.corpus"]
        subprocess.run(command, cwd=tmp_path / name, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        files = [file for file in sorted((tmp_path / name / "data").rglob("*")) if file.is_file()]
        found.append({str(file.relative_to(tmp_path / name)): sha256_file(file) for file in files})
    assert found[0] == found[1]


def split_of(size: int, share: float, limit: int | None) -> SourceSplit:
    entries = [Entry(number, "music", f"Question {number}?", "SELECT 1") for number in range(size)]
    params = SplitParams(share=share, limit=limit)
    return SourceSplit("own", "train", params, "human", entries, {"music": Path("music.sqlite")})


@given(st.integers(1, 60), st.floats(0.01, 1), st.floats(0.01, 1), st.none() | st.integers(1, 60), st.integers(0, 5))
def test_a_higher_share_or_limit_only_adds_questions(
    size: int, share: float, other: float, limit: int | None, seed: int
) -> None:
    few, many = sorted((share, other))
    lower, _ = question_rows(split_of(size, few, limit), seed)
    higher, dropped = question_rows(split_of(size, many, None), seed)
    assert {row["question_id"] for row in lower} <= {row["question_id"] for row in higher}
    assert len(higher) + dropped["not_drawn"] == size and len(lower) <= (limit or size)


@pytest.mark.parametrize(("size", "share", "count"), [(100, 0.07, 7), (50, 0.14, 7), (100, 0.55, 55), (3, 0.5, 2)])
def test_a_share_is_rounded_up_but_not_for_the_error_of_a_float(size: int, share: float, count: int) -> None:
    assert len(question_rows(split_of(size, share, None), 1)[0]) == count


def test_a_database_is_linked_and_not_copied(tmp_path: Path) -> None:
    folder = make_spider(tmp_path / "data/raw")
    made(tmp_path, sources={"spider": {"dev": ALL}})
    assert (tmp_path / "data/databases/zoo/zoo.sqlite").samefile(folder / "database/zoo/zoo.sqlite")


@pytest.mark.parametrize("place", ["films.sqlite", "films.db", "films/films.sqlite", "films/films.sqlite3"])
def test_a_users_databases_may_lie_flat_or_in_folders(place: str, tmp_path: Path) -> None:
    make_database(tmp_path / "data/raw" / "own" / "databases" / place)
    write_json(tmp_path / "data/raw" / "own" / "train.json", [spider_row(0, "films")])
    questions = made(tmp_path, sources={"own": {"layout": "folder", "train": ALL}})
    assert questions["question_id"].to_list() == ["own/train/0000"]
    assert (tmp_path / "data/databases/films/films.sqlite").is_file()


# ---- bad input ----


def test_a_db_id_without_a_database_is_named_with_its_questions_and_nothing_is_made(tmp_path: Path) -> None:
    folder = make_spider(tmp_path / "data/raw")
    (folder / "database" / "zoo" / "zoo.sqlite").unlink()
    (sentence,) = refused(tmp_path, sources={"spider": {"train": ALL, "dev": ALL}})
    assert sentence.startswith("spider-dev: 2 questions ask databases that are missing (zoo 2)")


def test_questions_without_a_database_are_left_out_and_counted_where_that_is_allowed(tmp_path: Path) -> None:
    folder = make_spider(tmp_path / "data/raw")
    (folder / "database" / "zoo" / "zoo.sqlite").unlink()
    questions = made(tmp_path, sources={"spider": {"train": ALL, "dev": ALL}}, allow_missing=True)
    assert set(questions["db_id"]) == {"music"}
    sets = read_json(tmp_path / "reports/corpus.json")["sets"]
    assert sets["spider-dev"]["dropped"] == {"no_database": 2, "not_drawn": 0}


def test_a_corpus_in_which_no_question_has_its_database_is_refused_even_where_missing_ones_are_allowed(
    tmp_path: Path,
) -> None:
    folder = make_spider(tmp_path / "data/raw")
    (folder / "database").rename(folder / "databases")
    (sentence,) = refused(tmp_path, sources={"spider": {"dev": ALL}}, allow_missing=True)
    assert sentence.startswith("no question asks a database that is there")


@pytest.mark.parametrize("script", ["PRAGMA user_version = 1", "CREATE VIRTUAL TABLE f USING fts5(body)"])
def test_a_database_of_which_no_prompt_could_show_anything_is_refused_at_once(script: str, tmp_path: Path) -> None:
    make_database(tmp_path / "data/raw" / "own" / "databases" / "films.sqlite", script)
    write_json(tmp_path / "data/raw" / "own" / "train.json", [spider_row(0, "films")])
    (sentence,) = refused(tmp_path, sources={"own": {"layout": "folder", "train": ALL}})
    assert "films.sqlite holds no table that a query can read" in sentence


def test_a_gold_that_no_rule_gives_a_difficulty_is_of_unknown_difficulty(tmp_path: Path) -> None:
    make_database(tmp_path / "data/raw" / "own" / "databases" / "films.sqlite")
    row = {"question": "q", "db_id": "films", "gold_sql": "WITH x AS (SELECT 1) SELECT * FROM x"}
    write_json(tmp_path / "data/raw" / "own" / "train.json", [row])
    questions = made(tmp_path, sources={"own": {"layout": "folder", "train": ALL}})
    assert questions["difficulty"].to_list() == ["unknown"]


def test_two_sources_may_share_a_database_but_not_its_name_alone(tmp_path: Path) -> None:
    make_spider(tmp_path / "data/raw")
    make_bird(tmp_path / "data/raw")
    sources = {"spider": {"train": ALL}, "bird": {"dev": ALL}}
    assert made(tmp_path, sources=sources).height == 8
    make_database(tmp_path / "data/raw/bird/dev_databases/music/music.sqlite", "CREATE TABLE other(id)")
    done = run(tmp_path, sources=sources)
    assert done.returncode == 2
    database = "data/raw/bird/dev_databases/music/music.sqlite"
    assert f"`music` is another one in {database} than in data/raw/spider/" in done.stderr


def test_the_demo_corpus_and_a_source_cannot_have_a_database_of_one_name(tmp_path: Path) -> None:
    make_spider(tmp_path / "data/raw")
    make_database(tmp_path / "data/raw/spider/database/bank_1/bank_1.sqlite")
    write_json(tmp_path / "data/raw/spider/dev.json", [spider_row(0, "bank_1")])
    (sentence,) = refused(tmp_path, sources={"spider": {"dev": ALL}}, demo=DEMO)
    assert sentence == "the demo corpus has a database `bank_1` of its own; set `corpus.demo` to null"


def test_files_that_are_no_database_and_mistakes_in_questions_are_told_at_once(tmp_path: Path) -> None:
    folder = make_spider(tmp_path / "data/raw")
    (folder / "database/zoo/zoo.sqlite").write_bytes(b"")
    (folder / "database/music/music.sqlite").write_text("no database" * 100)
    write_json(folder / "dev.json", [spider_row(0, "zoo"), {"question": "x", "db_id": "zoo"}])
    told = refused(tmp_path, sources={"spider": {"train": ALL, "dev": ALL}, "bird": {"dev": ALL}})
    assert [sentence.split(" (")[0].removeprefix("data/raw/spider/") for sentence in told] == [
        "dev.json, entry 1: `query` is missing; add it",
        "data/raw/bird is no folder; get it with `python -m stages.fetch`, or put the files there",
        "database/music/music.sqlite is not an SQLite database", "database/zoo/zoo.sqlite is not an SQLite database",
    ]  # fmt: skip


def test_changes_that_are_only_in_a_write_ahead_log_are_not_lost_in_silence(tmp_path: Path) -> None:
    path = make_spider(tmp_path / "data/raw") / "database/zoo/zoo.sqlite"
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.execute("INSERT INTO singer VALUES (1, 'late')")
    (sentence,) = refused(tmp_path, sources={"spider": {"dev": ALL}})
    connection.close()
    assert "zoo.sqlite-wal holds changes that zoo.sqlite lacks" in sentence
    assert made(tmp_path, sources={"spider": {"dev": ALL}}).height == 2


def test_a_symbolic_link_is_refused_because_dvc_would_not_see_changes_behind_it(tmp_path: Path) -> None:
    make_spider(tmp_path / "elsewhere")
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw" / "spider").symlink_to(tmp_path / "elsewhere" / "spider")
    (sentence,) = refused(tmp_path, sources={"spider": {"dev": ALL}})
    assert sentence.startswith("data/raw/spider is a symbolic link") and "cp -rl" in sentence


def test_a_symbolic_link_further_inside_is_refused_too(tmp_path: Path) -> None:
    folder = make_spider(tmp_path / "data/raw")
    (folder / "database").rename(tmp_path / "elsewhere")
    (folder / "database").symlink_to(tmp_path / "elsewhere")
    (sentence,) = refused(tmp_path, sources={"spider": {"dev": ALL}})
    assert sentence.startswith("data/raw/spider/database is a symbolic link")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"sources": {}}, "there is no source"),
        ({"sources": {"spider": {"layout": "spider", "dev": ALL}}}, "`spider` has a layout of its own"),
        ({"sources": {"mine": {"dev": ALL}}}, "`mine` is none of spider, bird, bird-mini"),
        ({"sources": {"spider-dk": {"train": ALL}}}, "`spider-dk` has no train; it has dev"),
        ({"sources": {"spider": {}}}, "give at least one of train, dev and test"),
        ({"sources": {"../etc": {"layout": "folder", "dev": ALL}}}, "`../etc` is no name for a source"),
        ({"sources": {"spider": {"dev": {"share": 0.0, "limit": 0}}}}, "corpus.sources.spider.dev.share` is 0.0"),
        ({"sources": {"spider": {"dev": {"share": 1.0}}}}, "corpus.sources.spider.dev.limit` is missing"),
    ],
)  # fmt: skip
def test_params_that_make_no_sense_are_refused_in_a_sentence(params: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert told in "\n".join(refused(tmp_path, **params))


def test_all_wrong_params_are_named_at_once(tmp_path: Path) -> None:
    told = "\n".join(refused(tmp_path, sead=1, seed="one", demo={**DEMO, "train_databases": 0}))
    assert all(f"corpus.{field}" in told for field in ("sead", "seed", "demo.train_databases"))


# ---- big and odd databases ----

ODD = '''
CREATE TABLE "order by" ("sélect" INTEGER PRIMARY KEY, "a ""b""" TEXT, [x;--] REAL, "from" TEXT);
CREATE TABLE w(a TEXT, b INT, twice INT GENERATED ALWAYS AS (b * 2) VIRTUAL, PRIMARY KEY (b, a)) WITHOUT ROWID;
CREATE VIEW v AS SELECT a FROM w;
CREATE VIEW broken AS SELECT absent FROM nowhere;
CREATE VIRTUAL TABLE f USING fts5(body);
'''


def test_odd_databases_are_taken_as_they_are(tmp_path: Path) -> None:
    folder = tmp_path / "data/raw" / "own"
    make_database(folder / "databases" / "odd one.sqlite", ODD)
    wide = ", ".join(f"c{number}" for number in range(2000))
    make_database(folder / "databases" / "wide.sqlite", f"CREATE TABLE t({wide})")
    write_json(folder / "train.json", [spider_row(0, "odd one"), spider_row(1, "wide")])
    assert made(tmp_path, sources={"own": {"layout": "folder", "train": ALL}})["db_id"].to_list() == ["odd one", "wide"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="needs Linux's count of bytes read")
def test_a_database_of_two_gigabytes_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "data/raw" / "own"
    path = make_database(folder / "databases" / "big.sqlite", "CREATE TABLE t(id INTEGER PRIMARY KEY, value BLOB)")
    connection = apsw.Connection(str(path))
    connection.pragma("synchronous", "off")
    connection.pragma("journal_mode", "off")
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2100) "
        "INSERT INTO t SELECT i, zeroblob(1000000) FROM n"
    )
    connection.close()
    assert path.stat().st_size > 2_000_000_000
    write_json(folder / "train.json", [spider_row(0, "big")])
    code = "import sys; from stages.corpus import main; main(); print(open('/proc/self/io').read())"
    write_params(tmp_path, sources={"own": {"layout": "folder", "train": ALL}})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, env=environment, text=True)
    read = int(told.split("rchar: ")[1].split()[0])
    assert read < 100_000_000 and (tmp_path / "data/databases/big/big.sqlite").stat().st_size > 2_000_000_000


# ---- the real thing ----

COUNTS = {
    "spider-train": (7000, 6904), "spider-dev": (1034, 972), "bird-dev": (1534, 129), "bird-mini-dev": (500, 52),
    "spider-syn-train": (7000, 6904), "spider-syn-dev": (1034, 972), "spider-realistic-dev": (508, 476),
}  # fmt: skip
"""Test set to its questions in the authors' file, and to those whose database is there."""


@pytest.mark.realdata
def test_counts_of_the_real_sources_are_those_of_their_authors(tmp_path: Path) -> None:
    raw = tmp_path / "data/raw"
    raw.mkdir(parents=True)
    for source, place in {"spider": "spider", "bird": "bird", "spider-syn": "variants/spider-syn",
                          "spider-realistic": "variants/spider-realistic"}.items():  # fmt: skip
        subprocess.run(["cp", "-rL", REAL / place, raw / source], check=True)
    (raw / "bird-mini").mkdir()
    (raw / "bird" / "mini_dev_sqlite.json").rename(raw / "bird-mini" / "mini_dev_sqlite.json")
    sources: dict[str, dict[str, Any]] = {}
    for name in COUNTS:
        source, _, split = name.rpartition("-")
        sources.setdefault(source, {})[split] = ALL
    questions = made(tmp_path, sources=sources, allow_missing=True)
    sets = read_json(tmp_path / "reports/corpus.json")["sets"]
    assert {name: (sets[name]["read"], sets[name]["questions"]) for name in COUNTS} == COUNTS
    assert questions.height == sum(kept for _, kept in COUNTS.values())
    entries, errors = KNOWN["bird"].read(raw / "bird", "dev")
    assert sum("2023" in entry.other_golds for entry in entries) == 198 and not errors
    assert sum("2023" in json.loads(value) for value in questions["other_golds"] if value) == 8  # of superhero's
