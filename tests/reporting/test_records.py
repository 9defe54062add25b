"""The tables of the explorer, on a small world."""

import json
from pathlib import Path

import pytest

from stages.reporting.records import Datasets, Tables
from tests.reporting.world import GOLD_SQL, SAMPLES, datasets, tables_of, write_world


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Datasets:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        write_world()
        return datasets()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        write_world()
        return tables_of(datasets())


def test_every_question_is_there_once_those_of_the_strong_model_too(tables: Tables) -> None:
    ids = tables["questions"]["question_id"].to_list()
    assert ids == ["demo/dev/0000", "demo/train/0000", "strong/0", "strong/1"]


def test_flags_say_what_the_audit_found_why_an_item_was_refused_and_what_a_question_has(tables: Tables) -> None:
    assert tables["questions"]["flags"].to_list() == ["limit_tie", "pair,witness", "", "refused_outvoted"]


def test_equal_sql_of_a_question_is_one_outcome_with_the_verdict_of_the_candidates(tables: Tables) -> None:
    outcomes = tables["outcomes"].filter(question=1)
    assert dict(outcomes.select("sql", "verdict").iter_rows()) == dict(SAMPLES)


def test_each_sample_names_its_outcome_and_its_completion_where_that_is_more_than_the_sql(tables: Tables) -> None:
    sqls = tables["outcomes"]["sql"].to_list()
    samples = tables["candidates"]
    assert [sqls[outcome] for outcome in samples["outcome"]] == [sql for sql, _ in SAMPLES]
    assert samples["completion"].to_list() == [f"{sql}\nplain" for sql, _ in SAMPLES]
    assert samples["logprob"].to_list() == [-1.23] * len(SAMPLES)
    assert tables["answers"]["completion"].to_list() == [None] * 6


def test_an_answer_has_its_verdict_under_each_contract(tables: Tables) -> None:
    (dpo,) = tables["outcomes"].filter(question=0, sql=GOLD_SQL).iter_rows(named=True)
    assert [dpo[name] for name in ("verdict", "strict", "spider", "bird")] == ["match"] * 4
    assert tables["answers"].filter(model="dpo")["sample"].to_list() == [None, 0]


def test_a_gold_has_its_first_rows_and_a_mismatch_what_differs_from_them(tables: Tables) -> None:
    previews = tables["previews"].rows(named=True)
    gold = previews[tables["questions"]["gold_preview"][1]]
    assert json.loads(gold["rows"]) == [["'Ann'"], ["'Bob'"], ["'Cid'"]] and gold["total"] == 3 and not gold["missing"]
    by_sql = dict(tables["outcomes"].filter(question=1).select("sql", "preview").iter_rows())
    fewer = previews[by_sql["SELECT name FROM singer WHERE age > 20"]]
    assert (fewer["missing"], fewer["extra"], fewer["total"]) == ("[\"'Bob'\"]", None, 2)
    turned = previews[by_sql["SELECT name FROM singer ORDER BY name DESC"]]
    assert (turned["missing"], turned["extra"], turned["note"]) == (
        '["\'Ann\'"]', '["\'Cid\'"]', "the same rows in another order",
    )  # fmt: skip


def test_a_match_and_an_error_have_no_rows_of_their_own(tables: Tables) -> None:
    without = tables["outcomes"].filter(verdict="mismatch", question=1)["preview"].null_count()
    assert without == 0 and tables["outcomes"].filter(verdict="match")["preview"].null_count() == 3
    assert tables["outcomes"].filter(verdict="exec_error")["preview"].to_list() == [None]


def test_a_pair_names_the_outcomes_of_both_sides(tables: Tables) -> None:
    (pair,) = tables["pairs"].iter_rows(named=True)
    sqls = tables["outcomes"]["sql"].to_list()
    assert (pair["question"], sqls[pair["chosen_outcome"]], sqls[pair["rejected_outcome"]]) == (
        1,
        GOLD_SQL,
        SAMPLES[3][0],
    )


def test_a_witness_stands_at_the_outcome_of_its_candidate(tables: Tables) -> None:
    witnesses = tables["outcomes"].filter(~tables["outcomes"]["witness"].is_null())
    assert witnesses.select("sql", "witness_class").rows() == [(SAMPLES[1][0], "rows")]


def test_each_database_has_its_ddl(tables: Tables) -> None:
    assert tables["databases"]["db_id"].to_list() == ["music", "strong_bakery"]
    assert tables["databases"]["ddl"][0].startswith("CREATE TABLE singer (")


def test_the_tables_do_not_depend_on_the_number_of_processes_or_on_the_cache(
    tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_world()
    tables_of(datasets())
    again = tables_of(datasets())
    assert all(again[name].equals(tables[name]) for name in tables)
