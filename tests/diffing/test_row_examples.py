from typing import Any

import pytest

from stages.datasets.catalog import DATASETS
from stages.diffing.comparison import compare
from stages.diffing.row_examples import SHOWN, RowExample, row_examples
from stages.diffing.rows import EXAMPLES
from tests.diffing.world import frame, keyed, version

OLD_QUESTION = frame("questions", {"question_id": "q", "question": "Old?", "gold_sql": "SELECT 'old'"})
NEW_QUESTION = frame("questions", {"question_id": "q", "question": "New?", "gold_sql": "SELECT 'new'"})


def examples(dataset: str, old: list[dict[str, Any]], new: list[dict[str, Any]], **tables: Any) -> list[RowExample]:
    """The examples of a dataset with these rows, in versions that have other texts of the question `q`."""
    versions = [
        version(**{dataset: frame(dataset, *rows), "questions": questions, **tables})
        for rows, questions in ((old, OLD_QUESTION), (new, NEW_QUESTION))
    ]  # fmt: skip
    return row_examples(compare(*versions)).get(dataset, [])


def candidate(key: str, **values: Any) -> dict[str, Any]:
    return {"candidate_id": key, "question_id": "q", **values}


def test_a_row_has_the_question_and_the_gold_of_the_version_that_it_is_of() -> None:
    rows = [candidate("both", sql="a"), candidate("old", sql="b")], [candidate("both", sql="c"), candidate("new")]
    texts = {
        example.kind: (example.key, example.question, example.texts["gold"])
        for example in examples("candidates", *rows)
    }
    assert texts == {
        "added": ("new", "New?", "SELECT 'new'"), "removed": ("old", "Old?", "SELECT 'old'"),
        "changed": ("both", "New?", "SELECT 'new'"),
    }  # fmt: skip


def test_what_differs_stands_among_the_changes_alone() -> None:
    old, new = candidate("c", sql="a", verdict="match"), candidate("c", sql="a", verdict="mismatch", error="e")
    [example] = examples("exec_results", [old], [new])
    assert example.changes == {"verdict": ["match", "mismatch"], "error": [None, "e"]}
    assert example.texts == {
        "sql": "a",
        "gold": "SELECT 'new'",
    }


def test_a_counterexample_has_the_sql_of_its_candidate() -> None:
    results = frame("exec_results", candidate("c", sql="SELECT 1"), candidate("d", sql="SELECT 2"))
    [example] = examples("counterexamples", [], [candidate("c", **{"class": "rows"})], exec_results=results)
    assert example.texts == {"sql": "SELECT 1", "class": "rows", "gold": "SELECT 'new'"}


def test_a_question_that_changed_is_not_shown_twice() -> None:
    [example] = row_examples(compare(version(questions=OLD_QUESTION), version(questions=NEW_QUESTION)))["questions"]
    assert (example.question, example.texts) == (None, {}) and set(example.changes) == {"question", "gold_sql"}


def test_strong_data_is_found_by_its_item() -> None:
    synthetic = frame("synthetic", {"item_id": "i", "question": "Strong?", "gold_sql": "SELECT 3"})
    [example] = examples("sft", [], [{"question_id": "i", "completion": "SELECT 3"}], synthetic=synthetic)
    assert (example.question, example.texts) == ("Strong?", {"completion": "SELECT 3"})


@pytest.mark.parametrize(
    ("texts", "compared"),
    [
        ({"chosen": "a", "rejected": "b", "gold": "c"}, ("chosen", "rejected")),
        ({"sql": "a", "gold": "c"}, ("sql", "gold")),
        ({"chosen": "a", "gold": "c"}, ()),
    ],
)
def test_two_texts_are_compared_where_there_are_two(texts: dict[str, str], compared: tuple[str, ...]) -> None:
    assert RowExample("added", "k", "q", "?", texts, {}).compared == compared


def test_what_neither_version_has_is_left_out() -> None:
    tables = [frame("pairs", *rows) for rows in ([], [{"pair_id": "p", "question_id": "q", "chosen": "a"}])]
    old, new = (version(pairs=table.select("pair_id", "question_id", "chosen")) for table in tables)
    [example] = row_examples(compare(old, new))["pairs"]
    assert (example.question, example.texts) == (None, {"chosen": "a"})


def test_few_rows_of_each_kind_are_shown() -> None:
    keys = [f"k{number}" for number in range(EXAMPLES + 2)]
    added = row_examples(compare(version(pairs=keyed("pairs").clear()), version(pairs=keyed("pairs", *keys))))["pairs"]
    assert [example.key for example in added] == keys[:EXAMPLES]


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_shown_of_a_dataset_is_a_column_of_it(dataset: str) -> None:
    assert set(SHOWN[dataset]) - {"sql"} <= DATASETS[dataset].columns.keys()
