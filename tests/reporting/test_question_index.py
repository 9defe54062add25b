"""The filters of the explorer, as the server has them."""

import pytest

from stages.core.errors import UserError
from stages.reporting.metrics import MODELS
from stages.reporting.question_index import Filters, QuestionIndex, read_filters
from stages.reporting.sources import open_for_server
from tests.reporting.world import GOLD_SQL, SAMPLES, TEST_SET, write_world


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> QuestionIndex:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("world"))
        write_world("Peru")
        return QuestionIndex(open_for_server(MODELS, [TEST_SET]), "strict")


@pytest.mark.parametrize(
    "query, numbers",
    [
        ({}, ["demo/dev/0000", "demo/train/0000", "strong/0", "strong/1"]),
        ({"split": "dev"}, ["demo/dev/0000"]),
        ({"source": "strong"}, ["strong/0", "strong/1"]),
        ({"database": "music"}, ["demo/dev/0000", "demo/train/0000"]),
        ({"difficulty": "hard"}, []),
        ({"flag": "limit_tie"}, ["demo/dev/0000"]),
        ({"flag": "limit"}, []),
        ({"flag": "witness"}, ["demo/train/0000"]),
        ({"model": "candidates"}, ["demo/train/0000"]),
        ({"model": "dpo"}, ["demo/dev/0000"]),
        ({"verdict": "match"}, ["demo/dev/0000", "demo/train/0000"]),
        ({"verdict": "exec_error"}, ["demo/train/0000"]),
        ({"model": "dpo", "verdict": "match"}, ["demo/dev/0000"]),
        ({"model": "sft/weak", "verdict": "match"}, []),
        ({"sample": "greedy"}, ["demo/dev/0000"]),
        ({"model": "candidates", "sample": "greedy"}, []),
        ({"sample": "no such"}, []),
        ({"text": "PERU which"}, ["demo/train/0000"]),
        ({"text": "peru .*"}, []),
        ({"verdict": "no such"}, []),
        ({"model": "no such", "color": "red"}, []),
    ],
)
def test_a_filter_leaves_its_questions(index: QuestionIndex, query: dict[str, str], numbers: list[str]) -> None:
    assert index.matches(read_filters(query))["question_id"].to_list() == numbers


def test_facets_count_the_questions_that_the_filters_leave(index: QuestionIndex) -> None:
    facets = index.page(Filters(), 0, 10)["facets"]
    assert facets["split"] == {"dev": 1, "train": 3} and facets["source"] == {"demo": 2, "strong": 2}
    assert facets["flag"] == {"limit_tie": 1, "pair": 1, "witness": 1, "refused_outvoted": 1}
    assert facets["verdict"] == {"match": 2, "mismatch": 2, "exec_error": 1}
    assert index.page(Filters(model="dpo"), 0, 10)["facets"]["verdict"] == {"match": 1}
    with_errors = index.page(Filters(verdict="exec_error"), 0, 10)["facets"]["verdict"]
    assert with_errors == {"match": 1, "mismatch": 1, "exec_error": 1}  # the filter's own field counts the others too


@pytest.mark.parametrize("text", [" ".join(["a"] * 33), "a" * 1001])
def test_a_text_that_is_too_long_is_a_sentence(text: str) -> None:
    with pytest.raises(UserError, match="give at most 32 words and 1000 characters"):
        read_filters({"text": text})


def test_a_page_has_its_rows_and_the_number_of_all(index: QuestionIndex) -> None:
    page = index.page(Filters(), 1, 2)
    assert page["total"] == 4 and [row["question_id"] for row in page["rows"]] == ["demo/train/0000", "strong/0"]
    assert (page["rows"][0]["candidates"], page["rows"][0]["matches"]) == (len(SAMPLES), 2)
    (dev,) = index.page(Filters(split="dev"), 0, 9)["rows"]
    assert dev["greedy"] == {"sft/weak": "mismatch", "sft/strong": "mismatch", "dpo": "match"}


def test_two_models_are_compared_on_what_both_answered(index: QuestionIndex) -> None:
    compared = index.compare(("sft/strong", "dpo"), "", Filters(), 0, 9)
    assert compared["counts"] == {"won": 1, "lost": 0, "both_wrong": 0, "both_right": 0} and compared["total"] == 1
    (row,) = compared["rows"]
    assert row["a"] == {"sql": SAMPLES[2][0], "verdict": "mismatch"} and row["b"] == {
        "sql": GOLD_SQL,
        "verdict": "match",
    }


def test_of_questions_that_both_answer_wrong_those_with_other_sql_are_listed(index: QuestionIndex) -> None:
    compared = index.compare(("sft/weak", "sft/strong"), "all", Filters(), 0, 9)
    assert compared["counts"]["both_wrong"] == 1 and compared["total"] == 0


def test_an_unknown_show_is_a_sentence(index: QuestionIndex) -> None:
    with pytest.raises(UserError, match="show is 'x'; give one of won, lost, both_wrong, both_right, all"):
        index.compare(("dpo", "dpo"), "x", Filters(), 0, 9)
