"""The demo corpus on its default params: what it promises."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import apsw
import polars as pl
import pytest

from stages.core.errors import UserError
from stages.core.files import sha256_file
from stages.core.params import read_params
from stages.corpora.demo.corpus import choose_domains, make_demo, question_rows, report
from stages.corpora.demo.domains import read_domains
from stages.corpora.demo.kinds import read_kinds
from stages.corpora.demo.questions import Question
from stages.corpus import CorpusParams
from stages.databases.schema import read_schema
from stages.datasets.catalog import DATASETS
from stages.prompting.ddl import render_table
from tests import ROOT


@dataclass(frozen=True)
class Corpus:
    databases: Path
    drawn: dict[str, list[Question]]
    drops: Counter[str]
    questions: pl.DataFrame


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The whole default corpus, in a few seconds."""
    params = read_params("corpus", CorpusParams, ROOT / "params.yaml").demo
    assert params
    databases = tmp_path_factory.mktemp("databases")
    drawn, drops = make_demo(choose_domains(params.domains), read_kinds(), params.seed, params.splits, databases)
    return Corpus(databases, drawn, drops, pl.DataFrame(question_rows(drawn), schema=DATASETS["questions"].columns))


def connect(corpus: Corpus, db_id: str) -> apsw.Connection:
    file = corpus.databases / db_id / f"{db_id}.sqlite"
    return apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)


def ddl_of(folder: Path) -> list[str]:
    return [render_table(table, "compact") for table in read_schema(folder / f"{folder.name}.sqlite", 0, {}).tables]


def counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().iter_rows())


def test_there_are_enough_domains_databases_and_questions(corpus: Corpus) -> None:
    questions = counts(corpus.questions, "split")
    assert len(read_domains()) >= 30
    assert len(list(corpus.databases.iterdir())) >= 200
    assert questions["train"] >= 8000 and questions["dev"] >= 500 and questions["test"] >= 1000


def test_every_kind_is_asked_in_every_split_that_could_ask_it(corpus: Corpus) -> None:
    kinds = {split: {question.kind for question in questions} for split, questions in corpus.drawn.items()}
    assert len(kinds["train"]) >= 30
    assert kinds["train"] == {kind.kind for kind in read_kinds()}
    assert kinds["dev"] | kinds["test"] <= kinds["train"]
    assert len(kinds["test"]) >= 0.9 * len(kinds["train"])


def test_no_two_splits_share_a_database(corpus: Corpus) -> None:
    splits = corpus.questions.group_by("db_id").agg(pl.col("split").n_unique())
    assert splits["split"].max() == 1


def test_every_gold_runs_and_at_most_one_in_twenty_is_empty(corpus: Corpus) -> None:
    empty = 0
    for (db_id,), rows in corpus.questions.group_by("db_id"):
        connection = connect(corpus, str(db_id))
        empty += sum(not connection.execute(sql).fetchall() for sql in rows["gold_sql"])
    assert empty <= 0.05 * corpus.questions.height


def test_no_question_stands_twice_in_a_database(corpus: Corpus) -> None:
    assert not corpus.questions.select("db_id", "question").is_duplicated().any()


def test_all_difficulties_of_spider_occur_in_every_split(corpus: Corpus) -> None:
    for _, rows in corpus.questions.group_by("split"):
        assert set(rows["difficulty"]) == {"easy", "medium", "hard", "extra"}


def test_questions_have_no_open_slots(corpus: Corpus) -> None:
    texts = pl.concat([corpus.questions["question"], corpus.questions["gold_sql"]])
    assert not texts.str.contains("[{}]").any()


def test_databases_have_two_to_five_tables_whose_keys_hold(corpus: Corpus) -> None:
    for folder in corpus.databases.iterdir():
        connection = connect(corpus, folder.name)
        assert 2 <= len(ddl_of(folder)) <= 5
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA integrity_check").get == "ok"


def test_no_two_databases_of_a_domain_have_the_same_ddl(corpus: Corpus) -> None:
    ddl = [(folder.name.rpartition("_")[0], *ddl_of(folder)) for folder in corpus.databases.iterdir()]
    assert len(set(ddl)) == len(ddl)


def test_values_named_in_a_gold_stand_in_the_question(corpus: Corpus) -> None:
    values = corpus.questions.with_columns(value=pl.col("gold_sql").str.extract(r"'%?([^'%]+)%?'"))
    named = values.filter(pl.col("value").is_not_null())
    assert named.filter(~pl.col("question").str.contains(pl.col("value"), literal=True)).is_empty()


def test_the_report_adds_up(corpus: Corpus) -> None:
    counted = json.loads(json.dumps(report(corpus.drawn, corpus.drops)))
    assert counted["drawn"] == counted["kept"] + sum(counted["dropped"].values())
    assert counted["kept"] == sum(counted["kinds"].values())


def test_another_domain_changes_no_database_and_no_question(tmp_path: Path) -> None:
    splits = {"train": (2, 10)}
    alone, _ = make_demo(choose_domains(["music"]), read_kinds(), 1, splits, tmp_path / "alone")
    beside, _ = make_demo(choose_domains(["bank", "music"]), read_kinds(), 1, splits, tmp_path / "beside")
    assert alone["train"] == [question for question in beside["train"] if question.db_id.startswith("music")]
    assert all(
        sha256_file(file) == sha256_file(tmp_path / "beside" / file.relative_to(tmp_path / "alone"))
        for file in (tmp_path / "alone").rglob("*.sqlite")
    )


def test_another_seed_gives_other_databases(tmp_path: Path) -> None:
    for seed in (1, 2):
        make_demo(choose_domains(["music"]), read_kinds(), seed, {"train": (1, 5)}, tmp_path / str(seed))
    assert sha256_file(tmp_path / "1/music_1/music_1.sqlite") != sha256_file(tmp_path / "2/music_1/music_1.sqlite")


def test_an_unknown_domain_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"corpus\.demo\.domains.*musik.*music"):
        choose_domains(["musik"])
